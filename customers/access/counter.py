"""Somebody signs in to a counter with his password, and is asked who he is at each request."""

from __future__ import annotations

from customers.access import sign_in as signing
from customers.access.origin import NOWHERE, Origin
from customers.actors import CounterActor
from customers.banks import counters
from customers.banks.bank import open_bank
from customers.banks.counters import COUNTER, Counter
from services.container import Services
from services.errors import NotFound, NotSignedIn

SESSION = COUNTER.noun


async def sign_in(
    services: Services, tenant: str, login: str, password: str, origin: Origin = NOWHERE
) -> str:
    """A session's token; NotSignedIn without saying which part was wrong, LockedOut after too many
    failures."""
    return await signing.sign_in(services, COUNTER, tenant, login, password, origin)


async def actor_of(services: Services, tenant: str, token: str) -> tuple[CounterActor, Counter]:
    """Whose session at this bank this is, with what he may do now; raises NotSignedIn, also for one
    whose sessions have ended since."""
    session = await signing.session_of(services, COUNTER, token)
    if session is not None and session["tenant"] == tenant:
        try:
            bank = await open_bank(services, tenant)
            found = await counters.counter(bank, session["login"])
        except NotFound:
            found = None
        if found is not None and found.epoch == session["epoch"]:
            at = (found.branch, found.merchant, found.per_day)
            return CounterActor(tenant, found.login, found.name, *at), found
    raise NotSignedIn("not_signed_in", "sign in to the counter")


async def sign_out(services: Services, tenant: str, token: str, origin: Origin = NOWHERE) -> None:
    """Ends the session, and says so in the audit trail."""
    try:
        actor, _ = await actor_of(services, tenant, token)
    except NotSignedIn:
        return
    await signing.sign_out(services, COUNTER, tenant, actor.login, token, origin)
