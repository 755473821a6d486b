"""Identifiers in the shapes that WeChat and WeCom use (contract/wechat I)."""

from __future__ import annotations

import base64
import secrets
import string
from random import Random, SystemRandom

_ALNUM = string.ascii_letters + string.digits
_OPENID = _ALNUM + "_-"


_UNFORESEEN = SystemRandom()


def _random(length: int, alphabet: str = _ALNUM, chance: Random = _UNFORESEEN) -> str:
    return "".join(chance.choices(alphabet, k=length))


def openid(chance: Random = _UNFORESEEN) -> str:
    """A user of one mini-program; unionids have the same shape. `chance` makes it reproducible."""
    return "o" + _random(27, _OPENID, chance)


def external_userid(chance: Random = _UNFORESEEN) -> str:
    """A WeChat customer of a corp: `wm` and 30 characters."""
    return "wm" + _random(30, chance=chance)


def tag_id(chance: Random = _UNFORESEEN) -> str:
    """A corp tag or a group of them."""
    return "et" + _random(30, chance=chance)


def config_id() -> str:
    """A contact way: 32 hex digits."""
    return secrets.token_hex(16)


def link_id() -> str:
    """An acquisition link."""
    return "caw" + _random(29)


def chat_id() -> str:
    """A customer group."""
    return "wr" + _random(30)


def opengid() -> str:
    """A customer group as a mini-program sees it."""
    return "tG" + _random(26, _OPENID)


def version() -> str:
    """A version of a group's members: 32 hex digits."""
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
