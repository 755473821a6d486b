"""Age: the same day of a bank over and over, and what it costs later beside what it cost at first.

A day in small are so many steps of a population: people scan, are greeted and tagged, sign in, look
at their homes, claim, write, join groups, delete their RM and come back; the bank's core tells events
and fields of them; and some have their vouchers written off at a counter. Other people do the very
same each day, at a steady rate, so that a day costs what the one before did: unless something grows
that should not. The first day warms up and does not count.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import cpu, membership
from bench.bank import PLENTY, TENANT
from bench.load import LoadError
from bench.sync import SyncStage, open_stage
from campaigns.publishing import versions
from customers.banks.bank import open_bank
from deploy.demo import CAMPAIGN_FILES, POINTS
from deploy.visitors import Counter, Visitor
from operations import audience
from operations.schema import COLLECTIONS
from rewards import ledger
from rewards.points import program
from sandbox.people.actor import Actor
from sandbox.people.phone import Hosts
from sandbox.people.plan import Stage, schedule
from sandbox.people.run import Play, look
from sandbox.people.truth_file import Customer, Head, Truth
from services.queue.inbox import INBOX
from services.queue.outbox import OUTBOX

COST, GROWTH = 1.15, 1.10
"""At most so much the last day may cost of what the first did, and so much memory may be there at
the end of what was there after a third."""
FINE_MS = 0.2
"""Less for each step is not judged: the clock of processor time ticks in hundredths of a second."""
STORES = frozenset({"mongodb", "redis"})
"""Their memory is shown and not judged. The embedded store's cache takes in what is read and written,
up to a gigabyte; Redis holds sessions and nonces until they expire, so of its keys those are judged
that never do."""
NEVER = -1
MORE = 2
"""So many days are played besides, while the last one costs too much."""
COMING = 0.02
"""Of a day's steps so many are write-offs."""
TELLER, PASSWORD = "nanshan", "yinqiao-demo"
REWARD = "acq-branch.coffee"
PARTS = ("server", "audience")
SEED = 39
PATIENCE, FOLLOWED_SECONDS = 60.0, 5.0
CAMPAIGNS = ("branch-acquisition.yaml", "flash.yaml")


@dataclass(frozen=True)
class Length:
    """So many steps a day, at least, at such a rate (a second), and so many days that count, after
    some that only `warm` up. What is not `judged` is too short for that."""

    steps: int
    days: int
    rate: float = 2.0
    warm: int = 1
    judged: bool = True


HOUR, SHORT, MOMENT = (
    Length(1_000, 6),
    Length(200, 5),
    Length(8, 2, rate=20.0, warm=0, judged=False),
)


@dataclass(frozen=True)
class Day:
    """What a day cost, by process: milliseconds of processor time a step; and what was there at its
    end: megabytes by process, rows by collection, keys in Redis by their beginning, how many of
    them never expire, and what people had to try again."""

    steps: int
    seconds: float
    load: float
    grants: int
    spent: dict[str, float]
    memory: dict[str, float]
    rows: dict[str, int]
    keys: dict[str, int]
    lasting: dict[str, int]
    troubles: dict[str, int]


@dataclass
class World:
    """Where it is played, and by how many people a day."""

    at: SyncStage
    hosts: Hosts
    stage: Stage
    length: Length
    people: int
    counter: Counter

    @property
    def pids(self) -> dict[str, int]:
        return {**self.at.pids, **self.at.parts.pids}

    def spent(self) -> dict[str, float]:
        """Processor time by process so far, in seconds."""
        return {name: cpu.seconds(pid) for name, pid in self.pids.items()}


async def measure(length: Length) -> tuple[dict[str, Any], str]:
    """The row's line and Redis's version. Told to stop (Ctrl-C), it ends with the days that were
    whole. Raises LoadError when something was not done that people asked for."""
    async with open_stage() as at:
        await _found(at)
        hosts = Hosts(
            str(at.sandbox.base_url), Truth(head=_head(Stage(states=(), userids=(), appids=()), 0))
        )
        try:
            async with Visitor(at.services.settings.url) as visitor:
                days, world = await _played(at, hosts, visitor, length)
        finally:
            await hosts.close()
        redis_version = str((await at.services.redis.info("server"))["redis_version"])
        return _line(days, world), redis_version


async def _found(at: SyncStage) -> None:
    """The bank with two campaigns that give plenty, points and segments; and all of its processes."""
    bank = await open_bank(at.services, TENANT)
    for name in CAMPAIGNS:
        await versions.apply(bank, _with_plenty(name), name, "cli")
    await program.apply(bank, POINTS.read_text(encoding="utf-8"), POINTS.name, "cli")
    await membership.agree(bank)
    for name in PARTS:
        await asyncio.to_thread(at.parts.start, name)


