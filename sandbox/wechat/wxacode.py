"""Mini-program codes, URL schemes and URL links (contract/wechat A5)."""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import urlencode

import segno
from PIL import Image

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint, Raw
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Code, Link
from sandbox.wechat.subscribe_messages import check_page

SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]+")
SCENE_MOST, PATH_MOST, QUERY_MOST = 32, 1024, 1024
LEAST_WIDTH, MOST_WIDTH, WIDTH = 280, 1280, 430
CODES_MOST = 100_000
LINK_DAYS = 30
LINKS_A_DAY = 500_000
VERSIONS = {"release", "trial", "develop"}


def _colour(call: Call) -> str:
    """`line_color` as a hex colour; its numbers may be strings. Raises ApiError 40097."""
    line = call.body.get("line_color") or {}
    if call.flag("auto_color", False) or not isinstance(line, dict):
        return "#000000"
    try:
        parts = [int(line.get(c, 0)) for c in "rgb"]
    except (TypeError, ValueError) as error:
        raise ApiError(40097) from error
    if not all(0 <= p <= 255 for p in parts):
        raise ApiError(40097)
    return "#{:02x}{:02x}{:02x}".format(*parts)


def _picture(call: Call, query: dict[str, str]) -> Raw:
    """A square picture of `width` pixels that leads to the sandbox's page with appid, path and
    scene (or query)."""
    width = call.integer("width", WIDTH)
    transparent = call.flag("is_hyaline", False)
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise ApiError(40097)
    if (call.text("env_version") or "release") not in VERSIONS:
        raise ApiError(40097)
    address = f"http://{call.host}/?{urlencode({'appid': call.app, **query})}"
    code = segno.make(address, error="m")
    light = None if transparent else "#ffffff"
    drawn = io.BytesIO()
    code.save(drawn, kind="png", scale=4, border=2, dark=_colour(call), light=light)
    if transparent:
        return Raw(_scaled(drawn, width, "RGBA", "PNG"), "image/png")
    return Raw(_scaled(drawn, width, "RGB", "JPEG"), "image/jpeg")


def _scaled(drawn: io.BytesIO, width: int, mode: str, form: str) -> bytes:
    """The picture at another width, in a colour mode and a file format of Pillow's."""
    image = Image.open(drawn).convert(mode).resize((width, width), Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, format=form)
    return out.getvalue()


def _remember(call: Call, page: str, scene: str) -> None:
    codes = call.box.state.records.codes
    if Code(appid=call.app, page=page, scene=scene) not in codes.values():
        codes[ids.config_id()] = Code(appid=call.app, page=page, scene=scene)
        call.box.changed()


def unlimited(call: Call) -> Raw:
    """A5, getwxacodeunlimit: any number of codes, told apart by `scene`. Raises ApiError 40169,
    40129, 41030, 40097."""
    scene = call.body.get("scene")
    page = call.text("page")
    if not isinstance(scene, str) or not 1 <= len(scene) <= SCENE_MOST:
        raise ApiError(40169)
    if not SCENE.fullmatch(scene):
        raise ApiError(40129)
    if page.startswith("/") or "?" in page:
        raise ApiError(41030)
    if call.flag("check_path", True):
        check_page(call, page)
    picture = _picture(call, {"path": page, "scene": scene})
    _remember(call, page, scene)
    return picture


def limited(call: Call) -> Raw:
    """A5, getwxacode: a code of a path with its query, 100,000 in all (45029)."""
    path = call.text("path", missing=40159)
    if len(path) > PATH_MOST:
        raise ApiError(40159)
    if sum(not c.scene for c in call.box.state.records.codes.values()) >= CODES_MOST:
        raise ApiError(45029)
    picture = _picture(call, {"path": path})
    _remember(call, path, "")
    return picture


def _expiry(call: Call, *, required: bool) -> int:
    """When a link ends: at most 30 days ahead, which is also the end of a scheme that names none; a
    URL link has no `is_expire` and must name it. Raises ApiError 85401."""
    now = call.box.seconds()
    latest = now + LINK_DAYS * DAY_SECONDS
    if required and not {"expire_time", "expire_interval"} & call.body.keys():
        raise ApiError(85401, "expire_time or expire_interval is required")
    if not required and not call.flag("is_expire", True):
        return latest
    if call.integer("expire_type", 0) == 1:
        days = call.integer("expire_interval", LINK_DAYS)
        if not 1 <= days <= LINK_DAYS:
            raise ApiError(85401)
        return now + days * DAY_SECONDS
    at = call.integer("expire_time", latest)
    if not now < at <= latest:
        raise ApiError(85401)
    return at


def _link(call: Call, prefix: str, target: Any) -> str:
    """Make a link. Raises ApiError 40165 bad path, 40212 bad query, 40097, 85401, 45009 above
    500,000 a day."""
    given = target if isinstance(target, dict) else {}
    path = str(given.get("path") or "")
    query = str(given.get("query") or "")
    version = str(given.get("env_version") or "release")
    if "?" in path or len(path) > PATH_MOST:
        raise ApiError(40165)
    if len(query) > QUERY_MOST:
        raise ApiError(40212)
    if version not in VERSIONS:
        raise ApiError(40097)
    if _links_are_used_up(call):
        raise ApiError(45009)
    address = prefix + ids.code("")
    call.box.state.records.links[address] = Link(
        appid=call.app,
        path=path,
        query=query,
        env_version=version,
        create_time=call.box.seconds(),
        expires_at=_expiry(call, required=target is call.body),
    )
    call.box.changed()
    return address


def _links_are_used_up(call: Call) -> bool:
    """Whether 500,000 were made within a day."""
    links = call.box.state.records.links
    if len(links) < LINKS_A_DAY:
        return False
    since = call.box.seconds() - DAY_SECONDS
    return sum(link.create_time > since for link in links.values()) >= LINKS_A_DAY


def scheme(call: Call) -> dict[str, Any]:
    """A5, generatescheme: a link that opens WeChat from another app or a text message."""
    return {"openlink": _link(call, "weixin://dl/business/?t=", call.body.get("jump_wxa"))}


def url_link(call: Call) -> dict[str, Any]:
    """A5, generate_urllink: the same as a web address."""
    return {"url_link": _link(call, "https://wxaurl.cn/", call.body)}


def _info(call: Call, address: str) -> dict[str, Any]:
    link = call.box.state.records.links.get(address)
    if link is None or link.appid != call.app:
        raise ApiError(40097)
    return {**link.model_dump(exclude={"expires_at"}), "expire_time": link.expires_at}


def _quota(call: Call) -> dict[str, Any]:
    """How often the mini-program's links may still be opened today."""
    return {"remain_visit_quota": call.box.switches.link_opens_a_day}


def query_scheme(call: Call) -> dict[str, Any]:
    """A5: what a scheme opens, and until when."""
    return {"scheme_info": _info(call, call.text("scheme")), "quota_info": _quota(call)}


def query_url_link(call: Call) -> dict[str, Any]:
    """A5: what a URL link opens, and until when."""
    return {"url_link_info": _info(call, call.text("url_link")), "quota_info": _quota(call)}


ENDPOINTS = (
    Endpoint("POST", "/wxa/getwxacodeunlimit", unlimited),
    Endpoint("POST", "/wxa/getwxacode", limited),
    Endpoint("POST", "/wxa/generatescheme", scheme),
    Endpoint("POST", "/wxa/generate_urllink", url_link),
    Endpoint("POST", "/wxa/queryscheme", query_scheme),
    Endpoint("POST", "/wxa/query_urllink", query_url_link),
)
