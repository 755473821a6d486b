"""Codes and links that open the mini-program (contract/wechat A5)."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote

from services.wechat.core.checks import between, chars, refuse
from services.wechat.miniprogram.calls import Answer, Calls, Json

EnvVersion = Literal["release", "trial", "develop"]
MOST_DAYS = 30
_CUSTOM = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,256}")
_SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}")
AT_A_TIME, AFTER_DAYS = 0, 1


class Scheme(Answer, total=False):
    openlink: str


class UrlLink(Answer, total=False):
    url_link: str


class SchemeState(Answer, total=False):
    """`scheme_info` holds appid, path, query, create_time, expire_time and env_version."""

    scheme_info: Json
    quota_info: Json


class UrlLinkState(Answer, total=False):
    """`url_link_info` holds appid, path, query, create_time, expire_time and env_version."""

    url_link_info: Json
    quota_info: Json


class Links(Calls):
    """Codes and links; BadRequest 41030 for a page that the published version lacks, BadConfig
    85079 when none is published."""

    async def get_unlimited(
        self,
        scene: str,
        *,
        page: str = "",
        check_path: bool = True,
        env_version: EnvVersion = "release",
        width: int = 430,
        is_hyaline: bool = False,
    ) -> bytes:
        """A code without an end, any number of them (5000 a minute): the picture.

        `scene` is 1 to 32 of digits, letters and !#$&'()*+,/:;=?@-._~; `page` has no leading "/"
        and no query (default: home); `width` 280 to 1280; `is_hyaline` for a transparent ground.
        BadRequest 40129, 40169.
        """
        path = "/wxa/getwxacodeunlimit"
        if not _SCENE.fullmatch(scene):
            raise refuse(path, "scene has 1 to 32 digits, letters or !#$&'()*+,/:;=?@-._~")
        if page.startswith("/") or "?" in page:
            raise refuse(path, "page has no leading / and no query")
        body: Json = {
            "scene": scene,
            "check_path": check_path,
            **_look(path, env_version, width, is_hyaline),
        }
        if page:
            body["page"] = page
        return await self._content("post", path, data=body)

    async def get_wxacode(
        self,
        page: str,
        *,
        env_version: EnvVersion = "release",
        width: int = 430,
        is_hyaline: bool = False,
    ) -> bytes:
        """A code for a page with its query (at most 1024 characters): the picture. 100,000 in all:
        BadConfig 45029."""
        path = "/wxa/getwxacode"
        chars(path, 1024, page=page)
        return await self._content(
            "post", path, data={"path": page, **_look(path, env_version, width, is_hyaline)}
        )

    async def generate_scheme(
        self,
        *,
        page: str = "",
        query: str = "",
        env_version: EnvVersion = "release",
        expire_time: int | None = None,
        expire_days: int = MOST_DAYS,
    ) -> Scheme:
        """`openlink`, a weixin:// link for messages and pages, good until `expire_time` (seconds
        UTC) or for 1 to 30 days."""
        path = "/wxa/generatescheme"
        chars(path, 1024, query=query)
        target = {"path": page, "query": query, "env_version": env_version}
        return await self._submit(
            Scheme,
            path,
            {
                "jump_wxa": target,
                "is_expire": True,
                **_expiry(path, expire_time, expire_days),
            },
        )

    async def generate_urllink(
        self,
        *,
        page: str = "",
        query: str = "",
        env_version: EnvVersion = "release",
        expire_time: int | None = None,
        expire_days: int = MOST_DAYS,
    ) -> UrlLink:
        """`url_link`, an https:// link, good until `expire_time` (seconds UTC) or for 1 to 30 days.

        500,000 links and schemes a day; `with_query` gives one link further parameters.
        """
        path = "/wxa/generate_urllink"
        chars(path, 1024, query=query)
        target = {"path": page, "query": query, "env_version": env_version}
        return await self._submit(
            UrlLink, path, {**target, **_expiry(path, expire_time, expire_days)}
        )

    @staticmethod
    def with_query(url_link: str, query: str) -> str:
        """A link of `generate_urllink` with parameters of its own: 1 to 256 of digits, letters and
        !#$&'()*+,/:;=?@-._~ in `?cq=`, which the page gets beside its query. BadRequest."""
        if not _CUSTOM.fullmatch(query):
            raise refuse(
                "/wxa/generate_urllink",
                "cq has 1 to 256 digits, letters or !#$&'()*+,/:;=?@-._~",
            )
        return f"{url_link}?cq={quote(query, safe='')}"

    async def query_scheme(self, scheme: str, *, query_type: int = 0) -> SchemeState:
        """What a scheme opens and how often it may still be opened."""
        return await self._submit(
            SchemeState, "/wxa/queryscheme", {"scheme": scheme, "query_type": query_type}
        )

    async def query_urllink(self, url_link: str, *, query_type: int = 0) -> UrlLinkState:
        """What a link opens and how often it may still be opened."""
        return await self._submit(
            UrlLinkState, "/wxa/query_urllink", {"url_link": url_link, "query_type": query_type}
        )


def _look(path: str, env_version: EnvVersion, width: int, is_hyaline: bool) -> dict[str, Any]:
    between(path, "width", width, 280, 1280)
    return {"env_version": env_version, "width": width, "is_hyaline": is_hyaline}


def _expiry(path: str, expire_time: int | None, expire_days: int) -> dict[str, Any]:
    if expire_time is not None:
        return {"expire_type": AT_A_TIME, "expire_time": expire_time}
    between(path, "expire_interval", expire_days, 1, MOST_DAYS)
    return {"expire_type": AFTER_DAYS, "expire_interval": expire_days}
