"""Real processes, really killed, in the middle of a campaign: what must be true when the dust has settled."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from rewards import catalogue, ledger
from rewards.item import Item
from services.container import Services
from services.documents.parts import Text
from services.errors import Unavailable
from tests.conftest import Sandbox, Stack
from tests.faults import storms
from tests.faults.storms import Wave
from tests.integration.rewards.world import CAMPAIGN, ENDS, STARTS
from tests.support.banks import open_bank
from tests.support.waiting import until

VICTIMS = ("server", "worker", "redis", "mongodb")
CLAIMS, STOCK, SCANS, AT_ONCE = 75, 25, 13, 8
"""Of each of the four waves: 300 claims on a stock of 100, and 52 scans."""


async def _put(services: Services, wave: int) -> Wave:
    definition = catalogue.Definition(
        key=f"w{wave}",
        item=Item(kind="code", title=Text(zh="券"), cost=1),
        stock=STOCK,
        per_customer=1,
        per_day=None,
        open_to="anyone",
        starts=STARTS,
        ends=ENDS,
    )
    bank = await open_bank(services, "demo")
    await catalogue.put(bank, CAMPAIGN, definition)
    await catalogue.set_state(bank, CAMPAIGN, "live")
    return Wave(catalogue.reward_id(CAMPAIGN, definition.key))


async def _scans(sandbox: Sandbox, people: list[dict[str, Any]]) -> None:
    await asyncio.gather(*(sandbox.scan(person, state="branch-q1.sz-nanshan") for person in people))


async def _acknowledged(sandbox: Sandbox) -> int:
    deliveries = (await sandbox.control("GET", "deliveries", limit=1000))["deliveries"]
    return sum(any(attempt["accepted"] for attempt in one["attempts"]) for one in deliveries)


@pytest.fixture
async def customers(demo: Services, request: pytest.FixtureRequest) -> list[str]:
    return await storms.customers(demo, getattr(request, "param", CLAIMS * len(VICTIMS)))


@pytest.mark.kills_store
@pytest.mark.alone
async def test_whatever_is_killed_nothing_is_lost_and_nothing_is_done_twice(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox
) -> None:
    await _one_after_the_other(demo, customers, stack, sandbox, VICTIMS)


@pytest.mark.soak
@pytest.mark.kills_store
@pytest.mark.parametrize("customers", [CLAIMS * len(VICTIMS) * 10], indirect=True)
async def test_however_often_they_are_killed_nothing_is_lost_and_nothing_is_done_twice(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox
) -> None:
    await _one_after_the_other(demo, customers, stack, sandbox, VICTIMS * 10)


async def _one_after_the_other(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox, victims: tuple[str, ...]
) -> None:
    waves = [await _put(demo, n) for n in range(len(victims))]
    async with storms.client(stack.url) as http:
        for n, victim in enumerate(victims):
            await _wave(demo, sandbox, http, waves[n], customers[n * CLAIMS : (n + 1) * CLAIMS], stack, (victim,))
        await _check(demo, sandbox, http, waves)


@pytest.mark.kills_store
@pytest.mark.alone
async def test_after_a_power_cut_nothing_is_lost_and_nothing_is_done_twice(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox
) -> None:
    wave = await _put(demo, 0)
    everything = ("worker", "server", "scheduler", "redis", "mongodb")
    async with storms.client(stack.url) as http:
        await _wave(demo, sandbox, http, wave, customers[:CLAIMS], stack, everything)
        await _check(demo, sandbox, http, [wave])


async def _wave(
    services: Services,
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    wave: Wave,
    cids: list[str],
    stack: Stack,
    victims: tuple[str, ...],
) -> None:
    """Claims and scans at once; in the middle of both the victims are killed, and started again in reverse."""
    people = [await sandbox.person(f"客户{wave.reward}-{n}") for n in range(SCANS)]
    before = await _acknowledged(sandbox)
    load = asyncio.gather(storms.claims(services, http, wave, cids, AT_ONCE), _scans(sandbox, people))

    async def under_way() -> bool:
        return wave.answered >= 12 and await _acknowledged(sandbox) >= before + SCANS // 2

    await until(under_way)
    loop = asyncio.get_running_loop()
    for victim in victims:
        await loop.run_in_executor(storms.STARTER, stack.kill9, victim)
    for victim in reversed(victims):
        await loop.run_in_executor(storms.STARTER, stack.start, victim)
    await load


async def _check(services: Services, sandbox: Sandbox, http: httpx.AsyncClient, waves: list[Wave]) -> None:
    await until(lambda: _quiet(services, sandbox), 60.0)
    await _check_rewards(services, waves)
    await _sell_what_came_back(services, http, waves)
    await until(lambda: _quiet(services, sandbox), 60.0)
    assert await ledger.check(await open_bank(services, "demo")) == []
    await _check_welcomes(services, sandbox)
    assert await services.audit.verify(services.store.tenant("demo")) == []


async def _quiet(services: Services, sandbox: Sandbox) -> bool:
    """Nothing open, nothing held, and WeCom has nothing more to deliver."""
    db = services.store.tenant("demo")
    try:
        waiting = [await db[name].count({"open": True}) for name in ("inbox", "outbox")]
        held = await db["rewards"].count({"held": {"$gt": 0}})
    except Unavailable:
        return False
    sent = (await sandbox.control("GET", "deliveries", limit=1000))["deliveries"]
    under_way = [one for one in sent if not one["delivered"] and len(one["attempts"]) < 4]
    return not any(waiting) and not held and not under_way


async def _check_rewards(services: Services, waves: list[Wave]) -> None:
    db = services.store.tenant("demo")
    assert await ledger.check(await open_bank(services, "demo")) == []
    for wave in waves:
        assert wave.answered == CLAIMS, (wave.answered, wave.troubles)
        row = await db["rewards"].find_one({"reward": wave.reward})
        grants = await db["transfers"].find({"reward": wave.reward, "kind": "grant"})
        assert row is not None
        assert (row["total"], row["held"], row["granted"]) == (STOCK, 0, len(grants))
        assert len(grants) <= STOCK
        assert wave.granted == {grant["cid"]: grant["_id"].split(":", 1)[1] for grant in grants}
        assert wave.refused == {"sold_out": CLAIMS - len(grants)}


async def _sell_what_came_back(services: Services, http: httpx.AsyncClient, waves: list[Wave]) -> None:
    """A unit that a dead process held is on sale again: in the end everything is sold, and no more."""
    for wave in waves:
        again = Wave(wave.reward)
        await storms.claims(services, http, again, wave.others, AT_ONCE)
        assert len(wave.granted) + len(again.granted) == STOCK


async def _check_welcomes(services: Services, sandbox: Sandbox) -> None:
    db = services.store.tenant("demo")
    deliveries = (await sandbox.control("GET", "deliveries", limit=1000))["deliveries"]
    acknowledged = [one for one in deliveries if any(attempt["accepted"] for attempt in one["attempts"])]
    stored = await db["inbox"].find({"source": "wecom"})
    assert len(stored) >= len(acknowledged) >= SCANS // 2
    assert {row["state"] for row in stored} == {"handled"}
    effects = await db["outbox"].find({"kind": "welcome"})
    assert len(effects) == len(stored)
    reasons = {row["state"]: bool(row["reason"]) or row["state"] == "done" for row in effects}
    assert set(reasons) <= {"done", "expired"}
    assert all(reasons.values())
    greeted = Counter(one["person"] for one in (await sandbox.control("GET", "welcomes"))["welcomes"])
    assert set(greeted.values()) == {1}
    assert sum(row["state"] == "done" for row in effects) <= len(greeted) <= len(effects)
    assert await db["runs"].count({"status": "active", "waiting": "reward.claimed", "pending_steps": []}) == len(stored)
