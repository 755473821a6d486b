"""Effects meet a platform in every mood: done once, tried again, given up with a reason, or too late with a fallback."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from campaigns.delivery import perform, tagging
from campaigns.delivery.kinds import KINDS
from campaigns.engine.verbs.send import WELCOME_SECONDS
from campaigns.publishing import versions
from config.settings import Settings
from customers.banks.bank import Bank
from services.container import Services
from services.queue import outbox
from services.queue.effects import RETRY, Outcome
from services.wechat.core.errors import BadRequest, SlowDown, TryLater
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import LIN, WELCOME
from tests.support.waiting import until

TRIES = RETRY.tries or 0


async def tried(demo: Services, clock: MovedClock, seconds: float, step: float = 1.0) -> None:
    """Workers at work for so many seconds of the moved clock."""
    for _ in range(round(seconds / step)):
        clock.advance(step)
        await tools.all_work(demo)


@pytest.mark.parametrize("errcode", [-1, 6000, 41096, 45033])
async def test_a_passing_refusal_delays_the_welcome(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, errcode: int
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=errcode, times=2)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    waiting = await tools.effect(demo, "welcome")
    assert (waiting["state"], waiting["open"], waiting["reason"].split(":")[1]) == ("ready", True, str(errcode))
    await tried(demo, clock, 8)
    assert (await tools.effect(demo, "welcome"))["state"] == "done"
    assert await tools.welcomes(sandbox) == 1


async def test_an_expired_token_is_renewed_and_nobody_notices(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.scanned(sandbox, http)
    await sandbox.control("POST", "tokens/revoke", {"errcode": 42001})
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["attempts"], await tools.welcomes(sandbox)) == ("done", 1, 1)


async def test_a_welcome_that_somebody_else_sent_is_not_ours(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41051)
    _, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["reason"], row["attempts"]) == ("failed", "greeted_elsewhere", 1)
    assert await tools.told_staff(sandbox, scan["userid"]) == []
    assert "welcome.sent" not in await tools.story(demo)


async def test_a_welcome_whose_sender_died_after_sending_is_ours(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    row = await tools.effect(demo, "welcome")
    assert (row["state"], await tools.welcomes(sandbox)) == ("done", 1)
    rows = demo.store.tenant("demo")["outbox"]
    undone = {"open": True, "owner": None, "due": 0.0, "state": "ready", "reason": "", "attempts": 1}
    await rows.update({"_id": row["_id"]}, {"$set": undone, "$unset": {"trace": ""}})
    await tools.all_work(demo)
    again = await tools.effect(demo, "welcome")
    assert (again["state"], again["reason"], again["attempts"]) == ("done", "already_greeted", 2)
    assert await tools.welcomes(sandbox) == 1


@pytest.mark.parametrize(
    ("errcode", "state", "reason"),
    [
        (41050, "expired", "platform_subject_state:41050"),
        (84061, "failed", "platform_subject_state:84061"),
        (40058, "failed", "platform_bad_request:40058"),
        (99999, "failed", "platform_unknown_code:99999"),
    ],
)
async def test_a_welcome_that_cannot_go_out_has_a_reason_and_the_rm_is_told(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, errcode: int, state: str, reason: str
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=errcode)
    _, scan = await tools.scanned(sandbox, http)
    for _ in range(2):
        await tools.all_work(demo)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["reason"], row["open"], row["attempts"]) == (state, reason, False, 1)
    (told,) = await tools.told_staff(sandbox, scan["userid"])
    assert told.startswith("欢迎语未能自动发送，请亲自问候客户：刘敏您好")
    kinds = await tools.story(demo)
    assert (kinds.count(f"welcome.{state}"), kinds.count("staff.told"), "welcome.sent" in kinds) == (1, 1, False)


async def test_an_answer_that_was_lost_is_no_second_welcome(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "timeout_after_success", tools.WELCOME_CALL, times=1)
    _, scan = await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert (await tools.effect(demo, "welcome"))["reason"] == "platform_unknown_outcome"
    await tried(demo, clock, 4)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["reason"]) == ("done", "already_greeted")
    assert await tools.welcomes(sandbox) == 1
    assert await tools.told_staff(sandbox, scan["userid"]) == []


async def test_wecom_down_for_five_seconds_the_welcome_still_goes_out(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http)
    await tools.fault(sandbox, "close")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tried(demo, clock, 5)
    assert await tools.welcomes(sandbox) == 0
    await tools.no_faults(sandbox)
    await tried(demo, clock, 8)
    assert await tools.welcomes(sandbox) == 1
    assert (await tools.effect(demo, "welcome"))["state"] == "done"


async def test_wecom_down_for_thirty_seconds_the_rm_is_asked_to_greet(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    _, scan = await tools.scanned(sandbox, http)
    await tools.fault(sandbox, "close")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tried(demo, clock, 30, step=2.0)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["open"]) == ("expired", False)
    assert row["reason"].startswith("platform_")
    await tools.no_faults(sandbox)
    await tried(demo, clock, 600, step=60)
    assert await tools.welcomes(sandbox) == 0
    assert len(await tools.told_staff(sandbox, scan["userid"])) == 1
    states = {row["kind"]: row["state"] for row in await demo.store.tenant("demo")["outbox"].find({})}
    assert states == {
        "welcome": "expired",
        "staff": "done",
        "tag": "done",
        "offer": "done",
        "enrich": "done",
        "card": "done",
    }


async def test_after_its_deadline_a_welcome_is_not_tried_at_all(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http)
    clock.advance(WELCOME_SECONDS + 1)
    await tools.all_work(demo)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["reason"]) == ("expired", "deadline")
    calls = (await sandbox.control("GET", "calls"))["counts"]
    assert [path for path in calls if path.endswith(tools.WELCOME_CALL)] == []


@pytest.mark.parametrize(
    ("kind", "fields"), [("latency", {"seconds": 30}), ("http", {"status": 502}), ("errcode", {"errcode": -1})]
)
async def test_the_welcome_does_not_wait_for_the_details(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, kind: str, fields: dict[str, int]
) -> None:
    await tools.fault(sandbox, kind, tools.DETAILS, **fields)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert await tools.welcomes(sandbox) == 1
    assert (await demo.store.tenant("demo")["customers"].find({}))[0].get("name") is None
    await tools.no_faults(sandbox)
    await tried(demo, clock, 6)
    assert (await tools.effect(demo, "enrich"))["state"] == "done"
    assert (await demo.store.tenant("demo")["customers"].find({}))[0]["name"]


async def test_a_pause_stops_sends_and_going_on_sends_what_is_overdue(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    """An hour of pause uses up no tries: after it even a fault or two do no harm."""
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1, times=1)
    person, _ = await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert (await tools.effect(demo, "tag"))["open"] is True
    await versions.pause(await open_bank(demo, "demo"), LIN, "acq-branch")
    await tried(demo, clock, 3600, step=120)
    assert (await tools.effect(demo, "tag"))["reason"] == "paused"
    assert "sz-nanshan" not in str((await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]["tag_names"])
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1, times=1)
    await versions.resume(await open_bank(demo, "demo"), LIN, "acq-branch")
    await tried(demo, clock, perform.PAUSED_SECONDS + 6)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    assert "sz-nanshan" in str((await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]["tag_names"])


async def test_nobody_enters_a_paused_campaign(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await versions.pause(await open_bank(demo, "demo"), LIN, "acq-branch")
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    assert (await tools.runs(demo), await tools.welcomes(sandbox)) == ([], 0)


async def test_an_effect_without_a_deadline_is_given_up_in_the_end_with_a_reason(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tried(demo, clock, 400 * TRIES, step=400)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["attempts"]) == ("failed", TRIES)
    assert row["reason"] == f"gave_up_after_{TRIES}:platform_busy:-1"
    assert "tag.failed" in await tools.story(demo)


async def test_waiting_for_a_turn_is_no_try(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allowance that is used up for hours costs an effect time, and nothing else."""
    done = KINDS["tag"]

    async def no_turn(*_: object) -> Outcome:
        raise SlowDown(None, "the allowance is used up", "/cgi-bin/externalcontact/mark_tag", retry_after=300)

    monkeypatch.setitem(KINDS, "tag", replace(done, execute=no_turn))
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tried(demo, clock, 400 * (TRIES + 3), step=400)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["reason"], row["attempts"]) == ("ready", "platform_slow_down", 0)
    monkeypatch.setitem(KINDS, "tag", done)
    await tried(demo, clock, 400, step=400)
    assert (await tools.effect(demo, "tag"))["state"] == "done"


