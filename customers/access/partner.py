"""A partner's program as who signs what it asks (signing.py)."""

from __future__ import annotations

from customers.access import signing
from customers.access.origin import Origin
from customers.access.signing import Face, Signed, Signer
from customers.actors import PartnerActor
from customers.banks import counters
from customers.banks.bank import Bank
from services.container import Services
from services.errors import NotFound


async def verify(services: Services, signed: Signed, origin: Origin) -> PartnerActor:
    """The partner who signed this; raises what signing.verify raises."""
    return await signing.verify(services, signed, origin, _FACE)


async def _find(bank: Bank, name: str) -> Signer[PartnerActor] | None:
    try:
        found = await counters.partner(bank, name)
    except NotFound:
        return None
    places = (found.branches, found.merchants, found.per_day)
    return Signer(PartnerActor(bank.id, found.id, found.name, *places), found.secrets)


async def _refused(bank: Bank, name: str, reason: str, origin: Origin) -> None:
    row = await counters.find(bank, "partner", name)
    named = f"partner:{name}" if row is not None else "?"
    await bank.audit("?", "partner.refused", named, reason=reason, **origin.told(bank))


_FACE = Face(_find, _refused)
