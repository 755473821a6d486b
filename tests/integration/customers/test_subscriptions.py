"""Subscribe messages: each accept allows one, once; a lost answer costs the message, never a second one (contract/wechat A4)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from customers import timeline
from customers.access import login
from customers.actors import CustomerActor
from customers.banks import apply
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.messaging import subscriptions
from services.clock import utc
from services.container import Services
from services.errors import Conflict, InvalidInput
from services.queue import outbox, turns
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import TryLater
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import StillClock
from tests.support.waiting import until

TEMPLATE, DATA = "tpl-reward", {"thing1": "咖啡券", "time2": "2026-11-22 15:01"}
SEND = "/cgi-bin/message/subscribe/send"


@pytest.fixture
async def person(bank: Services, sandbox: Sandbox) -> dict[str, Any]:
    return await sandbox.person("刘敏")


@pytest.fixture
async def actor(bank: Services, sandbox: Sandbox, person: dict[str, Any]) -> CustomerActor:
    signed_in = await login.login(await open_bank(bank, "demo"), BANK, await sandbox.open(person, BANK))
    return await login.read_session(bank, signed_in.token)


def _event(openid: str, *answers: tuple[str, bool], how: Any = "popup") -> events.SubscribeAnswered:
    return events.SubscribeAnswered(
        corp_id=BANK, create_time=utc(1_800_000_000.0), openid=openid, how=how, answers=answers
    )


def _inbox(number: int = 1) -> Doc:
    return {"_id": f"demo:event-{number}", "at": utc(1_800_000_001.0)}


async def _openid(services: Services, actor: CustomerActor) -> str:
    return await subscriptions.openid_of(await open_bank(services, actor.tenant), actor.cid, BANK)


async def _accept(
    services: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor, n: int = 1
) -> None:
    """The customer accepts, at WeChat and as its event tells us."""
    await sandbox.control(
        "POST", f"people/{person['id']}/subscribe", {"appid": BANK, "templates": {TEMPLATE: "accept"}}
    )
    await subscriptions.answered(
        await open_bank(services, "demo"), _inbox(n), _event(await _openid(services, actor), (TEMPLATE, True))
    )


async def _send(services: Services, actor: CustomerActor, key: str = "k", **more: Any) -> tuple[str, str]:
    """State and reason of the effect after a worker has seen it."""
    effect = await subscriptions.send(
        await open_bank(services, "demo"), BANK, actor.cid, TEMPLATE, DATA, key=key, **more
    )
    await jobs.send_effects(await open_bank(services, "demo"))
    row = await services.store.tenant("demo")["outbox"].find_one({"_id": effect})
    assert row is not None
    return row["state"], row["reason"]


async def _allowance(services: Services) -> tuple[int, str]:
    (row,) = await services.store.tenant("demo")["subscriptions"].find({"template_id": TEMPLATE})
    return row["allowance"], row["state"]


async def _received(sandbox: Sandbox, person: dict[str, Any]) -> int:
    seen = await sandbox.control("GET", f"people/{person['id']}")
    return sum(message["kind"] == "subscribe" for message in seen["inbox"])


async def test_an_accept_allows_one_message_and_is_counted_once(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    await _accept(bank, sandbox, person, actor)
    again = _event(await _openid(bank, actor), (TEMPLATE, True))
    at_bank = await open_bank(bank, "demo")
    await asyncio.gather(*(subscriptions.answered(at_bank, _inbox(), again) for _ in range(5)))
    assert await _allowance(bank) == (1, "accepted")
    assert await _send(bank, actor) == ("done", "")
    assert await _allowance(bank) == (0, "accepted")
    assert await _send(bank, actor, "k2") == ("failed", "no_allowance")
    assert await _received(sandbox, person) == 1
    at_bank = await open_bank(bank, "demo")
    at_bank = await open_bank(bank, "demo")
    story = [row["kind"] for row in await timeline.story(at_bank, await resolution.cids(at_bank, actor.cid))]
    assert sorted(story) == ["customer.login", "subscribe.accepted", "subscribe.failed", "subscribe.sent"]


async def test_accepts_add_up_and_a_refusal_in_the_prompt_takes_none_away(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    for number in range(3):
        await _accept(bank, sandbox, person, actor, number)
    refused = _event(await _openid(bank, actor), (TEMPLATE, False))
    await subscriptions.answered(await open_bank(bank, "demo"), _inbox(9), refused)
    assert await _allowance(bank) == (3, "refused")
    assert [await _send(bank, actor, f"k{n}") for n in range(3)] == [("done", "")] * 3


async def test_turning_messages_off_ends_the_allowance_and_on_again_gives_none(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    await _accept(bank, sandbox, person, actor)
    openid = await _openid(bank, actor)
    await subscriptions.answered(
        await open_bank(bank, "demo"), _inbox(2), _event(openid, (TEMPLATE, False), how="change")
    )
    assert await _allowance(bank) == (0, "refused")
    await subscriptions.answered(
        await open_bank(bank, "demo"), _inbox(3), _event(openid, (TEMPLATE, True), how="change")
    )
    assert await _allowance(bank) == (0, "accepted")
    assert await _send(bank, actor) == ("failed", "no_allowance")


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        ([("popup", True), ("change", False)], (0, "refused")),
        ([("change", False), ("popup", True)], (1, "accepted")),
        ([("popup", True), ("change", False), ("popup", False)], (0, "refused")),
        ([("popup", True), ("change", False), ("change", True)], (0, "accepted")),
        ([("popup", False), ("popup", True), ("popup", True)], (2, "accepted")),
    ],
)
async def test_answers_in_any_order_end_as_in_order(
    bank: Services, actor: CustomerActor, told: list[tuple[str, bool]], ends: tuple[int, str]
) -> None:
    openid = await _openid(bank, actor)
    answers = [
        replace(_event(openid, (TEMPLATE, accepted), how=how), create_time=utc(1_800_000_000.0 + number))
        for number, (how, accepted) in enumerate(told)
    ]
    for order in permutations(range(len(answers))):
        await bank.store.tenant("demo")["subscriptions"].delete({})
        for number in (*order, *order):
            await subscriptions.answered(await open_bank(bank, "demo"), _inbox(number), answers[number])
        assert await _allowance(bank) == ends, order


async def test_a_message_that_waits_long_for_its_answer_is_not_taken_for_lost(
    bank: Services, second: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor, clock: StillClock
) -> None:
    """Another worker looks for work while the first still waits: it must not find the effect begun and call it lost."""
    await _accept(bank, sandbox, person, actor)
    await sandbox.control(
        "POST", "faults", {"target": "api", "path": SEND, "kind": "latency", "seconds": 1, "times": 1}
    )
    effect = await subscriptions.send(await open_bank(bank, "demo"), BANK, actor.cid, TEMPLATE, DATA, key="k")
    first = asyncio.create_task(jobs.send_effects(await open_bank(bank, "demo")))

    async def begun() -> bool:
        return await _allowance(bank) == (0, "accepted")

    await until(begun)
    clock.now += 12.0
    await asyncio.gather(jobs.send_effects(await open_bank(second, "demo")), first)
    row = await bank.store.tenant("demo")["outbox"].find_one({"_id": effect})
    assert row is not None
    assert (row["state"], row["reason"]) == ("done", "")
    assert await _received(sandbox, person) == 1


async def test_a_long_term_template_is_allowed_until_it_is_turned_off(
    bank: Services, sandbox: Sandbox, actor: CustomerActor, person: dict[str, Any]
) -> None:
    text = DEMO_BANK.read_text(encoding="utf-8").replace(
        "token: FakePushTokenSandbox1,", f"long_term_templates: [{TEMPLATE}], token: FakePushTokenSandbox1,"
    )
    await apply.apply_tenant(bank, text, "demo.yaml")
    await sandbox.control("POST", "templates", {"template_id": TEMPLATE, "lasting": True})
    await _accept(bank, sandbox, person, actor)
    assert [await _send(bank, actor, f"k{n}") for n in range(3)] == [("done", "")] * 3
    off = _event(await _openid(bank, actor), (TEMPLATE, False), how="change")
    await subscriptions.answered(await open_bank(bank, "demo"), _inbox(2), off)
    assert await _send(bank, actor, "k9") == ("failed", "no_allowance")
    assert await _received(sandbox, person) == 3


async def _two_send(bank: Services, second: Services, actor: CustomerActor) -> list[str]:
    """Two processes try two messages in one moment, though one of them has no turn."""
    openid = await _openid(bank, actor)
    at_bank = await open_bank(bank, "demo")
    made = [await subscriptions.send(at_bank, BANK, actor.cid, TEMPLATE, DATA, key=key) for key in "ab"]
    rows = [await bank.store.tenant("demo")["outbox"].find_one({"_id": effect}) for effect in made]
    effects = [outbox.effect_of(bank, row) for row in rows if row is not None]

    async def deliver(services: Services, effect: outbox.Effect) -> str:
        try:
            await subscriptions._deliver(await open_bank(services, effect.tenant), effect, openid)
        except (Conflict, TryLater) as error:  # 43108: WeChat was told of both in one moment
            return error.code
        return "sent"

    return sorted(await asyncio.gather(deliver(bank, effects[0]), deliver(second, effects[1])))


async def test_two_senders_with_one_allowance_send_one(
    bank: Services, second: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    await _accept(bank, sandbox, person, actor)
    assert await _two_send(bank, second, actor) == ["no_allowance", "sent"]
    assert await _allowance(bank) == (0, "accepted")
    assert len(await _calls(sandbox)) == 1


async def test_two_senders_who_look_before_they_take_both_try(
    bank: Services, second: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Off: the allowance is read, and then written."""
    both = asyncio.Barrier(2)

    async def naive(bank: Bank, row_id: str, effect_id: str) -> None:
        rows = bank.db["subscriptions"]
        row = await rows.find_one({"_id": row_id})
        async with asyncio.timeout(5):
            await both.wait()
        if row is None or not row["allowance"]:
            raise Conflict("no_allowance")
        await rows.update({"_id": row_id}, {"$set": {"allowance": row["allowance"] - 1}})

    monkeypatch.setattr(subscriptions, "_take", naive)
    await _accept(bank, sandbox, person, actor)
    await _two_send(bank, second, actor)
    assert len(await _calls(sandbox)) == 2


