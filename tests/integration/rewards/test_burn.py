"""How a budget burns: what is spent by day and by reward, and until when the money lasts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from rewards import burn
from services.container import Services
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.integration.rewards.test_budget import CUP, PEN, SHORT, claim
from tests.integration.rewards.test_quotas import whole
from tests.integration.rewards.world import TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


async def _give(services: Services, reward: str, *cids: str) -> None:
    answers = await asyncio.gather(*(world.answer(services, claim(reward, cid)) for cid in cids))
    assert set(answers) == {"granted"}
    await whole(services)


async def test_spending_by_day_and_reward_and_its_forecast(demo: Services, clock: MovedClock) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT)
    first = bank.today()
    await _give(demo, CUP, "a", "b")
    clock.advance(86_400)
    await _give(demo, PEN, "a", "b", "c", "d")
    found = await burn.of_campaign(bank, "shop")
    assert found is not None
    assert (found.budget, found.spent, found.held, found.left, found.burnt) == (1000, 320, 0, 680, 32)
    assert [(one.day, one.spent, one.total, one.share) for one in found.days] == [
        (first, 200, 200, 100),
        (first + timedelta(days=1), 120, 320, 60),
    ]
    assert {one.reward: (one.granted, one.left, one.spent) for one in found.rewards} == {
        CUP: (2, 98, 200),
        PEN: (4, 96, 120),
    }
    assert found.whole_stock == 98 * 100 + 96 * 30
    assert (found.pace, found.out) == (160, bank.today() + timedelta(days=4))
    assert not found.lasts
    assert found.guarded


async def test_a_budget_that_is_spent_is_out_today(demo: Services) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 200"))
    await _give(demo, CUP, "a", "b")
    found = await burn.of_campaign(bank, "shop")
    assert found is not None
    assert (found.left, found.out, found.burnt) == (0, bank.today(), 100)


async def test_where_the_stock_is_guard_enough_the_same_is_shown(demo: Services) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    before = await burn.of_campaign(bank, "shop")
    assert before is not None
    assert (before.spent, before.left, before.pace, before.out) == (0, 13_000, 0, None)
    await _give(demo, CUP, "a")
    found = await burn.of_campaign(bank, "shop")
    assert found is not None
    assert (found.spent, found.left, found.guarded) == (100, 12_900, False)
    assert found.out == bank.today() + timedelta(days=129)
    assert found.lasts is (found.out > (found.ends or found.out))
    assert [one.campaign for one in await burn.of_bank(bank)] == ["acq-branch", "flash", "rm-care", "shop"]
