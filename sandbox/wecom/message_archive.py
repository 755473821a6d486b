"""The message archive: WeCom's msgaudit/* calls, and a stand-in for its native SDK (contract/wechat
B10).

WeCom hands out messages only through a C library; `/archive/*` is the sandbox's own and no part of
WeCom. Its shapes are the library's: encrypted records by `seq`, a random key that only the corp's
RSA key opens (PKCS#1 v1.5), and a decryption call that takes that key.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from dataclasses import dataclass
from itertools import product
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core import events, ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Consent, Record
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.core.world import App

AGREE, DISAGREE, DEFAULT = "Agree", "Disagree", "Default_Agree"
PAIRS_MOST, RECORDS_MOST = 100, 1000
KEPT = 100_000
NOTIFY_SECONDS = 15
KEY_BYTES, NONCE_BYTES = 32, 12
TOO_LARGE = 301058
BAD_KEY, BAD_CREDENTIALS, BAD_LIMIT = 10003, 10001, 10009
"""Return codes of the stand-in: a key that does not open the message, wrong corp or secret, more
than 1000."""


def app(box: Sandbox) -> App | None:
    """The archive's app, if the corp has bought the archive."""
    return next((a for a in box.world.corp.apps if a.archive), None)


def _allowed(call: Call) -> None:
    """Raises ApiError 301053 without an archive, 48002 for the token of another app."""
    archive = app(call.box)
    if archive is None:
        raise ApiError(301053)
    if call.app != str(archive.agent_id):
        raise ApiError(48002)


def permitted(call: Call) -> dict[str, Any]:
    """B10, 91614: members whose chats are archived."""
    _allowed(call)
    return {"ids": [m.userid for m in call.box.world.corp.members if m.contact]}


def consent_of(box: Sandbox, userid: str, external_userid: str) -> Consent | None:
    return box.state.records.consents.get(f"{userid}|{external_userid}")


def single_agree(call: Call) -> dict[str, Any]:
    """B10, 91782: whether customers agreed, for up to 100 pairs; the misspelt field is WeCom's."""
    _allowed(call)
    pairs = call.body.get("info")
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, dict) for p in pairs):
        raise ApiError(40058, "invalid Request Parameter: info")
    if len(pairs) > PAIRS_MOST:
        raise ApiError(301060)
    return {"agreeinfo": [_agreement(call.box, p) for p in pairs]}


def _agreement(box: Sandbox, pair: dict[str, Any]) -> dict[str, Any]:
    member = box.world.member(str(pair.get("userid", "")))
    external_userid = str(pair.get("exteranalopenid", ""))
    person = box.state.by_external(external_userid)
    if member is None or person is None or member.userid not in person.friends:
        raise ApiError(301061)
    consent = consent_of(box, member.userid, external_userid)
    return {
        "status_change_time": consent.at if consent else person.friends[member.userid].createtime,
        "userid": member.userid,
        "exteranalopenid": external_userid,
        "agree_status": consent.status if consent else DISAGREE,
    }


def room_agree(call: Call) -> dict[str, Any]:
    """B10, 91782: whether the customers of a group agreed."""
    _allowed(call)
    group = call.box.state.groups.get(call.text("roomid", missing=40058))
    if group is None:
        raise ApiError(90501)
    agreed = []
    for member in group.members.values():
        if member.type == 2:
            consent = consent_of(call.box, group.owner, member.userid)
            status, at = (consent.status, consent.at) if consent else (DISAGREE, member.join_time)
            agreed.append(
                {"status_change_time": at, "exteranalopenid": member.userid, "agree_status": status}
            )
    return {"agreeinfo": agreed}


def room(call: Call) -> dict[str, Any]:
    """B10, 92951: a group as the archive knows it. Customer groups are the sandbox's only ones."""
    _allowed(call)
    group = call.box.state.groups.get(call.text("roomid", missing=40058))
    if group is None:
        raise ApiError(301059)
    return {
        "roomname": group.name,
        "creator": group.owner,
        "room_create_time": group.create_time,
        "notice": group.notice,
        "members": [
            {"memberid": m.userid, "jointime": m.join_time} for m in group.members.values()
        ],
    }