async def test_a_fault_of_ours_in_an_effect_is_tried_as_often_as_others_and_then_has_failed(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def broken(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise KeyError("a fault of ours")

    monkeypatch.setitem(KINDS, "tag", replace(KINDS["tag"], execute=broken))
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    waiting = await tools.effect(demo, "tag")
    assert (waiting["state"], waiting["reason"], waiting["open"]) == ("ready", "internal", True)
    await tried(demo, clock, 400 * (TRIES + 3), step=400)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["reason"], row["open"], row["attempts"]) == ("failed", "internal", False, TRIES)
    assert [one["reason"] for one in row["tries"]] == ["internal"] * (TRIES - 1)
    assert calls == TRIES
    kinds = await tools.story(demo)
    assert (kinds.count("tag.failed"), "tag.added" in kinds) == (1, False)
    (told,) = await demo.store.tenant("demo")["timeline"].find({"kind": "tag.failed"})
    assert told["data"]["reason"] == "internal"


async def test_an_effect_that_cannot_be_read_ends_as_well(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault of ours")

    await tools.scanned(sandbox, http)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "effect_of", broken)
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        for _ in range(TRIES + 2):
            clock.advance(400)
            await jobs.send_effects(await open_bank(demo, "demo"))
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["reason"], row["open"], row["attempts"]) == ("failed", "internal", False, TRIES)


