"""Claims on a reward whose codes come from a pool: none twice, none lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards import ledger
from rewards.claims import settle_stale
from rewards.pools import codes, keeping, proof, spans, taking
from rewards.pools.rows import CODE_POOLS
from services.container import Services
from services.errors import Conflict
from services.store.mongo import Collection
from tests.integration.rewards import pool_world, world
from tests.integration.rewards.pool_world import POOL, counted
from tests.integration.rewards.world import TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

LONG = 6.0


@pytest.fixture
async def bank(services: Services) -> Bank:
    bank = await open_bank(services, TENANT)
    await pool_world.make(bank)
    return bank


async def all_is_well(bank: Bank) -> bool:
    return await ledger.check(bank) == [] and await proof.check(bank) == []


async def test_each_grant_has_a_code_of_its_own_and_keeps_it(services: Services, bank: Bank) -> None:
    await pool_world.bring(bank, pool_world.file(50))
    await pool_world.put(services, 50)
    answers = await asyncio.gather(*(world.answer(services, world.request(f"c{n}")) for n in range(40)))
    assert Counter(answers) == {"granted": 40}
    await until(lambda: world.settled(services))
    rows = await pool_world.grants(bank)
    shown = await codes.codes_of(bank, rows)  # type: ignore[arg-type]
    assert sorted(shown.values()) == [pool_world.code(n) for n in range(40)]
    assert await codes.codes_of(bank, rows) == shown  # type: ignore[arg-type]
    assert await world.answer(services, world.request("c0")) == "replayed"
    assert await pool_world.counts(bank) == counted(50, 10, granted=40)
    assert await all_is_well(bank)


async def test_an_empty_pool_is_sold_out_whatever_the_stock_says(services: Services, bank: Bank) -> None:
    await pool_world.bring(bank, pool_world.file(7))
    await pool_world.put(services, 100)
    answers = await asyncio.gather(*(world.answer(services, world.request(f"c{n}")) for n in range(20)))
    assert Counter(answers) == {"granted": 7, "sold_out": 13}
    await until(lambda: world.settled(services))
    assert await world.stock(services) == {"total": 100, "available": 93, "held": 0, "granted": 7, "retired": 0}
    assert await pool_world.counts(bank) == counted(7, 0, granted=7)
    await pool_world.bring(bank, pool_world.file(1, first=7))  # filled again
    await until(lambda: granted(services, "late"))
    await until(lambda: world.settled(services))
    assert await all_is_well(bank)


async def granted(services: Services, cid: str) -> bool:
    return await world.answer(services, world.request(cid)) == "granted"


async def test_what_expires_soonest_is_given_first_and_nothing_that_is_over(
    services: Services, bank: Bank, clock: MovedClock
) -> None:
    today = bank.today()
    days = {"KEEP-0001": "", "LATE-0001": f"{today.year + 2}-01-31", "SOON-0001": f"{today.year + 1}/1/31"}
    lines = "\n".join(["券码,有效期", *(f"{one},{day}" for one, day in days.items())])
    await pool_world.bring(bank, lines.encode("gb18030"))
    await pool_world.put(services, 9, ends=datetime(2099, 1, 1, tzinfo=UTC))
    assert await world.answer(services, world.request("a")) == "granted"
    [row] = await pool_world.grants(bank)
    assert (await codes.codes_of(bank, [row]))[row["_id"]] == "SOON-0001"  # type: ignore[list-item]
    assert row["code"]["expires"] == datetime(today.year + 1, 1, 31, 16, tzinfo=UTC)  # midnight in China
    clock.advance(3 * 366 * 86_400)
    assert await world.answer(services, world.request("b")) == "granted"
    await until(lambda: world.settled(services))
    shown = await codes.codes_of(bank, await pool_world.grants(bank))  # type: ignore[arg-type]
    assert sorted(shown.values()) == ["KEEP-0001", "SOON-0001"]
    assert await pool_world.counts(bank) == counted(3, 0, granted=2, expired=1)
    assert await all_is_well(bank)


async def test_two_processes_never_give_one_code_twice(services: Services, second: Services, bank: Bank) -> None:
    await pool_world.bring(bank, pool_world.file(60))
    await pool_world.put(services, 500)
    asking = [world.answer((services, second)[n % 2], world.request(f"c{n}")) for n in range(150)]
    answers = Counter(await asyncio.gather(*asking))
    assert answers["granted"] == 60
    assert answers["sold_out"] + answers["stock_in_doubt"] == 90
    await until(lambda: world.settled(services))
    shown = await codes.codes_of(bank, await pool_world.grants(bank))  # type: ignore[arg-type]
    assert len({*shown.values()}) == 60
    assert await all_is_well(bank)


def unguard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a pool written whoever has written it meanwhile."""
    plain = Collection.update

    async def unguarded(self: Collection, query: Any, change: Any, **options: Any) -> bool:
        asked = {name: value for name, value in query.items() if name != "moves"}
        return await plain(self, asked, change, **options)

    monkeypatch.setattr(Collection, "update", unguarded)


