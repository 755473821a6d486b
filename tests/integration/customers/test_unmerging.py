"""A merge that was wrong is taken back: the loser is a customer again, the winner loses what was never his."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers import relationships, timeline
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import merging, resolution, review
from customers.identity.resolution import Customer, Facts
from customers.identity.rows import CustomerRow, MergeRow
from customers.identity.sealing import phone_index
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Doc
from tests.support.banks import open_bank
from tests.support.killing import Killed, before_write

BANK, LIFE = "wx1", "wx2"
RIGHTS = frozenset({review.READ, review.DECIDE})
LIN, ZHAO = ClerkActor("demo", "lin", "林晓", RIGHTS), ClerkActor("demo", "zhao", "赵敏", RIGHTS)
SCANNED = Facts(external_userid="wmE", name="刘敏")
LOGGED_IN = Facts(openids={BANK: "oO1"}, unionid="oU", phone="+8613800138000")
BOTH = Facts(external_userid="wmE", unionid="oU")
TO_THE_THIRD = (
    Facts(unionid="oU", openids={LIFE: "oO2"}),
    Facts(external_userid="wmE", openids={LIFE: "oO2"}),
)


def _at(tenant: str, clerk: ClerkActor = ZHAO) -> ClerkActor:
    return ClerkActor(tenant, clerk.login, clerk.name, clerk.permissions)


async def _two(services: Services, tenant: str = "demo") -> tuple[str, str]:
    """The winner (scanned, rm.a and rm.b, vip) and the loser (logged in, rm.a and rm.c, vip and 已登录)."""
    winner = await resolution.identify(await open_bank(services, tenant), SCANNED, source="callback", proof="event-1")
    loser = await resolution.identify(await open_bank(services, tenant), LOGGED_IN, source="login", proof="login-1")
    customers = services.store.tenant(tenant)["customers"]
    await customers.update({"_id": winner}, {"$addToSet": {"tags": {"$each": ["vip", "来源:网点"]}}})
    await customers.update({"_id": loser}, {"$addToSet": {"tags": {"$each": ["vip", "已登录"]}}})
    for userid, cid, at in (
        ("rm.a", winner, 100.0),
        ("rm.b", winner, 110.0),
        ("rm.a", loser, 120.0),
        ("rm.c", loser, 130.0),
    ):
        await relationships.changed(
            await open_bank(services, tenant), userid, cid, at=at, active=True, state=f"of {userid}", add_way=1
        )
    await timeline.record(await open_bank(services, tenant), winner, "customer.added", "1", at=100.0)
    await timeline.record(await open_bank(services, tenant), loser, "customer.login", "1", at=150.0)
    return winner, loser


async def _merge(services: Services, tenant: str = "demo") -> str:
    """The id of the merge of the two."""
    await resolution.identify(await open_bank(services, tenant), BOTH, source="details", proof="call-1")
    (merge,) = await services.store.tenant(tenant)["merges"].find({"state": merging.DONE})
    return str(merge["_id"])


async def _undo(services: Services, merge: str, tenant: str = "demo") -> None:
    await review.undo(await open_bank(services, tenant), _at(tenant, LIN), merge, "两个人")
    await review.approve_undo(await open_bank(services, tenant), _at(tenant, ZHAO), merge)


async def _friends(services: Services, tenant: str, cid: str) -> list[tuple[Any, ...]]:
    rows = await services.store.tenant(tenant)["relationships"].find({"cid": cid}, sort=[("userid", 1)])
    return [(row["userid"], row["at"], row["active"], row.get("state")) for row in rows]


async def _as_they_are(services: Services, tenant: str, *cids: str) -> list[tuple[Customer, list[tuple[Any, ...]]]]:
    at_bank = await open_bank(services, tenant)
    found = [await resolution.customer(at_bank, cid, follow=False) for cid in cids]
    return [(one, await _friends(services, tenant, one.cid)) for one in found]


async def _lead_to(services: Services, tenant: str, winner: str, loser: str) -> None:
    assert await resolution.identify(await open_bank(services, tenant), Facts(external_userid="wmE")) == winner
    assert await resolution.identify(await open_bank(services, tenant), Facts(unionid="oU")) == loser
    assert await resolution.identify(await open_bank(services, tenant), Facts(openids={BANK: "oO1"})) == loser


async def test_both_are_again_what_they_were(services: Services) -> None:
    winner, loser = await _two(services)
    before = await _as_they_are(services, "demo", winner, loser)
    merge = await _merge(services)
    assert (await resolution.customer(await open_bank(services, "demo"), loser)).cid == winner
    await _undo(services, merge)
    assert await _as_they_are(services, "demo", winner, loser) == before
    await _lead_to(services, "demo", winner, loser)
    for cid, kind in ((winner, "customer.added"), (loser, "customer.login")):
        at_bank = await open_bank(services, "demo")
        at_bank = await open_bank(services, "demo")
        story = [row["kind"] for row in await timeline.story(at_bank, await resolution.cids(at_bank, cid))]
        assert story == ["customer.unmerged", kind]
    (row,) = await services.store.tenant("demo")["merges"].find({})
    assert (row["state"], row["asked_by"], row["undone_by"], row["reason"]) == ("undone", "lin", "zhao", "两个人")
    kinds = [entry["action"] for entry in await services.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)])]
    assert kinds == ["merge.undo_asked", "merge.undone"]


async def test_how_a_friendship_ended_goes_with_it_through_a_merge_and_back(services: Services) -> None:
    """Handed on is not lost, and an end that only a sync inferred may be found wrong."""
    bank = await open_bank(services, "demo")
    winner, loser = await _two(services)
    handed_on, inferred = relationships.ENDED_BY_TRANSFER, relationships.ENDED_BY_SYNC
    await relationships.changed(bank, "rm.a", loser, at=200.0, active=False, ended_by=handed_on)
    await relationships.changed(bank, "rm.c", loser, at=200.0, active=False, ended_by=inferred)
    merge = await _merge(services)
    assert await relationships.ended_between(bank, "rm.a", [winner, loser]) is None
    ended = await relationships.ended_between(bank, "rm.c", [winner, loser])
    assert (ended or {}).get("ended_by") == inferred
    await _undo(services, merge)
    assert await _friends(services, "demo", winner) == [
        ("rm.a", 100.0, True, "of rm.a"), ("rm.b", 110.0, True, "of rm.b"),
    ]  # fmt: skip
    assert await relationships.ended_between(bank, "rm.a", [loser]) is None
    ended = await relationships.ended_between(bank, "rm.c", [loser])
    assert (ended or {}).get("ended_by") == inferred


async def test_what_was_told_since_goes_with_the_id_that_it_was_told_with(services: Services) -> None:
    winner, loser = await _two(services)
    merge = await _merge(services)
    later = Facts(unionid="oU", openids={LIFE: "oO2"}, phone="+8613900139000")
    assert (
        await resolution.identify(await open_bank(services, "demo"), later, source="login", proof="login-2") == winner
    )
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(external_userid="wmE", name="刘敏敏"))
        == winner
    )
    await _undo(services, merge)
    at_bank = await open_bank(services, "demo")
    left, again = [await resolution.customer(at_bank, cid) for cid in (winner, loser)]
    assert (left.name, left.phone, left.unionid, left.external_userid, left.openids) == ("刘敏敏", "", "", "wmE", {})
    assert (again.name, again.phone, again.unionid, again.external_userid) == ("", "+8613900139000", "oU", "")
    assert again.openids == {BANK: "oO1", LIFE: "oO2"}
    assert await resolution.identify(await open_bank(services, "demo"), Facts(openids={LIFE: "oO2"})) == loser
    found = await services.store.tenant("demo")["customers"].find(
        {"phone_index": phone_index(await open_bank(services, "demo"), "+8613900139000")}
    )
    assert [row["_id"] for row in found] == [loser]


async def test_they_are_kept_apart_and_a_later_word_becomes_a_question(services: Services) -> None:
    winner, loser = await _two(services)
    await _undo(services, await _merge(services))
    before = await _as_they_are(services, "demo", winner, loser)
    for _ in range(2):
        assert (
            await resolution.identify(await open_bank(services, "demo"), BOTH, source="details", proof="call-2")
            == winner
        )
        login = Facts(unionid="oU", openids={BANK: "oO1"})
        assert await resolution.identify(await open_bank(services, "demo"), login) == loser
    assert await _as_they_are(services, "demo", winner, loser) == before
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    assert (question["kind"], question["cids"], question["proof"]) == ("kept_apart", sorted((winner, loser)), "call-2")
    assert question["answers"] == ["merge", "leave"]


async def test_two_clerks_may_say_that_they_are_one_after_all(services: Services) -> None:
    winner, loser = await _two(services)
    await _undo(services, await _merge(services))
    await resolution.identify(await open_bank(services, "demo"), BOTH)
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    await review.propose(await open_bank(services, "demo"), LIN, question["id"], "merge", "本人到店核实")
    with pytest.raises(Forbidden) as refused:
        await review.agree(await open_bank(services, "demo"), LIN, question["id"])
    assert refused.value.code == "approver_is_author"
    assert (await resolution.customer(await open_bank(services, "demo"), loser)).cid == loser
    await review.agree(await open_bank(services, "demo"), ZHAO, question["id"])
    one = await resolution.customer(await open_bank(services, "demo"), loser)
    assert (one.cid, one.unionid, one.external_userid, one.phone) == (winner, "oU", "wmE", "+8613800138000")
    for facts in (SCANNED, LOGGED_IN, BOTH):
        assert await resolution.identify(await open_bank(services, "demo"), facts) == winner
    assert await review.list_questions(await open_bank(services, "demo"), LIN) == []
    (again,) = await services.store.tenant("demo")["merges"].find({"state": merging.DONE})
    assert (again["merge_origin"]["source"], again["merge_origin"]["proof"]) == ("clerk", question["id"])
    await _undo(services, again["_id"])
    assert [one.unionid for one, _ in await _as_they_are(services, "demo", winner, loser)] == ["", "oU"]


async def test_nobody_undoes_a_merge_alone_or_without_a_reason_or_the_right(services: Services) -> None:
    winner, loser = await _two(services)
    merge = await _merge(services)
    before = await _as_they_are(services, "demo", winner, loser)
    reader = ClerkActor("demo", "audit", "周审", frozenset({review.READ}))
    stranger = ClerkActor("other", "eve", "夏", RIGHTS)
    for action, error, code in (
        (review.undo(await open_bank(services, "demo"), reader, merge, "x"), Forbidden, "not_permitted"),
        (review.undo(await open_bank(services, "demo"), LIN, merge, " "), InvalidInput, "reason_missing"),
        (review.undo(await open_bank(services, "other"), stranger, merge, "x"), NotFound, "merge_unknown"),
        (review.approve_undo(await open_bank(services, "demo"), ZHAO, merge), Conflict, "merge_decided"),
    ):
        with pytest.raises(error) as refused:
            await action
        assert refused.value.code == code
    await review.undo(await open_bank(services, "demo"), LIN, merge, "两个人")
    for action, error, code in (
        (review.undo(await open_bank(services, "demo"), ZHAO, merge, "again"), Conflict, "merge_decided"),
        (review.approve_undo(await open_bank(services, "demo"), LIN, merge), Forbidden, "approver_is_author"),
        (review.approve_undo(await open_bank(services, "demo"), reader, merge), Forbidden, "not_permitted"),
    ):
        with pytest.raises(error) as refused:
            await action
        assert refused.value.code == code
    assert await _as_they_are(services, "demo", winner, loser) == before
    await review.stay_merged(await open_bank(services, "demo"), ZHAO, merge)
    with pytest.raises(Conflict):
        await review.approve_undo(await open_bank(services, "demo"), ZHAO, merge)
    assert await _as_they_are(services, "demo", winner, loser) == before


async def test_a_merge_whose_winner_was_merged_since_is_undone_from_the_outside_in(services: Services) -> None:
    eldest = await resolution.identify(await open_bank(services, "demo"), Facts(openids={LIFE: "oO2"}))
    winner, loser = await _two(services)
    inner = await _merge(services)
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(unionid="oU", openids={LIFE: "oO2"}))
        == eldest
    )
    await review.undo(await open_bank(services, "demo"), LIN, inner, "两个人")
    with pytest.raises(Conflict) as refused:
        await review.approve_undo(await open_bank(services, "demo"), ZHAO, inner)
    assert refused.value.code == "merge_covered"
    at_bank = await open_bank(services, "demo")
    assert {(await resolution.customer(at_bank, cid)).cid for cid in (winner, loser)} == {eldest}
    (outer,) = [row for row in await services.store.tenant("demo")["merges"].find({}) if row["winner"] == eldest]
    await _undo(services, outer["_id"])
    await _undo(services, inner)
    at_bank = await open_bank(services, "demo")
    alone = [await resolution.customer(at_bank, cid) for cid in (eldest, winner, loser)]
    assert [one.cid for one in alone] == [eldest, winner, loser]
    assert [(one.unionid, one.external_userid, one.openids) for one in alone] == [
        ("", "", {LIFE: "oO2"}), ("", "wmE", {}), ("oU", "", {BANK: "oO1"}),
    ]  # fmt: skip


async def test_a_third_customer_does_not_bring_together_who_was_told_apart(services: Services) -> None:
    third = await resolution.identify(await open_bank(services, "demo"), Facts(openids={LIFE: "oO2"}))
    winner, loser = await _two(services)
    await _undo(services, await _merge(services))
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(unionid="oU", openids={LIFE: "oO2"}))
        == third
    )
    told = Facts(external_userid="wmE", openids={LIFE: "oO2"})
    assert await resolution.identify(await open_bank(services, "demo"), told) == winner
    assert (await resolution.customer(await open_bank(services, "demo"), loser)).cid == third
    assert (await resolution.customer(await open_bank(services, "demo"), winner)).cids == [winner]
    (question,) = await review.list_questions(await open_bank(services, "demo"), LIN)
    assert (question["kind"], question["cids"]) == ("kept_apart", sorted((winner, third)))


async def _race_to_a_third(services: Services, tenant: str) -> tuple[str, str, str]:
    """Two who were told apart are merged into a third in one moment."""
    third = await resolution.identify(await open_bank(services, tenant), Facts(openids={LIFE: "oO2"}))
    winner, loser = await _two(services, tenant)
    await _undo(services, await _merge(services, tenant), tenant)
    at_bank = await open_bank(services, tenant)
    await asyncio.gather(*(resolution.identify(at_bank, facts) for facts in TO_THE_THIRD))
    return third, winner, loser


async def test_a_race_to_a_third_customer_brings_together_who_was_told_apart_without_the_guard(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off: the word of the winner's row as it was read is believed, and the write does not ask."""
    plan_of, fence_of = merging._plan, merging._fence
    together = asyncio.Barrier(2)

    async def plan_together(bank: Bank, row: CustomerRow, winner: CustomerRow) -> MergeRow:
        plan = await plan_of(bank, row, winner)
        if winner["openids"].keys() == {LIFE}:
            async with asyncio.timeout(5):
                await together.wait()
        return plan

    def unguarded(row: CustomerRow, plan: MergeRow) -> Doc:
        fence = fence_of(row, plan)
        return {name: value for name, value in fence.items() if name not in ("never_merge_with", "aliases")}

    third = await resolution.identify(await open_bank(services, "demo"), Facts(openids={LIFE: "oO2"}))
    winner, loser = await _two(services)
    await _undo(services, await _merge(services))
    monkeypatch.setattr(merging, "_plan", plan_together)
    monkeypatch.setattr(merging, "_fence", unguarded)
    at_bank = await open_bank(services, "demo")
    await asyncio.gather(*(resolution.identify(at_bank, facts) for facts in TO_THE_THIRD))
    at_bank = await open_bank(services, "demo")
    assert {(await resolution.customer(at_bank, cid)).cid for cid in (winner, loser)} == {third}


