"""The last day to claim is what customers were promised: claims end with it, in the bank's time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from campaigns.publishing import versions
from rewards import catalogue, portal
from services.container import Services
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.support.banks import open_bank
from tests.support.documents import REWARDS, ZHAO

PAST = """\
kind: campaign/v1
id: past-claim
name: {zh: 已过领取期}
window: {from: 2026-11-01, to: 2029-12-31}
money: {budget: 1000000}
disclosure: {rules_zh: 规则, odds_or_quantity: 前100名, claim_by: 2026-11-10, host: 银行, contact: "95500"}
rewards:
  tea: {kind: code, title: {zh: 茶}, cost: 100, stock: 100, claim: anyone}
"""


async def test_after_the_last_day_to_claim_nothing_is_granted(demo: Services) -> None:
    await tools.go_live(demo, PAST)
    claim = world.Claim("past-claim.tea", ("demo:c1",), "k", "b")
    assert await world.answer(demo, claim) == "ended"
    row = await demo.store.tenant("demo")["rewards"].find_one({"reward": "past-claim.tea"})
    assert row is not None
    assert (row["available"], row["granted"], row["held"]) == (100, 0, 0)
    assert await demo.store.tenant("demo")["transfers"].count({"reward": "past-claim.tea", "kind": "grant"}) == 0


@pytest.mark.parametrize(("claim_by", "to"), [("2028-03-01", "2029-12-31"), ("2029-12-31", "2028-03-01")])
async def test_the_last_day_is_whole_in_the_banks_time_whenever_the_window_ends(
    demo: Services, claim_by: str, to: str
) -> None:
    text = REWARDS.replace("claim_by: 2029-12-31", f"claim_by: {claim_by}").replace("to: 2029-12-31", f"to: {to}")
    await tools.go_live(demo, text)
    bank = await open_bank(demo, "demo")
    reward = await catalogue.find(bank, "shop.cup")
    ends = datetime.combine(date.fromisoformat(claim_by), datetime.min.time(), bank.tz) + timedelta(days=1)
    assert reward["ends"].astimezone(UTC) == ends.astimezone(UTC)
    second = timedelta(seconds=1)
    assert catalogue.why_closed(reward, ends - second, "") == ""
    assert catalogue.why_closed(reward, ends, "") == "ended"


async def test_what_is_good_until_an_earlier_day_is_not_given_after_it(demo: Services) -> None:
    """He would have a voucher that was over, and the campaign's budget would have paid for it."""
    past = PAST.replace("claim_by: 2026-11-10", "claim_by: 2029-12-31")
    await tools.go_live(demo, past.replace("cost: 100,", "cost: 100, valid_until: 2026-11-10,"))
    bank = await open_bank(demo, "demo")
    reward = await catalogue.find(bank, "past-claim.tea")
    ends = datetime(2026, 11, 11, tzinfo=bank.tz)
    assert reward["ends"].astimezone(UTC) == ends.astimezone(UTC)
    claim = world.Claim("past-claim.tea", ("demo:c1",), "k", "b")
    assert await world.answer(demo, claim) == "ended"
    assert await demo.store.tenant("demo")["transfers"].count({"kind": "grant"}) == 0


async def test_customers_are_shown_the_day_and_the_terms(demo: Services) -> None:
    await tools.go_live(demo, REWARDS.replace("claim_by: 2029-12-31", "claim_by: 2029-03-01"))
    bank = await open_bank(demo, "demo")
    view = portal._face(await catalogue.find(bank, "shop.cup"), "zh")
    assert view["until"].startswith("2029-03-01T16:00:00")
    shown = {"rules": "规则", "quantity": "10 张", "claim_by": "2029-03-01", "host": "银行", "contact": "95500"}
    assert view["terms"] == shown


async def test_a_checker_is_told_that_the_last_day_is_over(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await versions.submit(bank, ZHAO, PAST)
    shown = await versions.get_campaign(bank, ZHAO, "past-claim")
    assert [one.code for one in shown["notices"]] == ["notice_claim_over"]
    assert "2026-11-10" in shown["notices"][0].say("zh")
