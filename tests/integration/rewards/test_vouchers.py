"""A voucher at the counter: found by its code, used once, taken back within ten minutes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.vouchers import codes, life, qr, redeem
from rewards.vouchers.redeem import Redeemer
from rewards.vouchers.rows import Voucher
from services.container import Services
from services.errors import YinqiaoError
from tests.integration.rewards import vouchering
from tests.integration.rewards.vouchering import ANN, BEN, balances, code, now, voucher


async def refusal(doing: Any) -> str:
    with pytest.raises(YinqiaoError) as caught:
        await doing
    return caught.value.code


async def test_a_voucher_is_used_once_and_the_ledger_says_so(services: Services) -> None:
    bank, row = await voucher(services)
    typed = code(bank, row).lower().replace("0", "o").replace("1", "l")
    seen = await redeem.look(bank, ANN, typed)
    assert (seen.may, seen.state, seen.left, seen.title["zh"]) == (True, "granted", 1, "咖啡券")
    first = await redeem.redeem(bank, ANN, typed, "k1")
    again = await redeem.redeem(bank, ANN, typed, "k1")
    assert (first.left, first.replayed, again.replayed, again.use) == (0, False, True, first.use)
    assert await refusal(redeem.redeem(bank, ANN, typed, "k2")) == "voucher_used"
    assert (await now(bank, row))["state"] == "used"
    (kept,) = await bank.db["audit"].find({"action": "voucher.refused"})
    assert (kept["actor"], kept["object"], kept["data"]["reason"]) == ("teller:ann", row["_id"], "voucher_used")
    assert await balances(bank) == {"supply": -1000, "stock": 999, "used": 1}
    assert [use["state"] for use in await redeem.today(bank, ANN)] == ["done"]


async def test_of_two_counters_at_once_one_wins_and_the_other_is_told_when_and_where(services: Services) -> None:
    bank, row = await voucher(services)
    shown = code(bank, row)
    found = await asyncio.gather(
        *(redeem.redeem(bank, by, shown, f"k{n}") for n, by in enumerate([ANN, BEN] * 8)), return_exceptions=True
    )
    won = [one for one in found if isinstance(one, redeem.Receipt)]
    lost = [one for one in found if isinstance(one, YinqiaoError)]
    assert (len(won), len(lost)) == (1, 15)
    place = "深圳南山支行" if won[0].by["id"] == "ann" else "海边咖啡"
    assert {one.code for one in lost} == {"voucher_used"}
    assert {one.data["where"] for one in lost} == {place}
    assert all(one.data["when"] in one.message for one in lost)


def look_together(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The first `count` who look at a voucher before they change it have all looked before one does."""
    both, looked, change = asyncio.Barrier(count), 0, life.change

    async def changing(*arguments: Any) -> Voucher:
        nonlocal looked
        looked += 1
        if looked <= count:
            await both.wait()
        return await change(*arguments)

    monkeypatch.setattr(life, "change", changing)


