"""What is left of the bank's rewards: each stock, what moved it, and the alarm of one that runs short."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.actors import ClerkActor
from rewards import shelf
from services.container import Services
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc
from tests.integration.rewards import world
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until

LIN = ClerkActor("demo", "lin", "林晓", frozenset())


async def alarms(services: Services) -> list[Doc]:
    rows = await services.store.tenant("demo")["alarms"].find({"kind": "reward.low"}, sort=[("at", 1), ("_id", 1)])
    return [row for row in rows if row["data"]["reward"] == world.REWARD]


async def take(services: Services, count: int, prefix: str = "c") -> None:
    answers = await asyncio.gather(*(world.answer(services, world.request(f"{prefix}{n}")) for n in range(count)))
    assert set(answers) == {"granted"}


async def watched(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await asyncio.gather(jobs.run(bank, "rewards.watch_stock"), jobs.run(bank, "rewards.watch_stock"))


async def test_a_reward_that_runs_short_is_told_once_and_ends_when_it_is_restocked(demo: Services) -> None:
    await world.put(demo, 20)
    await take(demo, 18)
    await watched(demo)
    assert await alarms(demo) == []  # two of twenty are a tenth, and not fewer
    await take(demo, 1, "d")
    await watched(demo)
    await watched(demo)
    (one,) = await alarms(demo)
    assert (one["state"], one["data"]["left"], one["data"]["low"]) == ("open", 1, 2)
    await world.put(demo, 40)
    await watched(demo)
    (one,) = await alarms(demo)
    assert (one["state"], one["how"]) == ("handled", "restocked")
    await take(demo, 19, "e")
    await watched(demo)
    assert [row["state"] for row in await alarms(demo)] == ["handled", "open"]


async def test_what_a_clerk_resolved_is_not_raised_again_until_it_was_restocked(demo: Services) -> None:
    from customers.alerts import alarms as alerts

    await world.put(demo, 10)
    bank = await open_bank(demo, "demo")
    await shelf.set_low(bank, LIN, world.REWARD, 11)
    await watched(demo)
    (one,) = await alarms(demo)
    await alerts.handle_by_clerk(bank, LIN, one["_id"])
    await watched(demo)
    assert [row["state"] for row in await alarms(demo)] == ["handled"]
    await shelf.set_low(bank, LIN, world.REWARD, 0)
    await watched(demo)
    await shelf.set_low(bank, LIN, world.REWARD, 11)
    await watched(demo)
    assert [row["state"] for row in await alarms(demo)] == ["handled", "open"]
    said = await demo.store.tenant("demo")["audit"].find({"action": "reward.low_changed"}, sort=[("seq", 1)])
    assert [(row["data"]["before"], row["data"]["low"]) for row in said] == [(1, 11), (11, 0), (0, 11)]


@pytest.mark.parametrize("low", [-1, 10_000_001])
async def test_a_line_that_is_none_is_refused(demo: Services, low: int) -> None:
    await world.put(demo, 10)
    with pytest.raises(InvalidInput, match="low_invalid"):
        await shelf.set_low(await open_bank(demo, "demo"), LIN, world.REWARD, low)
    with pytest.raises(NotFound, match="reward_unknown"):
        await shelf.set_low(await open_bank(demo, "demo"), LIN, "no.such", 1)


async def test_a_stock_is_shown_with_its_days_and_its_changes(demo: Services) -> None:
    await world.put(demo, 20)
    await take(demo, 3)
    await world.put(demo, 30)
    await world.put(demo, 25)
    bank = await open_bank(demo, "demo")
    await until(lambda: world.settled(demo))
    view = await shelf.get(bank, LIN, world.REWARD)
    assert [(line["kind"], line["amount"]) for line in view["stock_lines"]] == [
        ("retire", 5), ("stock", 10), ("stock", 20),
    ]  # fmt: skip
    assert (view["by_day"], view["today"]) == ([(bank.today().isoformat(), 3)], 3)
    rows: list[dict[str, Any]] = await shelf.overview(bank, LIN)
    (ours,) = [row for row in rows if row["reward"] == world.REWARD]
    assert {name: ours[name] for name in ("total", "available", "granted", "retired", "short")} == {
        "total": 30, "available": 22, "granted": 3, "retired": 5, "short": False,
    }  # fmt: skip
    assert {row["campaign"] for row in rows} >= {"acq-branch", "flash", "camp"}
