"""Identifiers in the shapes that WeChat and WeCom use (wechat-contract I)."""

from __future__ import annotations

import base64
import secrets
import string

_ALNUM = string.ascii_letters + string.digits
_OPENID = _ALNUM + "_-"


def _random(length: int, alphabet: str = _ALNUM) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def openid() -> str:
    """A user of one mini-program; unionids have the same shape."""
    return "o" + _random(27, _OPENID)


def external_userid() -> str:
    """A WeChat customer of a corp: `wm` and 30 characters."""
    return "wm" + _random(30)


def tag_id() -> str:
    """A corp tag or a group of them."""
    return "et" + _random(30)


def config_id() -> str:
    """A contact way: 32 hex digits."""
    return secrets.token_hex(16)


def access_token() -> str:
    return _random(136, _OPENID)


def session_key() -> str:
    """Base64 of 16 random bytes (A2)."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def code(prefix: str) -> str:
    """A single-use code; the prefix only helps a reader of the log."""
    return prefix + _random(28)


def nonce() -> str:
    return str(secrets.randbelow(9_000_000_000) + 1_000_000_000)
