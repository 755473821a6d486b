"""A partner's program proves who it is by signing what it asks: HMAC-SHA256 under its secret, over the
method, the address, the time, a nonce and the body's hash (docs/open.md, decision 0048).

The signature is judged before the nonce is remembered, so that nobody uses up another's; and what a
stranger is told does not say whether such a partner exists.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass, field

from customers.access.origin import Origin
from customers.actors import PartnerActor
from customers.banks import counters
from customers.banks.bank import Bank, open_bank
from customers.banks.counters import Partner
from services import ids
from services.container import Services
from services.errors import NotFound, NotSignedIn

log = logging.getLogger("yinqiao.access")
WINDOW_SECONDS = 300
"""So far a request's time may be from ours, either way."""
_NONCE_SECONDS = 2 * WINDOW_SECONDS + 60
_PARTNER = re.compile(r"([a-z0-9][a-z0-9-]{0,30})/([a-z0-9][a-z0-9-]{0,18})")
_TIME = re.compile(r"[0-9]{1,12}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(r"[0-9a-fA-F]{64}")
_NOBODYS = "nobody's secret, which takes as long to compare"


@dataclass(frozen=True)
class Signed:
    """A request as it came: `partner` is `BANK/PARTNER`, `target` the path with its query."""

    partner: str
    time: str
    nonce: str
    signature: str = field(repr=False)
    method: str
    target: str
    body: bytes = field(repr=False)

    def message(self) -> bytes:
        """What is signed: five lines, without an end of line after the last."""
        digest = hashlib.sha256(self.body).hexdigest()
        return "\n".join((self.method, self.target, self.time, self.nonce, digest)).encode()


async def verify(services: Services, signed: Signed, origin: Origin) -> PartnerActor:
    """Who signed this; raises NotSignedIn: `signature_missing` for headers that are not there or not
    as they should be, `signature_stale`, `signature_wrong`, `signature_replayed`."""
    named = _PARTNER.fullmatch(signed.partner)
    whole = _TIME.fullmatch(signed.time) and _NONCE.fullmatch(signed.nonce)
    if named is None or not whole or not _SIGNATURE.fullmatch(signed.signature):
        raise NotSignedIn(
            "signature_missing",
            "sign the request: Yinqiao-Partner, Yinqiao-Timestamp, Yinqiao-Nonce and"
            " Yinqiao-Signature are missing or not as they should be",
        )
    bank, found = await _find(services, named[1], named[2])
    try:
        _check_signature(services, signed, found)
        _check_time(services, signed)
        await _check_nonce(services, signed)
    except NotSignedIn as error:
        await _refused(bank, named[2], error.code, origin)
        raise
    if bank is None or found is None:
        raise _wrong()
    places = (found.branches, found.merchants, found.per_day)
    return PartnerActor(bank.id, found.id, found.name, *places)


async def _find(services: Services, tenant: str, name: str) -> tuple[Bank | None, Partner | None]:
    try:
        bank = await open_bank(services, tenant)
    except NotFound:
        return None, None
    try:
        return bank, await counters.partner(bank, name)
    except NotFound:
        return bank, None


def _check_signature(services: Services, signed: Signed, found: Partner | None) -> None:
    now = services.clock()
    good = [
        secret
        for secret, until in (found.secrets if found is not None else ())
        if until is None or now < until
    ]
    message, given = signed.message(), signed.signature.lower().encode()
    right = False
    for secret in good or [_NOBODYS]:
        made = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().encode()
        right |= hmac.compare_digest(made, given)
    if not right or not good:
        raise _wrong()


def _wrong() -> NotSignedIn:
    return NotSignedIn("signature_wrong", "the signature is not this partner's over this request")


def _check_time(services: Services, signed: Signed) -> None:
    off = int(signed.time) - services.clock()
    if abs(off) > WINDOW_SECONDS:
        raise NotSignedIn(
            "signature_stale",
            f"Yinqiao-Timestamp is {abs(off):.0f} seconds {'ahead' if off > 0 else 'ago'};"
            f" at most {WINDOW_SECONDS} are taken",
        )


async def _check_nonce(services: Services, signed: Signed) -> None:
    """A nonce is good once, whatever comes with it."""
    use = (f"open|{signed.partner}|{signed.nonce}", ids.token())
    (fits,) = await services.nonces.fit([use], seconds=_NONCE_SECONDS)
    if not fits:
        raise NotSignedIn("signature_replayed", "this nonce was used before; take another")


async def _refused(bank: Bank | None, name: str, reason: str, origin: Origin) -> None:
    fields = {"tenant": bank.id if bank else "", "reason": reason, "address": origin.masked}
    log.warning("a partner's request was refused", extra={"fields": fields})
    if bank is not None:
        row = await counters.find(bank, "partner", name)
        named = f"partner:{name}" if row is not None else "?"
        await bank.audit("?", "partner.refused", named, reason=reason, **origin.told(bank))
