"""A run of a population: steps at a rate, each customer's in order, until all are done or it is stopped."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from sandbox.people.actor import Actor
from sandbox.people.phone import Hosts
from sandbox.people.plan import Digest, Stage, Step, is_hunter, name_of, ring_of, schedule
from sandbox.people.progress import Screen
from sandbox.people.truth_file import Customer, Friend, Head, Truth

AT_ONCE = 200
"""Steps that are under way at the same time, at most."""
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
            with Screen(known) as screen:
                await playing.run(screen.show)
        else:
            await playing.run(lambda: None)
        if timer:
            timer.cancel()
        await settle(hosts, known)
        return known
    finally:
        await hosts.close()
