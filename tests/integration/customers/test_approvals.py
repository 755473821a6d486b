"""One maker-checker: who may decide, on what, how often, and what becomes of whoever was killed in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from customers import intercepts
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks.bank import Bank
from customers.handover import batches
from customers.intercepts import Rule
from services.container import Services
from services.errors import Conflict, Forbidden, Unavailable, YinqiaoError
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.integration.customers.handing import friend, wanted
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.killing import Killed, before_write

LIN, ZHAO, WU = (ClerkActor("demo", login, login, frozenset()) for login in ("lin", "zhao", "wu"))
LEAFLET = approvals.Kind(
    name="leaflet",
    right="",
    submitted="leaflet.submitted",
    approved="leaflet.approved",
    rejected="leaflet.rejected",
    refused="leaflet.refused",
    decided="leaflet_decided",
    replaces=approvals.ANY_TIME,
)
TEXT = {"text": "新客户送咖啡"}
RULE = Rule("保本承诺", "block", ("保本",), userids=("rm.chen",))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def approve(
    bank: Bank, actor: ClerkActor, content: approvals.Content, kind: approvals.Kind = LEAFLET, **given: Any
) -> Approval:
    async with approvals.approve(bank, actor, kind, "one", content, **given) as approval:
        return approval


async def state(bank: Bank, kind: approvals.Kind = LEAFLET, subject: str = "one") -> tuple[str, str]:
    """(state, who decided)."""
    found = await approvals.find(bank, kind, subject)
    assert found is not None
    return found.state, found.decided_by


async def actions(bank: Bank) -> list[tuple[str, str]]:
    rows = await bank.db["audit"].find({}, sort=[("seq", 1)])
    return [(row["actor"], row["action"]) for row in rows]


def meet_after_reading(patch: pytest.MonkeyPatch, many: int) -> None:
    """All of them have read the request before anybody writes."""
    find, all_here = approvals.find, asyncio.Barrier(many)

    async def together(bank: Bank, kind: approvals.Kind, subject: str) -> Approval | None:
        found = await find(bank, kind, subject)
        await all_here.wait()
        return found

    patch.setattr(approvals, "find", together)


def only_by_id(approval: Approval, _: ClerkActor) -> Doc:
    """The guard, taken off."""
    return {"_id": approval.id}


async def both_approve(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    meet_after_reading(monkeypatch, 2)
    ended = await asyncio.gather(*(approve(bank, who, TEXT) for who in (ZHAO, WU)), return_exceptions=True)
    return sorted(type(end).__name__ for end in ended)


async def test_without_the_guard_two_checkers_at_one_moment_decide_twice(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(services, "demo")
    monkeypatch.setattr(approvals, "_undecided", only_by_id)
    assert await both_approve(bank, monkeypatch) == ["Approval", "Approval"]
    assert [action for _, action in await actions(bank)].count("leaflet.approved") == 2


async def test_two_checkers_at_one_moment_decide_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = await open_bank(services, "demo")
    assert await both_approve(bank, monkeypatch) == ["Approval", "Conflict"]
    assert [action for _, action in await actions(bank)].count("leaflet.approved") == 1
    monkeypatch.undo()
    found = await approvals.find(bank, LEAFLET, "one")
    assert found is not None
    assert (found.state, found.decided_by in ("zhao", "wu"), found.waiting) == ("applied", True, ())


async def approve_while_submitting(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> BaseException | Approval:
    """ZHAO reads LIN's request, puts one of his own in its place, and agrees to what he read."""
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    find = approvals.find

    async def overtaken(bank: Bank, kind: approvals.Kind, subject: str) -> Approval | None:
        found = await find(bank, kind, subject)
        monkeypatch.setattr(approvals, "find", find)
        assert await approvals.submit(bank, ZHAO, LEAFLET, "one", TEXT)
        return found

    monkeypatch.setattr(approvals, "find", overtaken)
    (ended,) = await asyncio.gather(approve(bank, ZHAO, TEXT), return_exceptions=True)
    return ended


