"""A campaign's budget in fen: giving stops at exactly that, whoever claims at once and whatever is killed."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from campaigns.document.reading import read
from campaigns.publishing import versions
from rewards import budget, catalogue, claims, ledger
from rewards.ledger import accounts, sweep
from services.container import Services
from services.errors import Conflict
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.integration.rewards.test_quotas import LONG, whole
from tests.integration.rewards.world import TENANT
from tests.support import killing
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import ZHAO
from tests.support.waiting import until

SHORT = """\
kind: campaign/v1
id: shop
name: {zh: 商城}
window: {from: 2026-01-01, to: 2029-12-31}
money: {budget: 1000}
disclosure: {rules_zh: 规则, odds_or_quantity: "送完即止", claim_by: 2029-12-31, host: 银行, contact: "95500"}
rewards:
  cup: {kind: code, title: {zh: 杯子}, cost: 100, stock: 100, claim: anyone}
  pen: {kind: code, title: {zh: 笔}, cost: 30, stock: 100, claim: anyone}
"""
"""Its rewards may cost 13,000 fen, and it has 1,000."""
CUP, PEN = "shop.cup", "shop.pen"


def claim(reward: str, cid: str, key: str = "k") -> claims.Claim:
    return claims.Claim(reward, (cid,), key, "b")


async def at_once(services: Services, wanted: list[tuple[str, str]]) -> Counter[str]:
    return Counter(await asyncio.gather(*(world.answer(services, claim(*one)) for one in wanted)))


async def money(services: Services) -> dict[str, int]:
    """What the campaign's accounts hold by the ledger's rows."""
    found: Counter[str] = Counter()
    async for row in services.store.tenant(TENANT)["transfers"].scan():
        legs = [row, *row.get("legs", [])]
        for leg in legs:
            if leg.get("currency") == "fen":
                found[leg["debit"].partition(":")[0]] -= leg["amount"]
                found[leg["credit"].partition(":")[0]] += leg["amount"]
    return dict(found)


async def test_giving_stops_at_exactly_the_budget(demo: Services) -> None:
    await tools.go_live(demo, SHORT)
    answers = await at_once(demo, [(CUP, f"c{n}") for n in range(40)])
    assert answers == {"granted": 10, "budget": 30}
    await whole(demo)
    assert await money(demo) == {"funds": -1000, "budget": 0, "spent": 1000}
    row = await world.reward_row(demo, reward=CUP)
    assert (row["granted"], row["available"], row["held"]) == (10, 90, 0)
    assert sum(row["spent"].values()) == 1000


async def test_rewards_of_different_cost_share_it_to_the_last_unit(demo: Services, second: Services) -> None:
    await tools.go_live(demo, SHORT)
    wanted = [(reward, f"c{n}") for n in range(60) for reward in (CUP, PEN)]
    found = await asyncio.gather(at_once(demo, wanted[:60]), at_once(second, wanted[60:]))
    assert sum(one["granted"] for one in found) >= 10
    await whole(demo)
    for n in range(40):  # what was in doubt is asked for again, until the budget says no
        if await world.answer(demo, claim(PEN, f"late{n}")) == "budget":
            break
        await whole(demo)
    spent = (await money(demo))["spent"]
    assert 1000 - 30 < spent <= 1000


async def test_a_campaign_that_cannot_overspend_has_no_account(demo: Services) -> None:
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    assert await at_once(demo, [(CUP, f"c{n}") for n in range(20)]) == {"granted": 20}
    await whole(demo)
    assert await money(demo) == {"funds": -2000, "spent": 2000}
    assert await demo.store.tenant(TENANT)["accounts"].count({}) == 0


async def test_a_version_with_less_money_opens_the_budget_for_what_is_left(demo: Services) -> None:
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    assert await at_once(demo, [(CUP, f"c{n}") for n in range(5)]) == {"granted": 5}
    await tools.go_live(demo, SHORT)
    demo.cache.clear()
    assert await at_once(demo, [(CUP, f"d{n}") for n in range(20)]) == {"granted": 5, "budget": 15}
    await whole(demo)
    assert (await money(demo))["spent"] == 1000
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 1250"))
    demo.cache.clear()
    assert await at_once(demo, [(CUP, f"e{n}") for n in range(20)]) == {"granted": 2, "budget": 18}
    await whole(demo)
    assert await money(demo) == {"funds": -1250, "budget": 50, "spent": 1200}


async def test_nobody_takes_away_what_is_spent(demo: Services) -> None:
    await tools.go_live(demo, SHORT)
    assert await at_once(demo, [(CUP, f"c{n}") for n in range(6)]) == {"granted": 6}
    await whole(demo)
    bank = await open_bank(demo, TENANT)
    before = await money(demo)
    with pytest.raises(Conflict) as refused:
        await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 500"))
    assert refused.value.code == "budget_in_use"
    assert await money(demo) == before
    row = await budget.find(bank, "shop")
    assert row is not None
    assert (row["declared"], row.get("move")) == (1000, None)
    demo.cache.clear()
    assert await at_once(demo, [(CUP, f"d{n}") for n in range(6)]) == {"granted": 4, "budget": 2}
    await whole(demo)


async def _is_opening(services: Services) -> bool:
    return await services.store.tenant(TENANT)["rewards"].count({"opening": True}) > 0


async def test_the_opening_waits_for_claims_that_are_under_way(demo: Services) -> None:
    """A claim has its stock and not yet its row when the budget is opened: it counts as spent before."""
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    stall = world.Stall()
    async with world.process(demo, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, claim(CUP, "late")))
        await stall.reached.wait()
        opening = asyncio.create_task(tools.go_live(demo, SHORT))
        await until(lambda: _is_opening(demo))
        async with world.process(demo) as other:
            assert await world.answer(other, claim(CUP, "meanwhile")) == "reward_changed"
        assert not opening.done()
        stall.release()
        assert await late == "granted"
        await opening
    demo.cache.clear()
    assert await at_once(demo, [(CUP, f"c{n}") for n in range(20)]) == {"granted": 9, "budget": 11}
    await whole(demo)
    assert (await money(demo))["spent"] == 1000


async def test_without_the_waiting_more_is_spent(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race that the opening closes."""
    monkeypatch.setattr(budget, "_batches", lambda _: set())
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    stall = world.Stall()
    async with world.process(demo, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, claim(CUP, "late")))
        await stall.reached.wait()
        await tools.go_live(demo, SHORT)
        demo.cache.clear()
        assert await at_once(demo, [(CUP, f"c{n}") for n in range(20)]) == {"granted": 10, "budget": 10}
        stall.release()
        assert await late == "granted"
    await whole(demo)
    assert (await money(demo))["spent"] == 1100


