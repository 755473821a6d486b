"""A campaign's budget while 64 customers claim at once and the web process is killed every two seconds: what is spent
is the budget, to the last unit that it pays for."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from customers.identity import resolution
from rewards import ledger
from rewards.ledger import accounts
from services.container import Services
from services.errors import Unavailable
from tests.conftest import Sandbox, Stack
from tests.faults.test_kills import _STARTER, Wave, _claim
from tests.integration.campaigns import tools
from tests.integration.rewards.world import BANK
from tests.support.banks import open_bank
from tests.support.waiting import until

COST, AT_ONCE, EVERY, FIRST = 100, 64, 2.0, 0.4
REWARD = "short.cup"


def campaign(units: int) -> str:
    """One whose budget pays for so many units, and for half a unit more."""
    return f"""\
kind: campaign/v1
id: short
name: {{zh: 预算有限}}
window: {{from: 2026-01-01, to: 2029-12-31}}
money: {{budget: {units * COST + COST // 2}}}
disclosure: {{rules_zh: 规则, odds_or_quantity: 送完即止, claim_by: 2029-12-31, host: 银行, contact: "95500"}}
limits: {{quotas: [{{per: branch, count: 100000}}]}}
rewards:
  cup: {{kind: code, title: {{zh: 杯子}}, cost: {COST}, stock: 20000, claim: anyone}}
"""


@pytest.fixture
async def customers(demo: Services, request: pytest.FixtureRequest) -> list[str]:
    bank = await open_bank(demo, "demo")
    facts = [resolution.Facts(unionid=f"u{n}", openids={BANK: f"o{n}"}) for n in range(request.param)]
    found: list[str] = []
    for start in range(0, len(facts), 500):
        found += await asyncio.gather(*(resolution.identify(bank, one) for one in facts[start : start + 500]))
    return found


async def _load(services: Services, url: str, wave: Wave, cids: list[str]) -> None:
    queue = iter(cids)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20.0) as http:

        async def customer() -> None:
            for cid in queue:
                await _claim(services, http, wave, cid)

        await asyncio.gather(*(customer() for _ in range(AT_ONCE)))


async def _settled(services: Services) -> bool:
    db = services.store.tenant("demo")
    try:
        held = await db["rewards"].count({"held": {"$gt": 0}})
        under_way = await db["ledger_batches"].count({})
        return not held and not under_way and not await db["inbox"].count({"open": True})
    except Unavailable:
        return False


async def _kills(stack: Stack, loads: asyncio.Future[None]) -> int:
    """Kills the web process every two seconds while the load lasts; how often."""
    loop, kills = asyncio.get_running_loop(), 0
    while not loads.done():
        await asyncio.sleep(EVERY if kills else FIRST)
        if loads.done():
            break
        await loop.run_in_executor(_STARTER, stack.kill9, "server")
        await loop.run_in_executor(_STARTER, stack.start, "server")
        kills += 1
    return kills


async def _spend_all(demo: Services, cids: list[str], stack: Stack, units: int) -> None:
    await tools.go_live(demo, campaign(units))
    wave = Wave(REWARD)
    loads = asyncio.ensure_future(_load(demo, stack.url, wave, cids))
    kills = await _kills(stack, loads)
    await loads
    assert kills, "the load was over before the first kill"
    await until(lambda: _settled(demo), 60.0)
    again = Wave(REWARD)
    await _load(demo, stack.url, again, wave.others)  # what a dead process held is there again
    await until(lambda: _settled(demo), 60.0)
    bank = await open_bank(demo, "demo")
    rows = await bank.db["transfers"].find({"kind": "grant", "reward": REWARD}, limit=None)
    assert len(rows) == units
    assert {**wave.granted, **again.granted} == {row["cid"]: row["_id"].split(":", 1)[1] for row in rows}
    assert max(Counter(row["cid"] for row in rows).values()) == 1
    assert set(wave.refused) | set(again.refused) == {"budget"}
    account = await accounts.balance(bank, "budget:short")
    assert account == accounts.Balance(COST // 2, 0, COST // 2)
    assert -(await accounts.balance(bank, "quota:short:branch:-:ever")).posted == units
    assert await ledger.check(bank) == []


@pytest.mark.alone
@pytest.mark.parametrize("customers", [400], indirect=True)
async def test_the_budget_is_spent_exactly_however_often_the_server_is_killed(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox
) -> None:
    await _spend_all(demo, customers, stack, 120)


@pytest.mark.soak
@pytest.mark.parametrize("customers", [12_000], indirect=True)
async def test_ten_thousand_units_are_paid_exactly_however_often_the_server_is_killed(
    demo: Services, customers: list[str], stack: Stack, sandbox: Sandbox
) -> None:
    await _spend_all(demo, customers, stack, 10_000)
