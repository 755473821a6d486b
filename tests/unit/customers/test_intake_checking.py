"""The look at many events together lets through exactly what the long look at each does."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import bounds
from customers.banks.bank import Bank
from customers.banks.declarations import EventData, EventEntry, Label
from customers.banks.files import read_tenant_file
from customers.intake.checking import Ages, Events
from services import phones
from services.container import Services
from tests.conftest import DEMO_BANK

FILE = read_tenant_file(DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml")
APPID = FILE.miniprograms[0].appid
BANK = Bank(
    cast("Services", SimpleNamespace()),
    "demo",
    events={one.name: one for one in FILE.events},
    miniprograms={one.appid: one for one in FILE.miniprograms},
)
NOW = time.time()
TAKEN = Ages(NOW - 400 * 86_400, NOW + 300)


def _at(ago: float) -> str:
    return datetime.fromtimestamp(NOW - ago, UTC).isoformat()


ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, 0, 1, 1.5, "", "x", "\0", [], ["id"], {}, {"id": 1}])
IDS = st.sampled_from(["e1", "a" * 64, "a" * 65, "e 1", "e1\n"]) | ODD
NAMES = st.sampled_from(["app.login", "payment.made", "never.declared"]) | ODD
TIMES = st.sampled_from(
    [
        _at(60),
        _at(-60),
        _at(-3_600),
        _at(500 * 86_400.0),
        "2026-11-30T10:00:00",
        "20261130T100000Z",
        "2026-11-30T10:00:00+08:00",
    ]
)
CUSTOMERS: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"number": "C0001"},
        {"number": "C1"},
        {"phone": "+8613800000001"},
        {"phone": "138 0000 0001"},
        {"phone": "12"},
        {"phone": "+8613\u0668\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661"},
        {"unionid": "u-1"},
        {"openid": "o1"},
        {"openid": "o1", "appid": APPID},
        {"openid": "o1", "appid": []},
        {"appid": APPID},
        {"number": "C0001", "phone": "13800000001"},
        {"number": 1},
    ]
)
DATA: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"amount": 1},
        {"amount": 1.5},
        {"amount": True},
        {"channel": "app"},
        {"channel": "\0"},
        {"channel": "x" * 501},
        {"more": 1},
    ]
)
ITEMS = (
    st.fixed_dictionaries(
        {"id": IDS, "name": NAMES, "at": TIMES | ODD, "customer": CUSTOMERS | ODD},
        optional={"data": DATA | ODD, "more": ODD},
    )
    | st.dictionaries(st.sampled_from(["id", "name", "at", "customer", "data"]), ODD)
    | ODD
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=12))
def test_both_looks_say_the_same(items: list[Any]) -> None:
    events = Events(BANK)
    each = {place: found for place, item in enumerate(items) if (found := events.wrong(item, TAKEN)) is not None}
    assert events.all_wrong(items, TAKEN) == each


GOOD = st.fixed_dictionaries(
    {
        "id": st.text("aZ0_.:-", min_size=1, max_size=64),
        "name": st.just("payment.made"),
        "at": st.sampled_from([_at(60), _at(0.5), _at(300 * 86_400.0).replace("+00:00", "+08:00")]),
        "customer": st.sampled_from([{"number": "C-01"}, {"phone": "+8613800000001"}, {"unionid": "u_1"}]),
    },
    optional={"data": st.sampled_from([{}, {"amount": 1}, {"channel": "柜台\n"}, {"amount": -1, "channel": "\xad"}])},
)


@settings(max_examples=100, deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=40), st.lists(st.tuples(st.integers(0, 40), ITEMS), max_size=2))
def test_few_odd_ones_are_found_among_good_ones(items: list[Any], odd: list[tuple[int, Any]]) -> None:
    events = Events(BANK)
    assert events._are_usual(items, TAKEN)
    for place, item in odd:
        items.insert(place, item)
    each = {place: found for place, item in enumerate(items) if (found := events.wrong(item, TAKEN)) is not None}
    assert events.all_wrong(items, TAKEN) == each


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "e1\ne2"},
        {"id": ""},
        {"customer": {"number": "C0001\nC0002"}},
        {"at": "2026-11-30"},
        {"at": "2026-11-30T10:00:00"},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"data": None},
        {"data": {"channel": "\x7f"}},
        {"data": {"channel": "x" * 501}},
        {"data": {"channel": "x\ufffe"}},
        {"customer": {"phone": "+8613\u0668\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661"}},
        {"customer": {"openid": "o1", "appid": []}},
    ],
)
def test_no_odd_one_hides_among_good_ones(odd: dict[str, Any]) -> None:
    good = {"id": "e1", "name": "payment.made", "at": _at(60), "customer": {"number": "C0001"}, "data": {}}
    events = Events(BANK)
    missing = {key: value for key, value in good.items() if key != "data"}
    for beside in ([good], [missing], [{**good, "customer": {"phone": "+8613800000001"}}] * 30):
        assert events.all_wrong(beside, TAKEN) == {}
        assert list(events.all_wrong([*beside, {**good, **odd}, *beside], TAKEN)) == [len(beside)]


def test_what_is_printable_is_shown() -> None:
    """So that a usual text need not be looked at twice (bounds.clean)."""
    printable = "".join(chr(one) for one in range(0x110000) if chr(one).isprintable())
    assert bounds.clean(printable) == printable


def test_what_is_usual_is_right() -> None:
    usual = {"id": "e1", "name": "payment.made", "at": _at(60), "customer": {"number": "C0001"}, "data": {"amount": 1}}
    assert Events(BANK).all_wrong([usual, {**usual, "data": {}}], TAKEN) == {}
    assert Events(BANK).all_wrong([{**usual, "data": []}, {**usual, "data": ""}], TAKEN) == {
        0: ("data_wrong", "data"),
        1: ("data_wrong", "data"),
    }


def test_a_phone_that_is_taken_can_be_read() -> None:
    """One that could not be would hold up the request that it came with."""
    scripts = ["\u0660", "\u06f0", "\u0966", "\uff10"]  # Arabic, Persian, Devanagari, full-width
    written = [f"+8613{chr(ord(zero) + 8)}{zero * 8}" for zero in scripts]
    good = {"id": "e1", "name": "payment.made", "at": _at(60)}
    items = [{**good, "customer": {"phone": one}} for one in [*written, "+8613800000001"]]
    refused = ("customer_wrong", "customer.phone")
    assert Events(BANK).all_wrong(items, TAKEN) == {0: refused, 1: refused, 2: refused}
    assert phones.read(written[3]) == "+8613800000000"


@pytest.mark.parametrize(("text", "taken"), [("2026-11-30", True), ("2026-W49-1", False), ("2026-13-01", False)])
def test_a_day_is_written_as_fields_have_it(text: str, taken: bool) -> None:
    told = EventEntry(name="card.opened", label=Label(zh="开卡", en="Opened"), data=[EventData(key="on", type="date")])
    bank = replace(BANK, events={told.name: told})
    item = {"id": "e1", "name": told.name, "at": _at(60), "customer": {"number": "C0001"}, "data": {"on": text}}
    assert (Events(bank).all_wrong([item], TAKEN) == {}) is taken
