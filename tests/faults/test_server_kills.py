"""What is scarce while 64 clients ask at once and the web process is killed every two seconds: a stock, a budget, the
codes of a pool and the uses of vouchers all end at exactly what there was."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml

from customers.banks import apply
from customers.banks.bank import CACHE_SECONDS, Bank
from rewards import claims, ledger
from rewards.ledger import accounts
from rewards.pools import codes, proof
from rewards.rows import Grant
from rewards.vouchers import issuing
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Doc
from tests.conftest import DEMO_BANK, Sandbox, Stack
from tests.faults import storms
from tests.faults.storms import Wave
from tests.http.open.test_partner_api import ask, at
from tests.integration.campaigns import tools
from tests.integration.rewards import pool_world, vouchering, world
from tests.support.banks import open_bank
from tests.support.waiting import until

COST, PLENTY = 100, 20_000
REWARD = "short.cup"


def campaign(reward: str, budget: int, limits: str = "") -> str:
    return f"""\
kind: campaign/v1
id: short
name: {{zh: 数量有限}}
window: {{from: 2026-01-01, to: 2029-12-31}}
money: {{budget: {budget}}}
disclosure: {{rules_zh: 规则, odds_or_quantity: 送完即止, claim_by: 2029-12-31, host: 银行, contact: "95500"}}
{limits}
rewards:
  cup: {{{reward}, title: {{zh: 杯子}}, cost: {COST}, claim: anyone}}
"""


async def _settled(services: Services) -> bool:
    """Nothing held, nothing under way, nothing that is still to be told."""
    db = services.store.tenant("demo")
    try:
        waiting = [
            await db["rewards"].count({"held": {"$gt": 0}}),
            await db["code_pools"].count({"held": {"$gt": 0}}),
            await db["ledger_batches"].count({}),
            await db["inbox"].count({"open": True}),
            await db["vouchers"].count({"steps": {"$ne": []}}),
        ]
    except Unavailable:
        return False
    return not any(waiting)


# ---- claims ----


async def _claim_all(demo: Services, stack: Stack, units: int, refusal: str) -> tuple[Bank, list[Doc], dict[str, str]]:
    """A fifth more customers than there are units claim under kills, and those who were refused once more: whatever a
    dead process held is there again. The grants, and which code each customer read."""
    cids = await storms.customers(demo, units * 6 // 5)
    first, second = Wave(REWARD), Wave(REWARD)
    async with storms.client(stack.url) as http:
        await storms.while_killed(stack, storms.claims(demo, http, first, cids))
        await until(lambda: _settled(demo), 240.0)
        await storms.claims(demo, http, second, first.others)
    await until(lambda: _settled(demo), 240.0)
    bank = await open_bank(demo, "demo")
    rows = await bank.db["transfers"].find({"kind": "grant", "reward": REWARD}, limit=None)
    assert len(rows) == units
    assert {**first.granted, **second.granted} == {row["cid"]: row["_id"].split(":", 1)[1] for row in rows}
    assert max(Counter(row["cid"] for row in rows).values()) == 1
    assert set(first.refused) | set(second.refused) == {refusal}
    assert await ledger.check(bank) == []
    return bank, rows, {**first.codes, **second.codes}


async def _sell(demo: Services, stack: Stack, units: int) -> None:
    await tools.go_live(demo, campaign(f"kind: code, stock: {units}", units * COST))
    _, _, read = await _claim_all(demo, stack, units, "sold_out")
    assert await world.stock(demo, reward=REWARD) == {
        "total": units,
        "available": 0,
        "held": 0,
        "granted": units,
        "retired": 0,
    }
    assert len({*read.values()}) == units


async def _spend(demo: Services, stack: Stack, units: int) -> None:
    """The budget pays for so many units, and for half a unit more."""
    limits = "limits: {quotas: [{per: branch, count: 100000}]}"
    budget = units * COST + COST // 2
    await tools.go_live(demo, campaign(f"kind: code, stock: {PLENTY}", budget, limits))
    bank, _, _ = await _claim_all(demo, stack, units, "budget")
    account = await accounts.balance(bank, "budget:short")
    assert account == accounts.Balance(COST // 2, 0, COST // 2)
    assert -(await accounts.balance(bank, "quota:short:branch:-:ever")).posted == units


async def _pop(demo: Services, stack: Stack, units: int) -> None:
    """The pool has so many codes, and the stock says more."""
    bank = await open_bank(demo, "demo")
    await pool_world.make(bank)
    await pool_world.bring(bank, pool_world.file(units))
    await tools.go_live(demo, campaign(f"kind: code_pool, pool: {pool_world.POOL}, stock: {PLENTY}", PLENTY * COST))
    bank, rows, read = await _claim_all(demo, stack, units, "sold_out")
    given = await codes.codes_of(bank, rows)  # type: ignore[arg-type]
    assert sorted(given.values()) == [pool_world.code(n) for n in range(units)]
    assert read == {row["cid"]: given[row["_id"]] for row in rows}
    assert await pool_world.counts(bank) == pool_world.counted(units, 0, granted=units)
    assert await proof.check(bank) == []


# ---- write-offs ----

SECRET = "fake-partner-secret-of-many-tills-000000"
TILLS = [f"till-{n:02d}" for n in range(storms.AT_ONCE)]


@dataclass
class Till:
    """A till, what it was told of each code, and what troubles it had."""

    name: str
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: Counter[str] = field(default_factory=Counter)

    async def work(self, http: httpx.AsyncClient, shown: list[str]) -> None:
        """Each code under a key of its own until there is an answer; while one is not known yet, it goes on."""
        left = deque(shown)
        while left:
            code = left.popleft()
            if not await self._answered(http, code):
                left.append(code)
                await asyncio.sleep(storms.AGAIN_SECONDS)

    async def _answered(self, http: httpx.AsyncClient, code: str) -> bool:
        try:
            answer = await ask(
                http, "POST", at(code, "redeem"), {"uses": 1}, key=code, who=f"demo/{self.name}", secret=SECRET
            )
        except httpx.HTTPError as error:
            self.troubles[type(error).__name__] += 1
            return False
        if answer.status_code == 200:
            self.receipts[code] = answer.json()
            return True
        error = answer.json()["error"]
        if error["code"] == "voucher_used":
            self.refused[code] = error["details"]
            return True
        assert error["code"] == "key_under_way" or answer.status_code in (429, 503), answer.text
        self.troubles[error["code"]] += 1
        return False


async def _with_tills(demo: Services) -> Bank:
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    file["partners"] = [{"id": name, "name": name, "merchants": ["yq-coffee"], "secret": SECRET} for name in TILLS]
    await apply.apply_tenant(demo, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    return await open_bank(demo, "demo")


async def _vouchers(demo: Services, bank: Bank, count: int) -> dict[str, str]:
    """So many customers claimed one each; their codes, and the vouchers'."""
    await world.put(demo, count, item=vouchering.item())
    cids, found = await storms.customers(demo, count), dict[str, str]()

    async def granted(cid: str) -> Grant:
        return (await claims.claim(bank, world.request(cid))).grant

    for start in range(0, count, 500):
        grants = await asyncio.gather(*(granted(cid) for cid in cids[start : start + 500]))
        made = await issuing.ensure(bank, grants)
        found |= {vouchering.code(bank, row): row["_id"] for row in made.values()}
    return found


