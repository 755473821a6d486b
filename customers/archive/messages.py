"""How an archived message becomes a row: opened with the bank's key, read as far as anybody must
know who, when and what, and sealed. A record that cannot be read becomes a row too, with its
reason."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from customers.archive.rows import ARCHIVE, ArchivedRow
from customers.banks.bank import Bank
from customers.banks.files import Archive
from customers.identity import resolution
from customers.wecom_mirror import members
from services.clock import utc
from services.errors import Unavailable
from services.wechat.core.archive import Record, Unreadable, private_key, random_key

READ: Literal["read"] = "read"
KEPT: Literal["kept"] = "kept"
AT_ONCE = 8
_EXTERNAL = re.compile(r"w[mo][A-Za-z0-9_-]{20,}")
_ROBOT = re.compile(r"wb[A-Za-z0-9_-]{20,}")
"""What the ids of customers (in WeChat, in WeCom) and of robots look like, of whom nobody knows
anything. A member's userid is his own choice and may begin alike: the directory says who is a
member."""


def row_id(tenant: str, seq: int) -> str:
    """The `_id` of a message's row, in the order of `seq`."""
    return f"{tenant}:{seq:020d}"


def party_index(bank: Bank, external_userid: str) -> str:
    """What a customer's messages and consents are found by, also of one whom we do not know."""
    return bank.vault.blind("archive.party", external_userid)


def party_indexes(bank: Bank, ids: Sequence[str]) -> list[str]:
    return sorted({party_index(bank, one) for one in ids})


@dataclass(frozen=True)
class Message:
    """What is told of a message without opening it: when (seconds UTC), by which member (nobody for
    a customer's), by which action (send, recall, switch), of which type, between which members and
    customers, in which group, and the msgid of the message that it takes back."""

    at: float
    sender: str
    action: str
    kind: str
    userids: tuple[str, ...]
    customers: tuple[str, ...]
    room: str
    recalls: str


@dataclass(frozen=True)
class Directory:
    """Who is who among the parties of some messages: `members` with WeCom's spelling of each, and
    customers who are known, by external_userid → cid."""

    members: Mapping[str, str] = field(default_factory=dict)
    customers: Mapping[str, str] = field(default_factory=dict)

    def is_customer(self, party: str) -> bool:
        if party in self.members:
            return False
        return party in self.customers or _EXTERNAL.fullmatch(party) is not None

    def member(self, party: str) -> str:
        """The userid of a member, in WeCom's spelling; empty for anybody else."""
        if party in self.members:
            return self.members[party]
        return "" if self.is_customer(party) or _ROBOT.fullmatch(party) else party


NOBODY = Directory()


def parties_of(message: Mapping[str, Any]) -> list[str]:
    """Everybody whom a message names as who wrote or got it, once and in order."""
    senders = [message.get("from"), message.get("user")]
    return _texts([*senders, *_list(message.get("tolist"))])


