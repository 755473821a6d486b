"""What customers write to a mini-program's customer service is seen by a person, and is in their story."""

from __future__ import annotations

import time
from typing import Any

import httpx
import orjson
import pytest

from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.messaging import service_chat
from operations.events import explain, receive
from sandbox.core.callbacks import TO_WECHAT, Receiver, _reply
from sandbox.core.crypto import Envelope
from services.container import Services
from services.queue.inbox import Arrival
from services.queue.inbox import receive as store
from services.wechat.core import crypto
from services.wechat.events.reading import read
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

APPID = "wx5ab0000000000001"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def push(kind: str, number: int, openid: str = "o-wang", **fields: str) -> bytes:
    head = {"ToUserName": "gh_1", "FromUserName": openid, "CreateTime": 1_780_000_000 + number}
    if kind == "user_enter_tempsession":
        return orjson.dumps({**head, "MsgType": "event", "Event": kind, "SessionFrom": "home"})
    return orjson.dumps({**head, "MsgType": kind, "MsgId": str(number), **fields})


async def handled(bank: Bank, *messages: bytes) -> None:
    for message in messages:
        await store(bank.services, Arrival("demo", f"wechat:{APPID}", message))
    await jobs.handle_inbox(bank)


PUSHES = [
    push("text", 1, Content="我的手机是 138 0013 8000，邮箱 a.b@c.cn，请回电"),
    push("image", 2, MediaId="M", PicUrl="https://x"),
    push("miniprogrampage", 3, Title="t", PagePath="p"),
    push("user_enter_tempsession", 4),
]


async def told(services: Services) -> list[dict[str, Any]]:
    return sorted(await services.store.tenant("demo")["alarms"].find({}), key=lambda row: str(row["at"]))


