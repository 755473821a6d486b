"""A system of the bank's own as who signs what it asks (signing.py): with a secret, or with an SM2 key
of which the bank's file has the public half."""

from __future__ import annotations

from customers.access import signing
from customers.access.origin import Origin
from customers.access.signing import Face, Signed, Signer
from customers.actors import SystemActor
from customers.banks import systems
from customers.banks.bank import Bank
from services.container import Services
from services.errors import NotFound


async def verify(services: Services, signed: Signed, origin: Origin) -> SystemActor:
    """The system that signed this; raises what signing.verify raises."""
    return await signing.verify(services, signed, origin, _FACE)


async def _find(bank: Bank, name: str) -> Signer[SystemActor] | None:
    try:
        found = await systems.system(bank, name)
    except NotFound:
        return None
    actor = SystemActor(bank.id, found.id, found.name, found.may)
    return Signer(actor, found.secrets, found.keys)


async def _refused(bank: Bank, name: str, reason: str, origin: Origin) -> None:
    named = f"system:{name}" if name in bank.systems else "?"
    await bank.audit("?", "system.refused", named, reason=reason, **origin.told(bank))


_FACE = Face(_find, _refused)
