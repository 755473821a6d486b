"""A counter's limit a day: exact under races, and never more when processes are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards import desk
from rewards.vouchers import life
from rewards.vouchers import redeem as vouchers
from rewards.vouchers.redeem import Receipt
from services import ids
from services.container import Services
from services.errors import Unavailable, YinqiaoError
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, BEN, code, granted, person, voucher
from tests.support import killing
from tests.support.clock import MovedClock
from tests.support.waiting import until

COUNTER = "teller:ann"


async def _codes(services: Services, count: int) -> tuple[Bank, list[str]]:
    bank, first = await voucher(services)
    rows = [first] + [await granted(bank, await person(bank, f"u{n}"), key=f"{n}-") for n in range(1, count)]
    return bank, [code(bank, row) for row in rows]


async def _counted(bank: Bank) -> int:
    return (await desk.used_today(bank, [COUNTER])).get(COUNTER, 0)


async def _used(bank: Bank) -> int:
    return await bank.db["vouchers"].count({"recent.by.id": "ann"})


async def _race(bank: Bank, codes: list[str], per_day: int) -> Counter[str]:
    tries = (desk.redeem(bank, ANN, per_day, shown, f"key-{shown}") for shown in codes)
    ended = await asyncio.gather(*tries, return_exceptions=True)
    return Counter("done" if isinstance(one, Receipt) else getattr(one, "code", repr(one)) for one in ended)


async def test_of_many_at_once_exactly_the_limit_is_written_off(services: Services) -> None:
    bank, codes = await _codes(services, 12)
    assert await _race(bank, codes, 4) == {"done": 4, "counter_limit": 8}
    assert (await _used(bank), await _counted(bank)) == (4, 4)
    refused = await bank.db["audit"].count({"action": "voucher.refused", "data.reason": "counter_limit"})
    assert refused == 8


async def test_without_the_guard_more_than_the_limit_is_written_off(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_and_take(bank: Bank, by: Any, per_day: int, hashed: str) -> desk._Place:
        """What it is without the guard: each looks, and then each takes."""
        row = await desk._day(bank, by, desk._row_id(bank, by.counter))
        await asyncio.sleep(0.05)
        if row["n"] >= per_day:
            raise await desk._full(bank, by, per_day)
        await bank.db["counter_days"].update({"_id": row["_id"]}, {"$inc": {"n": 1}})
        return desk._Place(row["_id"], hashed[:32], "x", new=True)

    bank, codes = await _codes(services, 12)
    monkeypatch.setattr(desk, "_take", look_and_take)
    assert (await _race(bank, codes, 4))["done"] > 4


async def test_of_places_taken_together_without_looking_whose_they_are_more_than_the_limit_is_written_off(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, codes = await _codes(services, 12)
    monkeypatch.setattr(desk, "_has_place", lambda *_: True)
    assert (await _race(bank, codes, 4))["done"] > 4


async def test_no_more_than_so_many_are_under_way_at_once_and_all_have_their_turn(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, other = await vouchering.bank_of(services), await vouchering.bank_of(services, "other")
    under_way, most = Counter[str](), Counter[str]()

    async def working(bank: Bank, *_: Any) -> None:
        under_way[bank.id] += 1
        most[bank.id] = max(most[bank.id], under_way[bank.id])
        await asyncio.sleep(0.01)
        under_way[bank.id] -= 1

    monkeypatch.setattr(desk, "_redeem", working)
    many = 3 * desk.AT_ONCE
    await asyncio.gather(*(desk.redeem(one, ANN, 5, "code", f"k{n}") for n in range(many) for one in (bank, other)))
    assert most == {bank.id: desk.AT_ONCE, other.id: desk.AT_ONCE}


async def _open(bank: Bank) -> list[str]:
    """The keys in the counter's rows."""
    return [known["key"] for row in await bank.db["counter_days"].find({}) for known in row["open"].values()]


