"""Business errors of both families: HTTP 200, errcode and a text with a request id (wechat-contract 0, D2)."""

from __future__ import annotations

import secrets
from typing import Any

MESSAGES = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40007: "invalid media_id",
    40008: "invalid message type",
    40013: "invalid appid",
    40014: "invalid access_token",
    40029: "invalid code",
    40035: "invalid parameter",
    40056: "invalid agentid",
    40058: "invalid request parameter",
    40063: "some parameters are empty",
    40068: "invalid tag id",
    40071: "tag name already exists",
    40072: "invalid tag name length",
    40096: "invalid external userid",
    40097: "invalid args",
    40125: "invalid appsecret",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41008: "missing code",
    41037: "missing contact way type",
    41038: "missing contact way scene",
    41039: "invalid contact way type",
    41040: "invalid contact way scene",
    41041: "contact way users exceed limit",
    41042: "invalid contact way style",
    41043: "missing config_id",
    41044: "invalid config_id",
    41049: "missing welcome_code",
    41050: "invalid welcome_code or welcome_code expired",
    41051: "welcome message already sent or chat already started",
    41064: "attachments exceed limit",
    41065: "invalid attachment type",
    42001: "access_token expired",
    42003: "code expired",
    43001: "require GET method",
    43002: "require POST method",
    44001: "empty media data",
    44002: "empty post data",
    44004: "empty content",
    45002: "content size out of limit",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower",
    45033: "api concurrent out of limit",
    47001: "data format error",
    48002: "api forbidden",
    50001: "redirect_uri does not match the trusted domain",
    60111: "userid not found",
    60123: "invalid party id",
    81013: "all targets are invalid",
    84061: "not external contact",
    87009: "invalid signature",
}

TOKEN_ERRORS = frozenset({40001, 40014, 42001})
"""Answers that mean "your token", which the token calls themselves never give."""


class ApiError(Exception):
    """A business error that the caller reads from the body."""

    def __init__(self, errcode: int, text: str = "") -> None:
        super().__init__(errcode, text)
        self.errcode = errcode
        self.text = text or MESSAGES.get(errcode, "error")


def wechat_body(error: ApiError, now: float) -> dict[str, Any]:
    """A mini-program error: the text ends with a request id."""
    rid = f"{int(now):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
    return {"errcode": error.errcode, "errmsg": f"{error.text} rid: {rid}"}


def wecom_body(error: ApiError, now: float, ip: str) -> dict[str, Any]:
    """A WeCom error: hint, caller's address and the look-up page."""
    text = "invalid credential, the secret is wrong" if error.errcode == 40001 else error.text
    warning = "Warning: wrong json format. " if error.errcode == 47001 else ""
    hint = f"[{int(now)}_{secrets.randbelow(900) + 100}_{secrets.token_hex(16)}]"
    page = f"https://open.work.weixin.qq.com/devtool/query?e={error.errcode}"
    return {
        "errcode": error.errcode,
        "errmsg": f"{warning}{text}, hint: {hint}, from ip: {ip}, more info at {page}",
    }
