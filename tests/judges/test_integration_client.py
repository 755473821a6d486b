"""Clients that were written from docs/integration.md alone, in Python and in Node, with their own libraries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from playwright._impl._driver import compute_driver_executable

from customers.banks.bank import Bank
from customers.fields.rows import FIELD_VALUES
from customers.identity import customer_numbers
from customers.intake.rows import BANK_EVENTS
from tests.conftest import Server
from tests.support.bank_systems import CORE, SECRET, customer, split
from tests.support.banks import open_bank

NODE = Path(__file__).with_name("node") / "integration.cjs"
Call = tuple[str, str, Any]
BEIJING = timezone(timedelta(hours=8))


def calls(kind: str) -> list[Call]:
    """What each client sends, with ids of its own."""
    now = datetime.now(BEIJING).isoformat(timespec="seconds")
    who = {"number": f"C-{kind}"}
    events = [
        {"id": f"{kind}-1", "name": "app.login", "at": now, "customer": who},
        {"id": f"{kind}-2", "name": "payment.made", "at": now, "customer": who, "data": {"amount": 1250}},
        {"id": f"{kind}-3", "name": "nothing.declared", "at": now, "customer": who},
    ]
    return [
        ("POST", "/open/v1/events", {"events": events}),
        ("POST", "/open/v1/events", {"events": events[:1]}),
        ("POST", "/open/v1/customers", {"customers": [{"customer": who, "fields": {"stage": "opened"}}]}),
        ("PUT", f"/open/v1/customers/C-{kind}", {"fields": {"birthday": "1990-02-03"}}),
        ("PUT", f"/open/v1/customers/C-{kind}", {"fields": {"birthday": "3 Feb"}}),
        ("POST", "/open/v1/events", {"events": []}),
    ]


def expected(kind: str) -> list[tuple[int, Any]]:
    ok = {"status": "accepted"}
    undeclared = {"status": "refused", "code": "event_undeclared", "field": "name"}
    return [
        (200, [{"id": f"{kind}-1", **ok}, {"id": f"{kind}-2", **ok}, {"id": f"{kind}-3", **undeclared}]),
        (200, [{"id": f"{kind}-1", **ok}]),
        (200, [ok]),
        (200, [ok]),
        (200, [{"status": "refused", "code": "field_type", "field": "fields.birthday"}]),
        (400, "invalid_body"),
    ]


def said(status: int, body: dict[str, Any]) -> tuple[int, Any]:
    return status, body["items"] if "items" in body else body["error"]["code"]


def by_python(url: str, call: Call) -> tuple[int, Any]:
    method, path, body = call
    data = json.dumps(body).encode()
    at, nonce = str(int(time.time())), uuid.uuid4().hex
    lines = "\n".join([method, path, at, nonce, hashlib.sha256(data).hexdigest()])
    request = urllib.request.Request(url + path, data=data, method=method)  # noqa: S310 - our own server
    for name, value in {
        "Content-Type": "application/json",
        "Yinqiao-Partner": CORE,
        "Yinqiao-Timestamp": at,
        "Yinqiao-Nonce": nonce,
        "Yinqiao-Signature": hmac.new(SECRET.encode(), lines.encode(), hashlib.sha256).hexdigest(),
    }.items():
        request.add_header(name, value)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=15) as answer:
            return said(answer.status, json.load(answer))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return said(refusal.code, json.load(refusal))


async def by_node(url: str, sent: list[Call]) -> list[tuple[int, Any]]:
    executable, _ = compute_driver_executable()
    process = await asyncio.create_subprocess_exec(
        str(executable), str(NODE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    named = [dict(zip(("method", "path", "body"), call, strict=True)) for call in sent]
    asked = {"url": url, "who": CORE, "secret": SECRET, "calls": named}
    answered, _ = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), 60)
    assert process.returncode == 0
    return [said(answer["status"], answer["body"]) for answer in json.loads(answered)]


async def known(bank: Bank, number: str) -> str:
    """A customer with this number of the bank's."""
    cid = await customer(bank, unionid=f"u-{number}")
    await customer_numbers.link(bank, number, cid, source="bank", proof="test")
    return cid


async def test_clients_written_from_the_page_are_understood_and_what_they_send_reaches_the_customer(
    server: Server,
) -> None:
    bank = await open_bank(server.services, "demo")
    cids = {kind: await known(bank, f"C-{kind}") for kind in ("python", "node")}
    told = {"python": [await asyncio.to_thread(by_python, server.url, call) for call in calls("python")]}
    told["node"] = await by_node(server.url, calls("node"))
    assert told == {kind: expected(kind) for kind in cids}
    await split(bank)
    for kind, cid in cids.items():
        events = await bank.db[BANK_EVENTS].find({"cid": cid}, limit=None)
        assert sorted(row["name"] for row in events) == ["app.login", "payment.made"], kind
        row = await bank.db[FIELD_VALUES].find_one({"_id": cid})
        assert row is not None
        assert row["values"] == {"birthday": "1990-02-03", "stage": "opened"}, kind