async def test_a_key_that_is_done_keeps_its_place_and_leaves_with_the_next(
    services: Services, clock: MovedClock
) -> None:
    bank, codes = await _codes(services, 4)
    hashed = [ids.fingerprint(f"key-{shown}".encode()) for shown in codes]
    for shown, key in zip(codes[:2], hashed, strict=False):
        assert await _race(bank, [shown], 2) == {"done": 1}
        assert await _open(bank) == [key]
    clock.advance(11)
    assert await _race(bank, codes[2:3], 2) == {"counter_limit": 1}
    assert (await _counted(bank), await _used(bank), await _open(bank)) == (2, 2, [])
    assert await _race(bank, codes[3:], 3) == {"done": 1}
    assert await _counted(bank) == 3


async def test_what_is_refused_or_repeated_counts_nothing(services: Services) -> None:
    bank, codes = await _codes(services, 3)
    await desk.redeem(bank, ANN, 2, codes[0], "k1")
    for shown, key, said in (
        (codes[0], "k2", "voucher_used"),
        ("0000-0000-0000", "k3", "voucher_code_wrong"),
        (codes[1], "k1", "idempotency_key_reused"),
    ):
        with pytest.raises(YinqiaoError) as refused:
            await desk.redeem(bank, ANN, 2, shown, key)
        assert refused.value.code == said
    assert await _counted(bank) == 1
    await desk.redeem(bank, ANN, 2, codes[1], "k4")
    with pytest.raises(YinqiaoError) as full:
        await desk.redeem(bank, ANN, 2, codes[2], "k5")
    assert (full.value.code, full.value.data) == ("counter_limit", {"most": "2"})
    again = await desk.redeem(bank, ANN, 2, codes[1], "k4")
    assert (again.replayed, await _counted(bank)) == (True, 2)
    await desk.redeem(bank, BEN, 2, codes[2], "k5")
    assert await desk.used_today(bank, [COUNTER, "merchant:ben", "merchant:nobody"]) == {COUNTER: 2, "merchant:ben": 1}


async def test_what_is_taken_back_has_counted(services: Services) -> None:
    bank, codes = await _codes(services, 1)
    receipt = await desk.redeem(bank, ANN, 1, codes[0], "k1")
    await vouchers.undo(bank, ANN, receipt.use, "拿错了")
    with pytest.raises(YinqiaoError) as full:
        await desk.redeem(bank, ANN, 1, codes[0], "k2")
    assert full.value.code == "counter_limit"


async def test_the_same_key_at_once_is_one_write_off_and_counts_once(services: Services) -> None:
    bank, codes = await _codes(services, 1)
    tries = (desk.redeem(bank, ANN, 5, codes[0], "k1") for _ in range(8))
    ended = await asyncio.gather(*tries, return_exceptions=True)
    fresh = [one for one in ended if isinstance(one, Receipt) and not one.replayed]
    others = {"replayed" if isinstance(one, Receipt) else getattr(one, "code", repr(one)) for one in ended} - {""}
    assert len(fresh) == 1
    assert others <= {"replayed", "key_under_way"}
    assert (await _counted(bank), await _used(bank)) == (1, 1)