async def _calls(sandbox: Sandbox) -> list[Any]:
    return [call for call in (await sandbox.control("GET", "calls"))["calls"] if call["path"] == SEND]


async def test_wechats_refusal_ends_what_we_thought_was_allowed(bank: Services, actor: CustomerActor) -> None:
    """43101: he accepted here, and has nothing left there."""
    for number in range(2):
        accepted = _event(await _openid(bank, actor), (TEMPLATE, True))
        await subscriptions.answered(await open_bank(bank, "demo"), _inbox(number), accepted)
    assert await _allowance(bank) == (2, "accepted")
    assert await _send(bank, actor) == ("failed", "subscription_refused")
    assert await _allowance(bank) == (0, "refused")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "errcode", "errcode": 45009}, "platform_slow_down:45009"),
        ({"kind": "errcode", "errcode": 40037}, "platform_bad_request:40037"),
    ],
)
async def test_what_was_surely_not_sent_is_given_back(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor, fault: Doc, reason: str
) -> None:
    await _accept(bank, sandbox, person, actor)
    await sandbox.control("POST", "faults", {"target": "api", "path": SEND, **fault})
    _, told = await _send(bank, actor)
    assert told == reason
    assert await _allowance(bank) == (1, "accepted")


async def test_a_lost_answer_is_not_tried_again(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    await _accept(bank, sandbox, person, actor)
    await sandbox.control("POST", "faults", {"target": "api", "path": SEND, "kind": "http", "status": 502, "times": 1})
    assert await _send(bank, actor) == ("failed", "subscribe_unknown")
    assert await _allowance(bank) == (0, "accepted")
    await jobs.send_effects(await open_bank(bank, "demo"))
    assert len(await _calls(sandbox)) <= 1


async def test_a_try_that_was_cut_short_after_it_took_is_not_repeated(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    await _accept(bank, sandbox, person, actor)
    effect = await subscriptions.send(await open_bank(bank, "demo"), BANK, actor.cid, TEMPLATE, DATA, key="k")
    (row,) = await bank.store.tenant("demo")["subscriptions"].find({"template_id": TEMPLATE})
    await subscriptions._take(await open_bank(bank, "demo"), row["_id"], effect)  # and the process ended here
    assert await _send(bank, actor) == ("failed", "subscribe_unknown")
    assert await _received(sandbox, person) == 0


async def test_the_same_cause_sends_one_message(
    bank: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor
) -> None:
    for number in range(2):
        await _accept(bank, sandbox, person, actor, number)
    assert [await _send(bank, actor, "same") for _ in range(3)] == [("done", "")] * 3
    assert await _received(sandbox, person) == 1
    assert await _allowance(bank) == (1, "accepted")


@pytest.mark.parametrize("guarded", [True, False], ids=["in turn", "without turns"])
async def test_one_customer_is_sent_one_message_at_a_time(
    bank: Services,
    sandbox: Sandbox,
    person: dict[str, Any],
    actor: CustomerActor,
    clock: StillClock,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
) -> None:
    if not guarded:
        monkeypatch.setattr(turns, "_take", _everybodys)
    await sandbox.control("POST", "switches", {"subscribe_ms": 100})
    for number in range(4):
        await _accept(bank, sandbox, person, actor, number)
    at_bank = await open_bank(bank, "demo")
    for number in range(4):
        await subscriptions.send(at_bank, BANK, actor.cid, TEMPLATE, DATA, key=f"k{number}")

    async def all_out() -> bool:
        clock.now += 1
        await jobs.send_effects(await open_bank(bank, "demo"))
        return await bank.store.tenant("demo")["outbox"].count({"kind": "subscribe", "open": True}) == 0

    await until(all_out, seconds=20)
    rows = await bank.store.tenant("demo")["outbox"].find({"kind": "subscribe"})
    assert [row["state"] for row in rows] == ["done"] * 4
    assert await _received(sandbox, person) == 4
    refused = [call for call in await _calls(sandbox) if call["errcode"] == 43108]
    assert bool(refused) is not guarded


async def _everybodys(*_: Any) -> bool:
    return True


async def test_what_became_of_a_message_is_in_his_story(bank: Services, actor: CustomerActor) -> None:
    base = events.SubscribeSent(
        corp_id=BANK, create_time=None, openid=await _openid(bank, actor), template_id=TEMPLATE, msg_id="m1",
        error_code=0, error_status="success",
    )  # fmt: skip
    for _ in range(2):
        await subscriptions.sent(await open_bank(bank, "demo"), _inbox(1), base)
    await subscriptions.sent(
        await open_bank(bank, "demo"), _inbox(2), replace(base, msg_id="m2", error_code=1, error_status="user block")
    )
    at_bank = await open_bank(bank, "demo")
    at_bank = await open_bank(bank, "demo")
    story = {
        row["kind"]: row["data"]["reason"]
        for row in await timeline.story(at_bank, await resolution.cids(at_bank, actor.cid))
        if "reason" in row["data"]
    }
    assert story == {"subscribe.delivered": "", "subscribe.undelivered": "user block"}


async def test_a_report_counts_only_where_wechat_does_not_push(bank: Services, actor: CustomerActor) -> None:
    assert await subscriptions.report(await open_bank(bank, actor.tenant), actor, {TEMPLATE: True}, "key-1") == {
        TEMPLATE: False
    }
    assert await bank.store.tenant("demo")["subscriptions"].count() == 0
    text = DEMO_BANK.read_text(encoding="utf-8").replace(
        "token: FakePushTokenSandbox1, aes_key: FakePushAesKeyForTheSandboxOnly100000000000", "token: ''"
    )
    await apply.apply_tenant(bank, text, "demo.yaml")
    for key, counted in (("key-1", True), ("key-1", False), ("key-2", True)):
        assert await subscriptions.report(await open_bank(bank, actor.tenant), actor, {TEMPLATE: True, "other": False}, key) == {
            TEMPLATE: counted, "other": counted,
        }  # fmt: skip
    assert await _allowance(bank) == (2, "accepted")
    with pytest.raises(InvalidInput) as refused:
        await subscriptions.report(await open_bank(bank, actor.tenant), actor, dict.fromkeys("abcdef", True), "key-3")
    assert refused.value.code == "too_many_templates"


async def test_who_was_never_in_the_mini_program_is_sent_nothing(bank: Services, actor: CustomerActor) -> None:
    with pytest.raises(Conflict) as refused:
        await subscriptions.send(await open_bank(bank, "demo"), LIFE, actor.cid, TEMPLATE, DATA, key="k")
    assert refused.value.code == "no_openid"
    assert await bank.store.tenant("demo")["outbox"].count({"kind": "subscribe"}) == 0


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("thing1", "二十个字以内的内容都可以写在这里面哦", "一" * 21),
        ("number2", "12.5", "12a"),
        ("letter3", "Ab", "a1"),
        ("symbol1", "#*", "abc"),
        ("character_string4", "NO-2026#7", "编号7"),
        ("time5", "15:01", "3pm"),
        ("date6", "2019年10月1日 15:01", "10/1"),
        ("amount7", "￥20.00元", "二十"),
        ("phone_number8", "+86-0766-66888866", "1" * 18),
        ("car_number9", "粤A8Z888挂", "粤" * 9),
        ("name1", "欧阳娜娜", "欧" * 11),
        ("phrase2", "配送中", "配送中配送中"),
        ("thing1", "好", ""),
    ],
)
def test_values_are_checked_before_anything_is_sent(key: str, good: str, bad: str) -> None:
    subscriptions.check_values({key: good})
    with pytest.raises(InvalidInput) as refused:
        subscriptions.check_values({"thing9": "好", key: bad})
    assert (refused.value.code, list(refused.value.fields)) == ("template_value", [key])


def test_a_key_of_no_kind_is_refused() -> None:
    for data in ({"colour1": "red"}, {"thing": "x"}, {}):
        with pytest.raises(InvalidInput):
            subscriptions.check_values(data)
