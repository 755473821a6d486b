"""How often each may ask, in one table. A route takes a rate by its permission and method unless its
Op says another: of whoever is signed in, never of the address that he shares with a branch or a
town. Addresses count only for what fails, so that a crowd behind one gateway that does nothing
wrong is never counted at all.
"""

from __future__ import annotations

from customers.actors import (
    ClerkActor,
    CounterActor,
    CustomerActor,
    PartnerActor,
    StaffActor,
    SystemActor,
)
from handlers.http.route import Op
from services.container import Services
from services.security.throttle import Rate
from services.security.tries import Limit

Actor = CustomerActor | StaffActor | ClerkActor | CounterActor | PartnerActor | SystemActor

READS = Rate("read", 1_200, 60, shared=False)
WRITES = Rate("write", 120, 60)
CLAIMS = Rate("claim", 60, 60)
SEARCHES = Rate("search", 60, 60)
PARTNERS = Rate("partner", 600, 60)
"""All that a partner's program asks for."""
SYSTEMS = Rate("system", 60_000, 60, shared=False)
"""All that a system of the bank's sends."""
FORGERIES = Rate("forgery", 300, 60)
"""Callbacks and partners' requests from one address that do not verify; what does is never
counted."""

LOGIN_FAILURES, LOGIN_SECONDS = 60, 60
"""Codes from one address that WeChat or WeCom does not know."""
APP_FAILURES, APP_SECONDS = 1_000, 10
"""The same of one mini-program or bank from all addresses together: only a flood is that many."""
PHONE_FAILURES, PHONE_SECONDS = 20, 600
"""Phone codes of one customer that WeChat does not know."""


class Turn:
    """One request's place in its caller's rate."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._taken: tuple[Rate, str] | None = None

    async def take(self, wanted: Op, method: str, actor: Actor) -> None:
        """Raises TooMany `too_many_requests`."""
        rate = wanted.rate or (READS if method == "GET" else WRITES)
        who = who_is(actor)
        await self._services.throttle.take(rate, who)
        self._taken = rate, who

    def ended(self, status: int) -> None:
        """What we could not do is given back."""
        if self._taken is not None and status >= 500:
            self._services.groups.spawn(self._services.throttle.give_back(*self._taken))


def who_is(actor: Actor) -> str:
    """Who is counted: no two have the same name."""
    match actor:
        case CustomerActor():
            return f"customer|{actor.tenant}|{actor.cid}"
        case StaffActor():
            return f"staff|{actor.tenant}|{actor.userid}"
        case ClerkActor():
            return f"clerk|{actor.tenant}|{actor.login}"
        case CounterActor():
            return f"counter|{actor.tenant}|{actor.login}"
        case PartnerActor():
            return f"partner|{actor.tenant}|{actor.partner}"
        case SystemActor():
            return f"system|{actor.tenant}|{actor.system}"


def logins(address: str, app: str) -> list[Limit]:
    """What a login code that nobody knows counts against."""
    return [
        Limit(f"login|{app}|{address}", LOGIN_FAILURES, LOGIN_SECONDS),
        Limit(f"logins|{app}", APP_FAILURES, APP_SECONDS),
    ]


def phone_codes(customer: str) -> list[Limit]:
    return [Limit(f"phone|{customer}", PHONE_FAILURES, PHONE_SECONDS)]
