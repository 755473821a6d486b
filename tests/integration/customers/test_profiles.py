"""Profiles: one document a customer, made whole from what is known of him."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from customers import relationships
from customers.banks.bank import Bank
from customers.banks.files import read_tenant_file
from customers.fields import values
from customers.fields.values import Update
from customers.identity import merging, resolution, unmerging
from customers.identity.facts import Facts
from customers.identity.rows import MergeRow, find_customer
from customers.intake.profile import tallies_of
from customers.intake.tallies import day_of
from customers.profiles import refreshing
from customers.profiles.source import Batch
from customers.profiles.vocabulary import of_bank
from customers.rules.errors import RuleError
from customers.rules.filters import to_filter
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from operations import profiling
from operations.profiling import SOURCES
from operations.schema import COLLECTIONS
from services.clock import utc
from services.container import Services
from services.store.mongo import Collection
from tests.conftest import DEMO_BANK
from tests.support import unguarded

DECLARED = {one.key: one for one in read_tenant_file(DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml").fields}


@pytest.fixture
def bank(services: Services) -> Bank:
    return replace(Bank(services, "demo"), fields=DECLARED)


async def _person(bank: Bank, number: int = 1, **more: str) -> str:
    facts = Facts(external_userid=f"wm{number}", **more)
    return await resolution.identify(bank, facts, source="callback", proof=f"event-{number}")


async def _refresh(bank: Bank, *cids: str) -> list[str]:
    return [one.cid for one in await refreshing.refresh(bank, cids, SOURCES)]


async def _different(bank: Bank) -> dict[str, list[str]]:
    return {cid: keys async for _, found in profiling.check(bank) for cid, keys in found.items()}


@pytest.mark.parametrize("by_span", [False, True])
async def test_what_profiles_are_made_of_is_asked_by_an_index_and_nothing_beside_it(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, by_span: bool
) -> None:
    asked, find = list[tuple[str, set[str]]](), Collection.find

    async def noted(self: Collection, query: Any = None, **options: Any) -> Any:
        asked.append((self._raw.name, {"tenant", *(query or {})}))
        return await find(self, query, **options)

    cid = await _person(bank)
    await relationships.changed(bank, "rm.a", cid, at=200.0, active=True)
    row = cast("Any", await find_customer(bank, cid))
    batch = Batch({cid: row}, ("demo:", "demo;") if by_span else None)
    monkeypatch.setattr(Collection, "find", noted)
    for source in SOURCES:
        await source.read(bank, batch)
    await tallies_of(bank, batch, ["app.login"])
    monkeypatch.undo()
    indexes = {rows: [("tenant", "_id"), *(_names(one) for one in rows.indexes)] for rows in COLLECTIONS}
    of_many = {rows for source in SOURCES for rows in source.watched} & {rows for rows, _ in asked}
    assert of_many > {"event_tallies", "list_members", "relationships", "runs", "vouchers"}
    for rows, names in asked:
        if rows in of_many:
            assert any(set(one[: len(names)]) == names for one in indexes[rows]), (rows, names)


def _names(index: Any) -> tuple[str, ...]:
    return tuple(name for name, _ in index)


async def test_a_profile_has_all_that_is_known(bank: Bank) -> None:
    cid = await _person(bank)
    await bank.db["customers"].update({"_id": cid}, {"$set": {"tags": ["vip", "工资户"], "phone": b"x"}})
    await bank.db["staff"].insert({"_id": "demo:rm.a", "userid": "rm.a", "branch": "sz-nanshan", "active": True})
    await relationships.changed(bank, "rm.a", cid, at=200.0, active=True)
    await relationships.changed(bank, "rm.b", cid, at=100.0, active=True)
    await relationships.changed(bank, "rm.b", cid, at=150.0, active=False)
    await values.write_many(bank, [Update(cid, {"balance_band": "A", "id_tail": "1234"}, 10.0, "core", "e1")])
    for nth, at in enumerate((300.0, 400.0)):
        run = {"_id": f"demo:r{nth}", "cid": cid, "campaign": "acq", "status": "done", "entered_at": utc(at)}
        await bank.db["runs"].insert(run)
    await bank.db["runs"].insert({"_id": "demo:rv", "cid": cid, "campaign": "b", "status": "exited", "void": True})
    for nth, state in enumerate(("granted", "active", "used")):
        voucher = {"_id": f"demo:v{nth}", "cid": cid, "reward": "acq.coffee", "state": state, "at": utc(500.0 + nth)}
        await bank.db["vouchers"].insert({**voucher, "index": f"i{nth}"})
    assert await _refresh(bank, cid) == [cid]
    row = await find_customer(bank, cid)
    assert row is not None
    assert await refreshing.find(bank, cid) == {
        "_id": cid, "tenant": "demo", "seq": 1,
        "fields": {"balance_band": "A"}, "blind": {"id_tail": values.blind_index(bank, "id_tail", "1234")},
        "tags": ["vip", "工资户"], "bound": True, "created_at": row["created_at"].timestamp(), "added_at": 100.0,
        "rms": [{"userid": "rm.a", "branch": "sz-nanshan", "since": 200.0}],
        "events": {}, "campaigns": {"acq": 400.0}, "rewards": {"acq/coffee": {"n": 2, "last": 501.0}},
        "segments": [], "lists": [],
    }  # fmt: skip
    assert await _refresh(bank, cid) == []
    assert await _different(bank) == {}


@pytest.mark.parametrize(
    ("changed", "read"),
    [
        ({"lists"}, {"list_members"}),
        ({"lists", "rewards"}, {"list_members", "vouchers"}),
        ({"lists", "fields"}, None),
        ({"customers"}, None),
        (set(), None),
    ],
)
async def test_what_alone_changed_is_alone_read_and_the_rest_stays(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, changed: set[str], read: set[str] | None
) -> None:
    cid, new = await _person(bank), await _person(bank, 2)
    await values.write_many(bank, [Update(cid, {"balance_band": "A"}, 10.0, "core", "e1")])
    await _refresh(bank, cid)
    await bank.db["list_members"].insert({"_id": "demo:l", "list": "gold", "cid": cid, "on": True})
    asked, find = set[str](), Collection.find

    async def noted(self: Collection, *args: Any, **options: Any) -> Any:
        asked.add(self._raw.name)
        return await find(self, *args, **options)

    monkeypatch.setattr(Collection, "find", noted)
    made = await refreshing.refresh_all(bank, {cid: changed}, SOURCES)
    monkeypatch.undo()
    of_sources = {rows for source in SOURCES for rows in source.watched}
    assert (asked & of_sources) - {"customers"} == (read if read is not None else asked & of_sources - {"customers"})
    assert read is not None or asked > {"field_values", "list_members", "relationships", "runs", "vouchers"}
    ((before, after),) = [(one.before, one.after) for one in made.changed]
    assert before is not None
    assert after is not None
    assert {**after, "seq": 1, "tenant": "demo"} == {**before, "lists": ["gold"]}
    await refreshing.refresh_all(bank, {new: changed}, SOURCES)  # of whom there is no profile yet: whole
    assert await _different(bank) == {}


async def test_a_source_with_a_part_of_its_own_gives_that_alone_and_no_other_gives_it(bank: Bank) -> None:
    cid = await _person(bank)
    row = cast("Any", await find_customer(bank, cid))
    await _everything(bank, cid)
    own = {source.name: set(source.part) for source in SOURCES if source.part}
    assert own == {
        "events": {"events"}, "lists": {"lists"}, "campaigns": {"campaigns"}, "rewards": {"rewards"},
        "rfm": {"rfm"}, "segments": {"segments"},
    }  # fmt: skip
    for source in SOURCES:
        given = set((await source.read(bank, Batch({cid: row}))).get(cid, {}))
        others = set().union(*(keys for name, keys in own.items() if name != source.name))
        assert given <= own.get(source.name, given)
        assert not given & others
        assert given or source.name in {"staff", "rfm", "segments"}


async def _everything(bank: Bank, cid: str) -> None:
    """Rows of each source that has some of its own."""
    await values.write_many(bank, [Update(cid, {"balance_band": "A"}, 10.0, "core", "e1")])
    await relationships.changed(bank, "rm.a", cid, at=200.0, active=True)
    await bank.db["list_members"].insert({"_id": "demo:l", "list": "gold", "cid": cid, "on": True})
    run = {"_id": "demo:r", "cid": cid, "campaign": "acq", "status": "done", "entered_at": utc(300.0)}
    await bank.db["runs"].insert(run)
    voucher = {"_id": "demo:v", "cid": cid, "reward": "acq.coffee", "state": "active", "at": utc(500.0), "index": "i"}
    await bank.db["vouchers"].insert(voucher)
    tally = {"_id": "demo:t", "cid": cid, "name": "app.login", "days": {"20000": 1}, "sums": {}}
    await bank.db["event_tallies"].insert({**tally, "first": 1.0, "last": 1.0, "rev": 1})


async def test_a_merge_leaves_one_profile_and_its_undoing_two_as_they_were(bank: Bank) -> None:
    winner, loser = await _person(bank, 1), await _person(bank, 2, unionid="oU")
    told = [Update(winner, {"gender": "F"}, 10.0, "core", "e1"), Update(loser, {"gender": "M"}, 20.0, "core", "e2")]
    await values.write_many(bank, told)
    await relationships.changed(bank, "rm.a", loser, at=100.0, active=True)
    await _refresh(bank, winner, loser)
    before = await refreshing.find(bank, winner), await refreshing.find(bank, loser)
    both = Facts(external_userid="wm1", unionid="oU")
    assert await resolution.identify(bank, both, source="details", proof="call") == winner
    assert sorted(await _refresh(bank, loser)) == sorted([winner, loser])
    (one,) = await bank.db["profiles"].find({})
    assert (one["_id"], one["fields"], [rm["userid"] for rm in one["rms"]]) == (winner, {"gender": "M"}, ["rm.a"])
    assert await _different(bank) == {}
    (merge,) = await bank.db["merges"].find({"state": merging.DONE})
    await _undo(bank, merge)
    await _refresh(bank, winner, loser)
    after = await refreshing.find(bank, winner), await refreshing.find(bank, loser)
    assert [_content(one) for one in after] == [_content(one) for one in before]
    assert await _different(bank) == {}


async def _undo(bank: Bank, merge: Any) -> None:
    row: MergeRow = merge
    await unmerging.begin(bank, row, "lin")
    assert await unmerging.finish(bank, row["_id"])


def _content(profile: Any) -> dict[str, Any]:
    return {name: value for name, value in profile.items() if name != "seq"}


@pytest.mark.parametrize("guarded", [False, True], ids=["guard-off", "guard-on"])
async def test_who_read_an_older_state_does_not_put_it_over_a_newer_one(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    cid = await _person(bank)
    await values.write_many(bank, [Update(cid, {"holdings": 1}, 10.0, "core", "e1")])
    await _refresh(bank, cid)
    await values.write_many(bank, [Update(cid, {"holdings": 2}, 20.0, "core", "e2")])
    if not guarded:
        unguarded.replaces_whatever_is_there(monkeypatch)
    read, go_on, real = asyncio.Event(), asyncio.Event(), refreshing._make

    async def slow(*args: Any) -> Any:
        made = await real(*args)
        if not read.is_set():
            read.set()
            await go_on.wait()
        return made

    monkeypatch.setattr(refreshing, "_make", slow)
    late = asyncio.create_task(_refresh(bank, cid))
    await read.wait()
    await values.write_many(bank, [Update(cid, {"holdings": 3}, 30.0, "core", "e3")])
    await _refresh(bank, cid)
    go_on.set()
    await late
    profile = await refreshing.find(bank, cid)
    assert profile is not None
    assert (profile["fields"] == {"holdings": 3}) is guarded


async def test_whoever_was_merged_has_no_profile_although_another_made_it_meanwhile(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner, loser = await _person(bank, 1), await _person(bank, 2, unionid="oU")
    await _refresh(bank, winner, loser)
    both = Facts(external_userid="wm1", unionid="oU")
    assert await resolution.identify(bank, both, source="details", proof="call") == winner
    real = refreshing._make

    async def slow(*args: Any) -> Any:
        made = await real(*args)
        # one who had read both before the merge writes now
        await bank.db["profiles"].update({"_id": loser, "seq": 1}, {"$set": {"seq": 2}})
        return made

    monkeypatch.setattr(refreshing, "_make", slow)
    await _refresh(bank, loser)
    assert await refreshing.find(bank, loser) is None


async def test_all_of_a_bank_is_made_anew_and_profiles_of_nobody_go(bank: Bank) -> None:
    cids = [await _person(bank, number) for number in range(12)]
    await values.write_many(bank, [Update(cid, {"holdings": 1}, 10.0, "core", f"e{cid}") for cid in cids])
    await relationships.changed(bank, "rm.a", cids[0], at=100.0, active=True)
    await bank.db["profiles"].insert({"_id": "demo:" + "f" * 32, "seq": 3, **refreshing.EMPTY})
    assert len(await _different(bank)) == 13
    steps = [step async for step in profiling.rebuild(bank)]
    assert (steps[-1].done, steps[-1].of, steps[-1].changed) == (1, 1, 13)
    assert await bank.db["profiles"].count() == 12
    assert await _different(bank) == {}
    await bank.db["profiles"].update({"_id": cids[0]}, {"$set": {"rms": [], "fields.holdings": 9}})
    assert await _different(bank) == {cids[0]: ["fields", "rms"]}
    assert await refreshing.still_different(bank, [cids[0], cids[1]], SOURCES) == {cids[0]: ["fields", "rms"]}


def test_spans_hold_every_id_once() -> None:
    found = list(refreshing.spans("demo", 2_000))
    assert [low for low, _ in found] == ["demo:", *(f"demo:{digit}{'0' * 31}" for digit in "48c")]
    assert [high for _, high in found] == [*(low for low, _ in found[1:]), "demo;"]
    assert list(refreshing.spans("demo", 3)) == [("demo:", "demo;")]


async def test_rules_ask_profiles_by_the_banks_own_words(bank: Bank) -> None:
    cid = await _person(bank)
    said = {"balance_band": "A", "holdings": 3, "birthday": "1990-05-01", "id_tail": "8412", "month_income": 5_000_00}
    await values.write_many(bank, [Update(cid, said, 10.0, "core", "e1")])
    await relationships.changed(bank, "rm.a", cid, at=200.0, active=True)
    await _refresh(bank, cid)
    profile = await refreshing.find(bank, cid)
    words = await of_bank(replace(bank, removed_fields=frozenset({"shoes"})), {"rm": None})
    for rule, holds in {
        "customer.balance_band in ['A', 'B'] and customer.holdings >= 3": True,
        "customer.id_tail == '8412' and customer.month_income in ['50000000', '500000']": True,
        "customer.id_tail == '8413' or customer.month_income == 'much'": False,
        "rm('rm.a') and not customer.bound": True,
        "known(customer.stage)": False,
        "customer.birthday < '1990-05-02'": True,
    }.items():
        tree = read_rule(rule, words)
        assert predicate(tree)(profile, 20_000) is holds, rule
        assert await bank.db["profiles"].count(to_filter(tree, 20_000)) == int(holds), rule
    for wrong, code in {
        "customer.balance_band == 'E'": "rule_choice",
        "customer.shoes == '43'": "rule_removed",
        "customer.stge == 'lead'": "rule_field",
        "event('app.logout')": "rule_unknown_event",
    }.items():
        with pytest.raises(RuleError) as refused:
            read_rule(wrong, words)
        assert refused.value.code == code


async def test_events_are_counted_by_day_with_those_of_whoever_was_merged(bank: Bank) -> None:
    winner, loser = await _person(bank, 1), await _person(bank, 2)
    await bank.db["customers"].update({"_id": winner}, {"$set": {"aliases": [loser]}})
    await bank.db["customers"].update({"_id": loser}, {"$set": {"merged_into": winner}})
    today = day_of(bank.now(), bank.tz)
    recent, old = {str(today): 2, str(today - 399): 1}, {str(today): 1, str(today - 400): 5}
    for cid, days, first in ((winner, recent, 100.0), (loser, old, 50.0)):
        tally = {"_id": f"{cid}t", "cid": cid, "name": "app.login", "days": days, "first": first, "last": first + 9.0}
        await bank.db["event_tallies"].insert(tally)
    await _refresh(bank, loser)
    profile = await refreshing.find(bank, winner)
    assert profile is not None
    assert profile["events"] == {
        "app/login": {"n": 9, "first": 50.0, "last": 109.0, "days": {str(today - 399): 1, str(today): 3}}
    }
    assert await _different(bank) == {}
    await bank.db["profiles"].update({"_id": winner}, {"$set": {f"events.app/login.days.{today - 400}": 5}})
    assert await _different(bank) == {}  # it was not too old yesterday