@pytest.mark.parametrize("number", range(14))
async def test_an_opening_that_was_cut_short_is_finished(
    demo: Services, clock: MovedClock, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 13000"))
    assert await at_once(demo, [(CUP, f"c{n}") for n in range(5)]) == {"granted": 5}
    await whole(demo)
    document = read(SHORT, "f.yaml", {})
    wanted = [versions._definition(bank, document, *one) for one in document.rewards.items()]
    with monkeypatch.context() as patch:
        died = killing.before_write(patch, number)
        try:
            await budget.put(bank, "shop", 1000, wanted)
        except killing.Killed:
            pass
        assert died() or number > 8
    clock.advance(LONG)
    await sweep.settle_stale(bank)
    await budget.finish_all(bank)
    assert await budget.put(bank, "shop", 1000, wanted)
    await whole(demo)
    row = await budget.find(bank, "shop")
    assert row is not None
    assert (row["declared"], row["guarded"], row.get("before"), row["funded"]) == (1000, True, 500, 500)
    assert await money(demo) == {"funds": -1000, "budget": 500, "spent": 500}
    demo.cache.clear()
    assert await at_once(demo, [(CUP, f"d{n}") for n in range(9)]) == {"granted": 5, "budget": 4}
    await whole(demo)


@pytest.mark.parametrize("gate", ["before", "after"])
async def test_a_process_that_dies_leaves_no_fen_behind(demo: Services, clock: MovedClock, gate: str) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 200"))
    assert await world.claim_and_die(demo, claim(CUP, "a"), **{gate: world.die}) == "Killed"
    assert (await at_once(demo, [(CUP, "b"), (CUP, "c")]))["granted"] == 1
    clock.advance(LONG)
    await claims.settle_stale(bank)
    await sweep.settle_stale(bank)
    await whole(demo)
    answers = await at_once(demo, [(CUP, f"d{n}") for n in range(5)])
    assert answers == ({"granted": 1, "budget": 4} if gate == "before" else {"budget": 5})
    await whole(demo)
    assert await money(demo) == {"funds": -200, "budget": 0, "spent": 200}


async def test_whoever_submits_is_told_that_the_money_does_not_pay_for_all(demo: Services) -> None:
    bank = await open_bank(demo, TENANT)
    await versions.submit(bank, ZHAO, SHORT)
    shown = await versions.get_campaign(bank, ZHAO, "shop")
    assert [one.code for one in shown["notices"]] == ["notice_budget_short"]


async def test_a_reward_for_which_there_is_no_money_is_shown_as_given_out(
    demo: Services, http: httpx.AsyncClient
) -> None:
    await tools.go_live(demo, SHORT.replace("budget: 1000", "budget: 130"))
    (customer,) = await world.signed_in(demo, 1)

    async def shown() -> dict[str, tuple[str, int]]:
        demo.cache.clear()
        rewards = (await http.get(f"/mp/{world.BANK}/rewards", headers=customer)).json()["rewards"]
        return {one["id"]: (one["state"], one["left"]) for one in rewards if one["id"] in (CUP, PEN)}

    assert await shown() == {CUP: ("claimable", 1), PEN: ("claimable", 4)}
    assert await at_once(demo, [(PEN, "a"), (PEN, "b")]) == {"granted": 2}
    await whole(demo)
    assert await shown() == {CUP: ("sold_out", 0), PEN: ("claimable", 2)}


async def test_the_account_has_what_the_rows_say(demo: Services) -> None:
    bank = await open_bank(demo, TENANT)
    await tools.go_live(demo, SHORT)
    await at_once(demo, [(PEN, f"c{n}") for n in range(7)])
    await whole(demo)
    assert await accounts.balance(bank, "budget:shop") == accounts.Balance(790, 0, 790)
    assert await ledger.check(bank) == []
    assert (await catalogue.find(bank, PEN)).get("guarded")
