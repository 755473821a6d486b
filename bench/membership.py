"""Membership: from the moment when an event of the bank's was due to the lines of the timeline that say
that its customer came into a segment, and left another, through server, worker and audience process.

Of the events of a bank few change who is in which segment: here one of CHANGING does, and after each of
the others a profile is made anew and judged, and nobody comes or goes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles
from typing import Any

import httpx

from bench import cpu, intake, load
from bench.bank import STAFF, SYSTEM, TENANT
from bench.stage import Stage
from customers.banks.bank import Bank, open_bank
from customers.fields import values
from customers.fields.values import Update
from customers.identity.facts import Origin
from customers.identity.rows import CUSTOMERS, IDENTITIES
from customers.identity.sealing import identity_row
from customers.profiles.rows import PROFILES
from customers.relationships import RELATIONSHIPS
from customers.segments import document, versions
from customers.segments.filling import FILLING
from customers.segments.rows import SEGMENT_FILLS, SEGMENT_MEMBERS
from customers.timeline import TIMELINE
from operations import audience, profiling
from services import ids
from services.store.mongo import Doc

AT_MOST_MS = 5_000.0
RATE = 200.0
CHANGING = 4
EACH = 20
"""Events of a request, which leaves when the last of them is due."""
WARM_SECONDS = 5.0
"""The first events are not measured."""
PATIENCE, READY_SECONDS = 300.0, 1_200.0
AT_ONCE = 500
SOON = 60.0
PAID = {"amount": 9_900, "channel": "app"}
COME, GONE = "signed-in", "never"
SEGMENTS: Mapping[str, str] = {
    COME: "event('app.login', 30d)",
    GONE: "not event('app.login')",
    "asleep": "last(event('app.login')) older than 90d",
    "regular": "count(event('app.login'), 30d) >= 3 or count(event('payment.made'), 30d) >= 3",
    "wealthy": "customer.balance_band in ['A', 'B']",
    "birthday": "anniversary(customer.birthday) in next 30d",
    "south": "branch('sz-nanshan') or rm('rm.liu')",
    "new": "customer.created_at newer than 30d and not customer.bound",
    "rich-and-here": f"segment('wealthy') and segment('{COME}')",
    "opened": "customer.stage == 'opened' and customer.holdings >= 2",
}


@dataclass(frozen=True)
class Crowd:
    """So many customers, of whom some sign in for so many seconds."""

    customers: int
    seconds: float


MANY, FEW = Crowd(20_000, 30.0), Crowd(300, 1.0)


async def measure(stage: Stage) -> dict[str, Any]:
    """The row's line. Raises LoadError unless each sign-in led to one coming and one going, and every
    profile is as its sources say."""
    crowd = FEW if stage.scale.rounds == 1 else MANY
    bank = await open_bank(stage.services, TENANT)
    await _people(bank, crowd.customers)
    stage.parts.start("audience")
    await agree(bank)
    await _ready(bank, crowd.customers)
    warm = 0.0 if crowd is FEW else WARM_SECONDS
    events = int(RATE * (crowd.seconds + warm))
    numbers = Random(1).sample(range(crowd.customers), events)  # noqa: S311
    pids = {**stage.pids, **stage.parts.pids}
    before = {name: cpu.seconds(pid) for name, pid in pids.items()}
    signing_in = numbers[::CHANGING]
    seen = asyncio.create_task(_watched(stage, len(signing_in)))
    await asyncio.sleep(0.5)
    due = await _sent(stage, numbers)
    arrived = await seen
    used = {name: cpu.seconds(pid) - before[name] for name, pid in pids.items()}
    _expect_once(arrived, signing_in)
    await _expect_right(bank)
    waits = [
        (at - due[number]) * 1000
        for number in signing_in[int(RATE * warm) // CHANGING :]
        for at in arrived[_cid(number)].values()
    ]
    cuts = quantiles(waits, n=100, method="inclusive")
    return {
        "bench": "membership",
        "unit": "ms",
        "product": round(cuts[94], 1),
        "naive": None,
        "ceiling": None,
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "max_ms": round(max(waits), 1),
        "at_most_ms": AT_MOST_MS,
        "events": events,
        "events_per_second": RATE,
        "sign_ins": len(signing_in),
        "customers": crowd.customers,
        "segments": len(SEGMENTS),
        "processor_ms_per_event": {
            name: round(seconds * 1000 / events, 2) for name, seconds in used.items()
        },
        "load_after": round(os.getloadavg()[0], 2),
    }


# the bank


def _cid(number: int) -> str:
    """Ids lie evenly, as those of the product do."""
    return ids.tenant_id(TENANT, "bench-customer", str(number))


def _unionid(number: int) -> str:
    return f"u-bench-{number}"


async def _people(bank: Bank, count: int) -> None:
    """Customers who are known by their unionid, each with an RM and some values."""
    for start in range(0, count, AT_ONCE):
        some = range(start, min(count, start + AT_ONCE))
        origin = Origin("callback", "bench")
        known = [identity_row(bank, "unionid", _unionid(n), _cid(n), origin) for n in some]
        await bank.db[CUSTOMERS].insert_new([_customer(n) for n in some])
        await bank.db[IDENTITIES].insert_new([dict(row) for row in known])
        await bank.db[RELATIONSHIPS].insert_new([_follow(n) for n in some])
        await values.write_many(bank, [_values(n) for n in some])


def _customer(number: int) -> Doc:
    created = datetime.now(UTC) - timedelta(days=number % 90)
    known: Doc = {"created_at": created, "tags": [], "aliases": [], "openids": {}}
    return {"_id": _cid(number), "provenance": {}, "ids": [], **known}


def _follow(number: int) -> Doc:
    cid, userid = _cid(number), STAFF[number % len(STAFF)]
    since = time.time() - number % 90 * 86_400
    pair: Doc = {"userid": userid, "cid": cid, "active": True, "at": since, "since": since}
    row_id = ids.tenant_id(TENANT, "follow", userid, cid)
    return {"_id": row_id, **pair, "state": "", "add_way": 1}


def _values(number: int) -> Update:
    chance = Random(number)  # noqa: S311
    born = f"{1950 + number % 50}-{1 + number % 12:02}-{1 + number % 28:02}"
    said = {"balance_band": chance.choice("ABCD"), "birthday": born, "holdings": number % 4}
    return Update(_cid(number), {**said, "stage": "opened"}, 1_000.0, SYSTEM, f"b{number}")


async def agree(bank: Bank) -> None:
    """Puts SEGMENTS live."""
    lines = [
        f'  {key}: {{name: {{zh: {key}, en: {key}}}, rule: "{rule}"}}'
        for key, rule in SEGMENTS.items()
    ]
    text = "\n".join(["kind: segments/v1", "segments:", *lines, ""])
    wanted, parsed = document.read_file(text, "bench.yaml")
    words = await profiling.vocabulary(bank, new=wanted)
    named = document.check_file(wanted, parsed, "bench.yaml", words, await versions.uses(bank))
    await versions.apply(bank, wanted, named, words, "cli:bench")


async def _ready(bank: Bank, customers: int) -> None:
    """Waits until everybody has a profile and no segment is being filled; asks little meanwhile."""
    deadline = time.monotonic() + READY_SECONDS
    filling = {"open": True, "state": FILLING}
    while await audience.lag(bank.services) is None or await bank.db[SEGMENT_FILLS].count(filling):
        if time.monotonic() > deadline:
            raise load.LoadError("profiles and segments were not ready")
        await asyncio.sleep(3.0)
    profiles = await bank.db[PROFILES].count()
    never = await bank.db[SEGMENT_MEMBERS].count({"segment": GONE, "left": None})
    if (profiles, never) != (customers, customers):
        raise load.LoadError(
            f"of {customers} customers {profiles} have profiles, {never} a segment"
        )


# the events


async def _sent(stage: Stage, numbers: Sequence[int]) -> dict[int, float]:
    """Sends an event of each customer at the rate, whatever the answers take; when each was due
    (time.monotonic)."""
    start = time.monotonic() + 0.2
    due = {number: start + place / RATE for place, number in enumerate(numbers)}
    address = f"http://127.0.0.1:{stage.ports['product']}"
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30.0) as client:
        async with asyncio.TaskGroup() as group:
            for first in range(0, len(numbers), EACH):
                some = numbers[first : first + EACH]
                await asyncio.sleep(max(0.0, due[some[-1]] - time.monotonic()))
                group.create_task(_post(client, first, some))
    return due


async def _post(client: httpx.AsyncClient, first: int, some: Sequence[int]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    events = []
    for place, number in enumerate(some, first):
        signs_in = place % CHANGING == 0
        told = {"name": "app.login"} if signs_in else {"name": "payment.made", "data": PAID}
        who = {"customer": {"unionid": _unionid(number)}}
        events.append({"id": f"ev-{secrets.token_hex(8)}", "at": now, **told, **who})
    headers, body = intake.signed(events)
    answer = await client.post(intake.PATH, content=body, headers=headers)
    if answer.status_code != 200 or answer.json()["accepted"] != len(some):
        raise load.LoadError(f"unexpected answer: {answer.status_code} {answer.text[:300]}")


Arrived = dict[str, dict[str, float]]
"""cid → segment → when its line was in the timeline (time.monotonic)"""


async def _watched(stage: Stage, events: int) -> Arrived:
    """What comes into the timeline of COME and GONE, until both have been told of every event."""
    arrived: Arrived = {}
    count, deadline = 0, time.monotonic() + PATIENCE
    stream = stage.services.store.watch({TIMELINE: ("cid", "kind", "data")}, None)
    try:
        while count < 2 * events and time.monotonic() < deadline:
            changes = await stream.gather(0.05, 200)
            now = time.monotonic()
            for change in changes:
                segment = (change.fields.get("data") or {}).get("segment")
                if segment in (COME, GONE):
                    his = arrived.setdefault(change.fields["cid"], {})
                    if segment in his:
                        raise load.LoadError(f"twice told of {segment}")
                    his[segment] = now
                    count += 1
    finally:
        await stream.close()
    return arrived


def _expect_once(arrived: Arrived, numbers: Sequence[int]) -> None:
    wanted = {_cid(number) for number in numbers}
    if arrived.keys() != wanted or any(his.keys() != {COME, GONE} for his in arrived.values()):
        told = sum(len(his) for his in arrived.values())
        raise load.LoadError(f"{told} of {2 * len(wanted)} comings and goings were told")


async def _expect_right(bank: Bank) -> None:
    """Profiles are as their sources say, and all memberships count as told."""
    deadline = time.monotonic() + SOON
    while await _untold(bank):
        if time.monotonic() > deadline:
            raise load.LoadError("memberships do not count as told")
        await asyncio.sleep(0.5)
    unlike = [cid async for _, found in profiling.check(bank) for cid in found]
    if unlike:
        raise load.LoadError(f"{len(unlike)} profiles differ")


async def _untold(bank: Bank) -> bool:
    async for row in bank.db[SEGMENT_MEMBERS].scan({}, {"turn": 1, "announced": 1}):
        if row["announced"] < row["turn"]:
            return True
    return False
