"""Callbacks: what is refused leaves nothing but a count; what is acknowledged is stored and handled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from campaigns import inbox, work
from customers.directory import get_tenant
from sandbox.crypto import Envelope
from services.container import Services
from services.errors import UnknownOutcome
from tests.campaigns import tools
from tests.clock import MovedClock
from tests.conftest import Sandbox

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
    app = (await get_tenant(demo, "demo")).wecom
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
    (lambda w: w.post(event(extra=IDS.format(1), dtd=DTD)), 400, "event_dtd"),
    (lambda w: w.post(b"no xml at all"), 400, "event_not_xml"),
]


@pytest.mark.parametrize(("make", "status", "code"), REFUSALS)
async def test_a_refused_callback_leaves_nothing_but_a_count(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, make: Callable[[WeCom], Post], status: int, code: str
) -> None:
    assert await send(http, make(wecom)) == (status, code)
    assert await demo.store.tenant("demo")["inbox"].count({}) == 0
    assert tools.counted(demo, code) == 1


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
    await inbox.receive_wecom(second, "demo", **vars(wecom.post(event(extra=IDS.format(1)), nonce="same")))
    assert await send(http, wecom.post(event(extra=IDS.format(2)), nonce="same")) == (403, "callback_replayed")
    await demo.redis.flushall()
    assert await send(http, wecom.post(event(extra=IDS.format(3)), nonce="kept")) == (200, "")
    await demo.redis.flushall()
    assert await send(http, wecom.post(event(extra=IDS.format(4)), nonce="kept")) == (403, "callback_replayed")


async def test_after_the_window_a_nonce_may_come_again(demo: Services, wecom: WeCom, clock: MovedClock) -> None:
    await inbox.receive_wecom(demo, "demo", **vars(wecom.post(event(extra=IDS.format(1)), nonce="same")))
    window = demo.settings.callback_window + 1
    clock.advance(window)
    await demo.redis.flushall()  # Redis forgets by its own clock
    again = wecom.post(event(extra=IDS.format(2)), nonce="same", ago=-window)
    assert await inbox.receive_wecom(demo, "demo", **vars(again)) == "stored"


async def test_fifty_events_of_one_second_and_one_customer_are_fifty(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    posts = [wecom.post(event(extra=IDS.format(1) + f"<Source>{n}</Source>")) for n in range(50)]
    answers = await asyncio.gather(*(send(http, post) for post in [*posts, *posts]))
    assert set(answers) == {(200, "")}
    assert await demo.store.tenant("demo")["inbox"].count({}) == 50


async def test_an_event_of_a_kind_that_nobody_knows_is_kept_as_unknown(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    assert await send(http, wecom.post(event("transfer_fail", extra=IDS.format(1)))) == (200, "")
    await work.handle_inbox(demo, "demo")
    (row,) = await demo.store.tenant("demo")["inbox"].find({})
    assert (row["state"], row["open"]) == ("unknown", False)


async def test_an_event_without_its_ids_is_set_aside_with_the_reason(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom
) -> None:
    assert await send(http, wecom.post(event("add_external_contact"))) == (200, "")
    await work.handle_inbox(demo, "demo")
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
    for _ in range(inbox.MOST_TRIES):
        await work.handle_inbox(demo, "demo")
        clock.advance(1100)
    states = sorted(row["state"] for row in await demo.store.tenant("demo")["inbox"].find({}))
    assert states == ["dead", "handled"]
    (dead,) = await demo.store.tenant("demo")["inbox"].find({"state": "dead"})
    assert dead["reason"]
    assert await tools.welcomes(sandbox) == 1
