"""The client of one mini-program (wechat-contract A1-A3)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from wechatpy.client import WeChatClient

from services.metrics import Metrics
from services.wechat.client import READ_SECONDS, AsyncClientMixin
from services.wechat.errors import BadConfig, Family, SubjectState, UnknownOutcome
from services.wechat.tokens import App, Grant, TokenStore

WECHAT_BASE = "https://api.weixin.qq.com"


@dataclass(frozen=True, slots=True)
class LoginSession:
    """Who logged in. `unionid` only where an Open Platform account binds the mini-program; the key stays on the server."""

    openid: str
    unionid: str | None
    session_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """`number` as WeChat writes it (with a country code when foreign), `pure_number` without, `country_code` as text."""

    number: str = field(repr=False)
    pure_number: str = field(repr=False)
    country_code: str


class MiniProgramClient(AsyncClientMixin, WeChatClient):  # type: ignore[misc]
    """wechatpy's client, awaited. Every call raises PlatformError."""

    family: ClassVar[Family] = "wechat"
    platform_origin: ClassVar[str] = WECHAT_BASE

    def __init__(
        self,
        appid: str,
        secret: str,
        base: str,
        http: httpx.AsyncClient,
        tokens: TokenStore,
        *,
        tenant: str = "",
        timeout: float = READ_SECONDS,
        metrics: Metrics | None = None,
    ) -> None:
        self.appid = appid
        self.secret = secret
        self._set_up(base, http, tokens, App(tenant, f"wechat:{appid}", self._fetch_token), timeout, metrics)

    async def _fetch_token(self, rejected: str | None) -> Grant:
        """A1: the stable token; a new one is forced (20 a day) only when the usual call repeats the rejected one."""
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

    async def code_to_session(self, code: str) -> LoginSession:
        """The session of a `wx.login` code (A2), good for one use; SubjectState 40029 when it is not."""
        answer: dict[str, Any] = await self.wxa.code_to_session(code)
        openid, key, unionid = answer.get("openid"), answer.get("session_key"), answer.get("unionid")
        if not isinstance(openid, str) or not openid or not isinstance(key, str):
            raise UnknownOutcome(None, "the answer holds no openid", "/sns/jscode2session")
        return LoginSession(openid, unionid if isinstance(unionid, str) and unionid else None, key)

    async def get_phone_number(self, code: str) -> PhoneNumber:
        """The phone behind a phone button's code (A3), good for one use; SubjectState 40029 when it is not."""
        path = "/wxa/business/getuserphonenumber"
        answer: dict[str, Any] = await self.wxa.get_phone_number(code)
        info = answer.get("phone_info")
        if not isinstance(info, dict) or not isinstance(info.get("phoneNumber"), str):
            raise UnknownOutcome(None, "the answer holds no phone number", path)
        watermark = info.get("watermark")
        if isinstance(watermark, dict) and watermark.get("appid") not in (None, self.appid):
            raise BadConfig(None, "the phone number is watermarked for another appid", path)
        pure = info.get("purePhoneNumber") or info["phoneNumber"]
        return PhoneNumber(info["phoneNumber"], str(pure), str(info.get("countryCode", "")))

    async def check_session(self, openid: str, session_key: str) -> bool:
        """Whether `session_key` is still the customer's (A2, checksession)."""
        signature = hmac.new(session_key.encode(), b"", hashlib.sha256).hexdigest()
        params = {"openid": openid, "signature": signature, "sig_method": "hmac_sha256"}
        try:
            await self._request("get", f"{self.base}/wxa/checksession", params=params)
        except SubjectState as error:
            if error.errcode == 87009:
                return False
            raise
        return True
