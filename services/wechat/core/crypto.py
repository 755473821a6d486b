"""Callbacks: verify, then decrypt, and only then let anybody parse (contract/wechat A7, C1-C3).

Nothing is built from the body before its signature is checked: the envelope is searched, within a
size limit, for its one `Encrypt`. WeCom and the mini-program's push use the same scheme; they
differ in `receiveid` (corp id or appid) and in that the push may be JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.errors import YinqiaoError
from services.wechat.core.errors import CallbackRefused, CallbackTooLarge, CallbackUnreadable

BODY_LIMIT = 64 * 1024
WINDOW = 600
_BLOCK = 32
_BOM = b"\xef\xbb\xbf"
_HEAD = 20  # 16 random bytes and the length
_PADS = [bytes([n]) * n for n in range(_BLOCK + 1)]
_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")
_DIGITS = re.compile(r"[0-9]{1,12}")
_DTD = re.compile(rb"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
_WIDE = re.compile(rb"""encoding\s*=\s*["']\s*(?:utf-?7|utf-?16|utf-?32|ucs)""", re.IGNORECASE)
_JSON_ENCRYPT = re.compile(rb'"Encrypt"\s*:\s*"([^"]*)"')
_JSON_ESCAPE = re.compile(rb"\\(?:u00([0-7][0-9a-fA-F])|(/))")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One callback address's secrets. Build it once: the AES key schedule is kept in it.

    Raises YinqiaoError `callback_bad_key` when the EncodingAESKey is not 43 base64 characters.
    """

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    receiveid: str
    _cipher: Cipher[modes.CBC] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _AES_KEY.fullmatch(self.aes_key):
            raise YinqiaoError(
                "callback_bad_key", "an EncodingAESKey has exactly 43 base64 characters"
            )
        key = base64.b64decode(self.aes_key + "=")
        object.__setattr__(self, "_cipher", Cipher(algorithms.AES(key), modes.CBC(key[:16])))


@dataclass(frozen=True, slots=True)
class Decrypted:
    """A genuine callback: the message's bytes, and the query's timestamp (seconds) and nonce."""

    message: bytes
    timestamp: int
    nonce: str


def sign(token: str, *parts: str) -> str:
    """sha1, in hex, of the token and `parts` sorted and joined (C1)."""
    ordered = sorted(part.encode("utf-8", "surrogatepass") for part in (token, *parts))
    return hashlib.sha1(b"".join(ordered), usedforsecurity=False).hexdigest()


def verify_and_decrypt(
    credentials: Credentials,
    query: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    window: int = WINDOW,
) -> Decrypted:
    """The message of a WeCom callback (C3).

    `query` holds msg_signature, timestamp and nonce; `now` is seconds since the epoch, `window` how
    many seconds the timestamp may be off. Raises CallbackTooLarge (413), CallbackUnreadable (400:
    callback_not_xml, callback_dtd, callback_no_encrypt) or CallbackRefused (403:
    callback_bad_signature, callback_stale, callback_bad_cipher, callback_bad_padding,
    callback_bad_length, callback_bad_receiveid).
    """
    _check_size(body)
    encrypted = _encrypt_of_xml(_trimmed(body))
    return _open(credentials, query, encrypted, now, window)


def verify_push(
    credentials: Credentials,
    query: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    window: int = WINDOW,
) -> Decrypted:
    """The message of a mini-program push in safe mode (A7), XML or JSON as the console was set;
    errors as above."""
    _check_size(body)
    if "msg_signature" not in query:
        raise CallbackRefused("callback_not_encrypted", "the push must be in safe mode")
    text = _trimmed(body)
    encrypted = _encrypt_of_json(text) if text[:1] == b"{" else _encrypt_of_xml(text)
    return _open(credentials, query, encrypted, now, window)


def verify_url(
    credentials: Credentials, query: Mapping[str, str], *, now: float, window: int = WINDOW
) -> bytes:
    """The plaintext that answers WeCom's URL check (C1); refuses as `verify_and_decrypt` does."""
    echostr = _base64_of(query, "echostr").rstrip("=")
    padded = echostr + "=" * (-len(echostr) % 4)  # some gateways drop what seems to have no value
    encrypted = padded.encode("utf-8", "surrogatepass")
    if len(encrypted) > BODY_LIMIT:
        raise CallbackTooLarge("callback_too_large")
    return _open(credentials, query, encrypted, now, window).message


