"""The message archive: consent, and the stand-in for the native SDK (contract/wechat B10, C4)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIT = "/cgi-bin/msgaudit"


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def give_key(play, key):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return (await play.control("/archive/key", {"public_key": pem}))["version"]


def archive_app(play):
    return play.box.world.corp.apps[-1]


async def audit(play, path, body: Any = None, **query: Any):
    token = (await play.wecom_token(archive_app(play).secret))["access_token"]
    query = {"access_token": token, **query}
    path = f"/wecom{AUDIT}/{path}"
    return await (play.get(path, **query) if body is None else play.post(path, body, **query))


async def pull(play, seq=0, limit=1000, **changes: Any):
    asked = {"corpid": play.box.world.corp.corp_id, "secret": archive_app(play).secret, "seq": seq, "limit": limit}
    return await play.post("/archive/getchatdata", asked | changes)


async def opened(play, key, record):
    """What the product does with one record: RSA with its own key, then the stand-in's decryption."""
    secret = key.decrypt(base64.b64decode(record["encrypt_random_key"]), padding.PKCS1v15()).decode()
    body = {"encrypt_key": secret, "encrypt_chat_msg": record["encrypt_chat_msg"]}
    return await play.post("/archive/decryptdata", body)


async def test_messages_of_those_who_agreed_are_archived_both_ways(playing, key):
    """B10: seq from 1, PKCS#1 v1.5, the message's shape; nothing before the agreement."""
    async with playing() as play:
        assert await give_key(play, key) == 1
        person = await play.befriended("甲")
        say = f"/people/{person['id']}/message"
        await play.control(say, {"userid": "rm.chen", "text": "之前"})
        await play.control(f"/people/{person['id']}/agree", {"userid": "rm.chen"})
        await play.control(say, {"userid": "rm.chen", "text": "之后"})
        await play.control("/members/rm.chen/write", {"person": person["id"], "text": "您好"})
        answer = await pull(play)
        assert [(r["seq"], r["publickey_ver"]) for r in answer["chatdata"]] == [(1, 1), (2, 1)]
        first, second = [await opened(play, key, r) for r in answer["chatdata"]]
        assert (first["from"], first["tolist"], first["text"]) == (
            person["external_userid"],
            ["rm.chen"],
            {"content": "之后"},
        )
        assert (second["from"], second["tolist"], second["action"], second["msgtype"]) == (
            "rm.chen",
            [person["external_userid"]],
            "send",
            "text",
        )
        assert [r["seq"] for r in (await pull(play, seq=1))["chatdata"]] == [2]
        assert [r["seq"] for r in (await pull(play, limit=1))["chatdata"]] == [1]
        assert (await pull(play, seq=2))["chatdata"] == []


async def test_new_key_has_a_new_version(playing, key):
    """B10: publickey_ver of the moment; the old key does not open what the new one locked."""
    async with playing() as play:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        person = await play.befriended("甲")
        await play.control(f"/people/{person['id']}/agree", {"userid": "rm.chen"})
        for one in (key, other):
            await give_key(play, one)
            await play.control(f"/people/{person['id']}/message", {"userid": "rm.chen", "text": "好"})
        old, new = (await pull(play))["chatdata"]
        assert (old["publickey_ver"], new["publickey_ver"]) == (1, 2)
        assert (await opened(play, other, new))["text"] == {"content": "好"}
        body = {"encrypt_key": "AAAA", "encrypt_chat_msg": new["encrypt_chat_msg"]}
        assert (await play.post("/archive/decryptdata", body))["errcode"] == 10003
        await play.control("/archive/key", {"public_key": "no key"}, status=400)


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [({"secret": "wrong"}, 10001), ({"corpid": "ww0"}, 10001), ({"limit": 1001}, 10009), ({"limit": "x"}, 10003)],
)
async def test_stand_in_refuses_strangers_and_too_much(playing, changes, errcode):
    """B10: at most 1000 at once."""
    async with playing() as play:
        assert (await pull(play, **changes))["errcode"] == errcode


async def test_agreement_is_an_event_and_can_be_asked_for(playing, key):
    """C4 msg_audit_approved; B10, 91782 with its misspelt field."""
    async with playing() as play:
        person = await play.befriended("甲")
        pair = {"userid": "rm.chen", "exteranalopenid": person["external_userid"]}

        async def status():
            return (await audit(play, "check_single_agree", {"info": [pair]}))["agreeinfo"][0]["agree_status"]

        assert await status() == "Disagree"
        await play.control(f"/people/{person['id']}/agree", {"userid": "rm.chen"})
        assert (await status(), play.receiver.events[-1]["ChangeType"]) == ("Agree", "msg_audit_approved")
        await play.control(f"/people/{person['id']}/agree", {"userid": "rm.chen", "status": "Disagree"})
        assert (await status(), len(play.receiver.events)) == ("Disagree", 2)
        assert (await audit(play, "check_single_agree", {"info": [pair] * 101}))["errcode"] == 301060
        stranger = {**pair, "exteranalopenid": "wmNobody"}
        assert (await audit(play, "check_single_agree", {"info": [stranger]}))["errcode"] == 301061


async def test_notification_comes_once_in_fifteen_seconds(playing, key):
    """C4: msgaudit_notify to the archive's app; what came meanwhile is told when the time is over."""
    async with playing() as play:
        await give_key(play, key)
        person = await play.befriended("甲")
        await play.control(f"/people/{person['id']}/agree", {"userid": "rm.chen"})

        async def told():
            await play.settled()
            return [e["AgentID"] for e in play.receiver.events if e["Event"] == "msgaudit_notify"]

        for _ in range(3):
            await play.control(f"/people/{person['id']}/message", {"userid": "rm.chen", "text": "好"})
        assert await told() == ["2000004"]
        await play.control("/clock", {"advance": 15})
        assert await told() == ["2000004"] * 2
        await play.control("/clock", {"advance": 15})
        assert len(await told()) == 2


async def test_only_the_archives_own_secret_opens_it(playing, world):
    """B10: 48002 for another app, 301053 without an archive."""
    async with playing() as play:
        assert (await play.wecom(f"{AUDIT}/get_permit_user_list", {}))["errcode"] == 48002
        assert len((await audit(play, "get_permit_user_list", {}))["ids"]) == 6
    closed = world.model_copy(update={"corp": world.corp.model_copy(update={"apps": world.corp.apps[:1]})})
    async with playing(closed) as play:
        assert (await play.wecom(f"{AUDIT}/get_permit_user_list", {}))["errcode"] == 301053


async def test_what_is_no_group_or_robot_is_said(playing):
    """B10: 90501, 301059, 40058."""
    async with playing() as play:
        assert (await audit(play, "check_room_agree", {"roomid": "wr1"}))["errcode"] == 90501
        assert (await audit(play, "groupchat/get", {"roomid": "wr1"}))["errcode"] == 301059
        assert (await audit(play, "get_robot_info", robot_id="wb1"))["errcode"] == 40058
