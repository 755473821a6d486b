"""@wecom/crypto, an implementation for Node that nobody here wrote, against both sides of the wire (contract/wechat C2, C5).

Node is the one that the browser driver brings along, so nothing has to be installed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from playwright._impl._driver import compute_driver_executable

import sandbox.core.crypto
from customers.banks.bank import open_bank
from services.container import Services
from services.wechat.core import crypto

HERE = Path(__file__).with_name("node")
OFFICIAL = ("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7")
WECHATPY = ("123456", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", "wx49f0ab532d5d035a")
VECTORS = {
    "V1b": (
        OFFICIAL,
        ("1409659589", "263014780"),
        "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
        "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        "1616140317555161061",
    ),
    "V2": (
        WECHATPY,
        ("1411443780", "437374425"),
        "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q==",
        "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96",
        "5927782489442352469",
    ),
}
MESSAGES = [
    "",
    "a",
    "x" * 31,
    "x" * 32,
    "银桥" * 500,
    "<xml>]]>&amp;</xml>",
    "表情 \N{WAVING HAND SIGN}\N{HEART WITH ARROW}",
]


async def node(*calls: tuple[str, list[Any]]) -> list[Any]:
    """What Node answers to each call; an error of its own fails the test."""
    executable, _ = compute_driver_executable()
    process = await asyncio.create_subprocess_exec(
        str(executable), str(HERE / "ask.cjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked = json.dumps([{"call": call, "args": args} for call, args in calls]).encode()
    answered, _ = await asyncio.wait_for(process.communicate(asked), 30)
    assert process.returncode == 0
    return [answer["ok"] for answer in json.loads(answered)]


def test_the_vendored_file_is_the_published_one() -> None:
    digest = hashlib.sha256((HERE / "wecom-crypto.cjs").read_bytes()).hexdigest()
    assert digest in (HERE / "VENDORED.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", VECTORS)
async def test_three_implementations_agree_on_the_published_vectors(name: str) -> None:
    (token, key, receiveid), (timestamp, nonce), encrypted, signature, message = VECTORS[name]
    signed, opened = await node(("sign", [token, timestamp, nonce, encrypted]), ("decrypt", [key, encrypted]))
    assert (signed, opened["message"], opened["id"]) == (signature, message, receiveid)
    assert crypto.sign(token, timestamp, nonce, encrypted) == signature
    assert sandbox.core.crypto.signature(token, timestamp, nonce, encrypted) == signature
    theirs = sandbox.core.crypto.Envelope(token, key).decrypt(encrypted)
    assert (theirs.message.decode(), theirs.receiveid) == (message, receiveid)
    prefix = base64.b64decode(opened["random"])
    assert crypto.encrypt(crypto.Credentials(token, key, receiveid), message.encode(), random16=prefix) == encrypted
    assert (await node(("encrypt", [key, message, receiveid, opened["random"]])))[0] == encrypted


@pytest.mark.parametrize("message", MESSAGES, ids=[f"{len(text)} characters" for text in MESSAGES])
async def test_what_either_side_encrypts_node_decrypts(message: str) -> None:
    token, key, receiveid = OFFICIAL
    ours = crypto.encrypt(crypto.Credentials(token, key, receiveid), message.encode())
    theirs = sandbox.core.crypto.Envelope(token, key).encrypt(message.encode(), receiveid)
    for opened in await node(("decrypt", [key, ours]), ("decrypt", [key, theirs])):
        assert (opened["message"], opened["id"]) == (message, receiveid)


@pytest.mark.parametrize("message", MESSAGES, ids=[f"{len(text)} characters" for text in MESSAGES])
async def test_what_node_encrypts_both_sides_decrypt(message: str) -> None:
    token, key, receiveid = OFFICIAL
    (encrypted,) = await node(("encrypt", [key, message, receiveid]))
    now = str(int(time.time()))
    (signature,) = await node(("sign", [token, now, "77", encrypted]))
    query = {"msg_signature": signature, "timestamp": now, "nonce": "77"}
    body = f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()
    credentials = crypto.Credentials(token, key, receiveid)
    assert crypto.verify_and_decrypt(credentials, query, body, now=time.time()).message == message.encode()
    envelope = sandbox.core.crypto.Envelope(token, key)
    opened = envelope.open(encrypted, timestamp=now, nonce="77", msg_signature=signature)
    assert (opened.message, opened.receiveid) == (message.encode(), receiveid)


async def test_node_reads_our_encrypted_reply() -> None:
    token, key, receiveid = OFFICIAL
    reply = crypto.encrypt_reply(crypto.Credentials(token, key, receiveid), "好的".encode(), timestamp=7, nonce="8")
    fields = {child.tag: child.text or "" for child in fromstring(reply)}
    signed, opened = await node(("sign", [token, "7", "8", fields["Encrypt"]]), ("decrypt", [key, fields["Encrypt"]]))
    assert (signed, opened["message"], opened["id"]) == (fields["MsgSignature"], "好的", receiveid)


async def test_node_agrees_on_the_official_js_signature() -> None:
    """V7: the JS-SDK's signature."""
    ticket = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg"
    given = {"ticket": ticket, "nonceStr": "Wm3WZYTPz0wzccnW", "timestamp": 1414587457}
    (signature,) = await node(("jsapi", [{**given, "url": "http://mp.weixin.qq.com?params=value"}]))
    assert signature == "0f9de62fce790f9a083d5c99e95740ceb90c27ed"