async def test_a_tag_that_was_deleted_at_wecom_is_made_again(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    demo.cache.put("corp_tags:demo", {"et" + "0" * 30: "来源:sz-nanshan"}, 60.0)
    person, _ = await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tried(demo, clock, 8)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    friend = (await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]
    assert friend["tag_names"] == ["sz-nanshan"]


async def test_two_workers_on_one_welcome_greet_once(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    """The first try hangs longer than its lease: another worker takes the effect over."""
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=-1, times=1)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await tools.fault(sandbox, "latency", tools.WELCOME_CALL, seconds=1, times=1)
    clock.advance(2)
    first = asyncio.create_task(jobs.send_welcomes(await open_bank(demo, "demo")))
    await until(lambda: _taken(demo))
    clock.advance(perform.LEASE_SECONDS["welcome"] + 0.5)
    await asyncio.gather(jobs.send_welcomes(await open_bank(second, "demo")), first)
    assert await tools.welcomes(sandbox) == 1
    assert (await tools.effect(demo, "welcome"))["state"] == "done"
    assert (await tools.story(demo)).count("welcome.sent") == 1


async def _taken(services: Services) -> bool:
    return bool((await tools.effect(services, "welcome"))["owner"])


@pytest.mark.parametrize("spread", [False, True])
async def test_a_reminder_by_a_timer_keeps_off_the_half_hours_and_an_answer_does_not(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch,
    spread: bool,
) -> None:  # fmt: skip
    """Who comes at minute 0 is told of at once; what a timer asks for then, in the minutes after it."""
    monkeypatch.setattr(Settings, "spreads_messages", spread)
    steps = "- {id: now, send: {via: staff, template: note}}\n- {id: week, wait: {for: 1h}}\n"
    await tools.go_live(demo, WELCOME + steps + "- {id: then, send: {via: staff, template: note}}\n")
    await tools.scanned(sandbox, http, state="c.sz-nanshan")
    clock.advance(1800 - clock() % 1800 + 5)
    await tools.all_work(demo)
    rows = {row["step"]: row for row in await demo.store.tenant("demo")["outbox"].find({"kind": "staff"})}
    assert (list(rows), rows["now"]["state"]) == (["now"], "done")
    clock.advance(1800 - clock() % 1800 + 1820)
    await tools.all_work(demo)
    rows = {row["step"]: row for row in await demo.store.tenant("demo")["outbox"].find({"kind": "staff"})}
    assert rows["then"]["state"] == ("ready" if spread else "done")
    assert not spread or (rows["then"]["due"] // 60) % 30
    clock.advance(240)
    await tools.all_work(demo)
    rows = {row["step"]: row for row in await demo.store.tenant("demo")["outbox"].find({"kind": "staff"})}
    assert rows["then"]["state"] == "done"


TWO_TAGS = "- {id: mark, tag: {add: [好的, 坏的]}}\n"


@pytest.mark.parametrize("errcode", [40068, 40072])
async def test_a_tag_that_wecom_does_not_take_is_left_out_and_named(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch,
    errcode: int,
) -> None:  # fmt: skip
    """Deleted at WeCom while its list still has it, or with a name that WeCom refuses."""
    await tools.go_live(demo, WELCOME + TWO_TAGS)
    named = tagging.tag_id

    async def tag_id(bank: Bank, name: str) -> str:
        if name != "坏的":
            return await named(bank, name)
        if errcode == 40072:
            raise BadRequest(40072, "invalid tag name", "/cgi-bin/externalcontact/add_corp_tag")
        return "et" + "0" * 30

    monkeypatch.setattr(tagging, "tag_id", tag_id)
    person, _ = await tools.scanned(sandbox, http, state="c.sz-nanshan")
    await tools.all_work(demo)
    await tried(demo, clock, 8)
    (row,) = await demo.store.tenant("demo")["outbox"].find({"kind": "tag"})
    assert row["state"] == "done"
    friend = (await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]
    assert friend["tag_names"] == ["好的"]
    (told,) = await demo.store.tenant("demo")["timeline"].find({"kind": "tag.added"})
    assert told["data"]["tags"] == "好的"
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({"kind": "tag.left_out"})
    assert alarm["data"] == {"tag": "坏的", "reason": f"platform_bad_request:{errcode}"}
    (customer,) = await demo.store.tenant("demo")["customers"].find({})
    assert customer["tags"] == ["好的"]


async def test_a_tag_that_must_be_waited_for_holds_up_no_other(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tools.go_live(demo, WELCOME + TWO_TAGS)
    named, listed = tagging.tag_id, False

    async def tag_id(bank: Bank, name: str) -> str:
        if name == "坏的" and not listed:
            raise TryLater(40071, "not listed yet", "externalcontact/add_corp_tag")
        return await named(bank, name)

    monkeypatch.setattr(tagging, "tag_id", tag_id)
    person, _ = await tools.scanned(sandbox, http, state="c.sz-nanshan")
    await tools.all_work(demo)
    friend = (await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]
    assert friend["tag_names"] == ["好的"]
    listed = True
    await tried(demo, clock, 8)
    friend = (await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]
    assert sorted(friend["tag_names"]) == ["坏的", "好的"]
    assert (await tools.story(demo)).count("tag.added") == 1