async def _write_off(demo: Services, stack: Stack, count: int, most: int = 10_000) -> None:
    """Two tills show every code at the same moment; the server is killed `most` times."""
    bank = await _with_tills(demo)
    vouchers = await _vouchers(demo, bank, count)
    await until(lambda: _settled(demo), 240.0)
    await asyncio.sleep(CACHE_SECONDS)  # after it the server knows bank and reward as they are now
    tills, pairs = [Till(name) for name in TILLS], len(TILLS) // 2
    shown = list(vouchers)

    async def all_work(http: httpx.AsyncClient) -> None:
        await asyncio.gather(*(till.work(http, shown[n // 2 :: pairs]) for n, till in enumerate(tills)))

    async with storms.client(stack.url) as http:
        await storms.while_killed(stack, all_work(http), most)
    await until(lambda: _settled(demo), 240.0)
    receipts = {code: receipt for till in tills for code, receipt in till.receipts.items()}
    assert sum(len(till.receipts) for till in tills) == len(receipts) == count
    assert sum(len(till.refused) for till in tills) == count
    assert {(told["where"], "when" in told) for till in tills for told in till.refused.values()} == {("银桥咖啡", True)}
    uses = await bank.db["voucher_uses"].find({}, limit=None)
    done = {use["_id"]: use["voucher"] for use in uses if use["state"] == "done"}
    assert {use["state"] for use in uses} == {"done", "refused"}
    assert {receipt["use"]: vouchers[code] for code, receipt in receipts.items()} == done
    assert len({*done.values()}) == count
    rows = await bank.db["vouchers"].find({}, limit=None)
    assert {(row["state"], row["used"], len(row["recent"])) for row in rows} == {("used", 1, 1)}
    days = await bank.db["counter_days"].find({}, limit=None)
    counted = {f"partner:{till.name}": len(till.receipts) for till in tills}
    assert {row["counter"]: row["n"] for row in days} == counted
    assert (await vouchering.balances(bank))["used"] == count
    assert await ledger.check(bank) == []


# ---- the forms ----

SHORT, LONG = 300, 10_000
WRITE_OFFS, MOST_KILLS = 128, 3
"""Of the short form: a till waits ten seconds for a key that a dead process had."""


async def test_a_stock_is_sold_exactly_however_often_the_server_is_killed(
    demo: Services, stack: Stack, sandbox: Sandbox
) -> None:
    await _sell(demo, stack, SHORT)


async def test_the_budget_is_spent_exactly_however_often_the_server_is_killed(
    demo: Services, stack: Stack, sandbox: Sandbox
) -> None:
    await _spend(demo, stack, SHORT)


async def test_no_code_of_a_pool_is_given_twice_however_often_the_server_is_killed(
    demo: Services, stack: Stack, sandbox: Sandbox
) -> None:
    await _pop(demo, stack, SHORT)


async def test_every_voucher_is_used_once_however_often_the_server_is_killed(
    demo: Services, stack: Stack, sandbox: Sandbox
) -> None:
    await _write_off(demo, stack, WRITE_OFFS, MOST_KILLS)


@pytest.mark.soak
@pytest.mark.parametrize("use_up", [_sell, _spend, _pop, _write_off])
async def test_ten_thousand_are_given_exactly_however_often_the_server_is_killed(
    demo: Services, stack: Stack, sandbox: Sandbox, use_up: Any
) -> None:
    await use_up(demo, stack, LONG)
