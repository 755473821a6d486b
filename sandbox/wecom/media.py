"""WeCom's uploads and downloads, and files that it fetches itself (contract/wechat B10, H)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint, Raw
from sandbox.core.errors import ApiError
from sandbox.core.files import Job, Media
from sandbox.core.media import MEGABYTE, checked_file, content_type, one_file, serve_file
from sandbox.core.models import DAY_SECONDS

WECOM = "wecom"
MOST_MEGABYTES = {"voice": 2, "video": 10, "file": 20}
PICTURE_BYTES = 2 * MEGABYTE
PICTURES_A_DAY, PICTURES_A_MONTH = 1000, 3000
FETCH_SECONDS = 2
MD5 = re.compile(r"[0-9a-fA-F]{32}")


def _uploaded(media_id: str, media: Media) -> dict[str, Any]:
    return {"type": media.kind, "media_id": media_id, "created_at": str(media.created)}


def upload(call: Call) -> dict[str, Any]:
    """B10, 90253: a temporary file for three days."""
    kind = call.query.get("type", "")
    file = checked_file(call, kind, {"image": call.box.switches.image_max_mb, **MOST_MEGABYTES})
    return _uploaded(*call.box.files.add(WECOM, kind, file.name, file.content))


def upload_attachment(call: Call) -> dict[str, Any]:
    """B10, 95098: a file for moments (1) or the album (2)."""
    kind = call.query.get("media_type", "")
    use = call.query.get("attachment_type", "")
    if use not in {"1", "2"}:
        raise ApiError(40058, "invalid Request Parameter: attachment_type")
    file = checked_file(
        call, kind, {"image": call.box.switches.image_max_mb, "video": 10, "file": 20}
    )
    return _uploaded(*call.box.files.add(WECOM, kind, file.name, file.content, int(use)))


def upload_picture(call: Call) -> dict[str, Any]:
    """B10, 90256: a picture for good, up to 2 MB, 1000 a day and 3000 a month."""
    file = one_file(call)
    if len(file.content) > PICTURE_BYTES:
        raise ApiError(45001)
    if not content_type(file.content).startswith("image/"):
        raise ApiError(40123)
    _count_picture(call)
    name = ids.config_id()
    call.box.files.pictures[name] = file.content
    return {"url": f"http://{call.host}/pictures/{name}"}


def _count_picture(call: Call) -> None:
    """Raises ApiError 45009 when the day's or the month's pictures are used up."""
    now = call.box.seconds()
    month = [at for at in call.box.files.uploads if now - at < 30 * DAY_SECONDS]
    call.box.files.uploads = month
    today = sum(now - at < DAY_SECONDS for at in month)
    if len(month) >= PICTURES_A_MONTH or today >= PICTURES_A_DAY:
        raise ApiError(45009)
    month.append(now)


def upload_by_url(call: Call) -> dict[str, Any]:
    """B10, 96219: WeCom fetches the file itself. The sandbox opens no address: the file's content
    is its address."""
    kind = call.text("type")
    name = call.text("filename")
    url = call.text("url")
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
    files = call.box.files
    job = files.jobs.get(call.text("jobid"))
    if job is None:
        raise ApiError(40058, "invalid Request Parameter: jobid")
    if not job.media_id:
        if call.box.seconds() < job.started + FETCH_SECONDS:
            return {"status": 1}
        job.media_id, _ = files.add(WECOM, job.kind, job.name, job.url.encode())
    detail = {
        "errcode": 0,
        "errmsg": "ok",
        "media_id": job.media_id,
        "created_at": str(files.get(WECOM, job.media_id).created),
    }
    return {"status": 2, "detail": detail}


def download(call: Call) -> Raw:
    """B10: the bytes of a temporary file, or of a part of it; 40007 when there is none (any
    more)."""
    return serve_file(call, WECOM)


def wechatserve_file(call: Call) -> Raw:
    """A mini-program's temporary picture."""
    return serve_file(call, call.app)


ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/media/upload", upload, upload=True),
    Endpoint("POST", "/cgi-bin/media/uploadimg", upload_picture, upload=True),
    Endpoint("POST", "/cgi-bin/media/upload_attachment", upload_attachment, upload=True),
    Endpoint("POST", "/cgi-bin/media/upload_by_url", upload_by_url),
    Endpoint("POST", "/cgi-bin/media/get_upload_by_url_result", upload_result),
    Endpoint("GET", "/cgi-bin/media/get", download),
)
