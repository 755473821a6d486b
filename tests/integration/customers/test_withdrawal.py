"""A consent is withdrawn: what it covered stops and is deleted, in every process, and may be agreed to again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from customers import consent, timeline
from customers.access import login, withdrawal
from customers.actors import ClerkActor, CustomerActor, StaffActor
from customers.banks.bank import Bank
from customers.identity import customer_numbers, resolution, review, review_tasks
from customers.identity.facts import Facts
from customers.identity.rows import MERGES
from customers.messaging import subscriptions
from rewards import claims, portal
from services import phones
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.integration.customers.test_subscriptions import DATA, TEMPLATE
from tests.integration.customers.test_subscriptions import _accept as accept
from tests.integration.rewards import world
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until

LIN = ClerkActor("demo", "lin", "林晓", frozenset({review.READ, review.DECIDE, withdrawal.WITHDRAW}))
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset({review.READ, review.DECIDE}))
PHONE, TEXT = "13800138000", "phone/2026-11"


async def _signed_in(at_bank: Bank, sandbox: Sandbox, person: dict[str, Any]) -> CustomerActor:
    signed_in = await login.login(at_bank, BANK, await sandbox.open(person, BANK))
    return await login.read_session(at_bank.services, signed_in.token)


async def _bind(at_bank: Bank, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor) -> dict[str, Any]:
    return await login.bind_phone(at_bank, actor, await sandbox.phone_code(person, BANK), TEXT)


async def _bound(at_bank: Bank, sandbox: Sandbox) -> tuple[dict[str, Any], CustomerActor]:
    person = await sandbox.person("刘敏", phone=PHONE)
    actor = await _signed_in(at_bank, sandbox, person)
    assert (await _bind(at_bank, sandbox, person, actor))["bound"] is True
    return person, actor


async def test_withdrawn_the_phone_is_deleted_and_nobody_is_found_by_it(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    _, actor = await _bound(at_bank, sandbox)
    await withdrawal.withdraw(at_bank, actor, "phone")
    assert await login.profile(at_bank, actor) == {"name": "", "phone": "", "bound": False}
    row = await bank.store.tenant("demo")["customers"].find_one({"_id": actor.cid})
    assert row is not None
    assert not {"phone", "phone_index"} & row.keys()
    assert "phone" not in row["provenance"]
    assert await review.search(at_bank, LIN, PHONE) == []
    lines = await customer_numbers.link_file(at_bank, f"number,phone\nC-1001,{PHONE}\n", "cli")
    assert [line.outcome for line in lines] == ["unknown"]
    (shown,) = await withdrawal.list_consents(at_bank, actor.cid)
    assert (shown["purpose"], shown["agrees"], shown["withdrawn"]) == ("phone", False, True)
    story = [entry["kind"] for entry in await timeline.story(at_bank, [actor.cid])]
    assert story == ["consent.withdrawn", "phone.bound", "customer.login"]
    (entry,) = await bank.store.tenant("demo")["audit"].find({"action": "consent.withdrawn"})
    assert (entry["actor"], entry["object"], entry["data"]) == (
        f"customer:{actor.cid}", actor.cid, {"purpose": "phone", "channel": f"mp:{BANK}"},
    )  # fmt: skip


async def test_the_ledger_keeps_both_words_and_he_may_agree_again(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    person, actor = await _bound(at_bank, sandbox)
    for _ in range(2):
        await withdrawal.withdraw(at_bank, actor, "phone")
        await withdrawal.withdraw(at_bank, actor, "phone")
        assert (await _bind(at_bank, sandbox, person, actor))["bound"] is True
    rows = await bank.store.tenant("demo")["consents"].find({}, sort=[("at", 1)])
    assert [(row.get("state", "given"), row["round"]) for row in rows] == [
        ("given", 0), ("withdrawn", 0), ("given", 1), ("withdrawn", 1), ("given", 2),
    ]  # fmt: skip
    assert (await consent.standing(at_bank, [actor.cid], "phone")).agrees


async def test_a_message_that_was_queued_before_is_not_sent_by_another_process(
    bank: Services, second: Services, sandbox: Sandbox
) -> None:
    at_bank = await open_bank(bank, "demo")
    person, actor = await _bound(at_bank, sandbox)
    await accept(bank, sandbox, person, actor)
    queued = await subscriptions.send(at_bank, BANK, actor.cid, TEMPLATE, DATA, key="k1")
    await withdrawal.withdraw(at_bank, actor, "phone")
    await jobs.send_effects(await open_bank(second, "demo"))
    row = await bank.store.tenant("demo")["outbox"].find_one({"_id": queued})
    assert row is not None
    assert (row["state"], row["reason"]) == ("failed", "consent_withdrawn")
    seen = await sandbox.control("GET", f"people/{person['id']}")
    assert [message for message in seen["inbox"] if message["kind"] == "subscribe"] == []
    assert (await _bind(at_bank, sandbox, person, actor))["bound"] is True
    await subscriptions.send(at_bank, BANK, actor.cid, TEMPLATE, DATA, key="k2")
    await jobs.send_effects(await open_bank(second, "demo"))
    seen = await sandbox.control("GET", f"people/{person['id']}")
    assert len([message for message in seen["inbox"] if message["kind"] == "subscribe"]) == 1


async def test_a_clerk_notes_it_with_the_right_and_a_reason(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    _, actor = await _bound(at_bank, sandbox)
    with pytest.raises(Forbidden):
        await withdrawal.withdraw_for(at_bank, ZHAO, actor.cid, "phone", "电话")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await withdrawal.withdraw_for(at_bank, LIN, actor.cid, "phone", " ")
    assert (await login.profile(at_bank, actor))["bound"] is True
    await withdrawal.withdraw_for(at_bank, LIN, actor.cid, "phone", "电话")
    assert (await login.profile(at_bank, actor))["bound"] is False
    (entry,) = await bank.store.tenant("demo")["audit"].find({"action": "consent.withdrawn"})
    assert (entry["actor"], entry["data"]["reason"]) == ("lin", "电话")


async def test_there_is_nothing_to_withdraw_from_who_never_agreed(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    actor = await _signed_in(at_bank, sandbox, await sandbox.person())
    with pytest.raises(Conflict, match="consent_not_given"):
        await withdrawal.withdraw(at_bank, actor, "phone")
    with pytest.raises(NotFound, match="consent_purpose_unknown"):
        await withdrawal.withdraw(at_bank, actor, "birthday")
    assert await bank.store.tenant("demo")["consents"].count() == 0


async def test_an_undone_merge_brings_no_withdrawn_phone_back(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    person, actor = await _bound(at_bank, sandbox)
    elder = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    told = Facts(external_userid="wmE", unionid=person["unionid"])
    root = await resolution.identify(at_bank, told)
    assert root == actor.cid != elder  # the mini-program's customer is the elder one
    await withdrawal.withdraw(at_bank, actor, "phone")
    (merge,) = await bank.store.tenant("demo")["merges"].find({})
    await review.undo(at_bank, LIN, merge["_id"], "两个人")
    await review.approve_undo(at_bank, ZHAO, merge["_id"])
    for cid in (elder, root):
        assert (await resolution.customer(at_bank, cid)).phone == ""


async def test_a_phone_that_comes_with_a_merge_stays_withdrawn(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    elder = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    person, actor = await _bound(at_bank, sandbox)
    text = consent.text_of("phone", TEXT)
    await consent.give(at_bank, elder, "phone", TEXT, text, "mp:x")
    await consent.withdraw(at_bank, elder, "phone", "mp:x")
    merged = await resolution.identify(at_bank, Facts(external_userid="wmE", unionid=person["unionid"]))
    assert merged == elder
    assert (await login.profile(at_bank, actor))["bound"] is False


@pytest.mark.parametrize("guarded", [False, True])
async def test_who_binds_while_it_is_withdrawn_ends_without_a_phone(
    bank: Services, second: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Off: nobody looks after the write, and the number of one who withdrew is kept."""
    at_bank = await open_bank(bank, "demo")
    person, actor = await _bound(at_bank, sandbox)
    reached, go = asyncio.Event(), asyncio.Event()
    identify = resolution.identify

    async def stalled(*args: Any, **named: Any) -> str:
        reached.set()
        await go.wait()
        return await identify(*args, **named)

    async def unguarded(*_args: Any) -> bool:
        return False

    monkeypatch.setattr(login.resolution, "identify", stalled)
    if not guarded:
        monkeypatch.setattr(login.withdrawal, "was_withdrawn", unguarded)
    binding = asyncio.create_task(_bind(at_bank, sandbox, person, actor))
    await reached.wait()
    await withdrawal.withdraw(await open_bank(second, "demo"), actor, "phone")
    go.set()
    await binding
    assert (await login.profile(at_bank, actor))["bound"] is not guarded