@pytest.mark.parametrize("write", range(12))
async def test_whoever_is_killed_anywhere_is_counted_once_when_the_key_comes_again(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    bank, codes = await _codes(services, 1)
    with monkeypatch.context() as patch:
        killed = killing.before_write(patch, write)
        try:
            await desk.redeem(bank, ANN, 1, codes[0], "k1")
        except (killing.Killed, YinqiaoError):
            assert killed()
    clock.advance(11)
    receipt = await desk.redeem(bank, ANN, 1, codes[0], "k1")
    assert receipt.by["id"] == "ann"
    assert (await _counted(bank), await _used(bank)) == (1, 1)
    other = await granted(bank, await person(bank, "u9"), key="z9")
    with pytest.raises(YinqiaoError) as full:
        await desk.redeem(bank, ANN, 1, code(bank, other), "k2")
    assert full.value.code == "counter_limit"


async def test_a_till_is_not_shut_by_tries_whose_keys_never_come_again(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, codes = await _codes(services, 18)
    await until(lambda: world.settled(services))
    await desk.redeem(bank, ANN, 10, codes.pop(), "first")
    for write in [*range(6), *range(1, 5)]:
        with monkeypatch.context() as patch:
            killing.before_write(patch, write)
            with pytest.raises(killing.Killed):
                await desk.redeem(bank, ANN, 10, codes[0], f"key-{codes.pop(0)}")
    assert (await _counted(bank), await _used(bank)) == (10, 4)
    assert await _race(bank, codes[:1], 10) == {"counter_limit": 1}
    clock.advance(11)
    assert await _race(bank, codes, 10) == {"done": 6, "counter_limit": 1}
    assert (await _counted(bank), await _used(bank)) == (10, 10)


async def test_what_was_refused_first_and_written_off_then_keeps_its_place_before_it_is_told(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A till that asks for too many uses, and under the same key again once some were given back."""
    bank, row = await voucher(services, uses=2)
    other = code(bank, await granted(bank, await person(bank, "u1"), key="1-"))
    first = await desk.redeem(bank, ANN, 3, code(bank, row), "k1")
    with pytest.raises(YinqiaoError):
        await desk.redeem(bank, ANN, 3, code(bank, row), "k2", 2)
    await vouchers.undo(bank, ANN, first.use, "拿错了")
    with monkeypatch.context() as patch:
        patch.setattr(life, "tell", _away)
        await desk.redeem(bank, ANN, 2, code(bank, row), "k2", 2)
    clock.advance(11)
    assert await _race(bank, [other], 2) == {"counter_limit": 1}
    assert await _counted(bank) == 2


async def _away(*_: Any) -> None:
    raise Unavailable("store_unavailable", "the database does not answer")


async def _while_one_stands_still(
    bank: Bank, codes: list[str], clock: MovedClock, monkeypatch: pytest.MonkeyPatch, before: tuple[Any, str]
) -> Counter[str]:
    """What becomes of a try that stands still before the call `before`, and of one that needs its place meanwhile."""
    ended: Counter[str] = Counter()
    call = getattr(*before)

    async def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(*before, call)
        clock.advance(11)
        ended.update(await _race(bank, codes[1:2], 1))
        return await call(*arguments)

    monkeypatch.setattr(*before, meanwhile)
    return ended + await _race(bank, codes[:1], 1)


STILL = pytest.mark.parametrize(
    "before", [(vouchers, "_ask"), (life, "change")], ids=["before it asks", "before it changes"]
)


@STILL
async def test_a_try_that_stands_still_writes_nothing_off_once_its_place_is_anothers(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, before: tuple[Any, str]
) -> None:
    bank, codes = await _codes(services, 3)
    assert await _while_one_stands_still(bank, codes, clock, monkeypatch, before) == {"done": 1, "use_undone": 1}
    assert (await _counted(bank), await _used(bank)) == (1, 1)
    assert await _race(bank, codes[:1], 3) == {"use_undone": 1}
    assert await _counted(bank) == 1
    assert (await desk.redeem(bank, ANN, 3, codes[0], "another key")).left == 0
    assert await _race(bank, codes[1:], 3) == {"done": 2}
    assert (await _counted(bank), await _used(bank)) == (3, 3)


@STILL
async def test_without_giving_its_key_up_both_are_written_off(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, before: tuple[Any, str]
) -> None:
    async def nothing(*_: Any) -> None:
        """What it is without the guard."""

    bank, codes = await _codes(services, 2)
    monkeypatch.setattr(vouchers, "give_up", nothing)
    assert await _while_one_stands_still(bank, codes, clock, monkeypatch, before) == {"done": 2}
    assert await _used(bank) == 2


async def test_another_day_begins_anew(services: Services, clock: MovedClock) -> None:
    bank, codes = await _codes(services, 2)
    await desk.redeem(bank, ANN, 1, codes[0], "k1")
    clock.advance(86_400)
    await desk.redeem(bank, ANN, 1, codes[1], "k2")
    assert await _counted(bank) == 1
