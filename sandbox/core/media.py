"""Uploads and downloads as both families take them: kinds, sizes, and what the first bytes say
(contract/wechat B10, H)."""

from __future__ import annotations

from urllib.parse import quote

from sandbox.core.api import Call, File, Raw
from sandbox.core.errors import ApiError

MEGABYTE = 1 << 20
LEAST_BYTES = 6
KINDS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "audio/amr": b"#!AMR"}


def content_type(content: bytes) -> str:
    """What the first bytes say a file is."""
    if content[4:8] == b"ftyp":
        return "video/mp4"
    return next(
        (kind for kind, start in KINDS.items() if content.startswith(start)),
        "application/octet-stream",
    )


def one_file(call: Call) -> File:
    """The one file of the body. Raises ApiError 41005 without one, 44001 for an empty one, 40006 up
    to 5 bytes."""
    if not call.files:
        raise ApiError(41005)
    file = call.files[0]
    if not file.content:
        raise ApiError(44001)
    if len(file.content) < LEAST_BYTES:
        raise ApiError(40006)
    return file


def checked_file(call: Call, kind: str, most: dict[str, int]) -> File:
    """A file that fits its kind: ApiError 40004 for an unknown kind, 45001 too big, 40005 not of
    that kind."""
    if kind not in most:
        raise ApiError(40004)
    file = one_file(call)
    if len(file.content) > most[kind] * MEGABYTE:
        raise ApiError(45001)
    found = content_type(file.content)
    expected = {"image": "image/", "voice": "audio/amr", "video": "video/mp4", "file": ""}[kind]
    if not found.startswith(expected):
        raise ApiError(40005)
    return file


def serve_file(call: Call, owner: str) -> Raw:
    """The bytes of a temporary file of this owner. Raises ApiError 40007 when there is none (any
    more)."""
    media = call.box.files.get(owner, call.query.get("media_id", ""))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(media.name)}",
        "Accept-Ranges": "bytes",
    }
    return Raw(media.content, content_type(media.content), headers)
