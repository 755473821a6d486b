"""What the areas of the mini-program client share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar

from services.wechat.core.checks import given
from services.wechat.core.errors import UnknownOutcome

Json = dict[str, Any]
T = TypeVar("T")


class Answer(TypedDict, total=False):
    """Any field may be missing, and new ones may come; `errcode` is missing in some answers that
    succeed."""

    errcode: int
    errmsg: str


class Calls:
    """What the areas need of the client that they are mixed into."""

    appid: str
    base: str

    async def _request(self, method: str, url_or_endpoint: str, **options: Any) -> Any:
        raise NotImplementedError

    async def _fetch(self, kind: type[T], path: str, **query: Any) -> T:
        """A GET, its answer read as `kind`."""
        answer: T = await self._request("get", f"{self.base}{path}", params=query)
        return answer

    async def _submit(self, kind: type[T], path: str, body: Mapping[str, Any]) -> T:
        """A POST, its answer read as `kind`; body fields that are None are left out."""
        answer: T = await self._request("post", f"{self.base}{path}", data=given(**body))
        return answer

    async def _content(self, method: str, path: str, **options: Any) -> bytes:
        """An answer that is a picture or another file; UnknownOutcome when it is neither that nor
        an error."""
        answer = await self._request(method, f"{self.base}{path}", **options)
        if not isinstance(answer, bytes):
            raise UnknownOutcome(None, "the answer is no file", path)
        return answer
