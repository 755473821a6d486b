"""A program proves who it is by signing what it asks: over the method, the address, the time, a nonce
and the body's hash (docs/open.md, decision 0048), with HMAC-SHA256 under its secret or with the SM2
key of which the bank's file has the public half.

The signature is judged before the nonce is remembered, so that nobody uses up another's; and what a
stranger is told does not say whether such a program exists.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from customers.access.origin import Origin
from customers.banks.bank import Bank, open_bank
from customers.banks.secrets import Good, present
from services import ids
from services.container import Services
from services.errors import NotFound, NotSignedIn
from services.security import sm2
from services.security.sm2 import PublicKey

Actor = TypeVar("Actor")

log = logging.getLogger("yinqiao.access")
WINDOW_SECONDS = 300
"""So far a request's time may be from ours, either way."""
_NONCE_SECONDS = 2 * WINDOW_SECONDS + 60
_WHO = re.compile(r"([a-z0-9][a-z0-9-]{0,30})/([a-z0-9][a-z0-9-]{0,18})")
_TIME = re.compile(r"[0-9]{1,12}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(r"(?:[0-9a-fA-F]{2}){8,72}")
_NOBODYS = "nobody's secret, which takes as long to compare"


@dataclass(frozen=True)
class Signed:
    """A request as it came: `who` is `BANK/PROGRAM`, `target` the path with its query."""

    who: str
    time: str
    nonce: str
    signature: str = field(repr=False)
    method: str
    target: str
    body: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """The body's SHA-256 in hex."""
        return hashlib.sha256(self.body).hexdigest()

    def message(self, digest: str) -> bytes:
        """What is signed: five lines, without an end of line after the last, which is the body's
        hash in hex."""
        return "\n".join((self.method, self.target, self.time, self.nonce, digest)).encode()


@dataclass(frozen=True)
class Signer(Generic[Actor]):
    """A program that may sign: with one of its secrets, or with the private half of one of its
    `keys`."""

    actor: Actor
    secrets: Good = ()
    keys: tuple[PublicKey, ...] = ()


@dataclass(frozen=True)
class Face(Generic[Actor]):
    """One kind of programs: `find` is who has that name at the bank, `refused` tells the audit trail
    of a request that was not."""

    find: Callable[[Bank, str], Awaitable[Signer[Actor] | None]]
    refused: Callable[[Bank, str, str, Origin], Awaitable[None]]


async def verify(services: Services, signed: Signed, origin: Origin, face: Face[Actor]) -> Actor:
    """Who signed this; raises NotSignedIn: `signature_missing` for headers that are not there or not
    as they should be, `signature_stale`, `signature_wrong`, `signature_replayed`."""
    named = _WHO.fullmatch(signed.who)
    whole = _TIME.fullmatch(signed.time) and _NONCE.fullmatch(signed.nonce)
    if named is None or not whole or not _SIGNATURE.fullmatch(signed.signature):
        raise NotSignedIn(
            "signature_missing",
            "sign the request: Yinqiao-Partner, Yinqiao-Timestamp, Yinqiao-Nonce and"
            " Yinqiao-Signature are missing or not as they should be",
        )
    bank = await _bank(services, named[1])
    found = await face.find(bank, named[2]) if bank is not None else None
    try:
        _check_signature(services, signed, found)
        _check_time(services, signed)
        await _check_nonce(services, signed)
    except NotSignedIn as error:
        fields = {"tenant": named[1], "reason": error.code, "address": origin.masked}
        log.warning("a signed request was refused", extra={"fields": fields})
        if bank is not None:
            await face.refused(bank, named[2], error.code, origin)
        raise
    if found is None:
        raise _wrong()
    return found.actor


async def _bank(services: Services, tenant: str) -> Bank | None:
    try:
        return await open_bank(services, tenant)
    except NotFound:
        return None


def _check_signature(services: Services, signed: Signed, found: Signer[Actor] | None) -> None:
    good = (
        _fits_a_key(signed, found)
        if found is not None and found.keys
        else _fits_a_secret(services, signed, found)
    )
    if not good:
        raise _wrong()


def _fits_a_key(signed: Signed, found: Signer[Actor]) -> bool:
    message = signed.message(sm2.sm3(signed.body).hex())
    given = bytes.fromhex(signed.signature)
    return any(key.verify(message, given) for key in found.keys)


def _fits_a_secret(services: Services, signed: Signed, found: Signer[Actor] | None) -> bool:
    good = present(found.secrets, services.clock()) if found is not None else []
    message, given = signed.message(signed.sha256), signed.signature.lower().encode()
    right = False
    for secret in good or [_NOBODYS]:
        made = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().encode()
        right |= hmac.compare_digest(made, given)
    return right and bool(good)


def _wrong() -> NotSignedIn:
    return NotSignedIn("signature_wrong", "the signature is not this program's over this request")


def _check_time(services: Services, signed: Signed) -> None:
    off = int(signed.time) - services.clock()
    if abs(off) > WINDOW_SECONDS:
        raise NotSignedIn(
            "signature_stale",
            f"Yinqiao-Timestamp is {abs(off):.0f} seconds {'ahead' if off > 0 else 'ago'};"
            f" at most {WINDOW_SECONDS} are taken",
        )


async def _check_nonce(services: Services, signed: Signed) -> None:
    """A nonce is good once, whatever comes with it. Those that come together are asked for
    together."""

    async def flush(uses: list[tuple[str, str]]) -> Sequence[bool]:
        return await services.nonces.fit(uses, seconds=_NONCE_SECONDS)

    use = (f"open|{signed.who}|{signed.nonce}", ids.token())
    if not await services.groups.get("nonces", flush).submit(use):
        raise NotSignedIn("signature_replayed", "this nonce was used before; take another")