async def test_without_the_fence_two_counters_both_win(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, row = await voucher(services)
    look_together(monkeypatch, 2)
    monkeypatch.setattr(life, "fence", lambda row: {"_id": row["_id"]})
    both = await asyncio.gather(*(redeem.redeem(bank, by, code(bank, row), "k") for by in (ANN, BEN)))
    assert [one.replayed for one in both] == [False, False]


async def test_with_the_fence_one_of_two_who_looked_together_wins(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, row = await voucher(services)
    look_together(monkeypatch, 2)
    both = [redeem.redeem(bank, by, code(bank, row), "k") for by in (ANN, BEN)]
    found = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Conflict", "Receipt"]


async def test_a_use_is_taken_back_by_the_same_person_within_ten_minutes(services: Services, clock: Any) -> None:
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    assert await refusal(redeem.undo(bank, BEN, done.use, "x")) == "not_yours"
    assert await refusal(redeem.undo(bank, ANN, done.use, "  ")) == "reason_missing"
    await redeem.undo(bank, ANN, done.use, "wrong customer")
    assert await refusal(redeem.undo(bank, ANN, done.use, "again")) == "use_undone"
    assert ((await now(bank, row))["state"], (await now(bank, row))["used"]) == ("active", 0)
    assert await balances(bank) == {"supply": -1000, "stock": 999, "issued": 1}
    assert [use["state"] for use in await redeem.today(bank, ANN)] == ["undone"]
    again = await redeem.redeem(bank, ANN, code(bank, row), "k2")
    clock.advance(601)
    assert await refusal(redeem.undo(bank, ANN, again.use, "late")) == "undo_too_late"


async def test_what_was_taken_back_is_not_used_again_by_a_slow_try_of_its_key(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, row = await voucher(services)
    shown, change = code(bank, row), life.change

    async def meanwhile(*arguments: Any) -> Voucher:
        """The same key is brought again, and what it wrote off is taken back."""
        monkeypatch.setattr(life, "change", change)
        done = await redeem.redeem(bank, ANN, shown, "k1")
        await redeem.undo(bank, ANN, done.use, "拿错了")
        return await change(*arguments)

    monkeypatch.setattr(life, "change", meanwhile)
    assert await refusal(redeem.redeem(bank, ANN, shown, "k1")) == "use_undone"
    after = await now(bank, row)
    assert (after["state"], after["used"], after["recent"]) == ("active", 0, [])
    assert [use["state"] for use in await redeem.today(bank, ANN)] == ["undone"]
    assert await balances(bank) == {"supply": -1000, "stock": 999, "issued": 1}


async def test_a_qr_code_is_good_for_a_minute_and_once(services: Services, clock: Any) -> None:
    bank, row = await voucher(services, uses=3)
    shown = qr.text(bank, row)
    first = await redeem.redeem(bank, ANN, shown, "k1")
    assert (await redeem.redeem(bank, ANN, shown, "k1")).use == first.use
    assert await refusal(redeem.redeem(bank, BEN, shown, "k2")) == "qr_used"
    late = qr.text(bank, row)
    clock.advance(89)
    seen = await redeem.look(bank, ANN, late)
    clock.advance(3)
    assert await refusal(redeem.redeem(bank, ANN, late, "k3")) == "qr_stale"
    assert (await redeem.redeem(bank, ANN, seen.ticket, "k4")).left == 1
    assert await refusal(redeem.redeem(bank, BEN, seen.ticket, "k5")) == "voucher_code_wrong"
    assert await refusal(redeem.redeem(bank, ANN, seen.ticket, "k5")) == "qr_used"
    early = qr.text(bank, row)
    clock.advance(-31)
    assert await refusal(redeem.redeem(bank, ANN, early, "k6")) == "qr_stale"
    clock.advance(2)
    assert (await redeem.redeem(bank, ANN, early, "k6")).left == 0


async def test_a_qr_code_that_was_refused_is_not_kept_for_later_by_its_key(services: Services, clock: Any) -> None:
    bank, row = await voucher(services, uses=2, uses_per="day")
    await redeem.redeem(bank, ANN, code(bank, row), "k1", 2)
    shown = qr.text(bank, row)
    assert await refusal(redeem.redeem(bank, ANN, shown, "k2")) == "uses_exceeded"
    clock.advance(86_400)
    assert await refusal(redeem.redeem(bank, ANN, shown, "k2")) == "qr_stale"
    assert (await now(bank, row))["used"] == 2, "nobody wrote off what its customer did not show"
    of_now = qr.text(bank, row)
    used = await redeem.redeem(bank, ANN, of_now, "k2")
    clock.advance(86_400)
    again = await redeem.redeem(bank, ANN, of_now, "k2")
    assert (again.use, again.replayed, again.left) == (used.use, True, 1)


async def test_who_guesses_codes_is_shut_out_and_nothing_says_them_in_clear(services: Services) -> None:
    bank, row = await voucher(services)
    right = codes.plain(code(bank, row))
    wrong = right[:-1] + ("0" if right[-1] != "0" else "2")
    unknown = codes.code_of(bank.vault, "demo:" + "0" * 32, 0)
    for _ in range(redeem.FAILURES // 2):
        assert await refusal(redeem.redeem(bank, ANN, wrong, "k")) == "voucher_code_wrong"
        assert await refusal(redeem.look(bank, ANN, unknown)) == "voucher_unknown"
    assert await refusal(redeem.redeem(bank, ANN, right, "k")) == "too_many_attempts"
    assert (await redeem.redeem(bank, BEN, right, "k")).left == 0
    trail = await bank.db["audit"].find({"action": "voucher.refused"})
    assert len(trail) == redeem.FAILURES + 1
    assert not any(secret in str(trail) for secret in (right, wrong, unknown))


async def test_another_key_of_a_counter_for_another_voucher_is_another_write_off(services: Services) -> None:
    bank, row = await voucher(services)
    other = await vouchering.granted(bank, await vouchering.person(bank, "u1"))
    await redeem.redeem(bank, ANN, code(bank, row), "k")
    assert await refusal(redeem.redeem(bank, ANN, code(bank, other), "k")) == "idempotency_key_reused"
    assert (await now(bank, other))["state"] == "granted"


async def test_it_is_used_where_it_may_be(services: Services) -> None:
    bank, row = await voucher(services, use_at={"branches": ["sz-futian"], "merchants": ["cafe"]})
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k")) == "not_here"
    assert (await redeem.look(bank, ANN, code(bank, row))).why == "not_here"
    rm = Redeemer("rm", "rm.wang", "王若溪", branch="sz-futian")
    assert (await redeem.look(bank, rm, code(bank, row))).may
    assert (await redeem.redeem(bank, BEN, code(bank, row), "k")).left == 0


async def test_of_many_counters_at_two_processes_one_wins_each_voucher(services: Services, second: Services) -> None:
    bank, first = await voucher(services)
    rows = [first, *[await vouchering.granted(bank, first["cid"], key=f"k{n}") for n in range(4)]]
    banks = [bank, await vouchering.bank_of(second)]

    async def one(at: Bank, row: Voucher, n: int) -> str:
        try:
            await redeem.redeem(at, Redeemer("teller", f"t{n}", "T", branch="sz-nanshan"), code(bank, row), row["_id"])
        except YinqiaoError as error:
            return error.code
        return "won"

    for row in rows:
        told = await asyncio.gather(*(one(banks[n % 2], row, n) for n in range(8)))
        assert told.count("won") == 1
        assert {*told} <= {"won", "voucher_used", "sessions_unavailable"}
    assert (await balances(bank))["used"] == 5


async def test_another_banks_code_and_a_forged_qr_code_are_refused_and_written_down(services: Services) -> None:
    bank, row = await voucher(services)
    other = await vouchering.bank_of(services, "other")
    theirs = next(
        one
        for one in (codes.code_of(other.vault, f"other:{n:032x}", 0) for n in range(100))
        if not codes.is_code(bank.vault, one)
    )
    real = qr.text(bank, row)
    forged = real[:-2] + ("AA" if real[-2:] != "AA" else "BB")
    said = []
    for shown in (theirs, forged, "YQ" + "A" * 53, "YQT", "", "1", "A" * 500, "券", "AAAA-AAAA-AAAU"):
        with pytest.raises(YinqiaoError) as refused:
            await redeem.redeem(bank, ANN, shown, "k")
        said.append(refused.value.code)
        assert list(refused.value.fields) == ["code"]
    assert {*said} == {"voucher_code_wrong", "voucher_unknown"}
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "")) == "idempotency_key_missing"
    for uses in (0, -1, 1.5, True, 10**20):
        assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k", uses=uses)) == "uses_wrong"  # type: ignore[arg-type]
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k", uses=2)) == "uses_exceeded"
    assert (await now(bank, row))["version"] == row["version"]
    reasons = [one["data"]["reason"] for one in await bank.db["audit"].find({"action": "voucher.refused"})]
    assert Counter(reasons) == {**Counter(said), "uses_wrong": 5, "uses_exceeded": 1}
    assert theirs not in str(await bank.db["audit"].find({}))
