"""`python -m sandbox.people`: plays a population against a running sandbox and the product's public
HTTP.

Honest customers and rings of bonus hunters, whose decisions follow from a seed. What must be true
at the end is written down as JSON lines; `python manage.py audit truth FILE` compares the product
with it. Ctrl-C ends it in good order, `--resume` goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from sandbox.people_act import Actor
from sandbox.people_phone import CouldNot, Hosts
from sandbox.people_plan import Digest, Stage, Step, is_hunter, name_of, ring_of, schedule
from sandbox.people_truth import BadTruth, Customer, Friend, Head, Truth, read, write

AT_ONCE = 200
"""Steps that are under way at the same time, at most."""
SHOW_SECONDS = 5.0
GROUPS = 2
PAGE = 1000


@dataclass
class Play:
    """A run: the hosts, what is known, and who acts."""

    hosts: Hosts
    truth: Truth
    rate: float
    actors: dict[int, Actor] = field(default_factory=dict)
    latest: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """The last step of each customer that is under way."""

    async def run(self, show: Callable[[], None]) -> None:
        """Begins the steps at the rate until all are done or `hosts.stopping` is set, and waits for
        those under way."""
        head, clock = self.truth.head, asyncio.get_running_loop()
        digest, slots = Digest(), asyncio.Semaphore(AT_ONCE)
        steps = schedule(head.seed, head.customers, head.hunters, head.stage)
        for step in islice(steps, head.done):
            digest.add(step)
        started, head.finished = clock.time(), True
        async with asyncio.TaskGroup() as under_way:
            for number, step in enumerate(steps):
                if not await self._wait_until(
                    started + number / self.rate
                ) or not await self._a_slot(slots):
                    head.finished = False
                    break
                digest.add(step)
                head.done += 1
                self._begin(under_way, step, slots)
                show()
        head.plan = digest.hex()

    async def _wait_until(self, at: float) -> bool:
        """False when it is time to stop."""
        seconds = at - asyncio.get_running_loop().time()
        if seconds > 0:
            try:
                await asyncio.wait_for(self.hosts.stopping.wait(), seconds)
            except TimeoutError:
                return True
        return not self.hosts.stopping.is_set()

    async def _a_slot(self, slots: asyncio.Semaphore) -> bool:
        """False when it is time to stop before a step under way has ended."""
        stop, free = (
            asyncio.create_task(self.hosts.stopping.wait()),
            asyncio.create_task(slots.acquire()),
        )
        await asyncio.wait([stop, free], return_when=asyncio.FIRST_COMPLETED)
        if free.done():
            stop.cancel()
            return True
        free.cancel()
        return False

    def _begin(self, under_way: asyncio.TaskGroup, step: Step, slots: asyncio.Semaphore) -> None:
        actor = self.actors.get(step.customer) or self._actor(step.customer)
        before = self.latest.get(step.customer)
        self.latest[step.customer] = under_way.create_task(self._after(before, actor, step, slots))

    async def _after(
        self, before: asyncio.Task[None] | None, actor: Actor, step: Step, slots: asyncio.Semaphore
    ) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            await actor.act(step)
        finally:
            slots.release()

    def _actor(self, number: int) -> Actor:
        head = self.truth.head
        known = self.truth.customers.get(f"c{number}")
        if known is None:
            known = Customer(id=f"c{number}", name=name_of(head.seed, number))
            if is_hunter(head.seed, number, head.hunters):
                known.ring, known.phone = f"ring-{ring_of(number)}", f"138{ring_of(number):08d}"
            self.truth.customers[known.id] = known
        return self.actors.setdefault(number, Actor(self.hosts, head.stage, head.seed, known))


async def look(hosts: Hosts) -> Stage:
    """What there is to decide between; a bank without a customer group gets two."""
    config = await hosts.control("GET", "config")
    ways = (await hosts.control("GET", "ways"))["ways"]
    userids = sorted(member["userid"] for member in config["members"])
    return Stage(
        states=tuple(sorted({way["state"] for way in ways if way["state"] and way["members"]})),
        userids=tuple(userids),
        appids=tuple(program["appid"] for program in config["mini_programs"]),
        groups=await _groups(hosts, userids),
        links=tuple(
            link["link_id"]
            for link in (await hosts.control("GET", "links"))["links"]
            if link["available"]
        ),
    )


async def _groups(hosts: Hosts, userids: list[str]) -> tuple[str, ...]:
    found = await hosts.control("GET", "groups")
    codes = sorted(
        {way["state"] for way in found["join_ways"] if way["state"] and way["chat_id_list"]}
    )
    if codes:
        return tuple(f"code:{state}" for state in codes)
    known = [group["chat_id"] for group in found["groups"]]
    for number, owner in enumerate(userids[: max(0, GROUPS - len(known))]):
        made = await hosts.control(
            "POST", "groups", {"owner": owner, "name": f"客户群{number + 1}"}
        )
        known.append(made["chat_id"])
    return tuple(known)


async def settle(hosts: Hosts, truth: Truth) -> None:
    """Asks the sandbox who is whose friend and in which group now: what WeChat says is the
    truth."""
    by_external = {
        one.external_userid: one for one in truth.customers.values() if one.external_userid
    }
    for one in truth.customers.values():
        one.friends, one.groups = [], []
    for member in (await hosts.control("GET", "config"))["members"]:
        after: int | None = 0
        while after is not None:
            page = await hosts.control(
                "GET", "truth", userid=member["userid"], limit=PAGE, after=after
            )
            after = page["after"]
            for row in page["customers"]:
                known = by_external.get(row["external_userid"])
                if known is not None:
                    friend = Friend(
                        userid=page["userid"], state=row["state"], since=row["createtime"]
                    )
                    known.friends.append(friend)
    for group in (await hosts.control("GET", "groups"))["groups"]:
        for inside in group["members"]:
            known = by_external.get(inside["userid"])
            if known is not None:
                known.groups.append(group["chat_id"])


class Screen:
    """How it goes: a line that moves in a terminal, plain lines otherwise."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._console = Console(highlight=False)
        self._next = 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, console=self._console, disable=not self._console.is_terminal
        )
        self._task: TaskID = self._progress.add_task("", total=play.truth.head.customers)

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + (1.0 if self._console.is_terminal else SHOW_SECONDS)
        totals, head = self._play.truth.totals(), self._play.truth.head
        came = totals["customers"] - totals["invited"]
        told = f"{head.done} steps, {totals['granted']} granted, {sum(totals['refused'].values())} refused"
        self._progress.update(self._task, description=told, completed=came)
        if not self._console.is_terminal:
            self._console.print(f"{came} of {head.customers} customers, {told}")

    def say(self, text: str) -> None:
        self._console.print(text)


