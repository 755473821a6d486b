"""Uploads and downloads of both families (contract/wechat B10, H)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

from sandbox import ids
from sandbox.api import Call, Endpoint, File, Raw
from sandbox.errors import ApiError
from sandbox.files import Job, Media
from sandbox.models import DAY_SECONDS

WECOM = "wecom"
MEGABYTE = 1 << 20
LEAST_BYTES = 6
MOST_MEGABYTES = {"voice": 2, "video": 10, "file": 20}
PICTURE_BYTES = 2 * MEGABYTE
PICTURES_A_DAY, PICTURES_A_MONTH = 1000, 3000
FETCH_SECONDS = 2
KINDS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "audio/amr": b"#!AMR"}
MD5 = re.compile(r"[0-9a-fA-F]{32}")


def content_type(content: bytes) -> str:
    """What the first bytes say a file is."""
    if content[4:8] == b"ftyp":
        return "video/mp4"
    return next(
        (kind for kind, start in KINDS.items() if content.startswith(start)),
        "application/octet-stream",
    )


def _file(call: Call) -> File:
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


def _checked(call: Call, kind: str, most: dict[str, int]) -> File:
    """A file that fits its kind: ApiError 40004 for an unknown kind, 45001 too big, 40005 not of
    that kind."""
    if kind not in most:
        raise ApiError(40004)
    file = _file(call)
    if len(file.content) > most[kind] * MEGABYTE:
        raise ApiError(45001)
    found = content_type(file.content)
    expected = {"image": "image/", "voice": "audio/amr", "video": "video/mp4", "file": ""}[kind]
    if not found.startswith(expected):
        raise ApiError(40005)
    return file


def _uploaded(media_id: str, media: Media) -> dict[str, Any]:
    return {"type": media.kind, "media_id": media_id, "created_at": str(media.created)}


def upload(call: Call) -> dict[str, Any]:
    """B10, 90253: a temporary file for three days."""
    kind = call.query.get("type", "")
    file = _checked(call, kind, {"image": call.box.switches.image_max_mb, **MOST_MEGABYTES})
    return _uploaded(*call.box.files.add(WECOM, kind, file.name, file.content))


def upload_attachment(call: Call) -> dict[str, Any]:
    """B10, 95098: a file for moments (1) or the album (2)."""
    kind, use = call.query.get("media_type", ""), call.query.get("attachment_type", "")
    if use not in {"1", "2"}:
        raise ApiError(40058, "invalid Request Parameter: attachment_type")
    file = _checked(call, kind, {"image": call.box.switches.image_max_mb, "video": 10, "file": 20})
    return _uploaded(*call.box.files.add(WECOM, kind, file.name, file.content, int(use)))


def upload_picture(call: Call) -> dict[str, Any]:
    """B10, 90256: a picture for good, up to 2 MB, 1000 a day and 3000 a month."""
    file, now, files = _file(call), call.box.seconds(), call.box.files
    if len(file.content) > PICTURE_BYTES:
        raise ApiError(45001)
    if not content_type(file.content).startswith("image/"):
        raise ApiError(40123)
    files.uploads = [at for at in files.uploads if now - at < 30 * DAY_SECONDS]
    if (
        len(files.uploads) >= PICTURES_A_MONTH
        or sum(now - at < DAY_SECONDS for at in files.uploads) >= PICTURES_A_DAY
    ):
        raise ApiError(45009)
    files.uploads.append(now)
    name = ids.config_id()
    files.pictures[name] = file.content
    return {"url": f"http://{call.host}/pictures/{name}"}


def upload_by_url(call: Call) -> dict[str, Any]:
    """B10, 96219: WeCom fetches the file itself. The sandbox opens no address: the file's content
    is its address."""
    kind, name, url = call.text("type"), call.text("filename"), call.text("url")
    if kind not in {"video", "file"}:
        raise ApiError(40004)
    if call.integer("scene", 0) != 1 or not name or not MD5.fullmatch(call.text("md5")):
        raise ApiError(40058, "invalid Request Parameter: scene, filename or md5")
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ApiError(40094)
    jobid = ids.code("jobid_")
    call.box.files.jobs[jobid] = Job(kind, name, url, call.box.seconds())
    return {"jobid": jobid}


def upload_result(call: Call) -> dict[str, Any]:
    """B10, 96219: 1 under way, 2 done with the media_id."""
    job = call.box.files.jobs.get(call.text("jobid"))
    if job is None:
        raise ApiError(40058, "invalid Request Parameter: jobid")
    if not job.media_id and call.box.seconds() < job.started + FETCH_SECONDS:
        return {"status": 1}
    if not job.media_id:
        job.media_id, _ = call.box.files.add(WECOM, job.kind, job.name, job.url.encode())
    media = call.box.files.get(WECOM, job.media_id)
    detail = {
        "errcode": 0,
        "errmsg": "ok",
        "media_id": job.media_id,
        "created_at": str(media.created),
    }
    return {"status": 2, "detail": detail}


def _download(call: Call, owner: str) -> Raw:
    media = call.box.files.get(owner, call.query.get("media_id", ""))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(media.name)}",
        "Accept-Ranges": "bytes",
    }
    return Raw(media.content, content_type(media.content), headers)


def download(call: Call) -> Raw:
    """B10: the bytes of a temporary file, or of a part of it; 40007 when there is none (any
    more)."""
    return _download(call, WECOM)


def wechat_upload(call: Call) -> dict[str, Any]:
    """A mini-program's temporary picture, for customer-service messages."""
    kind = call.query.get("type", "")
    file = _checked(call, kind, {"image": 10})
    media_id, media = call.box.files.add(call.app, kind, file.name, file.content)
    return {"type": kind, "media_id": media_id, "created_at": media.created}


def wechat_download(call: Call) -> Raw:
    """A mini-program's temporary picture."""
    return _download(call, call.app)


WECOM_ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/media/upload", upload, upload=True),
    Endpoint("POST", "/cgi-bin/media/uploadimg", upload_picture, upload=True),
    Endpoint("POST", "/cgi-bin/media/upload_attachment", upload_attachment, upload=True),
    Endpoint("POST", "/cgi-bin/media/upload_by_url", upload_by_url),
    Endpoint("POST", "/cgi-bin/media/get_upload_by_url_result", upload_result),
    Endpoint("GET", "/cgi-bin/media/get", download),
)
WECHAT_ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/media/upload", wechat_upload, upload=True),
    Endpoint("GET", "/cgi-bin/media/get", wechat_download),
)