def read_message(message: Mapping[str, Any], now: float, directory: Directory = NOBODY) -> Message:
    """Takes whatever WeCom may send: what is missing or of another type counts as not said."""
    senders = [_text(message.get("from")), _text(message.get("user"))]
    parties = parties_of(message)
    userids = tuple(sorted({directory.member(party) for party in parties} - {""}))
    revoked = message.get("revoke")
    recalls = revoked.get("pre_msgid") if isinstance(revoked, dict) else ""
    return Message(
        at=_at(message.get("msgtime") or message.get("time"), now),
        sender=next((name for one in senders if (name := directory.member(one))), ""),
        action=str(message.get("action") or ""),
        kind=_text(message.get("msgtype")),
        userids=userids,
        customers=tuple(party for party in parties if directory.is_customer(party)),
        room=_text(message.get("roomid")),
        recalls=str(recalls or ""),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _texts(values: Sequence[object]) -> list[str]:
    """The texts among the values, not empty, once and in order."""
    return sorted({_text(value) for value in values} - {""})


def _at(millis: object, now: float) -> float:
    """Seconds UTC; `now` for what is no time."""
    return millis / 1000 if isinstance(millis, int) and 0 < millis < 1 << 42 else now


class Reader:
    """Makes rows of records, with the bank's keys."""

    def __init__(self, bank: Bank, archive: Archive) -> None:
        self.source = bank.archive_source(archive)
        self._keys = {version: private_key(pem) for version, pem in archive.private_keys.items()}
        self._bank = bank

    async def rows(
        self, records: Sequence[Record], *, leave_out: bool = False
    ) -> list[ArchivedRow]:
        """A row for every record, in their order. Raises Unavailable when the gateway is away,
        unless it answered a moment ago and `leave_out` says that what it cannot open is to be kept
        unread."""
        opened = await self._open_all(records, leave_out=leave_out)
        now = self._bank.now()
        directory = await self._directory([one for one in opened if not isinstance(one, str)])
        heads = [
            None if isinstance(one, str) else read_message(one, now, directory) for one in opened
        ]
        together = zip(records, opened, heads, strict=True)
        cids = directory.customers
        return [self._row_of(record, one, head, cids) for record, one, head in together]

    async def _directory(self, opened: Sequence[Mapping[str, Any]]) -> Directory:
        """Who is who in these messages."""
        parties = sorted({party for message in opened for party in parties_of(message)})
        known = await members.spellings(self._bank, parties)
        others = [one for one in parties if one not in known]
        customers = await resolution.known_by_external_userid(self._bank, others)
        return Directory(known, customers)

    async def _open_all(
        self, records: Sequence[Record], *, leave_out: bool
    ) -> list[dict[str, Any] | str]:
        """Each message, or why it cannot be read; AT_ONCE side by side."""
        gate = asyncio.Semaphore(AT_ONCE)
        away: list[Unavailable] = []

        async def opened(record: Record) -> dict[str, Any] | str:
            async with gate:
                if away:  # nobody waits for what does not answer
                    return ""
                try:
                    return await self._opened(record, leave_out=leave_out)
                except Unavailable as error:
                    away.append(error)
                    return ""

        found = await asyncio.gather(*(opened(record) for record in records))
        if away:
            raise away[0]
        return found

    def _row_of(
        self,
        record: Record,
        opened: dict[str, Any] | str,
        head: Message | None,
        cids: Mapping[str, str],
    ) -> ArchivedRow:
        if isinstance(opened, str) or head is None:
            return self._kept(record, str(opened))
        return self._read(record, opened, head, cids)

    async def _opened(self, record: Record, *, leave_out: bool) -> dict[str, Any] | str:
        """The message, or why it cannot be read."""
        try:
            key = await asyncio.to_thread(random_key, self._keys, record)
            return await self.source.decrypt(key, record)
        except Unreadable as error:
            return error.reason
        except Unavailable:
            if leave_out:
                return "archive_gateway_failed"
            raise

    def _kept(self, record: Record, reason: str) -> ArchivedRow:
        doc_id = row_id(self._bank.id, record.seq)
        return {
            "_id": doc_id,
            "seq": record.seq,
            "msgid": record.msgid,
            "key_version": record.publickey_ver,
            "state": KEPT,
            "reason": reason,
            "at": self._bank.utc(),
            "sender": "",
            "action": "",
            "msgtype": "",
            "userids": [],
            "customers": [],
            "room": "",
            "cids": [],
            "recalls": "",
            "body": None,
            "record": self._bank.vault.seal_json(ARCHIVE, "record", doc_id, record.as_json()),
        }

    def _read(
        self, record: Record, message: Mapping[str, Any], head: Message, cids: Mapping[str, str]
    ) -> ArchivedRow:
        vault = self._bank.vault
        doc_id = row_id(self._bank.id, record.seq)
        return {
            "_id": doc_id,
            "seq": record.seq,
            "msgid": record.msgid,
            "key_version": record.publickey_ver,
            "state": READ,
            "reason": "",
            "at": utc(head.at),
            "sender": head.sender,
            "action": head.action,
            "msgtype": head.kind,
            "userids": list(head.userids),
            "customers": party_indexes(self._bank, head.customers),
            "room": vault.blind("archive.room", head.room) if head.room else "",
            "cids": sorted({cids[one] for one in head.customers if one in cids}),
            "recalls": head.recalls,
            "body": vault.seal_text(ARCHIVE, "body", doc_id, json.dumps(message)),
            "record": None,
        }

    def record_of(self, row: ArchivedRow) -> Record:
        """The record that was kept."""
        if row["record"] is None:
            raise TypeError("this message was read")
        raw = self._bank.vault.open_json(ARCHIVE, "record", row["_id"], row["record"])
        if not isinstance(raw, dict):
            raise TypeError("a kept record is an object")
        return Record(**raw)


def open_body(bank: Bank, row_id: str, sealed: bytes) -> dict[str, Any]:
    """The message itself."""
    body: dict[str, Any] = json.loads(bank.vault.open_text(ARCHIVE, "body", row_id, sealed))
    return body
