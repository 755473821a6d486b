"""The message archive's gateway: a small process of the bank that links WeCom's native library
(contract/wechat B10).

WeCom hands out messages through that library alone, which may not be redistributed and may take its
process down with it: so it runs on its own, and we ask it over HTTP (docs/decisions/0020). The
bank's private key stays with us: it opens a record's random key (RSA, PKCS#1 v1.5), and the gateway
is given only that.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.errors import Unavailable

MOST_RECORDS = 1000
TOO_LARGE = 301058
ANSWER_LIMIT = 64 * 1024 * 1024
MEDIA_LIMIT = 200 * 1024 * 1024
SECONDS = 10.0


class AnswerTooLarge(Unavailable):
    """So many records are more than one answer may hold: ask for fewer (301058)."""


class Unreadable(Exception):
    """A record that cannot be read (now); `reason` is a code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Record:
    """One encrypted message as the library hands it out, in order of `seq`."""

    seq: int
    msgid: str
    publickey_ver: int
    encrypt_random_key: str
    encrypt_chat_msg: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class ArchiveSource(Protocol):
    """Where encrypted messages come from; raises Unavailable `archive_unavailable` or
    `archive_refused`."""

    async def pull(self, seq: int, limit: int) -> list[Record]:
        """The first `limit` (at most MOST_RECORDS) records after `seq`, in their order; raises
        AnswerTooLarge when they are too many for one answer."""
        ...

    async def decrypt(self, key: str, record: Record) -> dict[str, Any]:
        """The message; `key` is the record's random key, opened. Raises Unreadable."""
        ...

    def media(self, sdkfileid: str) -> AsyncIterator[bytes]:
        """A file of a message, chunk by chunk."""
        ...


def private_key(pem: str) -> RSAPrivateKey:
    """Raises ValueError for anything but an RSA private key in PEM without a password."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError("expected an RSA private key in PEM, without a password") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("expected an RSA private key")
    return key


def random_key(keys: Mapping[int, RSAPrivateKey], record: Record) -> str:
    """The record's random key, opened with the private key of its version; raises Unreadable
    `archive_key_unknown` or `archive_key_wrong`."""
    key = keys.get(record.publickey_ver)
    if key is None:
        raise Unreadable("archive_key_unknown")
    try:
        return key.decrypt(
            base64.b64decode(record.encrypt_random_key, validate=True), padding.PKCS1v15()
        ).decode("ascii")
    except ValueError as error:
        raise Unreadable("archive_key_wrong") from error


class HttpArchive:
    """An ArchiveSource over HTTP: `getchatdata`, `decryptdata` and `getmediadata` below `base`,
    named after the library's."""

    def __init__(self, base: str, corp_id: str, secret: str, http: httpx.AsyncClient) -> None:
        self._base = base.rstrip("/")
        self._who = {"corpid": corp_id, "secret": secret}
        self._http = http

    async def pull(self, seq: int, limit: int) -> list[Record]:
        answer = await self._ask(
            "getchatdata", {**self._who, "seq": seq, "limit": min(limit, MOST_RECORDS)}
        )
        if answer.get("errcode"):
            kind = AnswerTooLarge if answer["errcode"] == TOO_LARGE else Unavailable
            raise kind("archive_refused", f"the archive's gateway answers {answer['errcode']}")
        return _records(answer.get("chatdata"), seq)

    async def decrypt(self, key: str, record: Record) -> dict[str, Any]:
        message = await self._ask(
            "decryptdata", {"encrypt_key": key, "encrypt_chat_msg": record.encrypt_chat_msg}
        )
        if message.get("errcode") or not message.get("msgid"):
            raise Unreadable("archive_message_unreadable")
        return message

    async def media(self, sdkfileid: str) -> AsyncIterator[bytes]:
        """At most MEDIA_LIMIT bytes, in the library's chunks of up to 512 KB."""
        index, total = "", 0
        while True:
            asked = {**self._who, "sdkfileid": sdkfileid, "indexbuf": index}
            answer = await self._ask("getmediadata", asked)
            if answer.get("errcode"):
                raise Unavailable(
                    "archive_refused", f"the archive's gateway answers {answer['errcode']}"
                )
            chunk = _decoded(answer.get("data"))
            total += len(chunk)
            if total > MEDIA_LIMIT:
                raise Unavailable("archive_unavailable", "a file of the archive is too large")
            yield chunk
            following = str(answer.get("outindexbuf") or "")
            if answer.get("is_finish"):
                return
            if not chunk or following == index:
                raise Unavailable("archive_unavailable", "a file of the archive does not go on")
            index = following

    async def _ask(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """One JSON object; raises Unavailable `archive_unavailable` when the gateway does not
        answer one."""
        try:
            async with self._http.stream(
                "POST", f"{self._base}/{name}", json=body, timeout=SECONDS
            ) as response:
                content = bytearray()
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > ANSWER_LIMIT:
                        raise Unavailable(
                            "archive_unavailable", "the archive's gateway answers too much"
                        )
        except (httpx.HTTPError, httpx.StreamError) as error:
            problem = f"the archive's gateway does not answer: {type(error).__name__}"
            raise Unavailable("archive_unavailable", problem) from error
        if response.status_code != 200:
            raise Unavailable(
                "archive_unavailable", f"the archive's gateway answers HTTP {response.status_code}"
            )
        try:
            answer = json.loads(
                content.decode("utf-8", "replace").encode("utf-8", "replace"), strict=False
            )
        except (ValueError, RecursionError) as error:
            raise _not_understood() from error
        if not isinstance(answer, dict):
            raise _not_understood()
        return answer


def _not_understood() -> Unavailable:
    return Unavailable(
        "archive_unavailable", "the archive's gateway answers what is no archive's answer"
    )


def _records(given: object, after: int) -> list[Record]:
    """The records in order; raises Unavailable when one is not what it should be, or not after
    `after`."""
    if not isinstance(given, Sequence):
        raise _not_understood()
    try:
        records = [
            Record(
                int(one["seq"]),
                str(one["msgid"]),
                int(one["publickey_ver"]),
                str(one["encrypt_random_key"]),
                str(one["encrypt_chat_msg"]),
            )
            for one in given
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood() from error
    if any(record.seq <= after for record in records):
        raise _not_understood()
    return sorted(records, key=lambda record: record.seq)


def _decoded(data: object) -> bytes:
    try:
        return base64.b64decode(str(data or ""), validate=True)
    except binascii.Error as error:
        raise _not_understood() from error