async def race(services: Services, second: Services, bank: Bank) -> int:
    """Two processes that take codes at the same moment, batch after batch; how many codes both
    have."""
    reward: Any = {"kind": "code_pool", "item": {"pool": POOL}, "reward": "r"}
    other = Bank(second, bank.id)

    async def some(one: Bank, name: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for n in range(15):
            taken = await taking.take(one, reward, f"{name}{n}", [f"{name}-{n}-{at}" for at in range(3)])
            found += [(code["lot"], code["n"]) for code in taken.codes.values()]
        return found

    mine, theirs = await asyncio.gather(some(bank, "a"), some(other, "b"))
    return len({*mine} & {*theirs}) + len(mine) - len({*mine})


async def test_without_the_guard_two_have_the_same_code(
    services: Services, second: Services, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool_world.bring(bank, pool_world.file(200))
    unguard(monkeypatch)
    assert await race(services, second, bank) > 0


async def test_with_the_guard_nobody_has_anothers_code(services: Services, second: Services, bank: Bank) -> None:
    await pool_world.bring(bank, pool_world.file(200))
    assert await race(services, second, bank) == 0


async def recall_race(second: Services, bank: Bank) -> int:
    """One process takes codes, batch after batch, while another takes whole uploads back; how many
    codes are in both hands."""
    uploads = [await pool_world.bring(bank, pool_world.file(12, first=100 * n)) for n in range(8)]
    reward: Any = {"kind": "code_pool", "item": {"pool": POOL}, "reward": "r"}
    taken: set[tuple[str, int]] = set()
    back: set[tuple[str, int]] = set()

    async def take() -> None:
        for n in range(20):
            got = await taking.take(bank, reward, f"a{n}", [f"a-{n}-{at}" for at in range(4)])
            taken.update((code["lot"], code["n"]) for code in got.codes.values())

    async def recall() -> None:
        for upload in reversed(uploads):
            with suppress(Conflict):  # all of it was taken already
                done = await keeping.recall(Bank(second, bank.id), "lin", POOL, upload["lot"], "供应商停业")
                back.update(spans.numbers(done["spans"]))

    await asyncio.gather(take(), recall())
    assert taken
    assert back
    return len(taken & back)


async def test_without_the_guard_a_recalled_code_is_given(
    second: Services, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguard(monkeypatch)
    assert await recall_race(second, bank) > 0


async def test_with_the_guard_a_code_is_recalled_or_given(second: Services, bank: Bank) -> None:
    assert await recall_race(second, bank) == 0
    counts = await pool_world.counts(bank)
    assert (counts["imported"], counts["held"] + counts["recalled"]) == (96, 96 - counts["left"])
    assert await proof.check(bank) == []


async def test_killed_before_the_grants_the_codes_go_back(services: Services, bank: Bank, clock: MovedClock) -> None:
    await pool_world.bring(bank, pool_world.file(3))
    await pool_world.put(services, 3)
    assert await world.claim_and_die(services, world.request("a"), before=world.die) == "Killed"
    assert await pool_world.counts(bank) == counted(3, 2, held=1)
    clock.advance(LONG)
    assert await settle_stale(bank) == 1
    assert await taking.settle_stale(bank) == 1
    assert await pool_world.counts(bank) == counted(3, 3)
    assert await all_is_well(bank)
    assert await granted(services, "b")
    [row] = await pool_world.grants(bank)
    assert row["code"]["n"] == 0  # the one that came back is given first


async def test_killed_after_the_grants_their_codes_are_theirs(
    services: Services, bank: Bank, clock: MovedClock
) -> None:
    await pool_world.bring(bank, pool_world.file(3))
    await pool_world.put(services, 3)
    assert await world.claim_and_die(services, world.request("a"), after=world.die) == "Killed"
    clock.advance(LONG)
    assert await taking.settle_stale(bank) == 1  # in whichever order the two are swept
    assert await settle_stale(bank) == 1
    assert await taking.settle_stale(bank) == 0
    assert await pool_world.counts(bank) == counted(3, 2, granted=1)
    assert await world.answer(services, world.request("a")) == "replayed"
    assert await all_is_well(bank)


async def test_killed_between_stock_and_pool_nothing_is_lost(
    services: Services, bank: Bank, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool_world.bring(bank, pool_world.file(3))
    await pool_world.put(services, 3)

    async def die(*_: Any) -> None:
        raise world.Killed

    with monkeypatch.context() as patch:
        patch.setattr(taking, "take", die)
        assert await world.claim_and_die(services, world.request("a")) == "Killed"
    clock.advance(LONG)
    await settle_stale(bank)
    assert await taking.settle_stale(bank) == 0
    assert await pool_world.counts(bank) == counted(3, 3)
    assert await all_is_well(bank)


async def test_who_was_only_slow_gives_no_code_that_went_back(
    services: Services, bank: Bank, clock: MovedClock
) -> None:
    await pool_world.bring(bank, pool_world.file(1))
    await pool_world.put(services, 3)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a")))
        await stall.reached.wait()
        clock.advance(LONG)
        assert await settle_stale(bank) == 1
        assert await taking.settle_stale(bank) == 1
        assert await granted(services, "b")
        stall.release()
        assert await late == "claim_unknown"
    await until(lambda: world.settled(services))
    assert await pool_world.counts(bank) == counted(1, 0, granted=1)
    assert await all_is_well(bank)


async def test_a_pool_that_runs_short_is_told_once_and_ends_when_it_is_filled(services: Services, bank: Bank) -> None:
    await keeping.set_low(bank, "lin", POOL, 5)
    alarms = bank.db["alarms"]
    assert await alarms.count({"kind": "pool.low"}) == 1  # an empty one
    await pool_world.bring(bank, pool_world.file(6))
    assert await alarms.count({"kind": "pool.low", "state": "open"}) == 0
    await pool_world.put(services, 6)
    for n in range(3):
        assert await granted(services, f"c{n}")
    await until(lambda: world.settled(services))
    assert await alarms.count({"kind": "pool.low"}) == 2
    [row] = await alarms.find({"kind": "pool.low", "state": "open"})
    assert row["data"]["pool"] == POOL
    await pool_world.bring(bank, pool_world.file(6, first=6))
    [ended] = await alarms.find({"_id": row["_id"]})
    assert (ended["state"], ended["how"]) == ("handled", "refilled")


async def test_nothing_of_a_code_stands_in_the_rows_in_clear(services: Services, bank: Bank) -> None:
    await pool_world.bring(bank, pool_world.file(20))
    await pool_world.put(services, 20)
    assert await granted(services, "a")
    await until(lambda: world.settled(services))
    await keeping.search(bank, "lin", pool_world.code(0))
    names = ("code_blocks", "code_files", "code_lots", "code_pops", "code_prints", "code_problems", "code_uploads")
    for name in (CODE_POOLS, *names, "transfers", "audit", "timeline", "alarms"):
        for row in await bank.db[name].find({}, limit=None):
            assert b"KOPI" not in repr(row).encode(), name
