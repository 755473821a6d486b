"""A machine that claims, dies, stalls, sweeps and restocks in any order, against a reference ledger in plain Python."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config.settings import Settings
from customers.banks.bank import Bank
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from rewards import catalogue, claims, ledger
from rewards.stock import LEASE_SECONDS
from services.container import Services, open_services
from tests.integration.rewards import world
from tests.support.clock import MovedClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
CUSTOMERS = st.sampled_from(["a", "b", "c", "d"])


@dataclass
class Stalled:
    """A process between taking a unit and writing its grant."""

    cid: str
    stall: world.Stall
    open: Any
    answer: asyncio.Task[str]


class Ledger:
    """What must be true, in integers."""

    def __init__(self, stock: int) -> None:
        self.total = self.available = self.declared = stock
        self.held = self.retired = 0
        self.granted: set[str] = set()
        self.voided: set[str] = set()
        self.pending: set[str] = set()
        self.paused = False

    def refusal(self, cid: str) -> str:
        if cid in self.granted:
            return "quota_customer"
        if self.paused:
            return "paused"
        return "" if self.available else ("stock_in_doubt" if self.held else "sold_out")


class Machine(RuleBasedStateMachine):
    """Every step is a process of its own; every example a bank of its own."""

    play: ClassVar[Run]
    services: ClassVar[Services]
    clock: ClassVar[MovedClock]
    banks: ClassVar[Iterator[int]] = itertools.count()

    @initialize(stock=st.integers(0, 3))
    def begin(self, stock: int) -> None:
        self.tenant = f"bank{next(self.banks)}"
        self.bank = Bank(self.services, self.tenant)
        self.model = Ledger(stock)
        self.stalled: list[Stalled] = []
        self.keys = 0
        self.play(world.put(self.services, stock, self.tenant))

    def request(self, cid: str) -> claims.Claim:
        self.keys += 1
        return world.request(cid, f"k{self.keys}")

    def expect(self, cid: str, answer: str, granted: str) -> None:
        refusal = self.model.refusal(cid)
        if refusal == "stock_in_doubt":  # units are held: which of the two it is, is a matter of their age
            assert answer in ("sold_out", "stock_in_doubt")
        else:
            assert answer == (refusal or granted)

    @rule(cid=CUSTOMERS)
    def claim(self, cid: str) -> None:
        answer = self.play(world.claim_and_die(self.services, self.request(cid), self.tenant))
        self.expect(cid, answer, "granted")
        if answer == "granted":
            self.model.available -= 1
            self.model.granted.add(cid)

    @rule(cid=CUSTOMERS)
    def die_before_the_grant(self, cid: str) -> None:
        answer = self.play(world.claim_and_die(self.services, self.request(cid), self.tenant, before=world.die))
        self.expect(cid, answer, "Killed")
        if answer == "Killed":
            self.model.available -= 1
            self.model.held += 1
            self.model.pending.add(cid)

    @rule(cid=CUSTOMERS)
    def die_after_the_grant(self, cid: str) -> None:
        answer = self.play(world.claim_and_die(self.services, self.request(cid), self.tenant, after=world.die))
        self.expect(cid, answer, "Killed")
        if answer == "Killed":
            self.model.available -= 1
            self.model.held += 1
            if cid not in self.model.voided:  # else the process died before it could dispute the void
                self.model.granted.add(cid)

    @precondition(lambda self: len(self.stalled) < 2)
    @rule(cid=CUSTOMERS)
    def stall(self, cid: str) -> None:
        stalled = self.play(self._stall(cid))
        if stalled is None:
            return
        self.stalled.append(stalled)
        self.model.pending.add(cid)
        self.model.available -= 1
        self.model.held += 1

    async def _stall(self, cid: str) -> Stalled | None:
        stall = world.Stall()
        opened = world.process(self.services, before=stall)
        slow = await opened.__aenter__()
        answer = asyncio.create_task(world.answer(slow, self.request(cid), self.tenant))
        reached = asyncio.create_task(stall.reached.wait())
        await asyncio.wait({answer, reached}, return_when=asyncio.FIRST_COMPLETED)
        if reached.done():
            return Stalled(cid, stall, opened, answer)
        reached.cancel()
        await opened.__aexit__(None, None, None)
        self.expect(cid, answer.result(), "stalled")
        return None

    @precondition(lambda self: self.stalled)
    @rule(which=st.integers(0, 1))
    def wake(self, which: int) -> None:
        stalled = self.stalled.pop(which % len(self.stalled))
        before = self.play(world.stock(self.services, self.tenant))
        answer = self.play(self._wake(stalled))
        after = self.play(world.stock(self.services, self.tenant))
        assert answer in ("granted", "quota_customer", "claim_unknown")
        if answer == "granted":
            assert stalled.cid not in self.model.granted
            self.model.granted.add(stalled.cid)
        self.model.held += after["held"] - before["held"]
        self.model.available += after["available"] - before["available"]

    async def _wake(self, stalled: Stalled) -> str:
        stalled.stall.release()
        answer = await stalled.answer
        await stalled.open.__aexit__(None, None, None)
        return answer

    @rule()
    def sweep(self) -> None:
        self.clock.advance(LEASE_SECONDS + 1)
        self.play(claims.settle_stale(self.bank))
        self.model.held = 0
        self.model.voided |= self.model.pending - self.model.granted
        self.model.pending.clear()
        row = self.play(world.stock(self.services, self.tenant))
        assert row["held"] == 0
        self.model.available = self.model.total - self.model.retired - len(self.model.granted)

    @rule(change=st.integers(-2, 2))
    def restock(self, change: int) -> None:
        wanted = max(0, self.model.declared + change)
        difference = wanted - self.model.declared
        try:
            self.play(world.put(self.services, wanted, self.tenant))
        except catalogue.Conflict:
            assert -difference > self.model.available
            return
        assert -difference <= self.model.available
        self.model.declared, self.model.available = wanted, self.model.available + difference
        if difference > 0:
            self.model.total += difference
        else:
            self.model.retired -= difference

    @rule()
    def pause_or_go_on(self) -> None:
        self.model.paused = not self.model.paused
        state = "paused" if self.model.paused else "live"
        self.play(catalogue.set_state(self.bank, world.CAMPAIGN, state))

    @invariant()
    def the_ledger_holds(self) -> None:
        row = self.play(world.stock(self.services, self.tenant))
        assert row["total"] == row["available"] + row["held"] + row["granted"] + row["retired"]
        assert (row["total"], row["retired"]) == (self.model.total, self.model.retired)
        assert (row["available"], row["held"]) == (self.model.available, self.model.held)
        assert self.play(world.grants(self.services, self.tenant)) == len(self.model.granted)
        assert len(self.model.granted) <= self.model.total - self.model.retired
        assert self.play(ledger.check(self.bank)) == []

    def teardown(self) -> None:
        for stalled in getattr(self, "stalled", []):
            self.play(self._wake(stalled))


BOUNDS = hypothesis_settings(
    max_examples=30,
    stateful_step_count=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


LONG = hypothesis_settings(BOUNDS, max_examples=1_000, stateful_step_count=20)


def play(settings: Settings, bounds: hypothesis_settings) -> None:
    with asyncio.Runner() as runner:
        clock = MovedClock()
        services = runner.run(open_services(settings, COLLECTIONS, QUEUES, clock=clock))
        try:
            Machine.play, Machine.services, Machine.clock = staticmethod(runner.run), services, clock
            run_state_machine_as_test(Machine, settings=bounds)
        finally:
            runner.run(services.close())


def test_any_order_of_claims_deaths_and_sweeps_keeps_the_ledger(settings: Settings) -> None:
    play(settings, BOUNDS)


@pytest.mark.soak
def test_however_long_it_goes_on_the_stock_holds(settings: Settings) -> None:
    play(settings, LONG)