def robot(call: Call) -> dict[str, Any]:
    """B10, 91774: robots in archived groups; the sandbox has none."""
    _allowed(call)
    raise ApiError(40058, "invalid Request Parameter: robot_id")


def set_key(box: Sandbox, pem: str) -> int:
    """Take the corp's public key; returns its version. Raises ValueError when it is not an RSA key
    in PEM."""
    if not isinstance(load_pem_public_key(pem.encode()), RSAPublicKey):
        raise ValueError("an RSA key is expected")
    box.state.records.archive_key = pem
    box.state.records.archive_key_version += 1
    box.changed()
    return box.state.records.archive_key_version


async def agree(box: Sandbox, person: Person, userid: str, status: str) -> bool:
    """The customer answers whether his chat may be archived; an agreement is an event (C4)."""
    now = box.seconds()
    box.state.records.consents[f"{userid}|{person.external_userid}"] = Consent(
        status=status, at=now
    )
    box.changed()
    if status != AGREE:
        return False
    return await box.sender.send(
        events.contact("msg_audit_approved", userid, person.external_userid, now)
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody wrote, as the archive keeps it; `room_id` is "" outside groups."""

    sender: str
    readers: list[str]
    kind: str
    content: dict[str, Any]
    room_id: str = ""

    def external(self, box: Sandbox) -> bool:
        """Whether a customer is among those who read or wrote it."""
        return any(box.world.member(who) is None for who in (self.sender, *self.readers))


def archive_message(box: Sandbox, said: Said) -> str:
    """Archive a message between a member and customers who agreed; its msgid, "" when there is no
    key, or somebody did not.

    The message is encrypted for the key of this moment, as WeCom does; msgaudit_notify follows,
    every 15 s at most.
    """
    records = box.state.records
    if not records.archive_key or app(box) is None:
        return ""
    if not _all_agreed(box, [said.sender, *said.readers]):
        return ""
    msgid = ids.code("arch") + ("_external" if said.external(box) else "")
    message = _archived(said, msgid, box.clock.now())
    seq = records.archive[-1].seq + 1 if records.archive else 1
    record = _sealed(records.archive_key, records.archive_key_version, seq, msgid, message)
    record.at = box.clock.now()
    records.archive.append(record)
    del records.archive[:-KEPT]
    box.changed()
    _notify(box)
    return msgid


def _archived(said: Said, msgid: str, now: float) -> str:
    """The JSON of one archived message; `msgtime` is in milliseconds."""
    message = {
        "msgid": msgid,
        "action": "send",
        "from": said.sender,
        "tolist": said.readers,
        "roomid": said.room_id,
        "msgtime": int(now * 1000),
        "msgtype": said.kind,
        said.kind: said.content,
    }
    return json.dumps(message, ensure_ascii=False)


def _all_agreed(box: Sandbox, parties: list[str]) -> bool:
    """Whether every customer among them agreed for every member among them."""
    members = [who for who in parties if box.world.member(who)]
    customers = [who for who in parties if not box.world.member(who)]
    for member, customer in product(members, customers):
        consent = consent_of(box, member, customer)
        if consent is None or consent.status not in (AGREE, DEFAULT):
            return False
    return True


def _sealed(pem: str, version: int, seq: int, msgid: str, message: str) -> Record:
    """A random key, locked with the corp's public key; the message, locked with the random key."""
    public = load_pem_public_key(pem.encode())
    if not isinstance(public, RSAPublicKey):
        raise TypeError("the archive's key is not an RSA key")
    secret = base64.b64encode(os.urandom(KEY_BYTES))
    locked = public.encrypt(secret, padding.PKCS1v15())
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(base64.b64decode(secret)).encrypt(nonce, message.encode(), None)
    return Record(
        seq=seq,
        msgid=msgid,
        publickey_ver=version,
        encrypt_random_key=base64.b64encode(locked).decode(),
        encrypt_chat_msg=base64.b64encode(sealed).decode(),
    )


def _notify(box: Sandbox) -> None:
    """Tell the archive's app that there are messages, at most once in 15 s (C4)."""
    archive = app(box)
    now = box.clock.now()
    if archive is None or now - box.notified < NOTIFY_SECONDS:
        box.unnotified = True
        return
    box.notified = now
    box.unnotified = False
    fields: dict[str, events.Value | None] = {"AgentID": archive.agent_id}
    box.sender.send_in_background(events.Event("msgaudit_notify", int(now), fields=fields))


def run_due(box: Sandbox) -> None:
    """Send the notification that had to wait."""
    if box.unnotified and box.clock.now() - box.notified >= NOTIFY_SECONDS:
        _notify(box)


def open_message(key: str, sealed: str) -> dict[str, Any]:
    """What DecryptData does: the random key, already opened with the corp's private key, opens the
    message.

    Raises ValueError when it does not.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        plain = AESGCM(base64.b64decode(key, validate=True)).decrypt(
            raw[:NONCE_BYTES], raw[NONCE_BYTES:], None
        )
    except InvalidTag as error:
        raise ValueError("the key does not open the message") from error
    message: dict[str, Any] = json.loads(plain)
    return message


class ArchiveLibrary(RequestHandler):
    """`/archive/getchatdata` and `/archive/decryptdata`: the sandbox's stand-in for the native SDK,
    not WeCom's."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    async def post(self, name: str) -> None:
        try:
            body = json.loads(self.request.body)
            answer = self._decrypted(body) if name == "decryptdata" else self._records(body)
        except (ValueError, KeyError, TypeError, AttributeError):
            answer = {
                "errcode": BAD_KEY,
                "errmsg": "the body is not understood, or the key does not open the message",
            }
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        await self.finish(json.dumps(answer, ensure_ascii=False))

    def _records(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self._knows(str(body["secret"])) or body["corpid"] != self.box.world.corp.corp_id:
            return {"errcode": BAD_CREDENTIALS, "errmsg": "wrong corpid or secret", "chatdata": []}
        limit = int(body["limit"])
        after = int(body["seq"])
        if not 1 <= limit <= RECORDS_MOST:
            return {"errcode": BAD_LIMIT, "errmsg": "limit: 1 to 1000", "chatdata": []}
        since = self.box.clock.now() - self.box.switches.archive_days * DAY_SECONDS
        kept = [r for r in self.box.state.records.archive if not r.at or r.at > since]
        start = max(0, after + 1 - kept[0].seq) if kept else 0
        rows = [record.model_dump(exclude={"at"}) for record in kept[start : start + limit]]
        most = self.box.switches.archive_answer_bytes
        if most and len(rows) > 1 and sum(len(str(row)) for row in rows) > most:
            return {"errcode": TOO_LARGE, "errmsg": "the answer is too large", "chatdata": []}
        return {"errcode": 0, "errmsg": "ok", "chatdata": rows}

    def _knows(self, secret: str) -> bool:
        """Whether that is the secret of the archive's app."""
        archive = app(self.box)
        return archive is not None and hmac.compare_digest(archive.secret.encode(), secret.encode())

    def _decrypted(self, body: dict[str, Any]) -> dict[str, Any]:
        return open_message(str(body["encrypt_key"]), str(body["encrypt_chat_msg"]))


ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/msgaudit/get_permit_user_list", permitted),
    Endpoint("POST", "/cgi-bin/msgaudit/check_single_agree", single_agree),
    Endpoint("POST", "/cgi-bin/msgaudit/check_room_agree", room_agree),
    Endpoint("POST", "/cgi-bin/msgaudit/groupchat/get", room),
    Endpoint("GET", "/cgi-bin/msgaudit/get_robot_info", robot),
)
