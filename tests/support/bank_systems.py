"""The demonstration bank's own systems, as tests send what they would."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from customers.banks.bank import Bank
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.intake import receiving
from customers.intake.receiving import Checked, Sent
from customers.intake.rows import CUSTOMERS, EVENTS
from tests.support import jobs

CORE, SECRET = "demo/core", "fake-core-system-secret-for-the-sandbox-only0"
Sign = Callable[[bytes, bytes], str]
"""Of a message and of the secret: the signature."""


def moment(seconds_ago: float = 0.0) -> str:
    """A time as events have it."""
    return datetime.fromtimestamp(time.time() - seconds_ago, UTC).isoformat()


def event(
    event_id: str, name: str = "app.login", *, ago: float = 60.0, data: Any = None, **customer: str
) -> dict[str, Any]:
    """An event of somebody named by `customer`."""
    item = {"id": event_id, "name": name, "at": moment(ago), "customer": customer or {"number": "C0001"}}
    return item | ({"data": data} if data is not None else {})


def signed(method: str, path: str, body: bytes, **other: Any) -> dict[str, str]:
    """The headers of a request of the core system's; `other` puts something else in a place of them."""
    said = {"who": CORE, "secret": SECRET, "at": int(time.time()), "nonce": secrets.token_hex(16)} | other
    digest = hashlib.sha256(body).hexdigest()
    lines = [method, path, str(said["at"]), said["nonce"], digest]
    mac = hmac.new(said["secret"].encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    return {
        "Yinqiao-Partner": said["who"],
        "Yinqiao-Timestamp": str(said["at"]),
        "Yinqiao-Nonce": said["nonce"],
        "Yinqiao-Signature": mac,
    }


async def send(http: httpx.AsyncClient, path: str, body: Any, method: str = "POST", **other: Any) -> httpx.Response:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return await http.request(method, path, content=data, headers=signed(method, path, data, **other))


async def take(bank: Bank, items: list[Any], *, system: str = "core") -> Checked:
    """Takes events in, as if the system had sent them in one request."""
    body = orjson.dumps({EVENTS: items})
    sent = Sent(system, EVENTS, hashlib.sha256(body).hexdigest(), body)
    return await _receive(bank, sent, items)


async def tell(bank: Bank, items: list[Any], *, system: str = "core") -> Checked:
    """The same of what is told of customers."""
    return await _receive(bank, Sent(system, CUSTOMERS, secrets.token_hex(8)), items)


async def _receive(bank: Bank, sent: Sent, items: list[Any]) -> Checked:
    checked = receiving.check(bank, sent.kind, items)
    await receiving.store(bank, receiving.row_of(bank, sent, checked))
    return checked


async def split(bank: Bank) -> None:
    await jobs.run(bank, "customers.split_intake")


async def join(bank: Bank) -> None:
    await jobs.run(bank, "customers.join_waiting")


async def customer(bank: Bank, **facts: Any) -> str:
    """Somebody who is known by these facts; his cid."""
    return await resolution.identify(bank, Facts(**facts), source="test")
