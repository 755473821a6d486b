"""Callbacks: what is refused leaves nothing but a count; what is acknowledged is stored and handled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from operations.events import dead_letters, dispatch, explain, handle, receive
from sandbox.core.crypto import Envelope
from services.container import Services
from services.errors import Conflict, Forbidden, NotFound, UnknownOutcome
from services.queue import inbox
from services.queue.inbox import Arrival
from services.store import leases
from services.wechat import events
from services.wechat.core.errors import SlowDown
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

CALLBACK = "/wecom/demo/callback"


def event(change: str = "edit_external_contact", *, at: int = 1_780_000_000, extra: str = "", dtd: str = "") -> bytes:
    return (
        f"{dtd}<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        f"<CreateTime>{at}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>"
        f"<ChangeType><![CDATA[{change}]]></ChangeType>{extra}</xml>"
    ).encode()


IDS = "<UserID><![CDATA[rm.chen]]></UserID><ExternalUserID><![CDATA[wm{0:030d}]]></ExternalUserID>"


@dataclass
class Post:
    query: dict[str, str]
    body: bytes


class WeCom:
    """A second implementation of WeCom's sender, so that the product does not only talk to itself."""

    def __init__(self, envelope: Envelope, corp_id: str) -> None:
        self.envelope, self.corp_id, self.count = envelope, corp_id, 0

    def post(self, message: bytes, *, nonce: str = "", ago: float = 0, receiver: str = "") -> Post:
        self.count += 1
        encrypted = self.envelope.encrypt(message, receiver or self.corp_id)
        timestamp, nonce = str(int(time.time() - ago)), nonce or f"n{self.count}"
        query = {"timestamp": timestamp, "nonce": nonce}
        query["msg_signature"] = self.envelope.sign(timestamp, nonce, encrypted)
        body = f"<xml><ToUserName><![CDATA[x]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        return Post(query, body.encode())


@pytest.fixture
async def wecom(demo: Services) -> WeCom:
    app = (await open_bank(demo, "demo")).wecom_app
    return WeCom(Envelope(app.token, app.aes_key), app.corp_id)


async def send(http: httpx.AsyncClient, post: Post) -> tuple[int, str]:
    answer = await http.post(CALLBACK, params=post.query, content=post.body)
    return answer.status_code, answer.json()["error"]["code"] if answer.content else ""


def _plain(wecom: WeCom, **options: Any) -> Post:
    return wecom.post(event(extra=IDS.format(1)), **options)


def _resigned(wecom: WeCom, change: Callable[[Post], None]) -> Post:
    post = _plain(wecom)
    change(post)
    return post


DTD = '<!DOCTYPE xml [<!ENTITY a "b">]>'
REFUSALS: list[tuple[Callable[[WeCom], Post], int, str]] = [
    (lambda w: _resigned(w, lambda p: p.query.update(msg_signature="0" * 40)), 403, "callback_bad_signature"),
    (lambda w: _resigned(w, lambda p: p.query.update(nonce="other")), 403, "callback_bad_signature"),
    (lambda w: _resigned(w, lambda p: p.query.clear()), 403, "callback_bad_signature"),
    (lambda w: _plain(w, receiver="ww" + "f" * 16), 403, "callback_bad_receiveid"),
    (lambda w: _plain(w, ago=601), 403, "callback_stale"),
    (lambda w: _plain(w, ago=-605), 403, "callback_stale"),
    (lambda w: Post(_plain(w).query, b"<xml>" + b" " * 65_536 + b"</xml>"), 413, "callback_too_large"),
    (lambda w: Post(_plain(w).query, b"{}"), 400, "callback_not_xml"),
    (lambda w: Post(_plain(w).query, b""), 400, "callback_not_xml"),
    (lambda w: Post(_plain(w).query, b"<xml></xml>"), 400, "callback_no_encrypt"),
    (lambda w: Post(_plain(w).query, DTD.encode() + _plain(w).body), 400, "callback_dtd"),
]


@pytest.mark.parametrize(("make", "status", "code"), REFUSALS)
async def test_a_refused_callback_leaves_nothing_but_a_count(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, make: Callable[[WeCom], Post], status: int, code: str
) -> None:
    assert await send(http, make(wecom)) == (status, code)
    assert await demo.store.tenant("demo")["inbox"].count({}) == 0
    assert tools.counted(demo, code) == 1


