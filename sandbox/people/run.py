"""A run of a population: steps at a rate, each customer's in order, until all are done or it is
stopped."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from sandbox.people import bank
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
        head = self.truth.head
        digest = Digest()
        steps = schedule(head.seed, head.customers, head.hunters, head.stage)
        for step in islice(steps, head.done):
            digest.add(step)
        slots = asyncio.Semaphore(AT_ONCE)
        started = asyncio.get_running_loop().time()
        head.finished = True
        async with asyncio.TaskGroup() as under_way:
            for number, step in enumerate(steps):
                if not await self._may_begin(started + number / self.rate, slots):
                    head.finished = False
                    break
                digest.add(step)
                head.done += 1
                self._begin(under_way, step, slots)
                show()
        head.plan = digest.hex()

    async def _may_begin(self, at: float, slots: asyncio.Semaphore) -> bool:
        """Waits until it is time for the next step and there is a slot for it; False when it is
        time to stop."""
        return await self._wait_until(at) and await self._a_slot(slots)

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
        stop = asyncio.create_task(self.hosts.stopping.wait())
        free = asyncio.create_task(slots.acquire())
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
        customer = self.truth.customers.get(f"c{number}")
        if customer is None:
            customer = Customer(id=f"c{number}", name=name_of(head.seed, number))
            if is_hunter(head.seed, number, head.hunters):
                customer.ring = f"ring-{ring_of(number)}"
                customer.phone = f"138{ring_of(number):08d}"
            self.truth.customers[customer.id] = customer
        return self.actors.setdefault(number, Actor(self.hosts, head.stage, head.seed, customer))


async def look(hosts: Hosts) -> Stage:
    """What there is to decide between; a bank without a customer group gets two."""
    config = await hosts.control("GET", "config")
    ways = (await hosts.control("GET", "ways"))["ways"]
    userids = sorted(member["userid"] for member in config["members"])
    groups = await _groups(hosts, userids)
    links = (await hosts.control("GET", "links"))["links"]
    return Stage(
        states=tuple(sorted({way["state"] for way in ways if way["state"] and way["members"]})),
        userids=tuple(userids),
        appids=tuple(program["appid"] for program in config["mini_programs"]),
        groups=groups,
        links=tuple(link["link_id"] for link in links if link["available"]),
        bank=bool((await hosts.control("GET", "bank", limit=0))["who"]),
    )


async def _groups(hosts: Hosts, userids: list[str]) -> tuple[str, ...]:
    """The states of the codes that lead into groups, as `code:…`; chat ids when there are none."""
    found = await hosts.control("GET", "groups")
    ways = [way for way in found["join_ways"] if way["state"] and way["chat_id_list"]]
    if ways:
        return tuple(f"code:{state}" for state in sorted({way["state"] for way in ways}))
    chat_ids = [group["chat_id"] for group in found["groups"]]
    missing = max(0, GROUPS - len(chat_ids))
    for number, owner in enumerate(userids[:missing], start=1):
        group = {"owner": owner, "name": f"客户群{number}"}
        made = await hosts.control("POST", "groups", group)
        chat_ids.append(made["chat_id"])
    return tuple(chat_ids)


async def read_outcome(hosts: Hosts, truth: Truth) -> None:
    """Asks the sandbox who is whose friend and in which group now: what WeChat says is the
    truth."""
    customers = {}
    for customer in truth.customers.values():
        customer.friends = []
        customer.groups = []
        if customer.external_userid:
            customers[customer.external_userid] = customer
    for member in (await hosts.control("GET", "config"))["members"]:
        await _read_friendships(hosts, member["userid"], customers)
    for group in (await hosts.control("GET", "groups"))["groups"]:
        for inside in group["members"]:
            known = customers.get(inside["userid"])
            if known is not None:
                known.groups.append(group["chat_id"])


async def _read_friendships(hosts: Hosts, userid: str, customers: dict[str, Customer]) -> None:
    """Writes down a member's friendships; `customers` are those whom the run made, by
    external_userid."""
    after: int | None = 0
    while after is not None:
        page = await hosts.control("GET", "truth", userid=userid, limit=PAGE, after=after)
        after = page["after"]
        for row in page["customers"]:
            known = customers.get(row["external_userid"])
            if known is not None:
                known.friends.append(
                    Friend(
                        userid=page["userid"],
                        state=row["state"],
                        since=row["createtime"],
                        tags=row["tag_names"],
                    )
                )


async def play(
    args: argparse.Namespace,
    truth: Truth | None,
    stopping: asyncio.Event | None = None,
    *,
    watched: bool = True,
) -> Truth:
    """Plays a population from the beginning, or goes on with `truth`; what must be true at the end.
    `stopping` ends it."""
    known = truth or Truth(head=_blank_head(args))
    hosts = Hosts(args.sandbox, known)
    hosts.stopping = stopping or hosts.stopping
    try:
        await hosts.look(args.portal)
        if truth is None:
            known.head.stage = await look(hosts)
            if args.crowd:
                await bank.come(hosts, args.crowd, args.seed)
        playing = Play(hosts, known, args.rate)
        with _stopped_after(hosts, args.minutes * 60):
            if watched:
                with Screen(known) as screen:
                    await playing.run(screen.show)
            else:
                await playing.run(lambda: None)
        await bank.read_outcome(hosts, known)
        await read_outcome(hosts, known)
        return known
    finally:
        await hosts.close()


def _blank_head(args: argparse.Namespace) -> Head:
    """A run before it has looked at its stage."""
    blank = Stage(states=(), userids=(), appids=())
    return Head(seed=args.seed, customers=args.customers, hunters=args.hunters, stage=blank)


@contextmanager
def _stopped_after(hosts: Hosts, seconds: float) -> Iterator[None]:
    """Stops the run after `seconds`; 0 never does."""
    if not seconds:
        yield
        return
    timer = asyncio.get_running_loop().call_later(seconds, hosts.stopping.set)
    try:
        yield
    finally:
        timer.cancel()
