"""Uploaded files of both families: in memory, three days each (contract/wechat B10, F3). A restart
forgets them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.core import ids
from sandbox.core.clock import Clock
from sandbox.core.errors import ApiError

LIFE_SECONDS = 3 * 86_400
MOST_BYTES = 256 << 20
"""What all files together may hold; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Media:
    """One temporary file. `owner` is "wecom" or an appid; `attachment` the attachment_type it was
    made for (0: none)."""

    owner: str
    kind: str
    name: str
    content: bytes
    created: int
    attachment: int = 0


@dataclass(slots=True)
class Job:
    """An upload that WeCom fetches itself (96219): what was asked, and the file once it is
    there."""

    kind: str
    name: str
    url: str
    started: int
    media_id: str = ""


@dataclass(slots=True)
class Files:
    """Files by id, and the pictures that were uploaded for good."""

    clock: Clock
    jobs: dict[str, Job] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    uploads: list[int] = field(default_factory=list)
    """When pictures were uploaded, for their limits."""
    _media: dict[str, Media] = field(default_factory=dict)
    _bytes: int = 0

    def add(
        self, owner: str, kind: str, name: str, content: bytes, attachment: int = 0
    ) -> tuple[str, Media]:
        """Keep a file for three days; returns its media_id with it."""
        media_id = ids.code("3")
        media = self._media[media_id] = Media(
            owner, kind, name, content, int(self.clock.now()), attachment
        )
        self._bytes += len(content)
        while self._bytes > MOST_BYTES and len(self._media) > 1:
            self._bytes -= len(self._media.pop(next(iter(self._media))).content)
        return media_id, media

    def get(self, owner: str, media_id: str) -> Media:
        """A file of this owner. Raises ApiError 40007 for one that is unknown, another's, or three
        days old."""
        media = self._media.get(media_id)
        if (
            media is None
            or media.owner != owner
            or self.clock.now() >= media.created + LIFE_SECONDS
        ):
            raise ApiError(40007)
        return media

    def need(self, owner: str, media_id: str, *kinds: str, attachment: int = 0) -> Media:
        """`get` for a message: one of `kinds`, and of the attachment_type if that is given. Raises
        ApiError 40007."""
        media = self.get(owner, media_id)
        if media.kind not in kinds or (attachment and media.attachment != attachment):
            raise ApiError(40007)
        return media
