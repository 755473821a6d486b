"""What customers do at the bank, through its core system in the sandbox, and what came of it there."""

from __future__ import annotations

import asyncio
from typing import Any

from sandbox.people.phone import CouldNot, Hosts
from sandbox.people.plan import Step
from sandbox.people.truth_file import BankEvent, BankKept, Customer, Trick, Truth

NAMES = {
    "become": ("by",),
    "open": ("product", "balance"),
    "login": (),
    "pay": ("amount",),
    "balance": ("amount",),
    "birthday": ("date",),
    "activate": (),
    "forge": (),
}
"""What each act is told, in the order of the step's `also`."""
NUMBERS = ("balance", "amount")
PATIENCE = 120.0
"""So many seconds what the core sends is waited for."""
PAUSE = 0.2
PAGE = 500
CROWD = 500
"""So many of a crowd in one call."""


async def act(hosts: Hosts, customer: Customer, step: Step) -> None:
    """One thing that he does at the bank; `again` has the core repeat its last request about him."""
    if step.which == "again":
        await _again(hosts, customer)
        return
    body = {
        name: int(value) if name in NUMBERS else value
        for name, value in zip(NAMES[step.which], step.also, strict=True)
    }
    path = f"people/{customer.person}/bank/{step.which}"
    (*_, last) = (await hosts.control("POST", path, body))["sent"] or [None]
    if step.which == "forge" and last is not None and last["attempts"]:
        customer.tricks += _trick(last)


def _trick(sent: dict[str, Any]) -> list[Trick]:
    """What a forged event met; nothing when it had no answer yet."""
    status = sent["attempts"][-1]["status"]
    if sent["state"] not in ("answered", "refused"):
        return []
    code = (sent["answer"].get("error") or {}).get("code", "")
    refused = sent["state"] == "refused"
    return [Trick(trick="forged_event", status=status, code=code, refused=refused)]


async def _again(hosts: Hosts, customer: Customer) -> None:
    found = await hosts.control("GET", "bank", person=customer.person, limit=20)
    honest = [one for one in found["sent"] if not one["forged"]]
    if not honest:
        raise CouldNot("nothing_sent")
    await hosts.control("POST", f"bank/sent/{honest[-1]['id']}/again", {})


async def come(hosts: Hosts, count: int, seed: int) -> None:
    """So many people become the bank's customers, and all is told of them."""
    for start in range(0, count, CROWD):
        some = min(CROWD, count - start)
        await hosts.control("POST", "bank/crowd", {"count": some, "seed": seed})


async def read_outcome(hosts: Hosts, truth: Truth) -> None:
    """Asks the core what it told of everybody, when all is answered: what it wrote down is the
    truth."""
    if not truth.head.stage.bank:
        return
    await hosts.control("POST", "bank/rate", {"per_minute": 0})
    for _ in range(int(PATIENCE / PAUSE)):
        if not (await hosts.control("GET", "bank", limit=0))["under_way"]:
            break
        await asyncio.sleep(PAUSE)
    people = {one.person: one for one in truth.customers.values() if one.person}
    after: int | None = 0
    while after is not None:
        page = await hosts.control("GET", "bank/customers", after=after, limit=PAGE)
        after = page["after"]
        for row in page["customers"]:
            if row["crowd"]:
                _of_crowd(truth, row).bank = _kept(row)
            elif row["person"] in people:
                people[row["person"]].bank = _kept(row)


def _of_crowd(truth: Truth, row: dict[str, Any]) -> Customer:
    """Somebody who was there before, in the file from now on."""
    one = Customer(id=f"k{row['person']}", crowd=True, person=row["person"], **row["ids"])
    return truth.customers.setdefault(one.id, one)


def _kept(row: dict[str, Any]) -> BankKept:
    kept = BankKept(number=row["number"], by=row["by"])
    for one in row["events"]:
        kept.events.append(
            BankEvent(**{k: one[k] for k in ("id", "name", "at")}, state=_state(one))
        )
    unsure: set[str] = set()
    for told in row["told"]:
        state = _state(told)
        kept.told[state] = kept.told.get(state, 0) + 1
        if state == "accepted":
            kept.fields.update(told["fields"])
            unsure -= told["fields"].keys()
        elif state == "unanswered":
            unsure |= told["fields"].keys()
    kept.unsure = sorted(unsure)
    return kept


def _state(item: dict[str, Any]) -> str:
    """What was under way when the sandbox stopped was never answered."""
    state: str = item["state"]
    return "unanswered" if state == "under way" else state