async def play(
    args: argparse.Namespace,
    truth: Truth | None,
    stopping: asyncio.Event | None = None,
    *,
    watched: bool = True,
) -> Truth:
    """Plays a population from the beginning, or goes on with `truth`; what must be true at the end.
    `stopping` ends it."""
    blank = Stage(states=(), userids=(), appids=())
    known = truth or Truth(
        head=Head(seed=args.seed, customers=args.customers, hunters=args.hunters, stage=blank)
    )
    hosts = Hosts(args.sandbox, known)
    hosts.stopping = stopping or hosts.stopping
    try:
        await hosts.look(args.portal)
        if truth is None:
            known.head.stage = await look(hosts)
        playing = Play(hosts, known, args.rate)
        timer = (
            asyncio.get_running_loop().call_later(args.minutes * 60, hosts.stopping.set)
            if args.minutes
            else None
        )
        if watched:
            with Screen(playing) as screen:
                await playing.run(screen.show)
        else:
            await playing.run(lambda: None)
        if timer:
            timer.cancel()
        await settle(hosts, known)
        return known
    finally:
        await hosts.close()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.people", description="A population that tries the product."
    )
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="steps a second")
    parser.add_argument("--seed", type=int, default=1, help="the same seed decides the same")
    parser.add_argument("--hunters", type=float, default=0.05, help="the share of bonus hunters")
    parser.add_argument("--sandbox", default="http://127.0.0.1:8001")
    parser.add_argument(
        "--portal", default="", help="the product; default where the sandbox sends callbacks"
    )
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="stop after so long; 0: when all is done"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("truth.jsonl"), help="what must be true at the end"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with --out, with its seed and customers"
    )
    return parser.parse_args(argv)


async def _main(args: argparse.Namespace) -> None:
    truth = read(args.out) if args.resume else None
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop(number: int) -> None:
        stopping.set()
        loop.remove_signal_handler(number)  # the next one ends it at once

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    known = await play(args, truth, stopping)
    write(args.out, known)
    state = "all is done" if known.head.finished else "stopped; --resume goes on"
    lines = [f"{name}: {value}" for name, value in known.totals().items() if name != "kind"]
    sys.stdout.write("\n".join([*lines, f"{state}; the truth is in {args.out}", ""]))


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the truth was written, 1 when it could not be played."""
    args = arguments(argv)
    if args.customers < 1 or args.rate <= 0 or not 0 <= args.hunters <= 1:
        sys.stderr.write(
            "people: at least one customer, a rate above 0 and a share from 0 to 1 are expected\n"
        )
        return 1
    try:
        asyncio.run(_main(args))
    except (httpx.HTTPError, CouldNot, BadTruth, OSError) as error:
        sys.stderr.write(f"people: {type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
