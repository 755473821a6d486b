"""What the areas of the WeCom client share: how they call, and what a message to a customer may
hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, TypeVar

from services.wechat.core.checks import at_most, given, need, utf8

Json = dict[str, Any]
T = TypeVar("T")

CALLS_AT_ONCE = 100
TEXT_BYTES = 4000
MOST_ATTACHMENTS = 9


class Answer(TypedDict, total=False):
    """What every call answers; areas add their own fields. Any field may be missing, and new ones
    may come."""

    errcode: int
    errmsg: str


class Page(Answer, total=False):
    """A page of a list; an empty or missing `next_cursor` is the end, a short or empty page is
    not."""

    next_cursor: str


class Sender(Protocol):
    """What an area needs of its client."""

    appid: str
    agent_id: int

    async def get(self, url: str, **options: Any) -> Any: ...

    async def post(self, url: str, **options: Any) -> Any: ...


class Calls:
    """One area of WeCom: its methods send their calls through the client."""

    def __init__(self, client: Sender) -> None:
        self._client = client

    async def _fetch(self, kind: type[T], path: str, **query: Any) -> T:
        """A GET below /cgi-bin, its answer read as `kind`; query fields that are None or empty are
        left out."""
        params = {name: value for name, value in query.items() if value not in (None, "")}
        answer: T = await self._client.get(path, params=params)
        return answer

    async def _submit(self, kind: type[T], path: str, body: Mapping[str, Any], **options: Any) -> T:
        """A POST below /cgi-bin, its answer read as `kind`; body fields that are None are left
        out."""
        answer: T = await self._client.post(path, data=given(**body), **options)
        return answer


def check_message(path: str, text: Any, attachments: Sequence[Json]) -> None:
    """Refuses what a customer cannot be sent (contract/wechat B8): neither text nor attachment,
    too long a text, too many attachments."""
    content = text.get("content") if isinstance(text, Mapping) else None
    need(path, "a message has a text or an attachment", content, attachments)
    utf8(path, TEXT_BYTES, text=content)
    at_most(path, "attachments", len(attachments), MOST_ATTACHMENTS)
    for attachment in attachments:
        check_part(path, attachment)


def check_part(path: str, holder: Mapping[str, Any]) -> None:
    """Refuses a link or a mini-program card whose texts are too long, wherever it stands under its
    own name."""
    link, card = holder.get("link"), holder.get("miniprogram")
    if isinstance(link, Mapping):
        utf8(path, 128, link_title=link.get("title"))
        utf8(path, 512, link_desc=link.get("desc"))
        utf8(path, 2048, link_url=link.get("url"))
    if isinstance(card, Mapping):
        utf8(path, 64, miniprogram_title=card.get("title"))
