"""A machine that posts, holds, ends, gives back, repeats and dies at every boundary, against a ledger in plain Python."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
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
from rewards.ledger import accounts, book, check, statement, sweep
from rewards.ledger.book import Entry, Leg
from services.container import Services, open_services
from services.errors import YinqiaoError
from tests.integration.rewards import world
from tests.integration.rewards.reference import Reference
from tests.support import killing
from tests.support.clock import StillClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Legs = list[tuple[str, str, int]]
OWNED = ["budget:camp", "points:a", "points:b"]
AMOUNTS = st.integers(1, 12)
DYING = st.integers(0, 9)
"""Before which of its writes a process dies; one that makes fewer lives."""


def source(account: str) -> str:
    return "funds:camp" if account == "budget:camp" else "points_issued:main"


def drain(account: str) -> str:
    return "spent:camp" if account == "budget:camp" else "points_spent:main"


class Machine(RuleBasedStateMachine):
    """Every step is a process of its own; every example a bank of its own."""

    play: ClassVar[Run]
    services: ClassVar[Services]
    clock: ClassVar[StillClock]
    banks: ClassVar[Iterator[int]] = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.tenant = f"ledger{next(self.banks)}"
        self.bank = Bank(self.services, self.tenant)
        self.model = Reference()
        self.keys = 0
        self.holds: dict[str, str] = {}
        self.history: list[tuple[datetime, dict[str, int]]] = []

    def now(self) -> datetime:
        self.clock.now += 1
        return self.bank.utc()

    def key(self, prefix: str) -> str:
        self.keys += 1
        return f"{prefix}{self.keys}"

    async def ask(self, step: Callable[[Bank], Coroutine[Any, Any, book.Posted]], dies: int | None = None) -> str:
        """The answer of a process of its own, which dies before a write of that number."""
        async with world.process(self.services) as own:
            with dying(dies):
                try:
                    posted = await step(Bank(own, self.tenant))
                    answer = "replayed" if posted.replayed else "posted"
                except YinqiaoError as error:
                    answer = error.code
                except killing.Killed:
                    answer = "killed"
                await own.groups.close()
        return answer

    def entry(self, key: str, legs: Legs, expires: datetime | None = None) -> Entry:
        return Entry(key, "step", [Leg(*leg) for leg in legs], expires=expires)

    @rule(account=st.sampled_from(OWNED), amount=AMOUNTS, days=st.sampled_from([None, 1, 2]))
    def earn(self, account: str, amount: int, days: int | None) -> None:
        now = self.now()
        lots = account != "budget:camp" and days is not None
        expires = datetime(2027, 2, 1, tzinfo=now.tzinfo) + timedelta(days=days or 0) if lots else None
        legs, key = [(source(account), account, amount)], self.key("e")
        answer = self.play(self.ask(lambda bank: book.post(bank, self.entry(key, legs, expires))))
        assert answer == self.model.post(key, legs, now, expires)

    @rule(account=st.sampled_from(OWNED), amount=AMOUNTS, again=st.booleans())
    def spend(self, account: str, amount: int, again: bool) -> None:
        now = self.now()
        legs, key = [(account, drain(account), amount)], self.key("s")
        for _ in range(1 + again):
            answer = self.play(self.ask(lambda bank: book.post(bank, self.entry(key, legs))))
            assert answer == self.model.post(key, legs, now)

    @rule(amount=AMOUNTS, cost=AMOUNTS)
    def redeem(self, amount: int, cost: int) -> None:
        """Points and budget in one entry: both or neither."""
        now = self.now()
        legs = [("points:a", "points_spent:main", amount), ("budget:camp", "spent:camp", cost)]
        key = self.key("r")
        answer = self.play(self.ask(lambda bank: book.post(bank, self.entry(key, legs))))
        assert answer == self.model.post(key, legs, now)

    @precondition(lambda self: self.model.lines)
    @rule(data=st.data(), amount=AMOUNTS)
    def repeat(self, data: st.DataObject, amount: int) -> None:
        """An earlier key with another content."""
        key = data.draw(st.sampled_from(sorted(self.model.lines)))
        now, line = self.now(), self.model.lines[key]
        legs = [(*line.legs[0][:2], amount), *line.legs[1:]]
        answer = self.play(self.ask(lambda bank: book.post(bank, self.entry(key, legs, line.expires))))
        assert answer == self.model.post(key, legs, now, line.expires)

    @rule(account=st.sampled_from(OWNED), amount=AMOUNTS, minutes=st.integers(1, 60))
    def hold(self, account: str, amount: int, minutes: int) -> None:
        now = self.now()
        until = now + timedelta(minutes=minutes)
        legs, key = [(account, drain(account), amount)], self.key("h")
        answer = self.play(self.ask(lambda bank: book.hold(bank, self.entry(key, legs), until)))
        assert answer == self.model.hold(key, legs, now, until)
        if answer == "posted":
            self.holds[key] = book.transfer_id(self.tenant, key)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), amount=st.one_of(st.none(), AMOUNTS), how=st.sampled_from(["confirm", "cancel"]))
    def end(self, data: st.DataObject, amount: int | None, how: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.holds)))
        now, hold = self.now(), self.holds[key]

        def step(bank: Bank) -> Coroutine[Any, Any, book.Posted]:
            return book.confirm(bank, hold, amount) if how == "confirm" else book.cancel(bank, hold)

        assert self.play(self.ask(step)) == self.model.end(key, how, now, amount)

    @rule()
    def time_passes(self) -> None:
        self.clock.now += 3_600
        now = self.now()
        for key, hold in self.holds.items():
            if not self.model.holds[key].end:
                self.play(self.ask(lambda bank, hold=hold: book.expire(bank, hold)))  # type: ignore[misc]
                assert self.model.end(key, "expire", now) in ("posted", "replayed")

    @precondition(lambda self: any(line.legs[0][0] in OWNED for line in self.model.lines.values()))
    @rule(data=st.data(), amount=AMOUNTS, number=st.sampled_from("xy"))
    def give_back(self, data: st.DataObject, amount: int, number: str) -> None:
        spent = sorted(key for key, line in self.model.lines.items() if line.legs[0][0] in OWNED)
        key = data.draw(st.sampled_from(spent))
        self.now()
        transfer = book.transfer_id(self.tenant, key)

        def step(bank: Bank) -> Coroutine[Any, Any, book.Posted]:
            return book.refund(bank, transfer, amount, reason="r", maker="li", key=number)

        assert self.play(self.ask(step)) == self.model.refund(key, amount, number)

    @rule(account=st.sampled_from(OWNED), amount=AMOUNTS, takes=st.booleans(), dies=DYING, retries=st.booleans())
    def die(self, account: str, amount: int, takes: bool, dies: int, retries: bool) -> None:
        """A process ends before any of its writes; another may repeat its request before anybody swept."""
        now, key = self.now(), self.key("d")
        legs = [(account, drain(account), amount)] if takes else [(source(account), account, amount)]

        def step(bank: Bank) -> Coroutine[Any, Any, book.Posted]:
            return book.post(bank, self.entry(key, legs))

        answer = self.play(self.ask(step, dies))
        if retries:
            second = self.play(self.ask(step))
            assert second in ("posted", "replayed", "insufficient", "balance_in_doubt")
            assert answer not in ("posted", "replayed") or second == "replayed"
        self.sweep()
        row = self.play(self.bank.db["transfers"].find_one({"_id": book.transfer_id(self.tenant, key)}))
        arrived = row is not None and row["kind"] != "void"
        assert arrived or answer != "posted"
        if arrived:
            assert self.model.post(key, legs, now) == "posted"

    @precondition(lambda self: any(not one.end for one in self.model.holds.values()))
    @rule(data=st.data(), dies=DYING)
    def die_at_an_end(self, data: st.DataObject, dies: int) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, one in self.model.holds.items() if not one.end)))
        now, hold = self.now(), self.holds[key]
        late = now >= self.model.holds[key].until
        self.play(self.ask(lambda bank: book.confirm(bank, hold), dies))
        self.sweep()
        ended = self.play(self.ask(lambda bank: book.cancel(bank, hold)))
        wanted = self.model.end(key, "confirm", now) if ended == "hold_ended" and not late else ""
        assert wanted in ("", "posted")
        if not wanted:
            assert self.model.end(key, "cancel", now) == ended

    def sweep(self) -> None:
        self.clock.now += accounts.LEASE_SECONDS + 1
        self.play(sweep.settle_stale(self.bank))

    @invariant()
    def every_account_is_as_the_reference_says(self) -> None:
        found = self.play(accounts.read(self.bank, OWNED))
        for account, row in found.items():
            assert (row["posted"], row["held"], row["taken"]) == (
                self.model.balances[account],
                self.model.held(account),
                0,
            )
            if account != "budget:camp":
                lots = {lot["expires"]: (lot["left"], lot["aside"]) for lot in row["lots"]}
                assert lots == self.model.lots(account)
            assert row["posted"] >= 0
        assert self.play(check(self.bank, lined=True)) == []

    @invariant()
    def the_past_stays_as_it_was(self) -> None:
        self.clock.now += 1
        self.history.append((self.bank.utc(), dict(self.model.balances)))
        at, balances = self.history[len(self.history) // 2]
        for account in (*OWNED, "spent:camp"):
            assert self.play(statement.balance_at(self.bank, account, at)) == balances.get(account, 0)


@contextmanager
def dying(number: int | None) -> Iterator[None]:
    """Within it, whoever writes is killed before his write of that number."""
    with pytest.MonkeyPatch.context() as patch:
        if number is not None:
            killing.before_write(patch, number)
        yield


BOUNDS = hypothesis_settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = hypothesis_settings(BOUNDS, max_examples=2_000, stateful_step_count=40)


def play(settings: Settings, bounds: hypothesis_settings) -> None:
    with asyncio.Runner() as runner:
        clock = StillClock()
        services = runner.run(open_services(settings, COLLECTIONS, QUEUES, clock=clock, group_window=0))
        try:
            Machine.play, Machine.services, Machine.clock = staticmethod(runner.run), services, clock
            run_state_machine_as_test(Machine, settings=bounds)
        finally:
            runner.run(services.close())


def test_any_order_of_entries_holds_refunds_and_deaths_keeps_the_ledger(settings: Settings) -> None:
    play(settings, BOUNDS)


@pytest.mark.soak
def test_however_long_it_goes_on_the_ledger_holds(settings: Settings) -> None:
    play(settings, LONG)