class Caller:
    """WeCom as Node would play it, towards our server."""

    def __init__(self, http: httpx.AsyncClient, token: str, key: str, receiveid: str) -> None:
        self._http, self._token, self._key, self._receiveid = http, token, key, receiveid

    async def sealed(self, message: str, nonce: str) -> tuple[dict[str, str], str]:
        (encrypted,) = await node(("encrypt", [self._key, message, self._receiveid]))
        timestamp = str(int(time.time()))
        (signature,) = await node(("sign", [self._token, timestamp, nonce, encrypted]))
        return {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}, encrypted

    async def post(self, query: dict[str, str], encrypted: str) -> httpx.Response:
        body = f"<xml><ToUserName><![CDATA[x]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        return await self._http.post(f"/wecom/demo/callback?{urlencode(query)}", content=body)


@pytest.fixture
async def caller(http: httpx.AsyncClient, demo: Services) -> Caller:
    app = (await open_bank(demo, "demo")).wecom_app
    return Caller(http, app.token, app.aes_key, app.corp_id)


def event() -> str:
    return (
        "<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        f"<CreateTime>{int(time.time())}</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[edit_external_contact]]></ChangeType>"
        "<UserID><![CDATA[rm.chen]]></UserID><ExternalUserID><![CDATA[wmNODE]]></ExternalUserID></xml>"
    )


async def test_our_server_takes_nodes_event_and_stores_it_as_it_was(caller: Caller, demo: Services) -> None:
    message = event()
    query, encrypted = await caller.sealed(message, "n1")
    answer = await caller.post(query, encrypted)
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = await demo.store.tenant("demo")["inbox"].find()
    assert demo.vault.open("demo", "inbox", "body", row["_id"], bytes(row["body"])) == message.encode()


async def test_our_server_answers_nodes_address_check(caller: Caller, http: httpx.AsyncClient) -> None:
    query, encrypted = await caller.sealed("1616140317555161061", "n2")
    answer = await http.get(f"/wecom/demo/callback?{urlencode({**query, 'echostr': encrypted})}")
    assert (answer.status_code, answer.text) == (200, "1616140317555161061")


async def test_our_server_refuses_what_node_signed_for_something_else(caller: Caller, demo: Services) -> None:
    query, _ = await caller.sealed(event(), "n3")
    _, other = await caller.sealed(event(), "n4")
    answer = await caller.post(query, other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "callback_bad_signature")
    assert await demo.store.tenant("demo")["inbox"].count() == 0