async def test_a_race_to_a_third_customer_keeps_apart_who_was_told_apart(services: Services) -> None:
    for n in range(6):
        third, winner, loser = await _race_to_a_third(services, f"bank{n}")
        roots = [(await resolution.customer(await open_bank(services, f"bank{n}"), cid)).cid for cid in (winner, loser)]
        assert roots in ([winner, third], [third, loser])


async def test_an_undoing_that_was_cut_short_anywhere_is_finished_by_whoever_meets_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        tenant = f"bank{number}"
        winner, loser = await _two(services, tenant)
        before = await _as_they_are(services, tenant, winner, loser)
        merge = await _merge(services, tenant)
        await review.undo(await open_bank(services, tenant), _at(tenant, LIN), merge, "两个人")
        with monkeypatch.context() as patch:
            was_killed = before_write(patch, number)
            try:
                await review.approve_undo(await open_bank(services, tenant), _at(tenant), merge)
            except Killed:
                assert was_killed()
            else:
                break
        if number % 2:
            await resolution.identify(await open_bank(services, tenant), Facts(unionid="oU"))
        row = await services.store.tenant(tenant)["merges"].find_one({"_id": merge})
        if row is not None and row["state"] != merging.UNDONE:
            await review.approve_undo(await open_bank(services, tenant), _at(tenant), merge)
        assert await _as_they_are(services, tenant, winner, loser) == before, f"killed before write {number}"
        await _lead_to(services, tenant, winner, loser)
    assert number >= 8


async def test_undoing_while_others_tell_of_both_ends_with_two(services: Services) -> None:
    for n in range(5):
        tenant = f"bank{n}"
        winner, loser = await _two(services, tenant)
        merge = await _merge(services, tenant)
        await review.undo(await open_bank(services, tenant), _at(tenant, LIN), merge, "两个人")
        tellings = [BOTH, LOGGED_IN, SCANNED, Facts(unionid="oU", openids={LIFE: "oO2"})] * 4
        at_bank = await open_bank(services, tenant)
        told = [resolution.identify(at_bank, facts) for facts in tellings]
        await asyncio.gather(review.approve_undo(await open_bank(services, tenant), _at(tenant), merge), *told)
        await _lead_to(services, tenant, winner, loser)
        at_bank = await open_bank(services, tenant)
        left, again = [await resolution.customer(at_bank, cid) for cid in (winner, loser)]
        assert (left.cid, left.external_userid, left.unionid) == (winner, "wmE", "")
        assert (again.cid, again.external_userid, again.unionid) == (loser, "", "oU")
        assert again.openids == {BANK: "oO1", LIFE: "oO2"}
        assert await resolution.identify(await open_bank(services, tenant), Facts(openids={LIFE: "oO2"})) == loser
