"""A clerk signs in to the console with his password (`customers/access/sign_in.py`), and is asked who
he is at each request.
"""

from __future__ import annotations

from customers.access import sign_in as signing
from customers.access.origin import NOWHERE, Origin
from customers.access.sign_in import LastSignIn
from customers.actors import ClerkActor
from customers.banks import clerks
from customers.banks.bank import open_bank
from customers.banks.clerks import CLERK, Clerk, clerk_of
from services.container import Services
from services.errors import NotFound, NotSignedIn


async def sign_in(
    services: Services, tenant: str, login: str, password: str, origin: Origin = NOWHERE
) -> str:
    """A session's token; raises as `check_clerk`."""
    return await signing.sign_in(services, CLERK, tenant, login, password, origin)


async def check_clerk(
    services: Services, tenant: str, login: str, password: str, origin: Origin = NOWHERE
) -> Clerk:
    """The clerk, or NotSignedIn without saying which part was wrong; LockedOut after too many
    failures."""
    return clerk_of(await signing.check(services, CLERK, tenant, login, password, origin))


async def actor_of(services: Services, token: str) -> tuple[ClerkActor, Clerk]:
    """Whose session this is, with what his roles allow now; raises NotSignedIn, also for one whose
    sessions have ended since, and for a bank that is no more."""
    session = await signing.session_of(services, CLERK, token)
    if session is not None:
        try:
            bank = await open_bank(services, session["tenant"])
            found = await clerks.clerk(bank, session["login"])
        except NotFound:
            found = None
        if found is not None and found.epoch == session["epoch"]:
            return ClerkActor(bank.id, found.login, found.name, found.permissions), found
    raise NotSignedIn("not_signed_in", "sign in to the console")


async def last_sign_in(services: Services, token: str) -> LastSignIn | None:
    """How the clerk of this session signed in the time before; None for his first time."""
    return await signing.last_sign_in(services, CLERK, token)


async def sign_out(services: Services, token: str, origin: Origin = NOWHERE) -> None:
    """Ends the session, and says so in the audit trail."""
    try:
        actor, _ = await actor_of(services, token)
    except NotSignedIn:
        return
    await signing.sign_out(services, CLERK, actor.tenant, actor.login, token, origin)
