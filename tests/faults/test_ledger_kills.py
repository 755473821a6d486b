"""Processes that spend one budget and one customer's points are killed every two seconds, and both end at exactly nothing."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator

import pytest

from config.settings import Settings
from customers.banks.bank import Bank
from deploy.parts import environment
from deploy.processes import ROOT
from rewards.ledger import accounts, book, check, sweep
from rewards.ledger.book import Entry, Leg
from services.container import Services
from tests.faults.spender import BUDGET, POINTS
from tests.support.waiting import until

EVERY_SECONDS = 2.0
PROCESSES = 2


class Spenders:
    """So many processes at once, each with a name of its own; what they said was posted."""

    def __init__(self, settings: Settings) -> None:
        self._env = environment(settings)
        self._names: Iterator[int] = itertools.count()
        self.said: list[str] = []
        self.alive: list[asyncio.subprocess.Process] = []
        self.at_work: set[int] = set()
        self.empty = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        command = (sys.executable, "-m", "tests.faults.spender", f"p{next(self._names)}")
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        self.alive.append(process)
        self._readers.append(asyncio.create_task(self._read(process)))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.endswith(b"\n"):  # what is cut short was not said
                self.said.append(line.decode().strip())
                self.at_work.add(process.pid)
        if self.said and self.said[-1] == "empty":
            self.empty.set()

    async def kill_one_at_work(self) -> bool:
        """Whether there was one that had begun to spend."""
        for process in self.alive:
            if process.pid in self.at_work:
                self.alive.remove(process)
                self.alive.insert(0, process)
                await self.kill()
                return True
        return False

    async def kill(self) -> None:
        process = self.alive.pop(0)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def stop(self) -> None:
        while self.alive:
            await self.kill()
        await asyncio.gather(*self._readers)


@pytest.mark.alone
async def test_processes_that_are_killed_spend_exactly_what_there_is(settings: Settings, services: Services) -> None:
    await _killed(settings, services, 4_000)


@pytest.mark.soak
async def test_however_long_they_are_killed_they_spend_exactly_what_there_is(
    settings: Settings, services: Services
) -> None:
    await _killed(settings, services, 60_000)


async def _killed(settings: Settings, services: Services, amount: int) -> None:
    bank = Bank(services, "demo")
    await book.post(bank, Entry("fund", "fund", [Leg("funds:camp", BUDGET, amount)]))
    await book.post(bank, Entry("earn", "earn", [Leg("points_issued:main", POINTS, amount)]))
    spenders, kills = Spenders(settings), 0
    try:
        for _ in range(PROCESSES):
            await spenders.start()
        await until(lambda: _said(spenders, 50), 60.0)
        while not spenders.empty.is_set():
            await _wait_and_sweep(bank, spenders)
            if not spenders.empty.is_set() and await spenders.kill_one_at_work():
                kills += 1
                await spenders.start()
    finally:
        await spenders.stop()
    await until(lambda: _settled(bank), 30.0)
    found = await accounts.read(bank, [BUDGET, POINTS])
    assert {name: (row["posted"], row["held"], row["taken"]) for name, row in found.items()} == {
        BUDGET: (0, 0, 0),
        POINTS: (0, 0, 0),
    }
    posted = {row["key"] for row in await bank.db["transfers"].find({"kind": "spend"}, limit=None)}
    assert {key for key in spenders.said if key != "empty"} <= posted
    assert kills >= 1
    assert await check(bank, lined=True) == []


async def _said(spenders: Spenders, n: int) -> bool:
    return len(spenders.said) >= n


async def _wait_and_sweep(bank: Bank, spenders: Spenders) -> None:
    """Some time, in which the accounts are never below nothing."""
    for _ in range(round(EVERY_SECONDS / 0.5)):
        if spenders.empty.is_set():
            return
        await asyncio.sleep(0.5)
        await sweep.settle_stale(bank)
        for row in (await accounts.read(bank, [BUDGET, POINTS])).values():
            assert row["posted"] - row["held"] - row["taken"] >= 0


async def _settled(bank: Bank) -> bool:
    await sweep.settle_stale(bank)
    return not await bank.db["ledger_batches"].find({}, limit=1)
