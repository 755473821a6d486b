"""Callbacks as they come in: verified, decrypted and stored, durably, before they are answered.

What is genuine is never refused for how it reads: its bytes are stored as they came, and reading
them comes after (handle.py).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from xml.sax.saxutils import escape

import orjson

from customers.banks.bank import Bank, bank_of_appid, open_bank
from customers.banks.tasks import GREET, HANDLE_INBOX, HANDLE_STAFF
from customers.messaging import service_chat
from services.container import Services
from services.errors import NotFound, YinqiaoError
from services.queue import inbox
from services.queue.inbox import WECHAT, WECOM, Arrival
from services.wechat.core import crypto
from services.wechat.core.errors import EventUnreadable
from services.wechat.events import pushes, reading

SUCCESS = b"success"
_STAFF = re.compile(rb"<Event\s*+>\s*+(?:<!\[CDATA\[)?\s*+change_contact\b")


@dataclass(frozen=True, slots=True)
class Received:
    """`outcome` is "stored", or "duplicate" for a message that was there; `event` is its id on the
    console; `answer` is what a push is answered with."""

    outcome: str
    event: str
    answer: bytes = SUCCESS


async def receive_wecom(
    services: Services, tenant_id: str, query: Mapping[str, str], body: bytes
) -> Received:
    """Verifies, decrypts and stores a WeCom callback, durably (contract/wechat C3).

    Raises the callback_* refusals of services/wechat/core/crypto.py, `callback_replayed` for a seen
    nonce with another message, and Unavailable when it could not be stored: WeCom delivers it again
    then.
    """
    app = (await _known(services, open_bank(services, tenant_id))).wecom_app
    with _counted(services, tenant_id) as count:
        credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
        opened = crypto.verify_and_decrypt(credentials, query, body, **_limits(services))
        lane = lane_of(opened.message)
        return await _store(
            services, Arrival(tenant_id, WECOM, opened.message, opened.nonce, lane), count
        )


async def receive_wechat(
    services: Services, appid: str, query: Mapping[str, str], body: bytes
) -> Received:
    """The same for a mini-program's message push in safe mode (contract/wechat A7), with what to
    answer. A customer's message goes into WeChat's customer-service tool where the bank's file says
    so."""
    bank = await _known(services, bank_of_appid(services, appid))
    with _counted(services, appid) as count:
        credentials = _push_credentials(bank, appid)
        opened = crypto.verify_push(credentials, query, body, **_limits(services))
        received = await _store(
            services, Arrival(bank.id, f"{WECHAT}:{appid}", opened.message, opened.nonce), count
        )
    if not service_chat.is_in_wechat(bank, appid):
        return received
    return replace(received, answer=_transfer(credentials, opened) or SUCCESS)


def _transfer(credentials: crypto.Credentials, opened: crypto.Decrypted) -> bytes:
    """The answer that gives a customer's message to WeChat's tool; empty for whatever else came."""
    try:
        fields = reading.read(opened.message)
    except EventUnreadable:
        return b""
    if fields.text("Event") or fields.text("MsgType") not in pushes.MESSAGES:
        return b""
    reply = {
        "ToUserName": fields.text("FromUserName"),
        "FromUserName": fields.text("ToUserName"),
        "CreateTime": opened.timestamp,
        "MsgType": "transfer_customer_service",
    }
    in_json = not opened.message.lstrip().startswith(b"<")
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in reply.items())
    message = orjson.dumps(reply) if in_json else f"<xml>{inner}</xml>".encode()
    return crypto.encrypt_push_reply(
        credentials, message, timestamp=opened.timestamp, nonce=opened.nonce, in_json=in_json
    )


Count = Callable[[str], None]


@contextmanager
def _counted(services: Services, whose: str) -> Iterator[Count]:
    """Counts what becomes of a callback of a known bank or mini-program, refusals by their code."""

    def count(outcome: str) -> None:
        services.metrics.callbacks.labels(whose, outcome).inc()

    try:
        yield count
    except YinqiaoError as error:
        count(error.code)
        raise


async def _known(services: Services, opening: Awaitable[Bank]) -> Bank:
    """The bank of a callback's address; where there is none, or none can be asked for, it is
    counted as nobody's, since an address is anybody's word."""
    try:
        return await opening
    except YinqiaoError as error:
        services.metrics.callbacks.labels("nobody", error.code).inc()
        raise


def _limits(services: Services) -> dict[str, Any]:
    return {"now": services.clock(), "window": services.settings.callback_window}


def _push_credentials(bank: Bank, appid: str) -> crypto.Credentials:
    program = bank.miniprograms[appid]
    if not program.aes_key or not program.token:
        raise NotFound("push_not_configured", "this mini-program has no message push")
    return bank.services.platform.credentials(program.token, program.aes_key, appid)


async def _store(services: Services, arrival: Arrival, count: Count) -> Received:
    outcome = await inbox.receive(services, arrival)
    count(outcome)
    if outcome == inbox.STORED:
        greets = arrival.lane == inbox.GREETING
        services.wakeups.signal(
            GREET if greets else HANDLE_STAFF if arrival.lane else HANDLE_INBOX, arrival.tenant
        )
    return Received(outcome, arrival.id)


def lane_of(message: bytes) -> str:
    """The lane of what cannot wait behind a storm of others: a change of who works at the bank, or
    a welcome code. A glance at the bytes, which any message allows: reading them is the worker's."""
    if is_of_staff(message):
        return inbox.STAFF
    return inbox.GREETING if b"<WelcomeCode" in _narrow(message) else ""


def is_of_staff(message: bytes) -> bool:
    """Whether it tells of a change of who works at the bank."""
    return _STAFF.search(_narrow(message)) is not None


def _narrow(message: bytes) -> bytes:
    """The message as if its characters had one byte each, however wide they are."""
    return message.replace(b"\0", b"") if b"\0" in message else message


async def check_wecom_url(services: Services, tenant_id: str, query: Mapping[str, str]) -> bytes:
    """The plaintext of `echostr` (contract/wechat C1); raises the callback_* refusals."""
    app = (await open_bank(services, tenant_id)).wecom_app
    credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
    return crypto.verify_url(credentials, query, **_limits(services))


async def check_wechat_url(services: Services, appid: str, query: Mapping[str, str]) -> bytes:
    """The raw `echostr` (contract/wechat A7)."""
    credentials = _push_credentials(await bank_of_appid(services, appid), appid)
    return crypto.verify_push_url(credentials, query, **_limits(services))
