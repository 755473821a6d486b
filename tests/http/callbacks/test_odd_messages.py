"""Genuine messages, however they read: each is answered with success and stored once as it came, and handled or kept
for a person with its bytes."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx
import orjson
import pytest

from customers.banks.bank import open_bank
from operations.events import dead_letters, dispatch, handle
from services.container import Services
from services.queue import inbox
from services.wechat.core import crypto
from tests.http.conftest import APPID, Clerk, post_form
from tests.support import jobs

FIELDS = {
    "ToUserName": "ww0c0ffee000000001",
    "FromUserName": "sys",
    "CreateTime": "1780000000",
    "MsgType": "event",
    "Event": "change_external_contact",
    "ChangeType": "del_follow_user",
    "UserID": "rm.chen",
    "ExternalUserID": "wmodd",
    "State": "branch-q1",
    "Remark": "张",
}
PUSHED = {
    "ToUserName": "gh_1",
    "FromUserName": "o-odd",
    "CreateTime": 1_780_000_000,
    "MsgType": "text",
    "Content": "你好",
    "MsgId": 1,
}
CONTROLS = [chr(code) for code in range(0x20)] + ["\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\uffff"]
BYTES = [b"\xff", b"\xc3", b"\xe4\xbd", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc4\xe3", b"\0\0"]


def _xml(**changed: str) -> str:
    told = FIELDS | changed
    return "<xml>" + "".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in told.items()) + "</xml>"


def _readable_xml() -> list[bytes]:
    """What a person could read."""
    found = []
    for name in ("State", "Remark"):
        found += [_xml(**{name: f"a{control}b"}).encode() for control in CONTROLS]
        found += [_xml(**{name: "@"}).encode().replace(b"@", b"a" + odd) for odd in BYTES]
    for control in CONTROLS[1:0x20]:
        found.append(_xml(UserID=f"rm.{control}chen").encode())
        found.append(_xml(ExternalUserID=f"wm{control}odd").encode())
        found.append(_xml().replace("<State>", f"<State>{control}", 1).encode())
    plain = _xml().replace("<![CDATA[", "").replace("]]>", "")
    texts = [
        _xml(State="a & b"), plain.replace("branch-q1", "a & b"), plain.replace("branch-q1", "&nbsp;&#0;&#x1F;&bad;"),
        plain.replace("branch-q1", "a < b > c"), _xml(State="a]]>b"), _xml().replace("branch-q1]]>", "branch-q1"),
        _xml().replace("</xml>", "<UserID>second</UserID></xml>"), _xml(Remark="长" * 12_000),
        _xml().replace("xml>", "root>"), _xml().replace("xml>", "XML>"), _xml()[5:-6], _xml()[:-6], f" \n{_xml()}\n",
        f"\ufeff{_xml()}", f"\ufeff\ufeff{_xml()}", f'<?xml version="1.0"?>{_xml()}', f"<!-- a -->{_xml()}",
        f'<!DOCTYPE xml [<!ENTITY a "b">]>{_xml()}', _xml().replace("<ToUserName>", "<x:y z='1'/><ToUserName>"),
        _xml().replace(f"<ToUserName><![CDATA[{FIELDS['ToUserName']}]]></ToUserName>", ""),
    ]  # fmt: skip
    found += [text.encode() for text in texts]
    found += [_xml().encode(one) for one in ("utf-16", "utf-16-le", "utf-16-be")]
    declared = f'<?xml version="1.0" encoding="GBK"?>{_xml(State="深圳南山")}'
    return [*found, declared.encode("gbk"), _xml(State="深圳南山").encode("gbk")]


def _unreadable() -> list[bytes]:
    """What nobody could read, or what is no event."""
    without = [_xml(**{name: ""}) for name in ("UserID", "ExternalUserID")]
    return [
        text.encode() for text in (*without, "", " ", "<xml></xml>", "<xml/>", "text", "<", "\0\0", "{}", "[]", "null")
    ]


def _pushes() -> list[bytes]:
    plain = orjson.dumps(PUSHED)
    told = plain.decode()
    found = [told.replace("你好", f"a{control}b").encode("utf-8", "surrogatepass") for control in CONTROLS]
    found += [plain.replace("你好".encode(), b"a" + odd) for odd in BYTES]
    found += [orjson.dumps(PUSHED | {"Content": f"a{control}b"}) for control in CONTROLS]
    texts = [
        told[:-1] + ",}", told.replace("'", "\\'").replace('"', "'"), told[:-1] + ',"Content":"2"}', f"\ufeff{told}",
        told[:-1] + ',"more":NaN}', told[:-1] + ',"deep":' + '{"a":' * 500 + "1" + "}" * 500 + "}", told[:-1],
        told.replace(":", " : "), told[:-1] + ',"list":[1,{"a":2},null]}', told + told, f"{told}\n\n", told[:-1] + "//x\n}",
        told.replace("你好", "\\ud83d\\ude00"), told.replace("你好", "\\ud83d"), told.replace("你好", "长" * 12_000),
    ]  # fmt: skip
    return found + [text.encode() for text in texts]


async def _deliver(
    http: httpx.AsyncClient, address: str, credentials: crypto.Credentials, messages: list[bytes]
) -> None:
    for number, message in enumerate(messages):
        encrypted, at = crypto.encrypt(credentials, message), str(int(time.time()))
        nonce = f"{address[1:6]}{number}"
        signature = crypto.sign(credentials.token, at, nonce, encrypted)
        query = {"msg_signature": signature, "timestamp": at, "nonce": nonce}
        for _ in range(2 if number % 10 == 0 else 1):
            body = f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
            answer = await http.post(address, params=query, content=body)
            assert (answer.status_code, answer.content in (b"", b"success")) == (200, True), message[:200]


async def test_every_genuine_message_is_stored_once_and_handled_or_kept(
    http: httpx.AsyncClient, demo: Services
) -> None:
    bank = await open_bank(demo, "demo")
    app, program = bank.wecom_app, bank.miniprograms[APPID]
    readable, pushes = list(dict.fromkeys(_readable_xml())), list(dict.fromkeys(_pushes()))
    unreadable = _unreadable()
    every = [*readable, *unreadable, *pushes]
    assert len({*every}) == len(every) > 300
    ours = crypto.Credentials(app.token, app.aes_key, app.corp_id)
    await _deliver(http, "/wecom/demo/callback", ours, [*readable, *unreadable])
    theirs = crypto.Credentials(program.token, program.aes_key, APPID)
    await _deliver(http, f"/wechat/{APPID}/callback", theirs, pushes)
    await jobs.handle_inbox(bank)
    rows = await bank.db["inbox"].find({}, limit=None)
    came: dict[bytes, Any] = {inbox.message_of(demo, row): row for row in rows}
    assert came.keys() == {*every}
    assert len(rows) == len(every)
    for message in readable:
        assert (came[message]["state"], came[message]["type"]) == ("handled", "follow_user_deleted"), message[:400]
    for message in unreadable:
        assert came[message]["state"] == "dead", message
    for message in pushes:
        assert (came[message]["state"], came[message]["type"]) == ("handled", "customer_message"), message[:400]
    assert await dead_letters.count(bank, "dead") == len(unreadable)


async def test_after_a_fix_hundreds_are_tried_again_from_the_page_and_once_each(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has them tried again is cut short in the middle, and begins anew."""
    bank = await open_bank(demo, "demo")
    for number in range(620):
        await inbox.receive(demo, inbox.Arrival("demo", "wecom", b"no element %d" % number))
    await jobs.handle_inbox(bank)
    assert await dead_letters.count(bank, "dead") == 620
    reactions: Counter[str] = Counter()
    monkeypatch.setattr(
        handle, "read", lambda *_: (handle.events.Unknown(corp_id="", create_time=None, event="x", change_type=""),)
    )

    async def react(_: object, row: Any, __: object) -> tuple[str, None]:
        reactions[row["_id"]] += 1
        return dispatch.HANDLED, None

    monkeypatch.setattr(dispatch, "react", react)

    async def counted(*_: object) -> str:
        return "x"

    monkeypatch.setattr(handle, "_count_unknown", counted)
    take_off = dead_letters._take_off

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dead_letters, "_take_off", killed)
    with pytest.raises(KeyboardInterrupt):
        await dead_letters.retry_some(bank, "cli:test", "dead", 100)
    monkeypatch.setattr(dead_letters, "_take_off", take_off)
    lin = await clerk("lin")
    for _ in range(3):
        page = await post_form(lin, "/console/events?state=dead", "/console/events", state="dead")
        assert page.status_code == 200
        await jobs.handle_inbox(bank)
    rows = await bank.db["inbox"].find({}, limit=None)
    assert {row["state"] for row in rows} == {"handled"}
    assert len(reactions) == 620
    assert {*reactions.values()} == {1}
    assert await dead_letters.count(bank, "dead") == 0
