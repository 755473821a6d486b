"""What the bank's core system told, compared with what the product keeps: every accepted event once,
his whose it is or waiting for him, counted by the day; and the values of his fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from customers.banks.bank import Bank
from customers.fields import values
from customers.identity.awaited import AWAITED
from customers.intake import joining, tallies
from customers.intake.rows import BANK_EVENTS, BANK_TOLD, EVENT_TALLIES, EventRow
from customers.intake.splitting import event_id
from deploy.truth_file import BankKept, Customer

SYSTEM = "core"
"""As what the sandbox's core system sends (sandbox/world.yaml)."""
ACCEPTED = "accepted"
Differ = Callable[[str, str, object, object], None]


async def count_joining(bank: Bank) -> int:
    """How many are waited for although they are known by now."""
    waiting = await bank.db[AWAITED].find({"open": True}, fields={"_id": 1}, limit=None)
    found = await joining.find(bank, [row["_id"] for row in waiting])
    return sum(bool(one.cid) for one in found.values())


@dataclass(frozen=True)
class Told:
    """A customer of whom the core told; `cids` are none if nobody knows him, `wait` is the row that
    would wait for him."""

    customer: Customer
    kept: BankKept
    cids: list[str]
    wait: str
    joined: bool


class BankComparison:
    """Compares a page of customers after the other."""

    def __init__(self, bank: Bank, differ: Differ, counts: Counter[str]) -> None:
        self._bank = bank
        self._differ = differ
        self._counts = counts
        self._appid = next(iter(bank.miniprograms), "")

    async def check(self, page: Iterable[tuple[Customer, list[str]]]) -> None:
        """The customers of a page with their cids."""
        told = await self._told(page)
        rows = await self._events(told)
        for one in told:
            await self._one(one, rows)

    async def _told(self, page: Iterable[tuple[Customer, list[str]]]) -> list[Told]:
        waits = {
            joining.wait_id(self._bank, one.named(one.bank, self._appid)): (one, one.bank, cids)
            for one, cids in page
            if one.bank is not None
        }
        found = await joining.find(self._bank, list(waits))
        return [
            Told(one, kept, cids, wait, bool(wait in found and found[wait].cid))
            for wait, (one, kept, cids) in waits.items()
        ]

    async def _events(self, told: list[Told]) -> dict[str, EventRow]:
        wanted = [self._row_id(event.id) for one in told for event in one.kept.events]
        fields = {"cid": 1, "wait": 1, "name": 1}
        return cast("dict[str, EventRow]", await self._bank.by_id(BANK_EVENTS, wanted, fields))

    def _row_id(self, event: str) -> str:
        return event_id(self._bank.id, SYSTEM, event)

    async def _one(self, told: Told, rows: dict[str, EventRow]) -> None:
        one = told.customer
        if one.must_be_found(told.kept.by, self._appid) and not told.joined:
            self._differ("whom the bank told of is not found", one.id, told.kept.by, "nobody")
        self._stored(told, rows)
        if not told.joined:
            self._counts["bank events that wait"] += len(told.kept.events)
            await self._waiting_values(told)
            return
        await self._tallied(told, rows)
        await self._values(told)

    def _stored(self, told: Told, rows: dict[str, EventRow]) -> None:
        """Every accepted event is there, under his name or waiting for him."""
        whose = told.customer.id
        for event in told.kept.events:
            row = rows.get(self._row_id(event.id))
            self._counts["bank events"] += 1
            if event.state == "refused":
                self._differ("an event was refused", whose, "accepted", event.name)
            elif row is None:
                if event.state == ACCEPTED:
                    self._differ("an accepted event is not there", whose, event.name, "nothing")
            elif told.joined and row.get("cid") not in told.cids:
                self._differ("an event is not his", whose, "his", row.get("cid", "waits"))
            elif not told.joined and row.get("wait") != told.wait:
                self._differ("an event does not wait for him", whose, "waits", row.get("cid", ""))

    async def _tallied(self, told: Told, rows: dict[str, EventRow]) -> None:
        expected = Counter(
            f"{event.name} {tallies.day_of(event.at.timestamp(), self._bank.tz)}"
            for event in told.kept.events
            if self._row_id(event.id) in rows
        )
        there: Counter[str] = Counter()
        query = {"cid": {"$in": told.cids}}
        for row in await self._bank.db[EVENT_TALLIES].find(query, limit=None):
            there.update({f"{row['name']} {day}": n for day, n in row["days"].items()})
        if expected != there:
            self._differ("counts of events differ", told.customer.id, dict(expected), dict(there))

    async def _values(self, told: Told) -> None:
        cid = told.cids[0]
        held = (await values.read(self._bank, {cid: told.cids}))[cid]
        there = {one.key: one.value for one in held}
        for key, value in told.kept.fields.items():
            if key in told.kept.unsure:
                continue
            self._counts["values of fields"] += 1
            if there.get(key) != value:
                self._differ(f"{key} differs", told.customer.id, value, there.get(key))

    async def _waiting_values(self, told: Told) -> None:
        """What was told of somebody who is not known waits, all of it."""
        waiting = await self._bank.db[BANK_TOLD].count({"wait": told.wait})
        if waiting < told.kept.told.get(ACCEPTED, 0):
            self._differ(
                "values do not wait for him", told.customer.id, told.kept.told[ACCEPTED], waiting
            )