async def test_what_he_writes_is_told_to_his_rm_and_is_in_his_story(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    cid = (await demo.store.tenant("demo")["customers"].find({}))[0]["_id"]
    openid = "o-liu"
    await service_chat.resolution.identify(
        bank, service_chat.resolution.Facts(unionid=person["unionid"], openids={APPID: openid})
    )
    messages = [message.replace(b"o-wang", openid.encode()) for message in PUSHES]
    await handled(bank, *messages, *messages)
    rows = await told(demo)
    assert [(row["kind"], row["userids"], row["data"]["what"]) for row in rows] == [
        ("service.wrote", [scan["userid"]], what) for what in ("text", "image", "miniprogrampage")
    ]
    assert alarms.said_of(bank, rows[0]) == "我的手机是 1***，邮箱 …@…，请回电"
    assert b"138" not in bytes(rows[0]["said"])
    stories = await demo.store.tenant("demo")["timeline"].find({"cid": cid, "kind": {"$regex": "^service"}})
    assert sorted(row["kind"] for row in stories) == ["service.opened", *["service.wrote"] * 3]
    clock.advance(5)
    await jobs.send_effects(bank)
    card = str((await sandbox.control("GET", f"members/{scan['userid']}/cards"))["cards"])
    assert ("请回电" in card, "138" in card) == (True, False)


async def test_who_has_no_rm_is_told_of_on_the_console(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await handled(bank, *PUSHES)
    assert [(row["kind"], row["userids"]) for row in await told(demo)] == [("service.nobody", [])] * 3
    states = await demo.store.tenant("demo")["inbox"].find({})
    assert {row["state"] for row in states} == {"handled"}


@pytest.mark.parametrize("in_json", [True, False])
async def test_where_the_bank_says_so_the_message_goes_into_wechats_tool(
    demo: Services, monkeypatch: pytest.MonkeyPatch, in_json: bool
) -> None:
    bank = await open_bank(demo, "demo")
    program = bank.miniprograms[APPID]
    chosen = bank.miniprograms | {APPID: program.model_copy(update={"customer_service": "wechat"})}
    changed = Bank(demo, bank.id, bank.name, bank.app, chosen, bank.branches, bank.heads)
    monkeypatch.setattr(receive, "bank_of_appid", _always(changed))
    credentials = crypto.Credentials(program.token, program.aes_key, APPID)
    for number, message in enumerate(PUSHES):
        written = message if in_json else _as_xml(message)
        query, body = _sealed(credentials, written, f"n{number}")
        answer = (await receive.receive_wechat(demo, APPID, query, body)).answer
        if b"tempsession" in message:
            assert answer == b"success"
            continue
        got = orjson.loads(answer) if in_json else {name: read(answer).text(name) for name in NAMES}
        signature = crypto.sign(program.token, str(got["TimeStamp"]), got["Nonce"], got["Encrypt"])
        assert got["MsgSignature"] == signature
        inner = read(crypto._decrypt(credentials, got["Encrypt"].encode()))
        assert inner.text("MsgType") == "transfer_customer_service"
        assert (inner.text("ToUserName"), inner.text("FromUserName")) == ("o-wang", "gh_1")
    for row in await demo.store.tenant("demo")["inbox"].find({}):
        assert row["open"] is True
    event = service_chat.events.parse_push(APPID, PUSHES[0])[0]
    row = (await demo.store.tenant("demo")["inbox"].find({}))[0]
    await service_chat.wrote(changed, row, event)
    assert await told(demo) == []
    assert await demo.store.tenant("demo")["timeline"].count({"kind": "service.wrote"}) == 1


NAMES = ("Encrypt", "MsgSignature", "TimeStamp", "Nonce")


def _always(bank: Bank) -> Any:
    async def answer(*_: object) -> Bank:
        return bank

    return answer


def _as_xml(message: bytes) -> bytes:
    told = orjson.loads(message)
    return ("<xml>" + "".join(f"<{name}>{value}</{name}>" for name, value in told.items()) + "</xml>").encode()


def _sealed(credentials: crypto.Credentials, message: bytes, nonce: str) -> tuple[dict[str, str], bytes]:
    encrypted, at = crypto.encrypt(credentials, message), str(int(time.time()))
    query = {"timestamp": at, "nonce": nonce, "msg_signature": crypto.sign(credentials.token, at, nonce, encrypted)}
    return query, orjson.dumps({"Encrypt": encrypted})


MEMBERS = (
    "<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[{who}]]></FromUserName>"
    "<CreateTime>1700000000</CreateTime><MsgType><![CDATA[{kind}]]></MsgType>{more}<AgentID>1000002</AgentID></xml>"
)
HARMLESS = [
    MEMBERS.format(who="rm.chen", kind="text", more="<Content>你好</Content><MsgId>1</MsgId>"),
    MEMBERS.format(who="rm.chen", kind="image", more="<MediaId>m</MediaId>"),
    MEMBERS.format(who="rm.chen", kind="voice", more="<MediaId>v</MediaId>"),
    MEMBERS.format(who="rm.chen", kind="location", more="<Location_X>1</Location_X>"),
    MEMBERS.format(who="sys", kind="event", more="<Event>LOCATION</Event><Latitude>22.5</Latitude>"),
    *(
        MEMBERS.format(who="rm.chen", kind="event", more=f"<Event>{event}</Event><EventKey>k</EventKey>")
        for event in ("enter_agent", "click", "view", "subscribe", "scancode_push", "pic_weixin", "location_select")
    ),
]


async def test_what_needs_nobody_is_kept_and_is_on_no_list_of_what_a_person_must_look_at(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    brand_new = MEMBERS.format(who="sys", kind="event", more="<Event>brand_new</Event>")
    for message in [*HARMLESS, brand_new]:
        await store(demo, Arrival("demo", "wecom", message.encode()))
    await jobs.handle_inbox(bank)
    assert [row["type"] for row in await explain.newest(bank, "unknown")] == ["brand_new"]
    assert await explain.newest(bank, "dead") == []
    noted = await explain.newest(bank, "noted")
    assert len(noted) == len(HARMLESS)
    assert {row["type"] for row in noted} == {
        "member_wrote", "app_used", "app_entered", "menu_used", "app_subscribed",
    }  # fmt: skip


@pytest.mark.parametrize("in_json", [True, False])
async def test_the_simulated_wechat_takes_the_answer_that_gives_it_the_message(
    demo: Services, monkeypatch: pytest.MonkeyPatch, in_json: bool
) -> None:
    bank = await open_bank(demo, "demo")
    program = bank.miniprograms[APPID]
    chosen = bank.miniprograms | {APPID: program.model_copy(update={"customer_service": "wechat"})}
    changed = Bank(demo, bank.id, bank.name, bank.app, chosen, bank.branches, bank.heads)
    monkeypatch.setattr(receive, "bank_of_appid", _always(changed))
    credentials = crypto.Credentials(program.token, program.aes_key, APPID)
    query, body = _sealed(credentials, PUSHES[0] if in_json else _as_xml(PUSHES[0]), "n1")
    answer = (await receive.receive_wechat(demo, APPID, query, body)).answer
    to = Receiver(APPID, 0, "gh_1", "", program.token, Envelope(program.token, program.aes_key), in_json)
    assert _reply(to, answer.decode()) == ("", TO_WECHAT)


async def test_who_writes_two_hundred_times_hides_no_other_customer(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    facts = service_chat.resolution.Facts(unionid=person["unionid"], openids={APPID: "o-liu"})
    cid = await service_chat.resolution.identify(bank, facts)
    flood = [push("text", number, "o-liu", Content=f"在吗 {number}") for number in range(200)]
    await handled(bank, *flood[:40])
    await handled(bank, *flood, push("text", 999, "o-zhang", Content="转账失败"))
    wrote = await demo.store.tenant("demo")["alarms"].find({"kind": "service.wrote"})
    assert service_chat.MOST_ALONE < len(wrote) <= service_chat.MOST_ALONE + 2
    assert {row["cid"] for row in wrote} == {cid}
    assert await demo.store.tenant("demo")["alarms"].count({"kind": "service.nobody"}) == 1
    assert await demo.store.tenant("demo")["timeline"].count({"cid": cid, "kind": "service.wrote"}) == 200
    clock.advance(5)
    await jobs.send_effects(bank)
    cards = (await sandbox.control("GET", f"members/{scan['userid']}/cards"))["cards"]
    assert len(cards) <= 2


async def test_what_wechats_own_tool_tells_of_its_chats_needs_nobody_here(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    head = {"ToUserName": "gh_1", "FromUserName": "o-wang", "CreateTime": 1_780_000_000, "MsgType": "event"}
    told = [{**head, "Event": f"kf_{what}_session", "KfAccount": "a@gh"} for what in ("create", "switch", "close")]
    await handled(bank, *map(orjson.dumps, told))
    assert await explain.newest(bank, "unknown") == []
    noted = await explain.newest(bank, "noted")
    assert [row["type"] for row in noted] == ["service_session"] * 3