def _with_plenty(name: str) -> str:
    document = yaml.safe_load((CAMPAIGN_FILES / name).read_text(encoding="utf-8"))
    document["money"]["budget"] = PLENTY * 10_000
    for reward in document["rewards"].values():
        reward["stock"] = PLENTY
    return yaml.safe_dump(document, allow_unicode=True)


async def _played(
    at: SyncStage, hosts: Hosts, visitor: Visitor, length: Length
) -> tuple[list[Day], World]:
    await hosts.look("")
    stage = await look(hosts)
    counter = Counter(visitor, TENANT)
    await counter.sign_in(TELLER, PASSWORD)
    world = World(at, hosts, stage, length, _people(stage, length.steps), counter)
    with _stopped_by_signals(hosts.stopping):
        days = await _days(world)
    if len(days) >= length.days:
        await _expect_done(world, days)
    return days, world


async def _days(world: World) -> list[Day]:
    """The days that count; more than were wanted while the last one costs too much, since what
    grew does not shrink again, and a busy moment of the machine passes."""
    length, days = world.length, list[Day]()
    with _Screen(length) as screen:
        for number in range(1 - length.warm, length.days + MORE + 1):
            if number > length.days and not _is_dear(days, length):
                break
            screen.begin(number)
            day = await _day(world, screen)
            if day is None:
                break
            screen.end(day)
            days += [day] if number > 0 else []
    return days


def _is_dear(days: list[Day], length: Length) -> bool:
    if not length.judged:
        return False
    return any(name.endswith("_ms") for name in missed(_processes(days, length)))


def _people(stage: Stage, steps: int) -> int:
    """So many people take so many steps, or a few more."""
    people = 1
    while sum(1 for _ in schedule(SEED, people, 0.0, stage)) < steps:
        people += 1
    return people


def _head(stage: Stage, people: int) -> Head:
    return Head(seed=SEED, customers=people, hunters=0.0, stage=stage)


async def _day(world: World, screen: _Screen) -> Day | None:
    """Plays a day; nothing when it was cut short."""
    began, before = time.monotonic(), world.spent()
    truth = world.hosts.truth = Truth(head=_head(world.stage, world.people))
    playing = Play(world.hosts, truth, world.length.rate)
    await playing.run(partial(screen.show, truth))
    steps = await _write_off(world, playing) + truth.head.done
    if world.hosts.stopping.is_set():
        return None
    seconds, after = time.monotonic() - began, world.spent()
    spent = {name: round((after[name] - before[name]) * 1000 / steps, 2) for name in after}
    return await _seen(world, steps, round(seconds, 1), spent)


async def _seen(world: World, steps: int, seconds: float, spent: dict[str, float]) -> Day:
    """The day with what is there at its end."""
    truth = world.hosts.truth
    keys, lasting = await _keys(world.at)
    return Day(
        steps=steps,
        seconds=seconds,
        load=round(os.getloadavg()[0], 1),
        grants=sum(len(one.granted) for one in truth.customers.values()),
        spent=spent,
        memory={name: round(cpu.resident_mb(pid), 1) for name, pid in world.pids.items()},
        rows=await _rows(world.at),
        keys=keys,
        lasting=lasting,
        troubles=truth.troubles,
    )


async def _write_off(world: World, playing: Play) -> int:
    """The first of those who have a coffee come to the counter; how many."""
    wanted = max(1, round(COMING * world.length.steps))
    came = 0
    for actor in playing.actors.values():
        if came == wanted or world.hosts.stopping.is_set():
            break
        if code := await _code(actor):
            await world.counter.redeem(await world.counter.look(code))
            came += 1
            await asyncio.sleep(1 / world.length.rate)
    return came


async def _code(actor: Actor) -> str:
    """The code of a customer's coffee."""
    customer: Customer = actor.customer
    if not any(one.reward == REWARD for one in customer.granted):
        return ""
    answer = await actor.phone.ask(customer.signed_in[0], "GET", "redemptions")
    mine = answer.json()["redemptions"] if answer is not None else []
    return next((str(one["code"]) for one in mine if one["reward"] == REWARD), "")


async def _rows(at: SyncStage) -> dict[str, int]:
    db = at.services.store.tenant(TENANT)
    found = {str(rows): await db[rows].count() for rows in COLLECTIONS if rows.of_bank}
    return {rows: many for rows, many in found.items() if many}