async def test_a_genuine_message_is_stored_as_it_came_whatever_it_is(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    messages = [
        b"", b"no xml at all", b"\x00\xff\xfe", b"<xml>", b"{}", event(extra=IDS.format(1), dtd=DTD), b"\xc0\x80" * 20_000,
        b"<a>" * 15_000, event(extra="<State>" + "x" * 40_000 + "</State>"),
    ]  # fmt: skip
    for message in messages:
        assert await send(http, wecom.post(message)) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    rows = await demo.store.tenant("demo")["inbox"].find({})
    assert {inbox.message_of(demo, row) for row in rows} == set(messages)
    found = {inbox.message_of(demo, row)[:9]: (row.get("state"), row.get("reason")) for row in rows}
    assert found[b""] == found[b"no xml at"] == ("dead", "event_not_xml")
    assert (found[b"<xml>"], found[b"{}"]) == (("dead", "event_incomplete"), ("dead", "event_not_json"))


async def test_a_friend_whose_code_has_a_control_character_is_a_friend_and_welcomed(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    await sandbox.control("POST", "faults", {"target": "callback", "kind": "drop"})
    person = await sandbox.person()
    scan = await sandbox.scan(person, state=tools.NANSHAN)
    await sandbox.control("DELETE", "faults")
    extra = (
        f"<UserID><![CDATA[{scan['userid']}]]></UserID><ExternalUserID><![CDATA[{person['external_userid']}]]></ExternalUserID>"
        f"<State><![CDATA[{tools.NANSHAN[:5]}\x0b{tools.NANSHAN[5:]}]]></State>"
        f"<WelcomeCode><![CDATA[{scan['welcome_code']}]]></WelcomeCode>"
    )
    rest = event("add_external_contact", at=int(time.time()), extra=extra)
    for n in range(3):
        assert await send(http, wecom.post(event("del_follow_user", extra=IDS.format(n)))) == (200, "")
    assert await send(http, wecom.post(rest)) == (200, "")
    due = await demo.store.tenant("demo")["inbox"].find({}, sort=[("due", 1)], limit=1)
    assert inbox.message_of(demo, due[0]) == rest
    await tools.all_work(demo)
    (follow,) = await demo.store.tenant("demo")["relationships"].find({"active": True})
    assert (follow["userid"], follow["state"]) == (scan["userid"], tools.NANSHAN)
    assert await tools.welcomes(sandbox) == 1


async def test_an_exact_repeat_is_a_duplicate_and_no_attack(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    post = _plain(wecom)
    assert [await send(http, post) for _ in range(3)] == [(200, "")] * 3
    assert await send(http, _plain(wecom)) == (200, "")  # WeCom's own retry: signed anew, the same message
    assert await demo.store.tenant("demo")["inbox"].count({}) == 1
    assert (tools.counted(demo, "stored"), tools.counted(demo, "duplicate")) == (1, 3)


async def test_a_seen_nonce_with_another_message_is_refused(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    first = wecom.post(event(extra=IDS.format(1)), nonce="same")
    other = wecom.post(event(extra=IDS.format(2)), nonce="same")
    assert await send(http, first) == (200, "")
    assert await send(http, other) == (403, "callback_replayed")
    assert await demo.store.tenant("demo")["inbox"].count({}) == 1
    assert await send(http, first) == (200, "")


async def test_a_seen_nonce_is_refused_at_another_process_and_without_redis(
    demo: Services, second: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    await receive.receive_wecom(second, "demo", **vars(wecom.post(event(extra=IDS.format(1)), nonce="same")))
    assert await send(http, wecom.post(event(extra=IDS.format(2)), nonce="same")) == (403, "callback_replayed")
    await demo.redis.flushdb()
    assert await send(http, wecom.post(event(extra=IDS.format(3)), nonce="kept")) == (200, "")
    await demo.redis.flushdb()
    assert await send(http, wecom.post(event(extra=IDS.format(4)), nonce="kept")) == (403, "callback_replayed")


async def test_after_the_window_a_nonce_may_come_again(demo: Services, wecom: WeCom, clock: MovedClock) -> None:
    await receive.receive_wecom(demo, "demo", **vars(wecom.post(event(extra=IDS.format(1)), nonce="same")))
    window = demo.settings.callback_window + 1
    clock.advance(window)
    await demo.redis.flushdb()  # Redis forgets by its own clock
    again = wecom.post(event(extra=IDS.format(2)), nonce="same", ago=-window)
    assert (await receive.receive_wecom(demo, "demo", **vars(again))).outcome == "stored"


async def test_fifty_events_of_one_second_and_one_customer_are_fifty(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    posts = [wecom.post(event(extra=IDS.format(1) + f"<Source>{n}</Source>")) for n in range(50)]
    answers = await asyncio.gather(*(send(http, post) for post in [*posts, *posts]))
    assert set(answers) == {(200, "")}
    assert await demo.store.tenant("demo")["inbox"].count({}) == 50


async def test_what_cannot_wait_is_handled_before_a_storm_of_others(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    for n in range(20):
        assert await send(http, wecom.post(event("del_follow_user", extra=IDS.format(n)))) == (200, "")
    left = event("delete_user", extra=IDS.format(1)).replace(b"change_external_contact", b"change_contact")
    greeted = event("add_external_contact", extra=IDS.format(99) + "<WelcomeCode>WC</WelcomeCode>")
    for message in (left, greeted):
        assert await send(http, wecom.post(message)) == (200, "")
    _, first = await leases.claim(demo.store.tenant("demo")["inbox"], demo.clock(), limit=2)
    expected = {Arrival("demo", "wecom", message).id for message in (left, greeted)}
    assert {row["_id"] for row in first} == expected


async def test_an_event_of_a_kind_that_nobody_knows_is_kept_and_counted(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    for n in range(3):
        assert await send(http, wecom.post(event("brand_new", extra=IDS.format(n)))) == (200, "")
    assert await send(http, wecom.post(event("wm 1 <script>".replace("<", "&lt;"), extra=IDS.format(1)))) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    rows = await demo.store.tenant("demo")["inbox"].find({})
    assert {(row["state"], row["open"]) for row in rows} == {("unknown", False)}
    at_bank = await open_bank(demo, "demo")
    counts = {row["event"]: row["events"] for row in await dead_letters.unknown_counts(at_bank)}
    assert counts == {"change_external_contact/brand_new": 3, "change_external_contact/unreadable": 1}
    assert _unknown(demo, "brand_new") == 3
    at_bank = await open_bank(demo, "demo")
    shown = [str((await explain.explain_event(at_bank, row["_id"], str))["received"]["about"]) for row in rows]
    assert [sum(name in one for one in shown) for name in ("brand_new", "unreadable", "wm 1")] == [3, 1, 0]


def _unknown(services: Services, change: str, event: str = "change_external_contact") -> float | None:
    labels = {"event": event, "change": change}
    return services.metrics.registry.get_sample_value("yinqiao_events_unknown_total", labels)


async def test_names_that_nobody_knows_do_not_fill_the_metrics(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    for n in range(handle.MOST_NAMES + 5):
        assert await send(http, wecom.post(event(f"new_{n}", extra=IDS.format(n)))) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert _unknown(demo, "other", "other") == 5
    counts = await dead_letters.unknown_counts(await open_bank(demo, "demo"))
    assert [row["events"] for row in counts] == [1] * (handle.MOST_NAMES + 5)


async def test_an_event_that_needs_no_reaction_is_noted(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(dispatch.REACTIONS, events.ExternalContactEdited)
    assert await send(http, _plain(wecom)) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    assert (row["state"], row["type"], row["open"]) == ("noted", "external_contact_edited", False)
    assert await explain.newest(await open_bank(demo, "demo"), "unknown") == []


async def test_an_event_without_its_ids_is_set_aside_with_the_reason(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    assert await send(http, wecom.post(event("add_external_contact"))) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    assert (row["state"], row["reason"], row["open"]) == ("dead", "event_incomplete", False)


async def test_what_cannot_be_stored_is_not_acknowledged_and_comes_again(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> set[int]:
        raise UnknownOutcome("store_unavailable", "the database did not answer a write")

    message = event(extra=IDS.format(1))
    with monkeypatch.context() as patch:
        patch.setattr(demo.store, "insert_new_across", away)
        assert await send(http, wecom.post(message)) == (503, "store_unavailable")
    assert await demo.store.tenant("demo")["inbox"].count({}) == 0
    assert await send(http, wecom.post(message)) == (200, "")
    assert await demo.store.tenant("demo")["inbox"].count({}) == 1


async def test_a_poisoned_event_is_set_aside_and_holds_up_nobody(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, wecom: WeCom, clock: MovedClock
) -> None:
    await send(http, wecom.post(event(extra=IDS.format(1))))  # WeCom knows nobody of that id
    await tools.scanned(sandbox, http)
    for _ in range(handle.RETRY.tries or 0):
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        clock.advance(1100)
    states = sorted(row["state"] for row in await demo.store.tenant("demo")["inbox"].find({}))
    assert states == ["dead", "handled"]
    (dead,) = await demo.store.tenant("demo")["inbox"].find({"state": "dead"})
    assert dead["reason"]
    assert await tools.welcomes(sandbox) == 1
    (shown,) = await explain.newest(await open_bank(demo, "demo"), "dead")
    assert shown["event"] == dead["_id"].removeprefix("demo:")
    assert len(dead["tries"]) == handle.RETRY.tries


@pytest.mark.parametrize("errcode", [None, 45009])
async def test_a_limit_is_waited_for_however_long_it_takes(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, clock: MovedClock, monkeypatch: pytest.MonkeyPatch,
    errcode: int | None,
) -> None:  # fmt: skip
    asked: list[float] = []

    async def limited(*_: object) -> None:
        asked.append(clock())
        raise SlowDown(errcode, "too many", "/cgi-bin/externalcontact/get", retry_after=3600)

    monkeypatch.setitem(dispatch.REACTIONS, events.ExternalContactEdited, limited)
    await send(http, wecom.post(event(change="edit_external_contact", extra=IDS.format(1))))
    for _ in range(2 * (handle.RETRY.tries or 0) + 2):
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        clock.advance(1900)
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    assert (row["open"], row["attempts"], len(asked)) == (True, 0, (handle.RETRY.tries or 0) + 1)
    assert row["behind"] == "/cgi-bin/externalcontact/get"


async def test_an_event_that_was_set_aside_is_handled_again_when_somebody_says_so(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", tools.DETAILS, errcode=-1, times=1000)
    person, scan = await tools.scanned(sandbox, http)
    await sandbox.control("POST", f"people/{person['id']}/edited-by", {"userid": scan["userid"], "remark": "x"})
    rows = demo.store.tenant("demo")["inbox"]
    while await rows.count({"open": True}):
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        clock.advance(1100)
    (dead,) = await rows.find({"state": "dead"})
    await tools.no_faults(sandbox)
    await dead_letters.retry(await open_bank(demo, "demo"), "cli:test", dead["_id"])
    with pytest.raises(Conflict) as twice:
        await dead_letters.retry(await open_bank(demo, "demo"), "cli:test", dead["_id"])
    assert twice.value.code == "event_not_set_aside"
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    again = await rows.find_one({"_id": dead["_id"]})
    assert again is not None
    assert (again["state"], again["attempts"], again["reason"]) == ("handled", 1, "")
    assert await explain.newest(await open_bank(demo, "demo"), "dead") == []
    audited = await demo.store.tenant("demo")["audit"].find({"action": "event.retried"})
    assert [(row["actor"], row["object"]) for row in audited] == [("cli:test", dead["_id"])]
    with pytest.raises(Conflict):
        await dead_letters.retry(await open_bank(demo, "demo"), "cli:test", dead["_id"])
    with pytest.raises(NotFound):
        await dead_letters.retry(await open_bank(demo, "demo"), "cli:test", "demo:" + "0" * 64)


async def test_a_letter_that_comes_back_while_others_are_tried_again_stays_on_the_list(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is faster than whoever asked: the letter that he puts there is a newer one."""
    bank = await open_bank(demo, "demo")
    for n in range(2):
        await inbox.receive(demo, Arrival("demo", "wecom", b"no markup %d" % n))
    await jobs.handle_inbox(bank)
    reopened = inbox.reopen_all

    async def and_at_once(*arguments: Any) -> int:
        number = await reopened(*arguments)
        await jobs.handle_inbox(bank)
        return number

    monkeypatch.setattr(inbox, "reopen_all", and_at_once)
    assert await dead_letters.retry_some(bank, "cli:test", "dead") == 2
    assert len(await explain.newest(bank, "dead")) == 2


@pytest.mark.parametrize("batch", [1, 2, 4])
async def test_what_fails_again_holds_up_none_of_the_others(
    demo: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """The worker is at it while somebody has one batch after the other tried again: everyone has one try."""
    bank = await open_bank(demo, "demo")
    for n in range(4):
        await inbox.receive(demo, Arrival("demo", "wecom", b"no markup %d" % n))
        clock.advance(1)
    await jobs.handle_inbox(bank)
    tried: list[str] = []
    reopened = inbox.reopen_all

    async def and_at_once(db: Any, row_ids: Any, *arguments: Any) -> int:
        tried.extend(row_ids)
        number = await reopened(db, row_ids, *arguments)
        clock.advance(1)
        await jobs.handle_inbox(bank)
        return number

    monkeypatch.setattr(inbox, "reopen_all", and_at_once)
    for _ in range(4 // batch):
        assert await dead_letters.retry_some(bank, "cli:test", "dead", batch) == batch
    assert len({*tried}) == len(tried) == 4


async def test_who_is_told_without_the_corps_name_is_a_friend_all_the_same(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    """The address and the sealed receiveid say whose event it is."""
    whole = event("del_follow_user", extra=IDS.format(1))
    nameless = whole.replace(b"<ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName>", b"")
    assert nameless != whole
    assert await send(http, wecom.post(nameless)) == (200, "")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    assert (row["state"], row["type"]) == ("handled", "follow_user_deleted")


async def test_two_senders_may_use_the_same_nonce(demo: Services) -> None:
    """WeCom and each mini-program draw their nonces by themselves."""
    sources = ("wecom", "wechat:wx5ab0000000000001", "wechat:wx5ab0000000000002")
    for number, source in enumerate(sources):
        told = Arrival("demo", source, b"message %d" % number, "1234567890")
        assert await inbox.receive(demo, told) == inbox.STORED
        with pytest.raises(Forbidden, match="callback_replayed"):
            await inbox.receive(demo, Arrival("demo", source, b"another", "1234567890"))
