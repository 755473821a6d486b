"""Who is in a segment follows what is known of him, and each coming and leaving is told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from customers import happenings, relationships
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.banks.files import Webhook
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.profiles import refreshing
from customers.segments import document, estimate, filling, membership, versions
from customers.segments import members as members_of
from operations import profiling
from services.container import Services
from services.store.mongo import Collection, Doc, Store
from tests.integration.customers.test_segments import DECLARED
from tests.support import jobs
from tests.support.clock import MovedClock

LIN, ZHAO = (ClerkActor("demo", login, login, frozenset()) for login in ("lin", "zhao"))
RICH = "customer.balance_band in ['A', 'B']"
DAY = 86_400.0


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def bank(services: Services, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)
    bank = replace(Bank(services, "demo"), fields=DECLARED)

    async def current(self: Bank) -> Bank:
        return bank

    monkeypatch.setattr(Bank, "current", current)
    await happenings.listen(bank, ["segment.entered", "segment.left"])
    return bank


async def person(bank: Bank, number: int, **fields: Any) -> str:
    facts = Facts(external_userid=f"wm{number}")
    cid = await resolution.identify(bank, facts, source="callback", proof=f"e{number}")
    await tell(bank, cid, 10.0, **fields)
    return cid


async def tell(bank: Bank, cid: str, at: float, **fields: Any) -> None:
    if fields:
        assert (await values.write_many(bank, [Update(cid, fields, at, "core", f"{cid}{at}")]))[0].taken
    await profiling.bring(bank, [cid])


async def put(bank: Bank, key: str, rule: str, kind: str = "live") -> None:
    """Two clerks agree to it, and it is filled."""
    said = {"name": {"zh": key, "en": key}, "rule": rule, "kind": kind}
    words = await profiling.vocabulary(bank)
    number = await versions.submit(bank, LIN, key, document.read(key, said), words)
    await versions.approve(bank, ZHAO, key, number, words)
    await jobs.run(bank, filling.TASK)


async def of(bank: Bank, cid: str) -> list[str]:
    found = await refreshing.find(bank, cid)
    assert found is not None
    return found["segments"]


async def members(bank: Bank, segment: str) -> set[str]:
    return {row["cid"] for row in await bank.db["segment_members"].find({"segment": segment, "left": None})}


async def told(bank: Bank, cid: str) -> list[tuple[str, str]]:
    """What the timeline says, which is also what was told to who listens."""
    kinds = {"$in": ["segment.entered", "segment.left"]}
    found = await bank.db["timeline"].find({"cid": cid, "kind": kinds})
    heard = [orjson.loads(bank.vault.open("inbox", "body", row["_id"], row["body"])) if "body" in row else row
             for row in await bank.db["inbox"].find({})]  # fmt: skip
    assert len(heard) == await bank.db["timeline"].count({"kind": kinds})
    return sorted((row["kind"], row["data"]["segment"]) for row in found)


async def test_members_come_and_go_with_what_is_known_and_each_is_told_once(bank: Bank) -> None:
    ann, bob = await person(bank, 1, balance_band="A"), await person(bank, 2, balance_band="C")
    await put(bank, "rich", RICH)
    assert (await of(bank, ann), await of(bank, bob)) == (["rich"], [])
    assert await members(bank, "rich") == {ann}
    assert await told(bank, ann) == []  # she did nothing: the rule is new
    await tell(bank, bob, 20.0, balance_band="B")
    await tell(bank, bob, 30.0, balance_band="A")
    assert await told(bank, bob) == [("segment.entered", "rich")]
    await tell(bank, bob, 40.0, balance_band="C")
    assert await told(bank, bob) == [("segment.entered", "rich"), ("segment.left", "rich")]
    await tell(bank, bob, 50.0, balance_band="A")
    assert [kind for kind, _ in await told(bank, bob)] == ["segment.entered"] * 2 + ["segment.left"]
    assert await members(bank, "rich") == {ann, bob}


async def test_webhooks_are_told_of_each_coming_and_going_once(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await person(bank, 1, balance_band="A"), await person(bank, 2, balance_band="C")
    hook = Webhook(id="core", url="https://core.bank.example", events=["segment.entered", "segment.left"])
    hooked = replace(bank, webhooks=(hook,))

    async def current(self: Bank) -> Bank:
        return hooked

    monkeypatch.setattr(Bank, "current", current)
    await put(hooked, "rich", RICH)
    for at, band in ((20.0, "B"), (30.0, "A"), (40.0, "C")):
        await tell(hooked, bob, at, balance_band=band)
    told = await bank.db["webhook_deliveries"].find({}, sort=[("noted_at", 1)])
    assert ann not in [row["cid"] for row in told]
    expected = [(bob, "segment.entered", {"segment": "rich"}), (bob, "segment.left", {"segment": "rich"})]
    assert [(row["cid"], row["event"], row["data"]) for row in told] == expected


async def test_a_changed_rule_fills_anew_and_segments_inside_segments_follow(bank: Bank) -> None:
    cids = [await person(bank, number, balance_band=band) for number, band in enumerate("ABCA", 1)]
    await put(bank, "rich", RICH)
    await put(bank, "others", "known(customer.balance_band) and not segment('rich')")
    assert await members(bank, "others") == {cids[2]}
    await put(bank, "rich", "customer.balance_band == 'A'")
    assert await members(bank, "rich") == {cids[0], cids[3]}
    assert await members(bank, "others") == {cids[1], cids[2]}
    await tell(bank, cids[1], 20.0, balance_band="A")
    assert await of(bank, cids[1]) == ["rich"]
    words = await profiling.vocabulary(bank)
    number = await versions.archive(bank, LIN, "others", "x")
    await versions.approve(bank, ZHAO, "others", number, words)
    await jobs.run(bank, filling.TASK)
    assert await members(bank, "others") == set()
    assert await of(bank, cids[2]) == []
    async for _, found in profiling.check(bank):
        assert found == {}


async def test_a_frozen_segment_stays_as_it_was_taken_until_it_is_taken_again(bank: Bank) -> None:
    ann, bob = await person(bank, 1, balance_band="A"), await person(bank, 2, balance_band="C")
    await put(bank, "then", RICH, "frozen")
    await tell(bank, ann, 20.0, balance_band="C")
    await tell(bank, bob, 20.0, balance_band="A")
    assert (await of(bank, ann), await of(bank, bob)) == (["then"], [])
    await put(bank, "then", RICH, "frozen")
    assert (await of(bank, ann), await of(bank, bob)) == ([], ["then"])
    assert await members(bank, "then") == {bob}


async def test_a_rule_with_days_is_judged_again_after_midnight(bank: Bank, clock: MovedClock) -> None:
    day = bank.today().isoformat()
    ann = await person(bank, 1, birthday=f"1990{day[4:]}")
    await put(bank, "birthday", "anniversary(customer.birthday) in next 1d")
    assert await of(bank, ann) == ["birthday"]
    row = await filling.fill_of(bank, "birthday")
    assert row is not None
    assert row["open"]
    await jobs.run(bank, filling.TASK)
    assert await of(bank, ann) == ["birthday"]
    clock.advance(row["due"] - bank.now() + 1.0)
    await jobs.run(bank, filling.TASK)
    assert await of(bank, ann) == []
    assert await told(bank, ann) == [("segment.left", "birthday")]


async def test_a_rule_that_cannot_be_read_any_more_leaves_its_members_as_they_were(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await person(bank, 1, balance_band="A", holdings=1)
    await put(bank, "rich", RICH)
    without = {key: one for key, one in DECLARED.items() if key != "balance_band"}
    less = replace(bank, fields=without)
    less.services.cache.clear()
    await profiling.bring(less, [ann])
    assert await of(bank, ann) == ["rich"]


async def test_whoever_is_merged_leaves_quietly_and_the_other_comes_in(bank: Bank) -> None:
    elder = await resolution.identify(bank, Facts(unionid="u2"), source="callback", proof="e0")
    ann = await person(bank, 1, balance_band="A")
    await put(bank, "rich", RICH)
    await profiling.bring(bank, [elder])
    both = Facts(external_userid="wm1", unionid="u2")
    assert await resolution.identify(bank, both, source="callback", proof="e3") == elder
    await profiling.bring(bank, [ann])
    assert await members(bank, "rich") == {elder}
    assert (await told(bank, ann), await told(bank, elder)) == ([], [("segment.entered", "rich")])


Step = Callable[..., Awaitable[Any]]


class _PowerCut(Exception):
    """The process is no more."""


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        ("refreshing", "refresh_all", True),
        ("membership", "_write", True),
        ("timeline", "record_many", True),
        ("happenings", "tell", True),
        ("membership", "_members", False),
    ],
)
async def test_cut_short_anywhere_it_is_told_once(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, module: str, name: str, after: bool
) -> None:
    from customers import happenings, timeline

    ann = await person(bank, 1, balance_band="C")
    await put(bank, "rich", RICH)
    assert (await values.write_many(bank, [Update(ann, {"balance_band": "A"}, 20.0, "core", "e9")]))[0].taken
    places = {"refreshing": refreshing, "membership": membership, "timeline": timeline, "happenings": happenings}
    place: Any = places[module]
    real: Step = getattr(place, name)

    async def cut(*given: Any, **more: Any) -> Any:
        if after:
            await real(*given, **more)
        raise _PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(place, name, cut)
        with pytest.raises(_PowerCut):
            await profiling.bring(bank, [ann])
    for _ in range(2):
        await profiling.bring(bank, [ann])
    assert await told(bank, ann) == [("segment.entered", "rich")]


async def test_a_profile_that_changes_while_its_turn_is_written_is_followed(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await person(bank, 1, balance_band="C")
    await put(bank, "rich", RICH)
    write, changes = membership._write, iter(("C", "B"))

    async def written(at: Bank, turned: Any) -> bool:
        ours = await write(at, turned)
        for band in changes:
            update = Update(ann, {"balance_band": band}, 30.0 + ord("C") - ord(band), "core", f"e{band}")
            assert (await values.write_many(bank, [update]))[0].taken
            await refreshing.refresh(bank, [ann], profiling.SOURCES)  # and whoever did it is killed
            break
        return ours

    monkeypatch.setattr(membership, "_write", written)
    await tell(bank, ann, 20.0, balance_band="A")
    assert await of(bank, ann) == ["rich"]
    assert await members(bank, "rich") == {ann}
    assert [kind for kind, _ in await told(bank, ann)] == ["segment.entered"] * 2 + ["segment.left"]


@pytest.mark.parametrize("first", [True, False])
async def test_of_two_who_see_the_same_turn_one_takes_it_and_it_is_told_once(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    ann = await person(bank, 1, balance_band="C" if first else "A")
    await put(bank, "rich", RICH)
    write, others, ours = membership._write, iter([1]), list[bool]()

    async def beaten(at: Bank, turned: Any) -> bool:
        for _ in others:
            await membership.settle(at, [ann])
        ours.append(await write(at, turned))
        return ours[-1]

    monkeypatch.setattr(membership, "_write", beaten)
    await tell(bank, ann, 20.0, balance_band="A" if first else "C")
    assert ours == [True, False]
    assert await told(bank, ann) == [("segment.entered" if first else "segment.left", "rich")]
    assert await members(bank, "rich") == ({ann} if first else set())


async def test_what_stays_is_looked_at_once_and_what_turns_is_told_together(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    cids = [await person(bank, number, balance_band="C") for number in range(20)]
    await put(bank, "rich", RICH)
    await put(bank, "other", f"not ({RICH})")
    asked = Counter[str]()

    def counted(owner: type, name: str, verb: str, rows: Callable[[Any, Any], str]) -> None:
        real = getattr(owner, name)

        async def call(self: Any, *given: Any, **more: Any) -> Any:
            asked[f"{verb} {rows(self, given)}"] += 1
            return await real(self, *given, **more)

        monkeypatch.setattr(owner, name, call)

    counted(Collection, "find", "find", lambda self, given: self._raw.name)
    counted(Store, "find_across", "find", lambda self, given: given[0])
    counted(Store, "insert_new_across", "insert", lambda self, given: given[0])
    await profiling.bring(bank, cids)
    looked = ("customers", "profiles", "segment_members", "segment_fills")
    assert [asked[f"find {rows}"] for rows in looked] == [1, 2, 1, 0]
    updates = [Update(cid, {"balance_band": "A"}, 20.0, "core", f"e{cid}") for cid in cids]
    assert all(one.taken for one in await values.write_many(bank, updates))
    asked.clear()
    await profiling.bring(bank, cids)
    assert [asked[f"find {rows}"] for rows in looked] == [1, 3, 1, 1]
    assert 1 <= asked["insert inbox"] <= 3
    assert await members(bank, "rich") == set(cids)
    assert await bank.db["inbox"].count() == 40


def _unguarded(_turn: int) -> Doc:
    return {}


@pytest.mark.parametrize("guarded", [True, False])
async def test_who_is_late_turns_nothing_back(bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """One who read `out, then in` goes to sleep before he writes it; meanwhile others saw more."""
    ann = await person(bank, 1, balance_band="A")
    await put(bank, "rich", RICH)
    await tell(bank, ann, 20.0, balance_band="C")
    late: list[Any] = []
    real = membership._write

    async def asleep(at: Bank, turned: Any) -> None:
        late.append(turned)
        raise _PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(membership, "_write", asleep)
        with pytest.raises(_PowerCut):
            await tell(bank, ann, 30.0, balance_band="A")
    await profiling.bring(bank, [ann])
    await tell(bank, ann, 40.0, balance_band="C")
    if not guarded:
        monkeypatch.setattr(membership, "_unturned", _unguarded)
    assert await real(bank, late[0]) is not guarded  # whether all turns are his
    (row,) = await bank.db["segment_members"].find({"cid": ann})
    assert (row["turn"], row["left"] is None) == ((4, False) if guarded else (3, True))


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_profile_that_was_judged_by_a_rule_that_is_over_is_judged_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """The rule changes, and is filled, between what was judged and its writing."""
    ann = await person(bank, 1, balance_band="C")
    await put(bank, "rich", RICH)
    write, changed = refreshing._write, list[bool]()

    async def late(at: Bank, profiles: Any) -> Any:
        if not changed:
            changed.append(True)
            await put(bank, "rich", "customer.balance_band == 'A'")
        return await write(at, profiles)

    async def none(*_: Any) -> list[object]:
        return []

    monkeypatch.setattr(refreshing, "_write", late)
    if not guarded:
        monkeypatch.setattr(refreshing, "_versions", none)
    await tell(bank, ann, 20.0, balance_band="B")
    assert await of(bank, ann) == ([] if guarded else ["rich"])


async def test_a_fill_that_is_cut_short_goes_on_where_it_was(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "AT_ONCE", 2)
    cids = {await person(bank, number, balance_band="A") for number in range(1, 9)}
    looked: list[tuple[str, str]] = []
    real = filling._fill_span

    async def twice(at: Bank, segment: str, span: tuple[str, str], work: Any) -> int:
        looked.append(span)
        if len(looked) == 3:
            raise _PowerCut
        return await real(at, segment, span, work)

    monkeypatch.setattr(filling, "_fill_span", twice)
    await put(bank, "rich", RICH)
    row = await filling.fill_of(bank, "rich")
    assert row is not None
    assert filling.progress(row) == (2, 4)
    await bank.db["segment_fills"].update({"_id": row["_id"]}, {"$set": {"due": 0.0}})
    await jobs.run(bank, filling.TASK)
    assert await members(bank, "rich") == cids
    assert looked == [*refreshing.spans("demo", 8)][:3] + [*refreshing.spans("demo", 8)][2:]
    row = await filling.fill_of(bank, "rich")
    assert row is not None
    assert (row["state"], row["open"], row["changed"]) == ("filled", False, 8)


async def test_an_estimate_counts_whom_a_rule_would_have_by_branch(bank: Bank) -> None:
    for userid, branch in (("rm.a", "sz-nanshan"), ("rm.b", "sz-futian"), ("rm.c", "sz-nanshan")):
        row = {"_id": f"demo:{userid}", "userid": userid, "name": userid, "branch": branch, "active": True}
        await bank.db["staff"].insert(row)
    cids = [await person(bank, number, balance_band=band) for number, band in enumerate("AABC", 1)]
    for userid, cid in (("rm.a", cids[0]), ("rm.b", cids[0]), ("rm.c", cids[0]), ("rm.a", cids[1]), ("rm.b", cids[3])):
        await relationships.changed(bank, userid, cid, at=100.0, active=True)
    await profiling.bring(bank, cids)
    segment = document.read("x", {"name": {"zh": "x", "en": "x"}, "rule": RICH})
    found = await estimate.estimate(bank, document.checked("x", segment, await profiling.vocabulary(bank), {}))
    assert (found.count, found.sample) == (3, sorted(cids[:3]))
    assert found.by_branch == {"sz-nanshan": 2, "": 1, "sz-futian": 1}
    await put(bank, "rich", RICH)
    shown = await members_of.members(bank, "rich")
    assert shown.found == found
    assert [one.cid for one in shown.sample] == sorted(cids[:3])
    assert sorted((turn.who.cid, turn.entered) for turn in shown.lately) == [(cid, True) for cid in sorted(cids[:3])]