async def test_without_the_guard_a_maker_approves_his_own(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = await open_bank(services, "demo")
    monkeypatch.setattr(approvals, "_undecided", only_by_id)
    ended = await approve_while_submitting(bank, monkeypatch)
    assert isinstance(ended, Approval)
    assert (ended.author, ended.decided_by) == ("zhao", "zhao")


async def test_a_makers_own_approval_never_passes(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = await open_bank(services, "demo")
    assert isinstance(await approve_while_submitting(bank, monkeypatch), Conflict)
    assert await state(bank) == ("submitted", "")
    with pytest.raises(Forbidden, match="approver_is_author"):
        await approve(bank, ZHAO, TEXT)
    assert (await actions(bank))[-1] == ("zhao", "leaflet.refused")
    assert await state(bank) == ("submitted", "")
    await approve(bank, LIN, TEXT)
    assert await state(bank) == ("applied", "lin")


async def test_what_was_changed_after_it_was_submitted_is_refused(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    for changed in ({"text": "送两杯"}, {**TEXT, "more": 1}, {}):
        with pytest.raises(Conflict, match="approval_changed"):
            await approve(bank, ZHAO, changed)
    assert await state(bank) == ("submitted", "")
    named = replace(LEAFLET, changed="leaflet_changed")
    with pytest.raises(Conflict, match="leaflet_changed"):
        await approve(bank, ZHAO, {}, named)
    await approve(bank, ZHAO, TEXT)


async def test_a_subject_that_is_submitted_once_keeps_its_request(services: Services) -> None:
    bank = await open_bank(services, "demo")
    once = replace(LEAFLET, replaces=approvals.ONCE)
    assert await approvals.submit(bank, LIN, once, "one", TEXT)
    assert await approvals.submit(bank, LIN, once, "one", TEXT), "the same again is the same"
    assert not await approvals.submit(bank, LIN, once, "one", {"text": "anders"})
    assert not await approvals.submit(bank, ZHAO, once, "one", TEXT)
    assert [action for _, action in await actions(bank)] == ["leaflet.submitted"]
    afterwards = replace(LEAFLET, replaces=approvals.AFTERWARDS)
    assert not await approvals.submit(bank, ZHAO, afterwards, "one", TEXT)
    await approvals.reject(bank, ZHAO, once, "one", "nein")
    assert await approvals.submit(bank, ZHAO, afterwards, "one", TEXT)
    assert await state(bank) == ("submitted", "")


async def test_sections_are_agreed_to_one_by_one(services: Services) -> None:
    bank = await open_bank(services, "demo")
    content = {"text": "送咖啡", "budget": 20_000}
    await approvals.submit(bank, LIN, LEAFLET, "one", content)
    first = await approve(bank, ZHAO, content, sections=["budget"])
    assert (first.state, first.waiting, first.sections["budget"].agreed_by) == ("submitted", ("text",), "zhao")
    with pytest.raises(Forbidden):
        await approve(bank, LIN, content)
    last = await approve(bank, WU, content)
    assert (last.state, last.decided_by, last.sections["text"].agreed_by) == ("approved", "wu", "wu")
    assert await state(bank) == ("applied", "wu")


async def test_what_waited_too_long_can_be_approved_no_more(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    brief = replace(LEAFLET, lifetime=timedelta(hours=72))
    await approvals.submit(bank, LIN, brief, "one", TEXT)
    clock.advance(72 * 3600.0)
    with pytest.raises(Conflict, match="approval_expired"):
        await approve(bank, ZHAO, TEXT, brief)
    assert await state(bank) == ("lapsed", "")
    with pytest.raises(Conflict, match="leaflet_decided"):
        await approve(bank, ZHAO, TEXT, brief)
    assert await approvals.submit(bank, LIN, brief, "one", TEXT)
    await approve(bank, ZHAO, TEXT, brief)


async def fails(bank: Bank, actor: ClerkActor, error: Exception) -> None:
    with pytest.raises(type(error)):
        async with approvals.approve(bank, actor, LEAFLET, "one", TEXT):
            raise error


async def test_what_could_not_be_carried_out_is_agreed_to_and_what_cannot_be_lapses(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    await fails(bank, ZHAO, Unavailable("wecom_unavailable"))
    assert await state(bank) == ("approved", "zhao")
    with pytest.raises(Conflict, match="leaflet_decided"):
        await approvals.reject(bank, WU, LEAFLET, "one")
    with pytest.raises(Forbidden):
        await approve(bank, LIN, TEXT)
    assert not await approvals.submit(bank, WU, LEAFLET, "one", {"text": "anders"}), "it is being carried out"
    await fails(bank, WU, Conflict("sold_out"))
    found = await approvals.find(bank, LEAFLET, "one")
    assert found is not None
    assert (found.state, found.decided_by, found.reason) == ("lapsed", "zhao", "sold_out")
    assert [one for one in await actions(bank) if one[1] == "leaflet.approved"] == [("zhao", "leaflet.approved")]
    assert await approvals.submit(bank, WU, LEAFLET, "one", TEXT)


async def test_who_was_killed_goes_on_at_once_and_another_a_minute_later(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, "demo")
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    for _ in range(2):
        with pytest.raises(GeneratorExit):
            async with approvals.approve(bank, ZHAO, LEAFLET, "one", TEXT):
                raise GeneratorExit  # no error of ours: nothing more is written
    with pytest.raises(Conflict, match="leaflet_decided"):
        await approve(bank, WU, TEXT)
    clock.advance(approvals.BUSY.total_seconds())
    await approve(bank, WU, TEXT)
    assert await state(bank) == ("applied", "zhao")


async def test_a_revocable_decision_is_turned_down_while_nobody_carries_it_out(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    revocable = replace(LEAFLET, revocable=True)
    async with approvals.approve(bank, ZHAO, LEAFLET, "one", TEXT):
        with pytest.raises(Conflict, match="leaflet_decided"):
            await approvals.reject(bank, WU, revocable, "one", "zu spät")
        await approvals.replace(bank, LEAFLET, ["one"])
        assert await state(bank) == ("approved", "zhao")
    assert await approvals.submit(bank, LIN, LEAFLET, "one", TEXT)
    await fails(bank, ZHAO, Unavailable("wecom_unavailable"))
    assert (await approvals.reject(bank, WU, revocable, "one", "doch nicht")).reason == "doch nicht"
    assert (await actions(bank))[-1] == ("wu", "leaflet.rejected")


async def killed_at_each_write(bank: Bank, act: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> bool:
    """Whether `act` was killed before its write of that number."""
    with monkeypatch.context() as patch:
        was_killed = before_write(patch, number)
        try:
            await act()
        except (Killed, YinqiaoError):
            assert was_killed()
            return True
    return False


async def test_an_approved_hand_over_whose_checker_was_killed_anywhere_is_completed(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the decision and the batch, among others: the batch is due once, by who decided first."""
    await friend(bank, sandbox)
    at_bank, rows = await open_bank(bank, "demo"), bank.store.tenant("demo")["handover_batches"]
    for number in range(30):
        batch = await batches.start(at_bank, LIN, wanted(f"key-{number}"))
        approve = batches.approve(at_bank, ZHAO, batch)
        killed = await killed_at_each_write(at_bank, lambda act=approve: act, monkeypatch, number)
        if killed:
            await batches.approve(at_bank, ZHAO, batch)
        row = await rows.find_one({"_id": batch})
        assert row is not None
        assert (row["state"], row["decided_by"], row["open"]) == ("approved", "zhao", True), f"before write {number}"
        assert await state(at_bank, batches.HANDOVER, batch) == ("applied", "zhao")
        told = await at_bank.db["audit"].find({"object": batch, "action": "handover.approved"})
        assert len(told) == 1 + (number == 2), "what may have been told is told again"
        if not killed:
            break
    assert number >= 4


async def test_an_approved_hand_over_is_made_due_by_a_worker_when_nobody_approves_it_again(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    await friend(bank, sandbox)
    at_bank, rows = await open_bank(bank, "demo"), bank.store.tenant("demo")["handover_batches"]
    batch = await batches.start(at_bank, LIN, wanted())
    approve = batches.approve(at_bank, ZHAO, batch)
    assert await killed_at_each_write(at_bank, lambda: approve, monkeypatch, 1)
    for seconds, then in ((0.0, ("submitted", False)), (approvals.BUSY.total_seconds(), ("approved", True))):
        clock.advance(seconds)
        await batches.complete(at_bank)
        row = await rows.find_one({"_id": batch})
        assert row is not None
        assert (row["state"], row["open"]) == then
    assert (await state(at_bank, batches.HANDOVER, batch), row["decided_by"]) == (("applied", "zhao"), "zhao")
    told = await at_bank.db["audit"].find({"object": batch, "action": "handover.approved"})
    assert [one["actor"] for one in told] == ["zhao"]
    assert await approvals.left_over(at_bank, batches.HANDOVER) == []


async def test_a_rejected_hand_over_whose_checker_was_killed_anywhere_stays_rejected(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    await friend(bank, sandbox)
    at_bank, rows = await open_bank(bank, "demo"), bank.store.tenant("demo")["handover_batches"]
    for number in range(30):
        batch = await batches.start(at_bank, LIN, wanted(f"key-{number}"))
        reject = batches.reject(at_bank, ZHAO, batch, "客户在休假")
        killed = await killed_at_each_write(at_bank, lambda act=reject: act, monkeypatch, number)
        if killed and number:
            with pytest.raises(Conflict, match="handover_decided"):
                await batches.approve(at_bank, WU, batch)
        if killed and number == 2:  # he does not come back
            clock.advance(approvals.BUSY.total_seconds())
            await batches.reject(at_bank, WU, batch, "不需要")
        elif killed:
            await batches.reject(at_bank, ZHAO, batch, "客户在休假")
        row = await rows.find_one({"_id": batch})
        assert row is not None
        assert (row["state"], row["decided_by"], row["reason"]) == ("rejected", "zhao", "客户在休假")
        if not killed:
            break
    assert number >= 3


async def test_words_whose_checker_was_killed_anywhere_are_brought_to_wecom(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_bank = await open_bank(bank, "demo")
    for number in range(30):
        rule = replace(RULE, name=f"词{number}")
        change = await intercepts.submit(at_bank, LIN, rule)
        approve = intercepts.approve(at_bank, ZHAO, change)
        killed = await killed_at_each_write(at_bank, lambda act=approve: act, monkeypatch, number)
        if killed:
            await intercepts.approve(at_bank, ZHAO, change)
        rules, changes = await intercepts.overview(at_bank, LIN)
        assert rule.name in {row["name"] for row in rules}
        assert {row["state"] for row in changes} == {"done"}
        assert await state(at_bank, intercepts.WORDS, change) == ("applied", "zhao")
        if not killed:
            break
    assert number >= 5
    assert await intercepts.differences(at_bank, LIN) == []


async def test_who_was_killed_while_submitting_asked_for_nothing_and_may_ask_again(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await friend(bank, sandbox)
    at_bank = await open_bank(bank, "demo")
    for number in range(30):
        key = wanted(f"key-{number}")
        start = batches.start(at_bank, LIN, key)
        killed = await killed_at_each_write(at_bank, lambda act=start: act, monkeypatch, number)
        batch = await batches.start(at_bank, LIN, key)
        await batches.approve(at_bank, ZHAO, batch)
        if not killed:
            break
    assert number >= 3


async def test_an_item_that_was_slipped_into_a_hand_over_is_noticed(bank: Services, sandbox: Sandbox) -> None:
    await friend(bank, sandbox)
    at_bank, items = await open_bank(bank, "demo"), bank.store.tenant("demo")["handovers"]
    batch = await batches.start(at_bank, LIN, wanted())
    (item,) = await items.find({"batch": batch})
    await items.insert({**item, "_id": f"{item['_id']}x"})
    with pytest.raises(Conflict, match="approval_changed"):
        await batches.approve(at_bank, ZHAO, batch)
    await items.delete({"_id": f"{item['_id']}x"})
    await batches.approve(at_bank, ZHAO, batch)


async def test_words_that_were_changed_after_they_were_submitted_are_refused(bank: Services) -> None:
    at_bank, changes = await open_bank(bank, "demo"), bank.store.tenant("demo")["intercept_changes"]
    change = await intercepts.submit(at_bank, LIN, RULE)
    await changes.update({"_id": change}, {"$set": {"words": []}})
    with pytest.raises(Conflict, match="approval_changed"):
        await intercepts.approve(at_bank, ZHAO, change)
    assert await bank.store.tenant("demo")["intercept_rules"].count() == 0
