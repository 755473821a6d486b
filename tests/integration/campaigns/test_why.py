"""Why? Each event can say what was decided because of it, what was called, and what was answered."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from campaigns.publishing import versions
from deploy.commands import explain
from operations.events import explain as why
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import LIN

NO_CODE_OF_OURS = "somebody-elses"


async def _only(services: Services) -> dict[str, Any]:
    """The answer for the one event there is."""
    (row,) = await services.store.tenant("demo")["inbox"].find({})
    return await why.explain_event(await open_bank(services, "demo"), row["_id"], explain)


def _decided(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(note["kind"], note["data"].get("why", "")) for note in answer["decided"]]


async def _scanned_and_handled(services: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> dict[str, Any]:
    await tools.scanned(sandbox, http)
    await tools.all_work(services)
    return await _only(services)


async def test_an_event_tells_what_was_decided_called_and_answered(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    answer = await _scanned_and_handled(demo, sandbox, http)
    assert (answer["state"], answer["received"]["type"], answer["attempts"]) == ("handled", "external_contact_added", 1)
    about = answer["received"]["about"]
    assert (about["state"], about["welcome_code"]) == (tools.NANSHAN, "…")
    assert ("channel.ours", "") in _decided(answer)
    assert [(call["path"], call["errcode"]) for call in answer["called"]] == [("/cgi-bin/externalcontact/get", 0)]
    assert 0 <= answer["called"][0]["after"] < 20
    (run,) = answer["runs"]
    assert (run["campaign"], run["status"]) == ("acq-branch", "active")
    effects = {effect["kind"]: effect for effect in run["effects"]}
    assert {kind: effect["state"] for kind, effect in effects.items()} == {
        "welcome": "done", "tag": "done", "offer": "done",
    }  # fmt: skip
    assert [call["path"] for call in effects["welcome"]["called"]] == ["/cgi-bin/externalcontact/send_welcome_msg"]
    assert answer["welcome"] == {"sent": True, "why": "done", "text": "done"}
    (row,) = await demo.store.tenant("demo")["runs"].find({})
    assert row["event"] == answer["event"]


async def test_an_answer_shows_no_persons_data(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    answer = await _only(demo)
    text = orjson.dumps(answer).decode()
    for secret in (person["external_userid"], person["unionid"], scan["welcome_code"], "刘敏"):
        assert secret not in text
    assert answer["received"]["about"]["external_userid"] == why.mask(person["external_userid"])


@pytest.mark.parametrize("length", [8, 20, 64])
async def test_an_event_is_found_by_its_beginning(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, length: int
) -> None:
    await tools.scanned(sandbox, http)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    short = row["_id"].removeprefix("demo:")[:length]
    for event in (short, f"demo:{short}", short.upper()):
        assert (await why.find(await open_bank(demo, "demo"), event))["_id"] == row["_id"]


async def test_an_id_that_is_none_unknown_or_not_clear_is_refused(demo: Services) -> None:
    rows = demo.store.tenant("demo")["inbox"]
    await rows.insert_new([{"_id": f"demo:{'a' * 10}{n:054x}"} for n in range(2)])
    for wrong, error, code in (
        ("aaaaaaa", InvalidInput, "event_id"),
        ("not-an-id", InvalidInput, "event_id"),
        ("a" * 65, InvalidInput, "event_id"),
        ("other:" + "a" * 10, InvalidInput, "event_id"),
        ("b" * 64, NotFound, "event_unknown"),
        ("a" * 10, Conflict, "event_ambiguous"),
    ):
        with pytest.raises(error) as caught:
            await why.find(await open_bank(demo, "demo"), wrong)
        assert caught.value.code == code


async def test_another_banks_event_is_not_found(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await tools.scanned(sandbox, http)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    with pytest.raises(NotFound):
        await why.find(await open_bank(demo, "other"), row["_id"].removeprefix("demo:"))


async def test_no_welcome_because_the_code_is_not_ours(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    client = (await open_bank(demo, "demo")).wecom
    await client.ways.create(["rm.chen"], state=NO_CODE_OF_OURS)
    await tools.scanned(sandbox, http, NO_CODE_OF_OURS)
    await tools.all_work(demo)
    answer = await _only(demo)
    assert answer["welcome"]["why"] == "not_our_code"
    assert ("channel.not_ours", "") in _decided(answer)
    assert ("campaign.not_entered", "rule_not_met") in _decided(answer)
    assert await tools.welcomes(sandbox) == 0


async def test_no_welcome_because_the_campaign_is_paused(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await versions.pause(await open_bank(demo, "demo"), LIN, "acq-branch")
    answer = await _scanned_and_handled(demo, sandbox, http)
    assert answer["welcome"]["why"] == "campaign_paused"
    assert ("campaign.not_entered", "campaign_paused") in _decided(answer)


async def test_no_welcome_because_he_had_entered_before(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await sandbox.control("POST", "clock", {"advance": 60})
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    await sandbox.control("POST", "clock", {"advance": 60})
    await sandbox.scan(person, state=tools.NANSHAN, userid=scan["userid"])
    await tools.all_work(demo)
    rows = await demo.store.tenant("demo")["inbox"].find({"type": "external_contact_added"}, sort=[("at", 1)])
    answer = await why.explain_event(await open_bank(demo, "demo"), rows[-1]["_id"], explain)
    assert ("campaign.not_entered", "already_entered") in _decided(answer)
    assert [run["run"] for run in answer["runs"]] == [(await tools.runs(demo))[0]["_id"]]


async def test_no_welcome_because_the_event_brought_no_code(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    """After a half add whose code is gone, the add event has none (contract/wechat C4)."""
    person = await sandbox.person()
    await sandbox.control("POST", "faults", {"target": "callback", "kind": "drop", "times": 1})
    await sandbox.control("POST", f"people/{person['id']}/half-add", {"userid": "rm.chen", "state": tools.NANSHAN})
    await sandbox.control("POST", "clock", {"advance": 30})
    await sandbox.scan(person, state=tools.NANSHAN, userid="rm.chen")
    await tools.all_work(demo)
    answer = await _only(demo)
    assert ("welcome.no_code", "") in _decided(answer)
    assert (answer["welcome"]["sent"], answer["welcome"]["why"]) == (False, "no_welcome_code")


async def test_no_welcome_because_its_time_was_over(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http)
    clock.advance(21)
    await tools.all_work(demo)
    answer = await _only(demo)
    assert (answer["welcome"]["sent"], answer["welcome"]["why"]) == (False, "deadline")
    assert answer["welcome"]["text"] == "the welcome's 20 seconds were over"


async def test_a_welcome_that_wecom_refused_keeps_every_try_and_answer(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=6000, times=2)
    await tools.scanned(sandbox, http)
    for _ in range(4):
        await tools.all_work(demo)
        clock.advance(2)
    (welcome,) = [e for e in (await _only(demo))["runs"][0]["effects"] if e["kind"] == "welcome"]
    assert welcome["state"] == "done"
    answers = [call["errcode"] for each in welcome["tries"] for call in each["called"]]
    answers += [call["errcode"] for call in welcome["called"]]
    assert answers[-1] == 0
    assert set(answers[:-1]) == {6000}
    assert all(each["reason"] == "platform_busy:6000" for each in welcome["tries"])
    assert welcome["attempts"] == len(welcome["tries"]) + 1


async def test_a_code_that_was_used_by_somebody_else_says_so(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41051, times=1)
    answer = await _scanned_and_handled(demo, sandbox, http)
    assert (answer["welcome"]["sent"], answer["welcome"]["why"]) == (False, "greeted_elsewhere")


async def test_an_event_that_failed_keeps_the_reasons_of_its_tries(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await tools.fault(sandbox, "errcode", tools.DETAILS, errcode=41001, times=1)
    await sandbox.control("POST", f"people/{person['id']}/edited-by", {"userid": scan["userid"], "remark": "x"})
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (row,) = await demo.store.tenant("demo")["inbox"].find({"open": True})
    waiting = await why.explain_event(await open_bank(demo, "demo"), row["_id"], explain)
    assert (waiting["state"], waiting["reason"]) == ("waiting", "platform_bad_request")
    clock.advance(60)
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    answer = await why.explain_event(await open_bank(demo, "demo"), row["_id"], explain)
    assert (answer["state"], answer["attempts"]) == ("handled", 2)
    (failed,) = answer["tries"]
    assert failed["reason"] == "platform_bad_request"
    assert [(call["path"], call["errcode"]) for call in failed["called"]] == [("/cgi-bin/externalcontact/get", 41001)]


async def test_events_are_listed_newest_first_and_by_state(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http, name="甲")
    await tools.all_work(demo)
    clock.advance(1)
    await tools.scanned(sandbox, http, name="乙")
    rows = await why.newest(await open_bank(demo, "demo"))
    assert [(row["state"], row["type"]) for row in rows] == [("waiting", ""), ("handled", "external_contact_added")]
    at_bank = await open_bank(demo, "demo")
    assert [row["state"] for row in await why.newest(at_bank, "waiting")] == ["waiting"]
    assert await why.newest(await open_bank(demo, "demo"), "dead") == []
    with pytest.raises(InvalidInput):
        await why.newest(await open_bank(demo, "demo"), "handled")