def verify_push_url(
    credentials: Credentials, query: Mapping[str, str], *, now: float, window: int = WINDOW
) -> bytes:
    """The echostr that answers the mini-program's URL check (A7), whose signature covers token,
    timestamp and nonce."""
    echostr = _base64_of(query, "echostr")
    if len(echostr) > BODY_LIMIT:
        raise CallbackTooLarge("callback_too_large")
    _check_signed(credentials, query, "signature")
    _check_age(query, now, window)
    return echostr.encode("utf-8", "surrogatepass")


def _base64_of(query: Mapping[str, str], name: str) -> str:
    """A parameter that is base64. A gateway that decodes twice makes a space of its `+`, and one
    that encodes twice a `%2B`: neither is base64, so that each can only have been a `+`."""
    given = query.get(name, "").strip("\r\n\t")
    return (unquote(given) if "%" in given else given).replace(" ", "+")


def encrypt(credentials: Credentials, message: bytes, *, random16: bytes | None = None) -> str:
    """`message` in the platform's cipher (C2), base64; `random16` is for vectors."""
    head = (random16 or os.urandom(16)) + len(message).to_bytes(4, "big")
    plain = head + message + credentials.receiveid.encode()
    encryptor = credentials._cipher.encryptor()
    sealed = encryptor.update(plain + _PADS[_BLOCK - len(plain) % _BLOCK]) + encryptor.finalize()
    return base64.b64encode(sealed).decode()


def encrypt_reply(credentials: Credentials, message: bytes, *, timestamp: int, nonce: str) -> bytes:
    """The signed XML envelope of a passive reply (C3)."""
    encrypted = encrypt(credentials, message)
    signature = sign(credentials.token, str(timestamp), nonce, encrypted)
    return (
        f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt>"
        f"<MsgSignature><![CDATA[{signature}]]></MsgSignature>"
        f"<TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
    ).encode()


def encrypt_push_reply(
    credentials: Credentials, message: bytes, *, timestamp: int, nonce: str, in_json: bool
) -> bytes:
    """The signed envelope that answers a mini-program's push, in the form in which it came (A7)."""
    if not in_json:
        return encrypt_reply(credentials, message, timestamp=timestamp, nonce=nonce)
    encrypted = encrypt(credentials, message)
    signature = sign(credentials.token, str(timestamp), nonce, encrypted)
    reply = {"Encrypt": encrypted, "MsgSignature": signature, "TimeStamp": timestamp}
    return orjson.dumps({**reply, "Nonce": nonce})


def _check_size(body: bytes) -> None:
    if len(body) > BODY_LIMIT:
        raise CallbackTooLarge("callback_too_large", f"a callback has at most {BODY_LIMIT} bytes")


def _trimmed(body: bytes) -> bytes:
    """The body without the marks and spaces around it."""
    text = body.strip()
    while text.startswith(_BOM):
        text = text.removeprefix(_BOM).lstrip()
    return text


def _encrypt_of_xml(text: bytes) -> bytes:
    """The content of the envelope's one `Encrypt`, by search alone: no parser sees an unverified
    byte."""
    if (
        b"\0" in text
        or not text.startswith((b"<xml>", b"<?xml", b"<!"))
        or not text.endswith(b"</xml>")
    ):
        raise CallbackUnreadable("callback_not_xml", "not an XML envelope in UTF-8")
    if text.count(b"<!") != text.count(b"<![CDATA["):
        code = "callback_dtd" if _DTD.search(text) else "callback_not_xml"
        raise CallbackUnreadable(code, "declarations and comments are refused")
    if text.startswith(b"<?"):
        text = _after_declaration(text)
    return _one_encrypt(text)