async def _two_with_one_phone(at_bank: Bank, sandbox: Sandbox) -> list[tuple[dict[str, Any], CustomerActor]]:
    return [await _bound(at_bank, sandbox) for _ in range(2)]


@pytest.mark.parametrize("proposed", [False, True])
async def test_nobody_is_asked_any_more_about_a_phone_that_was_withdrawn(
    bank: Services, sandbox: Sandbox, proposed: bool
) -> None:
    at_bank = await open_bank(bank, "demo")
    (person, one), (_, other) = await _two_with_one_phone(at_bank, sandbox)
    (question,) = await review.list_questions(at_bank, LIN)
    if proposed:
        await review.propose(at_bank, LIN, question["id"], "merge", "同一人")
    await withdrawal.withdraw(at_bank, one, "phone")
    assert await review.list_questions(at_bank, LIN) == []
    (closed,) = (await review.explain(at_bank, LIN, other.cid))["review_tasks"]
    assert (closed["state"], closed["answer"], closed["proposed_by"]) == ("answered", "withdrawn", "")
    with pytest.raises(Conflict, match="question_decided"):
        await review.agree(at_bank, ZHAO, question["id"])
    await _bind(at_bank, sandbox, person, one)
    (again,) = await review.list_questions(at_bank, LIN)
    assert (again["id"], again["state"]) == (question["id"], "open")
    await review.propose(at_bank, LIN, question["id"], "leave", "母女共用")
    await review.agree(at_bank, ZHAO, question["id"])
    assert await review.list_questions(at_bank, LIN) == []


