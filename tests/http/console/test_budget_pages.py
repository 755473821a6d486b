"""The console's pages of budgets: what is spent and until when it lasts, in both languages, for who may see it."""

from __future__ import annotations

import html

from services.container import Services
from tests.http.conftest import Clerk
from tests.integration.campaigns import tools
from tests.integration.rewards.test_budget import CUP, SHORT, at_once
from tests.integration.rewards.test_quotas import whole

LIST, PAGE = "/console/budgets", "/console/budgets/shop"


async def test_a_clerk_sees_what_is_spent_and_until_when_it_lasts(clerk: Clerk, demo: Services) -> None:
    await tools.go_live(demo, SHORT)
    assert (await at_once(demo, [(CUP, f"c{n}") for n in range(4)])) == {"granted": 4}
    await whole(demo)
    lin = await clerk("lin")
    listed = html.unescape((await lin.get(LIST)).text)
    for words in ("预算", "商城", "10.00", "4.00", "6.00", "按近期速度，将在", "限时抢券"):
        assert words in listed
    page = html.unescape((await lin.get(PAGE)).text)
    for words in ("商城", "杯子", "预算已用 40%", "超过剩余预算", "领取截止日", "2029-12-31", "按天", "按权益"):
        assert words in page, words
    assert "shop.cup" not in page
    english = html.unescape((await lin.get(f"{PAGE}?lang=en")).text)
    for words in (
        "Budget in yuan",
        "40 percent of the budget is spent",
        "At the present pace it is spent on",
        "By day",
    ):
        assert words in english, words
    assert f'href="{PAGE}"' in (await lin.get("/console/campaigns/shop")).text


async def test_a_campaign_without_rewards_has_no_budget_page(clerk: Clerk) -> None:
    lin = await clerk("lin")
    assert (await lin.get("/console/budgets/nothing")).status_code == 404
