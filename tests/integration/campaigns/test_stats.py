"""The funnel counts customers, from the rows, and nothing that did not happen."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest

from campaigns import stats
from services.container import Services
from tests.conftest import DEMO_CAMPAIGNS, Sandbox
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.support.banks import open_bank
from tests.support.documents import LIN
from tests.support.waiting import until


async def funnel(services: Services, campaign: str = "acq-branch") -> dict[str, int]:
    services.cache.clear()
    at_bank = await open_bank(services, "demo")
    return {row["step"]: row["customers"] for row in await stats.funnel(at_bank, LIN, campaign)}


async def scan(sandbox: Sandbox, count: int) -> None:
    people = [await sandbox.person(f"客户{n}") for n in range(count)]
    await asyncio.gather(*(sandbox.scan(person, state=tools.NANSHAN) for person in people))


async def test_an_empty_funnel_has_every_stage(demo: Services) -> None:
    rows = await stats.funnel(await open_bank(demo, "demo"), LIN, "acq-branch")
    assert [row["step"] for row in rows] == ["entered", "hi", "tag", "gift", "claimed"]
    assert {(row["customers"], row["of_first"], row["of_previous"]) for row in rows} == {(0, 0.0, 0.0)}


async def test_every_stage_counts_customers(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await scan(sandbox, 4)
    await tools.all_work(demo)
    (run, *_) = await tools.runs(demo)
    claim = world.Claim("acq-branch.coffee", (run["cid"],), "k", "b")
    assert await world.answer(demo, claim) == "granted"
    await until(lambda: world.settled(demo))
    demo.cache.clear()
    at_bank = await open_bank(demo, "demo")
    rows = {row["step"]: row for row in await stats.funnel(at_bank, LIN, "acq-branch")}
    counted = {step: row["customers"] for step, row in rows.items()}
    assert counted == {"entered": 4, "hi": 4, "tag": 4, "gift": 4, "claimed": 1}
    assert (rows["claimed"]["of_first"], rows["hi"]["of_previous"]) == (0.25, 1.0)


async def test_a_welcome_that_the_rm_was_asked_for_is_not_counted_as_sent(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41050, times=1)
    await scan(sandbox, 3)
    for _ in range(2):
        await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 2
    counted = await funnel(demo)
    assert (counted["entered"], counted["hi"]) == (3, 2)


async def test_a_campaign_without_steps_counts_its_claims(demo: Services) -> None:
    claims = [world.Claim("flash.voucher", (f"c{n}",), "k", "b") for n in range(3)]
    await asyncio.gather(*(world.answer(demo, claim) for claim in claims))
    assert await funnel(demo, "flash") == {"claimed": 3}


async def test_no_stage_has_more_customers_than_the_one_before(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    """Most welcomes fail, tags and offers do not: who was not greeted is in no later stage."""
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41050, times=3)
    await scan(sandbox, 4)
    for _ in range(2):
        await tools.all_work(demo)
    for run in await tools.runs(demo):
        await world.answer(demo, world.Claim("acq-branch.coffee", (run["cid"],), "k", "b"))
    await until(lambda: world.settled(demo))
    demo.cache.clear()
    rows = await stats.funnel(await open_bank(demo, "demo"), LIN, "acq-branch")
    assert [row["customers"] for row in rows] == [4, 1, 1, 1, 1]
    assert [row["failed"] for row in rows] == [0, 3, 0, 0, 0]
    assert [row["besides"] for row in rows] == [0, 0, 3, 3, 3]
    assert max(row["of_previous"] for row in rows) == 1.0


async def test_a_customer_whom_another_app_greeted_is_not_counted_as_greeted(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41051, times=1)
    await scan(sandbox, 2)
    await tools.all_work(demo)
    demo.cache.clear()
    rows = {row["step"]: row for row in await stats.funnel(await open_bank(demo, "demo"), LIN, "acq-branch")}
    assert (rows["hi"]["customers"], rows["hi"]["failed"]) == (1, 1)


def test_who_was_left_out_by_a_steps_rule_passed_it() -> None:
    stages = [stats.Stage(step, "stage_tag") for step in ("entered", "vip", "tag")]
    counts = {
        frozenset({"entered", "vip", "tag"}): 2,
        frozenset({"entered", "-vip", "tag"}): 5,
        frozenset({"entered", "!vip", "tag"}): 1,
        frozenset({"tag"}): 3,
    }
    rows = stats._shares(stages, counts)
    assert [(row["customers"], row["failed"], row["besides"]) for row in rows] == [(8, 0, 0), (7, 1, 0), (7, 0, 4)]


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happened_no_stage_has_more_than_the_one_before(seed: int) -> None:
    chance = random.Random(seed)
    marks = [one + step for one in ("", "-", "!") for step in "abcd"]
    histories = [frozenset(chance.sample(marks, chance.randint(0, 8))) for _ in range(chance.randint(0, 30))]
    counts = {history: chance.randint(1, 1000) for history in histories}
    rows = stats._shares([stats.Stage(step, "stage_tag") for step in "abcd"], counts)
    customers, everybody = [row["customers"] for row in rows], sum(counts.values())
    assert customers == sorted(customers, reverse=True)
    for row in rows:
        assert 0 <= row["of_first"] <= 1
        assert 0 <= row["of_previous"] <= 1
        assert 0 <= row["besides"] <= everybody - row["customers"]
        assert 0 <= row["failed"] <= everybody


async def test_a_step_may_be_called_as_a_stage_is(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    """A welcome that is called entered and fails, a tag that is called claimed: neither makes the stage of that name."""
    text = (DEMO_CAMPAIGNS / "branch-acquisition.yaml").read_text(encoding="utf-8")
    text = (
        text.replace("{id: claimed", "{id: waits")
        .replace("id: claimed", "id: waits")
        .replace("id: hi,", "id: entered,")
    )
    await tools.go_live(demo, text.replace("{id: tag,", "{id: claimed,"))
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41050, times=1)
    await scan(sandbox, 2)
    await tools.all_work(demo)
    demo.cache.clear()
    rows = await stats.funnel(await open_bank(demo, "demo"), LIN, "acq-branch")
    assert [row["customers"] for row in rows] == [2, 1, 1, 1, 0]
    assert [row["failed"] for row in rows] == [0, 1, 0, 0, 0]
