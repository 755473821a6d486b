"""All areas of a mini-program in one client, on top of wechatpy's (contract/wechat A)."""

from __future__ import annotations

from typing import ClassVar

from wechatpy.client import WeChatClient

from services.wechat.core.client import AsyncClientMixin, Wire
from services.wechat.core.errors import Family
from services.wechat.core.tokens import App, Grant, mark_of
from services.wechat.miniprogram.links import Links
from services.wechat.miniprogram.login import Login
from services.wechat.miniprogram.messages import Messages
from services.wechat.miniprogram.safety import Safety

WECHAT_BASE = "https://api.weixin.qq.com"


class MiniProgramClient(
    AsyncClientMixin,
    Login,
    Messages,
    Links,
    Safety,
    WeChatClient,  # type: ignore[misc]
):
    """wechatpy's client, awaited, with every call of the contract as a method of ours."""

    family: ClassVar[Family] = "wechat"
    platform_origin: ClassVar[str] = WECHAT_BASE

    def __init__(self, appid: str, secret: str, wire: Wire, *, tenant: str = "") -> None:
        self.appid = appid
        self.secret = secret
        self._set_up(wire, App(tenant, f"wechat:{appid}", self._fetch_token, mark_of(secret)))

    async def _fetch_token(self, rejected: str | None) -> Grant:
        """A1: the stable token; a new one is forced (20 a day) only when the usual call repeats the
        rejected one."""
        grant = await self._stable_token(force=False)
        if grant.token == rejected:
            grant = await self._stable_token(force=True)
        return grant

    async def _stable_token(self, *, force: bool) -> Grant:
        body = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self.secret,
            "force_refresh": force,
        }
        return await self._fetch_grant("post", "/cgi-bin/stable_token", data=body)
