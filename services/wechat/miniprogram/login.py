"""Who the customer is: login, session key, phone number (contract/wechat A2, A3)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, TypedDict

from services.wechat.core.errors import BadConfig, SubjectState, UnknownOutcome
from services.wechat.miniprogram.calls import Answer, Calls

BAD_SIGNATURE = 87009


@dataclass(frozen=True, slots=True)
class LoginSession:
    """Who logged in. `unionid` only where an Open Platform account binds the mini-program; the key
    stays on the server."""

    openid: str
    unionid: str | None
    session_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """`number` as WeChat writes it (with a country code when foreign), `pure_number` without,
    `country_code` as text."""

    number: str = field(repr=False)
    pure_number: str = field(repr=False)
    country_code: str


class EncryptKey(TypedDict, total=False):
    encrypt_key: str
    version: int
    expire_in: int
    iv: str
    create_time: int


class EncryptKeys(Answer, total=False):
    key_info_list: list[EncryptKey]


class Login(Calls):
    """Login. Codes are good for one use: SubjectState 40029 when it is not, 40226 for somebody whom
    WeChat blocks."""

    wxa: Any

    async def code_to_session(self, code: str) -> LoginSession:
        """The session of a `wx.login` code (A2), good for one use; SubjectState 40029 when it is
        not."""
        answer: dict[str, Any] = await self.wxa.code_to_session(code)
        return _session(answer, "/sns/jscode2session")

    async def get_phone_number(self, code: str) -> PhoneNumber:
        """The phone behind a phone button's code (A3), good for one use; SubjectState 40029 when it
        is not."""
        path = "/wxa/business/getuserphonenumber"
        answer: dict[str, Any] = await self.wxa.get_phone_number(code)
        info = answer.get("phone_info")
        if not isinstance(info, dict) or not isinstance(info.get("phoneNumber"), str):
            raise UnknownOutcome(None, "the answer holds no phone number", path)
        watermark = info.get("watermark")
        if isinstance(watermark, dict) and watermark.get("appid") not in (None, self.appid):
            raise BadConfig(None, "the phone number is watermarked for another appid", path)
        pure = info.get("purePhoneNumber") or info["phoneNumber"]
        return PhoneNumber(info["phoneNumber"], str(pure), str(info.get("countryCode") or ""))

    async def check_session(self, openid: str, session_key: str) -> bool:
        """Whether `session_key` is still the customer's (A2, checksession)."""
        try:
            await self._fetch(Answer, "/wxa/checksession", **_signed(openid, session_key))
        except SubjectState as error:
            if error.errcode == BAD_SIGNATURE:
                return False
            raise
        return True

    async def reset_session_key(self, openid: str, session_key: str) -> LoginSession:
        """Ends `session_key` and gives the customer another (A2); SubjectState 87009 when it is not
        his."""
        path = "/wxa/resetusersessionkey"
        return _session(
            await self._fetch(dict[str, Any], path, **_signed(openid, session_key)), path
        )

    async def get_user_encrypt_key(self, openid: str, session_key: str) -> EncryptKeys:
        """The last three keys of the customer's encrypted channel (A2), each for 3600 s;
        SubjectState 87009."""
        return await self._fetch(
            EncryptKeys, "/wxa/business/getuserencryptkey", **_signed(openid, session_key)
        )


def _signed(openid: str, session_key: str) -> dict[str, str]:
    """The query that proves that we hold the session key: it signs the empty message as the raw
    text it is."""
    signature = hmac.new(session_key.encode(), b"", hashlib.sha256).hexdigest()
    return {"openid": openid, "signature": signature, "sig_method": "hmac_sha256"}


def _session(answer: dict[str, Any], path: str) -> LoginSession:
    openid, key, unionid = answer.get("openid"), answer.get("session_key"), answer.get("unionid")
    if not isinstance(openid, str) or not openid or not isinstance(key, str):
        raise UnknownOutcome(None, "the answer holds no openid", path)
    return LoginSession(openid, unionid if isinstance(unionid, str) and unionid else None, key)