async def test_who_withdraws_while_another_binds_the_same_phone_leaves_no_question(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_bank = await open_bank(bank, "demo")
    _, one = await _bound(at_bank, sandbox)
    ask = review_tasks.ask

    async def late(*args: Any, **named: Any) -> str:
        await withdrawal.withdraw(at_bank, one, "phone")
        return await ask(*args, **named)

    monkeypatch.setattr(review_tasks, "ask", late)
    await _bound(at_bank, sandbox)
    assert await review.list_questions(at_bank, LIN) == []


async def test_a_withdrawal_counts_for_both_when_the_merge_is_undone(bank: Services, sandbox: Sandbox) -> None:
    """Each had agreed by himself; nobody knows whose word it was, so that neither is contacted."""
    at_bank = await open_bank(bank, "demo")
    elder = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    person, actor = await _bound(at_bank, sandbox)
    merged = await resolution.identify(at_bank, Facts(external_userid="wmE", unionid=person["unionid"]))
    assert merged == elder != actor.cid
    await withdrawal.withdraw(at_bank, actor, "phone")
    (merge,) = await bank.store.tenant("demo")["merges"].find({})
    await review.undo(at_bank, LIN, merge["_id"], "两个人")
    await review.approve_undo(at_bank, ZHAO, merge["_id"])
    assert (await resolution.customer(at_bank, actor.cid)).cid == actor.cid
    for cid in (elder, actor.cid):
        with pytest.raises(Conflict, match="consent_withdrawn"):
            await withdrawal.check_may_contact(at_bank, cid)
    assert (await _bind(at_bank, sandbox, person, actor))["bound"] is True
    await withdrawal.check_may_contact(at_bank, actor.cid)


async def test_a_withdrawal_that_was_cut_short_is_in_the_trail(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_bank = await open_bank(bank, "demo")
    _, actor = await _bound(at_bank, sandbox)

    async def killed(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(withdrawal, "_stop", killed)
        with pytest.raises(asyncio.CancelledError):
            await withdrawal.withdraw(at_bank, actor, "phone")
    (intent,) = await bank.store.tenant("demo")["audit_intents"].find({"action": "consent.withdrawn"})
    assert (intent["actor"], intent["object"]) == (f"customer:{actor.cid}", actor.cid)
    await withdrawal.withdraw(at_bank, actor, "phone")
    assert (await login.profile(at_bank, actor))["bound"] is False


async def test_a_withdrawal_after_an_older_one_of_his_own_has_its_place_in_the_timeline(
    bank: Services, sandbox: Sandbox
) -> None:
    """He withdrew, and another who agreed since turned out to be him."""
    at_bank = await open_bank(bank, "demo")
    elder = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    text = consent.text_of("phone", TEXT)
    await consent.give(at_bank, elder, "phone", TEXT, text, "mp:x")
    await withdrawal.withdraw(at_bank, CustomerActor("demo", elder, BANK), "phone")
    person, actor = await _bound(at_bank, sandbox)
    merged = await resolution.identify(at_bank, Facts(external_userid="wmE", unionid=person["unionid"]))
    assert merged == elder
    assert (await login.profile(at_bank, actor))["bound"] is True
    for _ in range(2):
        await withdrawal.withdraw(at_bank, actor, "phone")
    assert (await login.profile(at_bank, actor))["bound"] is False
    rows = await bank.store.tenant("demo")["consents"].find({"state": "withdrawn"})
    assert sorted(row["cid"] for row in rows) == sorted((elder, actor.cid))
    story = await timeline.story(at_bank, await resolution.cids(at_bank, elder))
    assert [one["kind"] for one in story].count("consent.withdrawn") == 2


async def test_what_is_withdrawn_at_one_bank_stands_at_another(other: Services, sandbox: Sandbox) -> None:
    ours, theirs = [await open_bank(other, name) for name in ("demo", "other")]
    person, actor = await _bound(ours, sandbox)
    text = consent.text_of("phone", TEXT)
    facts = Facts(unionid=person["unionid"], phone=phones.read(PHONE))
    there = await resolution.identify(theirs, facts, source="phone", proof="p")
    await consent.give(theirs, there, "phone", TEXT, text, "mp:x")
    await withdrawal.withdraw(ours, actor, "phone")
    assert (await resolution.customer(ours, actor.cid)).phone == ""
    assert (await resolution.customer(theirs, there)).phone
    assert (await consent.standing(theirs, [there], "phone")).agrees
    await withdrawal.check_may_contact(theirs, there)
    for bank, cid in ((theirs, actor.cid), (ours, there)):
        with pytest.raises(NotFound, match="customer_unknown"):
            await withdrawal.withdraw_for(bank, replace(LIN, tenant=bank.id), cid, "phone", "电话")
        with pytest.raises(NotFound, match="customer_unknown"):
            await withdrawal.withdraw_of_friend(bank, StaffActor(bank.id, "rm.chen"), cid, "phone", "电话")
    assert (await consent.standing(theirs, [there], "phone")).agrees
    assert await other.store.tenant("other")["audit"].count({"action": "consent.withdrawn"}) == 0


async def test_a_claim_that_is_under_way_is_granted_once_and_stays_his(
    bank: Services, second: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_bank = await open_bank(bank, "demo")
    _, actor = await _bound(at_bank, sandbox)
    await world.put(bank, stock=1)
    reached, go = asyncio.Event(), asyncio.Event()
    insert = claims._insert_grants

    async def stalled(*args: Any) -> Any:
        reached.set()
        await go.wait()
        return await insert(*args)

    monkeypatch.setattr(claims, "_insert_grants", stalled)
    claiming = asyncio.create_task(portal.claim(at_bank, actor, world.REWARD, "k", b""))
    await reached.wait()
    await withdrawal.withdraw(await open_bank(second, "demo"), actor, "phone")
    go.set()
    first = await claiming
    again = await portal.claim(at_bank, actor, world.REWARD, "k", b"")
    assert (first.replayed, again.replayed, again.view) == (False, True, first.view)
    await until(lambda: world.settled(bank))
    assert await world.stock(bank) == {"total": 1, "available": 0, "held": 0, "granted": 1, "retired": 0}
    shown = (await portal.vouchers(at_bank, actor, "zh"))["redemptions"]
    assert [row["id"] for row in shown] == [first.view["redemption"]["id"]]
    assert (await login.profile(at_bank, actor))["bound"] is False


async def test_a_withdrawal_that_died_before_it_was_done_is_finished_by_the_next(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is gone, and the clerk is still asked about it."""
    at_bank = await open_bank(bank, "demo")
    (_, one), _ = await _two_with_one_phone(at_bank, sandbox)

    async def killed(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(review, "forget_phone", killed)
        with pytest.raises(asyncio.CancelledError):
            await withdrawal.withdraw(at_bank, one, "phone")
    assert (await login.profile(at_bank, one))["bound"] is False
    assert len(await review.list_questions(at_bank, LIN)) == 1
    await withdrawal.withdraw(at_bank, one, "phone")
    assert await review.list_questions(at_bank, LIN) == []


async def test_no_merge_keeps_a_phone_that_a_merge_found_withdrawn(bank: Services, sandbox: Sandbox) -> None:
    """He had one merged into him, and turns out to be somebody who withdrew since."""
    at_bank = await open_bank(bank, "demo")
    elder = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    person, _ = await _bound(at_bank, sandbox)
    await resolution.identify(at_bank, Facts(openids={LIFE: "oX"}))
    await resolution.identify(at_bank, Facts(openids={LIFE: "oX"}, unionid=person["unionid"]))
    text = consent.text_of("phone", TEXT)
    await consent.give(at_bank, elder, "phone", TEXT, text, "mp:x")
    await consent.withdraw(at_bank, elder, "phone", "mp:x")
    merged = await resolution.identify(at_bank, Facts(external_userid="wmE", unionid=person["unionid"]))
    assert (await resolution.customer(at_bank, merged)).phone == ""
    merges = await bank.store.tenant("demo")["merges"].find({})
    before: list[Any] = [at_bank.vault.open_json(MERGES, "before", row["_id"], row["before"]) for row in merges]
    assert [one["phone"] for one in before] == ["", ""]