def _after_declaration(text: bytes) -> bytes:
    """The envelope itself. Whatever encoding is declared, its bytes are ASCII; one in which ASCII
    reads otherwise is none."""
    declaration, _, rest = text.partition(b"?>")
    if not rest.lstrip().startswith(b"<xml>") or _WIDE.search(declaration):
        raise CallbackUnreadable("callback_not_xml", "not an XML envelope in UTF-8")
    return rest


def _one_encrypt(text: bytes) -> bytes:
    if text.count(b"<Encrypt>") != 1 or text.count(b"</Encrypt>") != 1:
        raise CallbackUnreadable("callback_no_encrypt", "exactly one Encrypt is expected")
    content = text[text.index(b"<Encrypt>") + 9 : text.index(b"</Encrypt>")].strip()
    if content.startswith(b"<![CDATA[") and content.endswith(b"]]>"):
        content = content[9:-3]
    return content


def _encrypt_of_json(text: bytes) -> bytes:
    if b"\0" in text or not text.endswith(b"}"):
        raise CallbackUnreadable("callback_not_json", "not a JSON envelope in UTF-8")
    found = _JSON_ENCRYPT.findall(text)
    if len(found) != 1:
        raise CallbackUnreadable("callback_no_encrypt", "exactly one Encrypt is expected")
    return _JSON_ESCAPE.sub(_unescaped, found[0])


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)]) if found[1] else b"/"


def _open(
    credentials: Credentials, query: Mapping[str, str], encrypted: bytes, now: float, window: int
) -> Decrypted:
    if not _BASE64.fullmatch(encrypted):
        raise CallbackUnreadable("callback_no_encrypt", "Encrypt is not base64")
    nonce = _check_signed(credentials, query, "msg_signature", encrypted.decode("ascii"))
    seconds = _check_age(query, now, window)
    return Decrypted(_decrypt(credentials, encrypted), seconds, nonce)


def _check_signed(
    credentials: Credentials, query: Mapping[str, str], name: str, *parts: str
) -> str:
    """The nonce with which the signature `name` is genuine: as it was given, or with the `+` of
    which a gateway made a space."""
    given = query.get(name, "").strip().encode("utf-8", "surrogatepass")
    timestamp, nonce = _timestamp(query), query.get("nonce", "")
    for each in dict.fromkeys((nonce, nonce.replace(" ", "+"))):
        expected = sign(credentials.token, timestamp, each, *parts).encode()
        if hmac.compare_digest(given, expected):
            return each
    raise CallbackRefused("callback_bad_signature")


def _timestamp(query: Mapping[str, str]) -> str:
    return query.get("timestamp", "").strip()


def _check_age(query: Mapping[str, str], now: float, window: int) -> int:
    timestamp = _timestamp(query)
    if not _DIGITS.fullmatch(timestamp) or abs(now - int(timestamp)) > window:
        raise CallbackRefused("callback_stale", f"the timestamp must be within {window} seconds")
    return int(timestamp)


def _decrypt(credentials: Credentials, encrypted: bytes) -> bytes:
    try:
        sealed = binascii.a2b_base64(encrypted)
    except binascii.Error as error:
        raise CallbackRefused("callback_bad_cipher", "Encrypt is not base64") from error
    if len(sealed) < _BLOCK or len(sealed) % 16:
        raise CallbackRefused("callback_bad_cipher", "Encrypt is not whole AES blocks")
    plain = credentials._cipher.decryptor().update(sealed)
    pad = plain[-1]
    if not 1 <= pad <= _BLOCK or not plain.endswith(_PADS[pad]):
        raise CallbackRefused("callback_bad_padding")
    end = _HEAD + int.from_bytes(plain[16:_HEAD], "big")
    if end > len(plain) - pad:
        raise CallbackRefused("callback_bad_length")
    if not hmac.compare_digest(plain[end:-pad], credentials.receiveid.encode()):
        raise CallbackRefused("callback_bad_receiveid", "meant for another corp or mini-program")
    return plain[_HEAD:end]
