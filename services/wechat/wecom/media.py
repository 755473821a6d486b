"""Files that messages carry (contract/wechat B10 90253, 90256, 95098, 96219).
`services/wechat/core/media.py` keeps their ids."""

from __future__ import annotations

from typing import Any

from services.wechat.core.checks import refuse
from services.wechat.core.errors import UnknownOutcome
from services.wechat.wecom.calls import Answer, Calls, T

MEGABYTE = 1024 * 1024
MOST_BYTES = {
    "image": 10 * MEGABYTE,
    "voice": 2 * MEGABYTE,
    "video": 10 * MEGABYTE,
    "file": 20 * MEGABYTE,
}
IMAGE_URL_BYTES = 2 * MEGABYTE
FEWEST_BYTES = 6
FILE_SECONDS = 30.0


class Uploaded(Answer, total=False):
    """`created_at` is text in some answers; `media_id` lives 3 days from then."""

    type: str
    media_id: str
    created_at: str | int


class ImageUrl(Answer, total=False):
    url: str


class UploadJob(Answer, total=False):
    jobid: str


class Media(Calls):
    """Files; BadRequest 40004 to 40006, 40123, 45001 for one that WeCom does not take, SubjectState
    40007 for a dead id."""

    @property
    def appid(self) -> str:
        """The corp, whose apps share a file."""
        return self._client.appid

    async def upload(self, kind: str, name: str, content: bytes) -> Uploaded:
        """Uploads a file for 3 days (90253), for all apps of the corp.

        image at most 10 MB, voice 2 MB, video 10 MB, file 20 MB, each more than 5 bytes.
        """
        return await self._upload(
            "media/upload", name, content, {"type": kind}, Uploaded, _most("media/upload", kind)
        )

    async def upload_image(self, name: str, content: bytes) -> ImageUrl:
        """Uploads a picture for good and answers its address (90256): at most 2 MB, 3000 a month,
        1000 a day."""
        return await self._upload("media/uploadimg", name, content, {}, ImageUrl, IMAGE_URL_BYTES)

    async def download(self, media_id: str) -> bytes:
        """The file; SubjectState 40007 after 3 days, or for an id of another corp."""
        content = await self._client.get(
            "media/get", params={"media_id": media_id}, timeout=FILE_SECONDS
        )
        if not isinstance(content, bytes):
            raise UnknownOutcome(None, "the answer is no file", "/cgi-bin/media/get")
        return content

    async def upload_attachment(
        self, kind: str, name: str, content: bytes, *, attachment_type: int = 1
    ) -> Uploaded:
        """Uploads an image, video or file for a moment (`attachment_type` 1) or an album (2), for 3
        days (95098)."""
        path = "media/upload_attachment"
        query = {"media_type": kind, "attachment_type": attachment_type}
        return await self._upload(path, name, content, query, Uploaded, _most(path, kind))

    async def upload_by_url(
        self, kind: str, filename: str, url: str, *, md5: str, scene: int = 1
    ) -> UploadJob:
        """Has WeCom fetch a file of at most 200 MB (96219) and answers `jobid`; the end of the job
        is an event."""
        body = {"scene": scene, "type": kind, "filename": filename, "url": url, "md5": md5}
        return await self._submit(UploadJob, "media/upload_by_url", body)

    async def _upload(
        self, path: str, name: str, content: bytes, query: dict[str, Any], kind: type[T], most: int
    ) -> T:
        if not FEWEST_BYTES <= len(content) <= most:
            raise refuse(path, f"a file has {FEWEST_BYTES} to {most} bytes")
        files = {"media": (name, content)}
        answer: T = await self._client.post(path, params=query, files=files, timeout=FILE_SECONDS)
        return answer


def _most(path: str, kind: str) -> int:
    if kind not in MOST_BYTES:
        raise refuse(path, f"a file is one of {', '.join(MOST_BYTES)}")
    return MOST_BYTES[kind]
