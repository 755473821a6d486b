"""How an archived message becomes a row: opened with the bank's key, read as far as anybody must
know who, when and what, and sealed. A record that cannot be read becomes a row too, with its
reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customers.archive.rows import ARCHIVE
from customers.banks.bank import Bank
from customers.banks.files import Archive
from customers.identity import resolution
from services.clock import utc
from services.errors import Unavailable
from services.store.mongo import Doc
from services.wechat.core.archive import Record, Unreadable, private_key, random_key

READ, KEPT = "read", "kept"
AT_ONCE = 8
CUSTOMERS, ROBOTS = ("wm", "wo"), ("wb",)
"""How the ids of customers (in WeChat, in WeCom) and of robots begin; all others are members."""


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


def read_message(message: Mapping[str, Any], now: float) -> Message:
    """Takes whatever WeCom may send: what is missing or of another type counts as not said."""
    told = message.get("tolist")
    parties = [message.get("from"), message.get("user"), *(told if isinstance(told, list) else [])]
    everybody = sorted({party for party in parties if isinstance(party, str) and party})
    members = tuple(party for party in everybody if not party.startswith(CUSTOMERS + ROBOTS))
    sent = message.get("msgtime") or message.get("time")
    kind = message.get("msgtype")
    revoked = message.get("revoke")
    room = message.get("roomid")
    return Message(
        at=sent / 1000 if isinstance(sent, int) and 0 < sent < 1 << 42 else now,
        sender=next((one for one in parties[:2] if one in members), ""),
        action=str(message.get("action") or ""),
        kind=kind if isinstance(kind, str) else "",
        userids=members,
        customers=tuple(party for party in everybody if party.startswith(CUSTOMERS)),
        room=room if isinstance(room, str) else "",
        recalls=str(revoked.get("pre_msgid") or "") if isinstance(revoked, dict) else "",
    )


class Reader:
    """Makes rows of records, with the bank's keys."""

    def __init__(self, bank: Bank, archive: Archive) -> None:
        self.source = bank.archive_source(archive)
        self._keys = {version: private_key(pem) for version, pem in archive.private_keys.items()}
        self._bank = bank

    async def rows(self, records: Sequence[Record], *, leave_out: bool = False) -> list[Doc]:
        """A row for every record, in their order. Raises Unavailable when the gateway is away,
        unless it answered a moment ago and `leave_out` says that what it cannot open is to be kept
        unread."""
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

        messages = await asyncio.gather(*(opened(record) for record in records))
        if away:
            raise away[0]
        heads = [
            None if isinstance(one, str) else read_message(one, self._bank.now())
            for one in messages
        ]
        cids = await self._cids({external for head in heads if head for external in head.customers})
        return [
            self._kept(record, message) if isinstance(message, str) or head is None else self._read(record, message, head, cids)
            for record, message, head in zip(records, messages, heads, strict=True)
        ]  # fmt: skip

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

    async def _cids(self, customers: set[str]) -> dict[str, str]:
        """external_userid → cid of those whom we know."""
        return await resolution.known_by_external_userid(self._bank, sorted(customers))

    def _row(self, record: Record) -> Doc:
        doc_id = row_id(self._bank.id, record.seq)
        return {
            "_id": doc_id,
            "seq": record.seq,
            "msgid": record.msgid,
            "key_version": record.publickey_ver,
        }

    def _kept(self, record: Record, reason: object) -> Doc:
        row = self._row(record)
        raw = self._bank.vault.seal_json(ARCHIVE, "record", row["_id"], record.as_json())
        unknown: Doc = {
            "sender": "",
            "action": "",
            "msgtype": "",
            "userids": [],
            "customers": [],
            "room": "",
            "cids": [],
            "recalls": "",
        }
        at = utc(self._bank.now())
        return {
            **row,
            **unknown,
            "state": KEPT,
            "reason": str(reason),
            "at": at,
            "body": None,
            "record": raw,
        }

    def _read(
        self, record: Record, message: Mapping[str, Any], head: Message, cids: Mapping[str, str]
    ) -> Doc:
        vault, row = self._bank.vault, self._row(record)
        body = vault.seal_text(ARCHIVE, "body", row["_id"], json.dumps(message))
        return {
            **row,
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
            "body": body,
            "record": None,
        }

    def record_of(self, row: Doc) -> Record:
        """The record that was kept."""
        raw = self._bank.vault.open_json(ARCHIVE, "record", row["_id"], row["record"])
        if not isinstance(raw, dict):
            raise TypeError("a kept record is an object")
        return Record(**raw)


def open_body(bank: Bank, row: Doc) -> dict[str, Any]:
    """The message itself."""
    body: dict[str, Any] = json.loads(
        bank.vault.open_text(ARCHIVE, "body", row["_id"], row["body"])
    )
    return body
