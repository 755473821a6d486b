"""The control plane's verbs for the bank's core system: its customers, what they do there, and what
was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from itertools import islice
from typing import Any

from sandbox.bank import crowd, customers
from sandbox.bank.customers import BYS, PRODUCTS, STAGES, Core
from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.control.people import person_of
from sandbox.core.bank_records import By
from sandbox.core.bank_system import Sent
from sandbox.core.state import Person

ANSWER_SECONDS = 3.0
"""So long a call waits for the product's answer; then it is under way."""
MOST_FEN = 10**13
MOST_A_MINUTE = 30_000
CUSTOMERS_SHOWN = 1000
MOST_CUSTOMERS = 100_000


def _core(call: ControlCall) -> Core:
    return Core(call.box, person_of(call))


async def _answered(call: ControlCall, sent: list[Sent]) -> Any:
    """The requests with the answers that they have by now."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            for one in sent:
                await one.ended.wait()
    return {"sent": [one.shown() for one in sent]}


def _by(call: ControlCall) -> By:
    named = call.text("by", "phone")
    found = next((by for by in BYS if by == named), None)
    if found is None:
        raise Refused(400, "bad_field", f"by: one of {', '.join(BYS)} is expected")
    return found


def _become(core: Core, call: ControlCall) -> None:
    core.become(_by(call))


def _open(core: Core, call: ControlCall) -> None:
    product = call.text("product", PRODUCTS[0])
    core.open_account(product, call.whole("balance", 0, most=MOST_FEN))


def _login(core: Core, _call: ControlCall) -> None:
    core.log_in()


def _activate(core: Core, _call: ControlCall) -> None:
    core.activate()


def _pay(core: Core, call: ControlCall) -> None:
    core.pay(call.whole("amount", least=1, most=MOST_FEN), call.text("channel", "app"))


def _balance(core: Core, call: ControlCall) -> None:
    core.balance(call.whole("amount", most=MOST_FEN))


def _birthday(core: Core, call: ControlCall) -> None:
    try:
        day = date.fromisoformat(call.text("date"))
    except ValueError as error:
        raise Refused(400, "bad_field", "date: YYYY-MM-DD is expected") from error
    core.change({"birthday": day.isoformat()})


def _fields(core: Core, call: ControlCall) -> None:
    given = call.body.get("fields")
    if not isinstance(given, dict) or not given:
        raise Refused(400, "bad_field", "fields: values by key are expected")
    if any(not isinstance(one, str | int | bool | None) for one in given.values()):
        raise Refused(400, "bad_field", "fields: texts, whole numbers, true, false or null")
    core.change(given)


_VERBS: dict[str, Callable[[Core, ControlCall], None]] = {
    "become": _become,
    "open": _open,
    "login": _login,
    "activate": _activate,
    "pay": _pay,
    "balance": _balance,
    "birthday": _birthday,
    "fields": _fields,
}


def _verb(act: Callable[[Core, ControlCall], None]) -> Callable[[ControlCall], Awaitable[Any]]:
    async def answer(call: ControlCall) -> Any:
        core = _core(call)
        act(core, call)
        return await _answered(call, core.tell())

    return answer


async def show(call: ControlCall) -> Any:
    """The person at the bank; `customer` is null for who is none of its customers."""
    found = call.box.state.bank.get(person_of(call).id)
    return {"customer": found and {**found.model_dump(), "balance": found.balance}}


async def again(call: ControlCall) -> Any:
    """Sends the same request once more."""
    sent = call.box.bank.find(int(call.parts[0]))
    if sent is None:
        raise Refused(404, "not_sent", f"no request {call.parts[0]}, or not any more")
    return await _answered(call, [customers.send_again(call.box, sent)])


async def forge(call: ControlCall) -> Any:
    """Somebody else tells of a login of the person, under the core's name."""
    return await _answered(call, [customers.forge(call.box, _core(call).person)])


async def overview(call: ControlCall) -> Any:
    """Where the core sends, as whom; its latest requests, newest last, of one `person` or of all."""
    bank, system, person = call.box.bank, call.box.world.bank_system, call.query.get("person", "")
    found = [one for one in bank.log if not person or one.request.person == person]
    limit = call.limit(50)
    return {
        "url": bank.url,
        "who": system.who if system else "",
        "algorithm": system.algorithm if system else "",
        "products": PRODUCTS,
        "stages": STAGES,
        "bys": BYS,
        "rate": bank.rate,
        "customers": len(call.box.state.bank),
        "under_way": bank.under_way,
        "sent": [one.shown() for one in found[-limit:]] if limit else [],
    }


async def rate(call: ControlCall) -> Any:
    """So many events a minute happen by themselves, until it is 0 again."""
    call.box.bank.rate = call.whole("per_minute", most=MOST_A_MINUTE)
    call.box.bank.owed = 0.0
    return {"rate": call.box.bank.rate}


async def come(call: ControlCall) -> Any:
    """So many people who have an RM become the bank's customers at once, each with a past."""
    count, seed = call.whole("count", least=1, most=MOST_CUSTOMERS), call.whole("seed", 0)
    before = len(call.box.state.bank)
    for sent in crowd.come(call.box, count, seed):
        for one in sent:
            await one.ended.wait()
    return {"made": len(call.box.state.bank) - before, "customers": len(call.box.state.bank)}


async def list_customers(call: ControlCall) -> Any:
    """The bank's customers, who they are, with all that was told of them, a page at a time: `after`
    is where it goes on, and null at the end."""
    start = call.query.get("after", "0")
    if not start.isdecimal():
        raise Refused(400, "bad_field", "after: a whole number is expected")
    end = int(start) + call.limit(CUSTOMERS_SHOWN)
    page = islice(call.box.state.bank.items(), int(start), end)
    rows = [
        {"person": person, "ids": _ids(call.box.state.people[person]), **one.model_dump()}
        for person, one in page
    ]
    return {"customers": rows, "after": end if end < len(call.box.state.bank) else None}


def _ids(person: Person) -> dict[str, Any]:
    return person.model_dump(include={"name", "phone", "unionid", "external_userid", "openids"})


ROUTES: Routes = [
    ("/bank", {"get": overview}),
    ("/bank/crowd", {"post": come}),
    ("/bank/rate", {"post": rate}),
    ("/bank/customers", {"get": list_customers}),
    (r"/bank/sent/(\d{1,9})/again", {"post": again}),
    ("/people/([^/]+)/bank", {"get": show}),
    ("/people/([^/]+)/bank/forge", {"post": forge}),
    *((f"/people/([^/]+)/bank/{name}", {"post": _verb(act)}) for name, act in _VERBS.items()),
]
