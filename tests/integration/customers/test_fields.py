"""Fields of customers: told in any order, kept with their history, and whose they are after a merge."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from customers import consent
from customers.banks.bank import Bank
from customers.banks.files import read_tenant_file
from customers.fields import parting, rows, values
from customers.fields.values import TAKEN, Answer, Update
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.support import unguarded
from tests.support.killing import Killed, before_write

DECLARED = {one.key: one for one in read_tenant_file(DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml").fields}
LI = "demo:" + "1" * 32
WEI = "demo:" + "2" * 32


@pytest.fixture
def bank(services: Services) -> Bank:
    return replace(Bank(services, "demo"), fields=DECLARED)


def _told(at: float, proof: str = "", cid: str = LI, source: str = "core", **said: Any) -> Update:
    return Update(cid, said, at, source, proof or f"e{at}")


async def _holds(bank: Bank, *cids: str) -> dict[str, Any]:
    found = await values.read(bank, {"one": list(cids or (LI,))})
    return {one.key: one.value for one in found["one"]}


async def _history(bank: Bank, key: str, *cids: str) -> list[tuple[Any, float]]:
    return [(one.value, one.since) for one in await values.history(bank, list(cids or (LI,)), key)]


async def test_values_of_every_type_are_kept_and_the_sealed_ones_are_not_to_be_read_in_the_store(bank: Bank) -> None:
    said: dict[str, Any] = {
        "birthday": "1990-02-28", "gender": "F", "holdings": 3, "month_income": 1_250_000, "payroll": True, "id_tail": "1234",
    }  # fmt: skip
    assert await values.write_many(bank, [_told(10.0, **said)]) == [TAKEN]
    assert await _holds(bank) == said
    row = await bank.db["field_values"].find_one({"_id": LI})
    assert row is not None
    assert row["values"] == {"birthday": "1990-02-28", "gender": "F", "holdings": 3, "payroll": True}
    assert row["blind"]["id_tail"] == values.blind_index(bank, "id_tail", "1234")
    assert (sorted(row["sealed"]), sorted(row["blind"])) == (["id_tail", "month_income"], ["id_tail", "month_income"])
    assert "1234" not in repr(row)
    assert "1250000" not in repr(row)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"shoe_size": 43}, Answer("field_unknown", "shoe_size")),
        ({"interest": "基金"}, Answer("field_writer", "interest")),
        ({"holdings": "3"}, Answer("field_type", "holdings")),
        ({"holdings": float("nan")}, Answer("field_type", "holdings")),
        ({"payroll": 1}, Answer("field_type", "payroll")),
        ({"month_income": 1.5}, Answer("field_type", "month_income")),
        ({"birthday": "1990-02-30"}, Answer("field_type", "birthday")),
        ({"balance_band": "E"}, Answer("field_choice", "balance_band")),
        ({"id_tail": "x" * 201}, Answer("field_type", "id_tail")),
    ],
)
async def test_a_refused_update_changes_nothing_and_the_others_are_taken(
    bank: Bank, said: dict[str, Any], answer: Answer
) -> None:
    refused = _told(10.0, gender="M", **said)
    assert await values.write_many(bank, [refused, _told(10.0, cid=WEI, gender="F")]) == [answer, TAKEN]
    assert (await _holds(bank), await _holds(bank, WEI)) == ({}, {"gender": "F"})


async def test_a_time_ahead_of_us_is_refused(bank: Bank) -> None:
    late = bank.now() + values.AHEAD_SECONDS + 60
    assert await values.write_many(bank, [_told(late, gender="M")]) == [Answer("field_time", "gender")]


async def test_any_order_of_arrival_ends_with_the_same_values_and_history(bank: Bank) -> None:
    told = [
        _told(10.0, balance_band="D"), _told(20.0, balance_band="C", holdings=1), _told(30.0, balance_band="C"),
        _told(40.0, balance_band="A", holdings=None), _told(40.0, "e40b", balance_band="B"), _told(50.0, holdings=2),
    ]  # fmt: skip
    dice = random.Random(7)
    for number in range(12):
        cid = f"demo:{number:032x}"
        mine = [one._replace(cid=cid) for one in (told, dice.sample(told, len(told)))[number > 0]]
        for one in [*mine, *mine]:  # and each is told once more
            assert await values.write_many(bank, [one]) == [TAKEN]
        assert await _holds(bank, cid) == {"balance_band": "B", "holdings": 2}
        assert await _history(bank, "holdings", cid) == [(2, 50.0), (None, 40.0), (1, 20.0)]
        assert await _history(bank, "balance_band", cid) == [("B", 40.0), ("A", 40.0), ("C", 20.0), ("D", 10.0)]


async def test_a_value_that_came_back_began_anew(bank: Bank) -> None:
    await values.write_many(bank, [_told(10.0, balance_band="A"), _told(30.0, balance_band="A")])
    assert await _history(bank, "balance_band") == [("A", 10.0)]
    await values.write_many(bank, [_told(20.0, balance_band="B")])
    assert await _history(bank, "balance_band") == [("A", 30.0), ("B", 20.0), ("A", 10.0)]


async def test_a_choice_changes_along_its_moves_alone(bank: Bank) -> None:
    assert await values.write_many(bank, [_told(10.0, stage="lead")]) == [TAKEN]
    assert await values.write_many(bank, [_told(20.0, stage="dormant")]) == [Answer("field_move", "stage")]
    both = [_told(30.0, stage="opened"), _told(40.0, stage="active")]
    assert await values.write_many(bank, both) == [TAKEN, TAKEN]
    assert await values.write_many(bank, [_told(15.0, stage="closed")]) == [TAKEN]
    assert await _history(bank, "stage") == [("active", 40.0), ("opened", 30.0), ("closed", 15.0), ("lead", 10.0)]
    assert await values.write_many(bank, [_told(50.0, stage=None), _told(60.0, stage="lead")]) == [TAKEN, TAKEN]
    assert await _holds(bank) == {"stage": "lead"}


@pytest.mark.parametrize("guarded", [False, True], ids=["guard-off", "guard-on"])
async def test_two_who_move_a_stage_at_once_do_not_both_move_it(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    await values.write_many(bank, [_told(10.0, stage="opened")])
    if not guarded:
        unguarded.replaces_whatever_is_there(monkeypatch)
    meeting, real, met = asyncio.Barrier(2), values.load, 0

    async def load(*args: Any) -> Any:
        nonlocal met
        found = await real(*args)
        if met < 2:
            met += 1
            await meeting.wait()
        return found

    monkeypatch.setattr(values, "load", load)
    closing, waking = _told(20.0, stage="closed"), _told(30.0, stage="active")
    answers = await asyncio.gather(values.write_many(bank, [closing]), values.write_many(bank, [waking]))
    closed_first = ([Answer("field_move", "stage")], [("closed", 20.0), ("opened", 10.0)])
    woken_first = ([TAKEN], [("active", 30.0), ("closed", 20.0), ("opened", 10.0)])
    assert answers[0] == [TAKEN]
    assert ((answers[1], await _history(bank, "stage")) in (closed_first, woken_first)) is guarded


async def test_who_is_killed_between_history_and_row_has_told_nothing_false(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await values.write_many(bank, [_told(10.0, gender="F")])
    with monkeypatch.context() as patch:
        before_write(patch, 1)
        with pytest.raises(Killed):
            await values.write_many(bank, [_told(20.0, gender="M")])
    assert (await _holds(bank), await _history(bank, "gender")) == ({"gender": "F"}, [("F", 10.0)])
    assert await values.write_many(bank, [_told(20.0, gender="M")]) == [TAKEN]
    assert await _history(bank, "gender") == [("M", 20.0), ("F", 10.0)]


async def test_merged_customers_hold_the_newest_of_both_and_each_has_his_own_again(bank: Bank) -> None:
    await bank.db["customers"].insert({"_id": LI, "aliases": [WEI], "tags": []})
    await values.write_many(bank, [_told(10.0, stage="lead", gender="M"), _told(20.0, cid=WEI, stage="closed")])
    assert await _holds(bank, LI, WEI) == {"gender": "M", "stage": "closed"}
    assert await values.write_many(bank, [_told(30.0, stage="opened")]) == [Answer("field_move", "stage")]
    by_his = _told(40.0, gender="F", holdings=4)._replace(identity="demo:number:his")
    assert await values.write_many(bank, [by_his, _told(50.0, payroll=True)]) == [TAKEN, TAKEN]
    for _ in range(2):
        await parting.give_back(bank, LI, WEI, ["demo:number:his"])
        assert await _holds(bank, LI) == {"gender": "M", "payroll": True, "stage": "lead"}
        assert await _holds(bank, WEI) == {"gender": "F", "holdings": 4, "stage": "closed"}
    assert await _history(bank, "gender", LI) == [("M", 10.0)]
    await rows.erase(bank, [LI, WEI], ["gender", "holdings"])
    assert (await _holds(bank, LI), await _history(bank, "gender", LI, WEI)) == ({"payroll": True, "stage": "lead"}, [])


async def test_another_banks_fields_are_not_touched(bank: Bank, services: Services) -> None:
    await values.write_many(bank, [_told(10.0, id_tail="1234")])
    other = replace(Bank(services, "other"), fields=DECLARED)
    assert values.blind_index(other, "id_tail", "1234") != values.blind_index(bank, "id_tail", "1234")
    assert await _holds(other) == {}
    await rows.drop(other, "id_tail")
    assert await _holds(bank) == {"id_tail": "1234"}


async def test_five_hundred_updates_are_read_and_written_together(bank: Bank) -> None:
    told = [_told(10.0, cid=f"demo:{number:032x}", holdings=number) for number in range(500)]
    assert await values.write_many(bank, told) == [TAKEN] * 500
    assert (
        await values.write_many(bank, [one._replace(at=20.0, values={"holdings": -1}) for one in told]) == [TAKEN] * 500
    )
    assert await bank.db["field_values"].count({"values.holdings": -1, "rev": 2}) == 500
    assert await bank.db["field_history"].count({"key": "holdings"}) == 500


async def test_what_is_kept_under_a_consent_goes_with_it_and_comes_not_back_before_it(bank: Bank) -> None:
    text = consent.text_of("phone", "phone/2026-11")
    await bank.db["customers"].insert({"_id": LI, "aliases": [WEI], "tags": []})
    await consent.give(bank, LI, "phone", "phone/2026-11", text, "mp:wx1")
    noted = [
        _told(10.0, source="rm", interest="基金"),
        _told(20.0, source="rm", interest="黄金", last_visit="2026-01-02"),
    ]
    assert await values.write_many(bank, noted) == [TAKEN, TAKEN]
    await consent.withdraw(bank, LI, "phone", "console")
    await parting.erase_under(bank, [LI, WEI], "phone")
    assert (await _holds(bank), await _history(bank, "interest")) == ({"last_visit": "2026-01-02"}, [])
    late = [_told(30.0, source="rm", interest="基金"), _told(30.0, payroll=True)]
    assert await values.write_many(bank, late) == [Answer("consent_withdrawn", "interest"), TAKEN]
    assert (await _holds(bank), await _history(bank, "interest")) == ({"last_visit": "2026-01-02", "payroll": True}, [])
    await consent.give(bank, LI, "phone", "phone/2026-11", text, "mp:wx1")
    assert await values.write_many(bank, [_told(40.0, source="rm", interest="基金")]) == [TAKEN]