async def _keys(at: SyncStage) -> tuple[dict[str, int], dict[str, int]]:
    """Redis's keys by their beginning, and those of them that never expire."""
    redis, every, lasting = at.services.redis, Counts[str](), Counts[str]()
    async for key in redis.scan_iter(count=500):
        begins = ":".join(key.decode().split(":")[:2])
        every[begins] += 1
        lasting[begins] += await redis.ttl(key) == NEVER
    return dict(every), dict(+lasting)


async def _expect_done(world: World, days: list[Day]) -> None:
    """Each day people were given something, nothing waits, profiles follow and the ledger holds."""
    bank = await open_bank(world.at.services, TENANT)
    deadline = time.monotonic() + PATIENCE
    while await _waits(world.at):
        if time.monotonic() > deadline:
            raise LoadError("what people did was not handled")
        await asyncio.sleep(0.5)
    if not all(day.grants for day in days):
        raise LoadError(f"on some day nothing was granted: {[day.grants for day in days]}")
    if problems := await ledger.check(bank):
        raise LoadError(f"the ledger says {problems}")


async def _waits(at: SyncStage) -> bool:
    db, now = at.services.store.tenant(TENANT), at.services.clock()
    due = {"open": True, "due": {"$lte": now}}
    behind = await audience.lag(at.services)
    if behind is None or behind > FOLLOWED_SECONDS:
        return True
    return bool(await db[INBOX].count(due) or await db[OUTBOX].count(due))


# what is told


def _line(days: list[Day], world: World) -> dict[str, Any]:
    length = world.length
    line: dict[str, Any] = {
        "bench": "age",
        "unit": "ms a step",
        "rate": length.rate,
        "at_most": COST,
        "at_most_memory": GROWTH,
        "stopped": len(days) < length.days,
        "days": [asdict(day) for day in days],
    }
    processes = _processes(days, length) if days else {}
    first, last = (sum(one[of] for one in processes.values()) for of in ("first_ms", "last_ms"))
    cost = round(last / first, 3) if first else None
    lost: list[str] = []
    if length.judged and not line["stopped"]:
        lost = missed(processes) + grown([day.lasting for day in days])
    return {**line, "product": cost, "processes": processes, "missed": lost}


def _processes(days: list[Day], length: Length) -> dict[str, dict[str, float]]:
    """Each process's figures; its last day is the cheapest of those from which on enough were
    played."""
    first, third, last = days[0], days[len(days) // 3], days[-1]
    late = days[length.days - 1 :] or days[-1:]
    return {name: _figures(name, first, third, last, late) for name in first.spent}


def _figures(name: str, first: Day, third: Day, last: Day, late: list[Day]) -> dict[str, float]:
    return {
        "first_ms": first.spent[name],
        "last_ms": min(day.spent[name] for day in late),
        "third_mb": third.memory[name],
        "last_mb": last.memory[name],
    }


def missed(processes: dict[str, dict[str, float]]) -> list[str]:
    """What is more than it may be, as `worker_ms` or `worker_mb`."""
    found = []
    for name, one in processes.items():
        first, last = one["first_ms"], one["last_ms"]
        if last > COST * first and last - first > FINE_MS:
            found.append(f"{name}_ms")
        if name not in STORES and one["last_mb"] > GROWTH * one["third_mb"]:
            found.append(f"{name}_mb")
    return found


def grown(days: Sequence[Mapping[str, int]]) -> list[str]:
    """The beginnings of keys that never expire of which there were more at the end than after a
    third of the days."""
    third, last = days[len(days) // 3], days[-1]
    return [name for name, many in last.items() if many > third.get(name, 0)]


class _Screen:
    """How it goes: a bar in a terminal, and a line a day."""

    def __init__(self, length: Length) -> None:
        self._console = Console(highlight=False)
        self._days, self._number = length.days, 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        hidden = not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, disable=hidden)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> _Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, number: int) -> None:
        self._number = number
        self._progress.update(self._task, description=f"day {number} of {self._days}")

    def show(self, truth: Truth) -> None:
        self._progress.update(self._task, completed=truth.head.done)

    def end(self, day: Day) -> None:
        spent = ", ".join(f"{name} {ms:.1f}" for name, ms in day.spent.items())
        warm = "" if self._number > 0 else " (warms up, does not count)"
        self._console.print(
            f"day {self._number}{warm}: {day.steps} steps in {day.seconds:.0f} s, load {day.load:.1f}; ms a step: {spent}"
        )


@contextmanager
def _stopped_by_signals(stopping: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the play in good order, the second the process."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: signal.Signals) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
