"""RFM: the customers of a bank in fifths by how recently, how often and for how much, made each night."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from customers.banks.bank import Bank
from customers.banks.declarations import RfmEntry
from customers.banks.files import read_tenant_file
from customers.identity import merging, resolution
from customers.identity.facts import Facts
from customers.intake.tallies import tally_id
from customers.profiles import refreshing
from customers.profiles.source import concerned
from customers.profiles.vocabulary import of_bank
from customers.rfm import asking, nights, rows
from customers.rfm.rows import NightRow
from customers.rules.days import number_of
from customers.rules.errors import RuleError
from customers.rules.explaining import explain
from customers.rules.filters import to_filter
from customers.rules.masks import mask
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.segments import filling, membership
from operations import profiling
from services.container import Services
from services.errors import Conflict
from services.store import leases
from services.store.mongo import Change
from tests.conftest import DEMO_BANK
from tests.integration.customers.test_membership import members, of, put
from tests.support import jobs
from tests.support.clock import MovedClock
from tests.support.rule_columns import DocumentColumns

FILE = read_tenant_file(DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml")
RFM = RfmEntry(events=["payment.made", "fund.bought"], amounts={"payment.made": "amount"}, days=30)
DAY = 86_400.0


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def _bank(services: Services, tenant: str, rfm: RfmEntry | None = RFM) -> Bank:
    events = {one.name: one for one in FILE.events}
    return replace(Bank(services, tenant), fields={one.key: one for one in FILE.fields}, events=events, rfm=rfm)


@dataclass
class World:
    """The bank that everybody works for, as it is declared now."""

    bank: Bank

    def declare(self, rfm: RfmEntry | None) -> Bank:
        self.bank = replace(self.bank, rfm=rfm)
        return self.bank


@pytest.fixture
async def world(services: Services, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(asking, "SETTLE_SECONDS", 0.0)
    found = World(_bank(services, "demo"))

    async def current(self: Bank) -> Bank:
        return found.bank if self.id == found.bank.id else self

    monkeypatch.setattr(Bank, "current", current)
    return found


@pytest.fixture
def bank(world: World) -> Bank:
    return world.bank


async def person(bank: Bank, number: int) -> str:
    facts = Facts(external_userid=f"wm{number}")
    return await resolution.identify(bank, facts, source="callback", proof=f"e{number}")


async def happened(bank: Bank, cid: str, name: str, days: dict[int, tuple[int, int]]) -> None:
    """`days` are how often and for how much, by how many days ago."""
    today = number_of(bank.today())
    counts = {str(today - ago): n for ago, (n, _) in days.items()}
    sums = {str(today - ago): fen for ago, (_, fen) in days.items()}
    row_id = tally_id(bank.id, cid, name)
    row = {"cid": cid, "name": name, "days": counts, "first": 1.0, "last": 2.0, "sums": {"amount": sums}}
    await bank.db["event_tallies"].update({"_id": row_id}, {"$set": row}, upsert=True)


async def night(bank: Bank) -> None:
    """The customers are ranked now."""
    await asking.ask(bank)
    await _until_ranked(bank)


async def _until_ranked(bank: Bank) -> None:
    for _ in range(50):
        owner, taken = await leases.claim(bank.db["rfm_nights"], bank.now(), limit=1)
        for row in taken:
            await profiling.rank(bank, owner, cast("NightRow", row))
        found = await rows.find(bank)
        if found is None or found["state"] != asking.RANKING:
            return
    raise AssertionError("the night does not end")


async def fifths(bank: Bank) -> dict[str, tuple[int, int, int]]:
    found = await bank.db["profiles"].find({"rfm": {"$exists": True}}, limit=None)
    return {row["_id"]: (row["rfm"]["r"], row["rfm"]["f"], row["rfm"]["m"]) for row in found}


async def nothing_differs(bank: Bank) -> bool:
    async for _, found in profiling.check(bank):
        if found:
            return False
    return True


def by_counting(measured: dict[str, tuple[int, int, int]]) -> dict[str, tuple[int, int, int]]:
    """The fifths by their definition: how many fifths of all customers are below, and one more."""

    def one(cid: str, place: int) -> int:
        below = sum(other[place] < measured[cid][place] for other in measured.values())
        return 1 + 5 * below // len(measured)

    return {cid: (one(cid, 0), one(cid, 1), one(cid, 2)) for cid in measured}


_Days = st.dictionaries(st.integers(0, 45), st.tuples(st.integers(1, 4), st.integers(-500, 5_000)), max_size=4)
_Customer = st.fixed_dictionaries({"payment.made": _Days, "fund.bought": _Days, "app.login": _Days})


async def test_fifths_are_those_of_an_independent_reference(bank: Bank) -> None:
    cids = [await person(bank, number) for number in range(12)]
    await profiling.bring(bank, cids)

    @settings(max_examples=25, deadline=None, phases=[Phase.generate])
    @given(st.lists(_Customer, max_size=len(cids)))
    def agrees(customers: list[dict[str, dict[int, tuple[int, int]]]]) -> None:
        asyncio.run_coroutine_threadsafe(one(customers), loop).result()

    async def one(customers: list[dict[str, dict[int, tuple[int, int]]]]) -> None:
        await bank.db["event_tallies"].delete({})
        measured: dict[str, tuple[int, int, int]] = {}
        for cid, his in zip(cids, customers, strict=False):
            inside = {name: {ago: day for ago, day in his[name].items() if ago < 30} for name in RFM.events}
            for name, days in his.items():
                if days:
                    await happened(bank, cid, name, days)
            counted = [(ago, n) for days in inside.values() for ago, (n, _) in days.items()]
            if counted:
                money = sum(fen for _, fen in inside["payment.made"].values())
                measured[cid] = (-min(ago for ago, _ in counted), sum(n for _, n in counted), money)
        await night(bank)
        assert await fifths(bank) == by_counting(measured)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(agrees)


async def test_a_rule_of_fifths_says_the_same_as_predicate_filter_mask_and_explanation(bank: Bank) -> None:
    chance = Random(7)  # noqa: S311
    cids = [await person(bank, number) for number in range(25)]
    for cid in cids[:20]:
        await happened(
            bank, cid, "payment.made", {chance.randrange(30): (chance.randrange(1, 9), chance.randrange(9_999))}
        )
    await night(bank)
    await profiling.bring(bank, cids)
    words, day = await of_bank(bank), number_of(bank.today())
    documents = await bank.db["profiles"].find({}, sort=[("_id", 1)], limit=None)
    columns = DocumentColumns(documents)
    for rule in (
        "rfm.r >= 4",
        "rfm.f == 1 or rfm.m == 5",
        "not rfm.r in [1, 2]",
        "known(rfm.m)",
        "rfm.m between 2 and 4",
    ):
        tree = read_rule(rule, words)
        holds, masked = predicate(tree), mask(tree, columns, day)
        stored = {row["_id"] for row in await bank.db["profiles"].find(to_filter(tree, day), limit=None)}
        said = [holds(one, day) for one in documents]
        assert said == [one["_id"] in stored for one in documents] == [bool(one) for one in masked]
        assert said == [explain(tree, one, day).truth for one in documents]
        assert 0 < sum(said) < 25
    best = next(one for one in documents if one.get("rfm", {}).get("r") == 5)
    tree = read_rule("rfm.r >= 4", words)
    assert explain(tree, best, day).say("en") == "true: recency is 5 of 5 and the rule wants at least 4"
    assert "第 5 档（共 5 档，5 最高）" in explain(tree, best, day).say("zh")


async def test_a_rule_is_refused_with_the_mend_where_nothing_is_declared(world: World) -> None:
    words = await of_bank(world.declare(None))
    with pytest.raises(RuleError) as refused:
        read_rule("customer.bound and rfm.m >= 4", words)
    assert (refused.value.code, refused.value.column) == ("rule_rfm", 20)
    assert refused.value.message.endswith("declare rfm there first, with events and amounts")
    with pytest.raises(Conflict) as asked:
        await asking.ask(world.bank)
    assert asked.value.code == "rfm_undeclared"
    assert await rows.find(world.bank) is None


async def test_fewer_than_five_and_nobody(bank: Bank) -> None:
    cids = [await person(bank, number) for number in range(3)]
    await night(bank)
    assert await fifths(bank) == {}
    for place, cid in enumerate(cids):
        await happened(bank, cid, "payment.made", {place: (1, 100 * place)})
    await night(bank)
    assert await fifths(bank) == {cids[0]: (4, 1, 1), cids[1]: (2, 1, 2), cids[2]: (1, 1, 4)}
    assert await nothing_differs(bank)
    await bank.db["event_tallies"].delete({})
    await night(bank)
    assert await fifths(bank) == {}


async def test_a_live_segment_follows_the_night_and_an_event_of_the_day(bank: Bank) -> None:
    cids = [await person(bank, number) for number in range(5)]
    for place, cid in enumerate(cids):
        await happened(bank, cid, "payment.made", {0: (1, 100 * place)})
    await night(bank)
    await put(bank, "best", "rfm.m == 5")
    assert await members(bank, "best") == {cids[4]}
    await happened(bank, cids[0], "payment.made", {0: (2, 900)})
    paid = Change("event_tallies", tally_id("demo", cids[0], "payment.made"), {}, 0.0)
    await profiling.bring(bank, await concerned(bank, profiling.SOURCES, [paid]))
    assert await nothing_differs(bank)
    assert (await of(bank, cids[0]), await of(bank, cids[4])) == (["best"], ["best"])  # by the cuts of the night
    await night(bank)
    assert await members(bank, "best") == {cids[0]}
    assert sorted(await _told(bank)) == sorted([(cids[0], "segment.entered"), (cids[4], "segment.left")])


async def _told(bank: Bank) -> list[tuple[str, str]]:
    kinds = {"$in": ["segment.entered", "segment.left"]}
    return [(row["cid"], row["kind"]) for row in await bank.db["timeline"].find({"kind": kinds})]


async def test_nobody_is_told_when_the_declaration_changes(world: World) -> None:
    bank = world.bank
    await asking.declare(bank)
    first = await rows.find(bank)
    assert first is not None
    assert (first["state"], first["due"]) == (asking.RANKED, asking.after_midnight(bank))  # nobody is there yet
    cids = [await person(bank, number) for number in range(5)]
    for place, cid in enumerate(cids):
        await happened(bank, cid, "payment.made", {0: (1, 100 * place)})
        await happened(bank, cid, "fund.bought", {0: (1, 700 - 100 * place)})
    await night(bank)
    await put(bank, "best", "rfm.m == 5")
    assert await members(bank, "best") == {cids[4]}
    changed = world.declare(RfmEntry(events=["fund.bought"], amounts={"fund.bought": "amount"}))
    await asking.declare(changed)
    await _until_ranked(changed)
    await jobs.run(changed, filling.TASK)
    assert await members(changed, "best") == {cids[0]}
    assert await _told(changed) == []
    row = await rows.find(changed)
    await asking.declare(changed)  # says the same: nothing begins
    assert await rows.find(changed) == row
    gone = world.declare(None)
    await asking.declare(gone)
    await _until_ranked(gone)
    assert await fifths(gone) == {}
    ended = await rows.find(gone)
    assert ended is not None
    assert (ended["open"], ended.get("live")) == (False, None)


async def test_whoever_was_merged_counts_with_the_other(bank: Bank) -> None:
    cids = [await person(bank, number) for number in range(4)]
    loser = await resolution.identify(bank, Facts(unionid="oU"), source="callback", proof="e9")
    for place, cid in enumerate([*cids, loser]):
        await happened(bank, cid, "payment.made", {0: (1, 100 * place)})
    both = Facts(external_userid="wm0", unionid="oU")
    assert await resolution.identify(bank, both, source="details", proof="call") == cids[0]
    assert await bank.db["merges"].count({"state": merging.DONE}) == 1
    await night(bank)
    assert {cid: m for cid, (_, _, m) in (await fifths(bank)).items()} == {
        cids[1]: 1, cids[2]: 2, cids[3]: 3, cids[0]: 4,
    }  # fmt: skip


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 2, 4, 5, 6, 11, 13])
async def test_a_killed_night_goes_on_where_it_was(bank: Bank, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Eight customers in four spans, two a part: a write of the night is its last, the first, the last and some
    between, and so is one between a profile and its membership."""
    monkeypatch.setattr(nights, "SPANS", 2)
    monkeypatch.setattr(refreshing, "AT_ONCE", 2)
    cids = [await person(bank, number) for number in range(8)]
    for place, cid in enumerate(cids):
        await happened(bank, cid, "payment.made", {place: (place + 1, 100 * place)})
    await put(bank, "best", "rfm.m == 5")
    await asking.ask(bank)
    left, hold, put_back, settle = after, nights._hold, nights._put_back, membership.settle_span

    async def counted(do: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Killed
        return await do(*arguments, **named)

    monkeypatch.setattr(nights, "_hold", lambda *a, **n: counted(hold, *a, **n))
    monkeypatch.setattr(nights, "_put_back", lambda *a, **n: counted(put_back, *a, **n))
    monkeypatch.setattr(membership, "settle_span", lambda *a, **n: counted(settle, *a, **n))
    with pytest.raises(_Killed):
        await _until_ranked(bank)
    monkeypatch.setattr(nights, "_hold", hold)
    monkeypatch.setattr(nights, "_put_back", put_back)
    monkeypatch.setattr(membership, "settle_span", settle)
    await bank.db["rfm_nights"].update({}, {"$set": {"due": 0.0}})  # the lease is over
    await _until_ranked(bank)
    measured = {cid: (-place, place + 1, 100 * place) for place, cid in enumerate(cids)}
    assert await fifths(bank) == by_counting(measured)
    assert await members(bank, "best") == {cids[7]}
    assert await _told(bank) == [(cids[7], "segment.entered")]
    assert await bank.db["rfm_parts"].count() == 0
    assert await nothing_differs(bank)


async def test_another_banks_customers_are_not_touched(bank: Bank, services: Services) -> None:
    other = _bank(services, "other")
    theirs = [await person(other, number) for number in range(5)]
    ours = [await person(bank, number) for number in range(5)]
    for place, (his, hers) in enumerate(zip(ours, theirs, strict=True)):
        await happened(bank, his, "payment.made", {0: (1, 100 * place)})
        await happened(other, hers, "payment.made", {0: (1, 900 - 100 * place)})
    await night(other)
    before = await other.db["profiles"].find({}, sort=[("_id", 1)], limit=None)
    await night(bank)
    assert await other.db["profiles"].find({}, sort=[("_id", 1)], limit=None) == before
    assert (await fifths(bank))[ours[4]] == (1, 1, 5)
    assert (await fifths(other))[theirs[0]] == (1, 1, 5)


async def test_the_next_night_is_after_the_banks_midnight(bank: Bank, clock: MovedClock) -> None:
    cid = await person(bank, 1)
    await happened(bank, cid, "payment.made", {29: (1, 100)})
    await night(bank)
    assert await fifths(bank) == {cid: (1, 1, 1)}
    await jobs.run(bank, asking.TASK)
    assert await fifths(bank) == {cid: (1, 1, 1)}
    clock.advance(DAY)
    await jobs.run(bank, asking.TASK)
    assert await fifths(bank) == {}  # what happened is older than the window
