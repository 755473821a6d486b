"""Promise P6: after a customer's whole way from the scan to the bound phone, nothing that is kept or logged names him."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest

from config.logging import setup_logging
from customers.identity import resolution
from services.clock import Clock, system_clock
from services.container import Services
from services.queue import inbox
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.integration.customers.dump import of_redis, of_store
from tests.support import jobs
from tests.support.banks import open_bank

NAME, PHONE = "司马相如卓文君", "13876543210"


@pytest.fixture
def clock() -> Clock:
    """The true time: these tests have visitors from outside."""
    return system_clock


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What the product writes to its log when it says most."""
    written, root = StringIO(), logging.getLogger()
    kept = (root.handlers[:], root.level)
    chatty = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "pymongo", "kombu", "amqp")}
    monkeypatch.setattr(sys, "stderr", written)
    setup_logging("DEBUG")
    yield written
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    for name, level in chatty.items():
        logging.getLogger(name).setLevel(level)


async def _walk(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> dict[str, str]:
    """Scan, login in both mini-programs, claim, phone; what must appear nowhere, by name."""
    person = await sandbox.person(NAME, phone=PHONE)
    await sandbox.scan(person, state="branch-q1.sz-nanshan")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await jobs.send_effects(await open_bank(demo, "demo"))
    codes = {appid: await sandbox.open(person, appid) for appid in (BANK, LIFE)}
    tokens = {}
    for appid, code in codes.items():
        answer = await http.post(f"/mp/{appid}/login", json={"code": code})
        assert answer.status_code == 200, answer.text
        tokens[appid] = answer.json()["token"]
    headers = {"Authorization": f"Bearer {tokens[BANK]}"}
    claim = f"/mp/{BANK}/rewards/acq-branch.coffee/claim"
    assert (await http.post(claim, headers={**headers, "Idempotency-Key": "k1"})).status_code == 200
    phone_code = await sandbox.phone_code(person, BANK)
    bound = {"code": phone_code, "consent": "phone/2026-11"}
    assert (await http.post(f"/mp/{BANK}/phone", headers=headers, json=bound)).status_code == 200
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await jobs.send_effects(await open_bank(demo, "demo"))
    seen = await sandbox.control("GET", f"people/{person['id']}")
    return {
        "name": NAME,
        "phone": PHONE,
        "unionid": seen["unionid"],
        "external_userid": seen["external_userid"],
        "welcome code": await _welcome_code(demo),
        "phone code": phone_code,
        **{f"openid of {appid}": openid for appid, openid in seen["openids"].items()},
        **{f"login code of {appid}": code for appid, code in codes.items()},
        **{f"session of {appid}": token for appid, token in tokens.items()},
    }


async def _welcome_code(demo: Services) -> str:
    rows = await demo.store.tenant("demo")["inbox"].find({"source": "wecom"})
    for row in rows:
        event: Any = events.parse_event(demo.vault.open("demo", "inbox", "body", row["_id"], row["body"]))
        if isinstance(event, events.ExternalContactAdded):
            return str(event.welcome_code)
    raise AssertionError(f"no new friend among {len(rows)} events")


async def test_nothing_of_the_customer_is_kept_in_clear(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    canaries = await _walk(demo, sandbox, http)
    assert len(canaries) == 12
    assert all(len(canary.encode()) >= 11 for canary in canaries.values()), canaries
    (row,) = await demo.store.tenant("demo")["customers"].find({})
    person = await resolution.customer(await open_bank(demo, "demo"), row["_id"])
    assert (person.name, person.phone, person.unionid, person.external_userid) == (
        NAME, f"+86{PHONE}", canaries["unionid"], canaries["external_userid"],
    )  # fmt: skip
    kept = {**of_store(demo), "redis": await of_redis(demo)}
    assert {
        "customers",
        "identities",
        "inbox",
        "outbox",
        "runs",
        "timeline",
        "relationships",
        "audit",
        "consents",
    } <= set(kept)
    assert all(len(kept[name]) > 100 for name in ("customers", "identities", "inbox", "outbox", "runs", "redis"))
    found = [(what, where) for what, canary in canaries.items() for where in kept if canary.encode() in kept[where]]
    assert found == []


async def test_nothing_of_the_customer_is_logged(
    logged: StringIO, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    """Also when WeCom fails, so that there is something to log, and when an event cannot be handled."""
    canaries = await _walk(demo, sandbox, http)
    for path, errcode in (("externalcontact/get", -1), ("externalcontact/send_welcome_msg", 41050)):
        fault = {"target": "api", "kind": "errcode", "errcode": errcode, "path": f"/cgi-bin/{path}"}
        await sandbox.control("POST", "faults", fault)
    unlucky = await sandbox.person(NAME, phone=PHONE)
    await sandbox.scan(unlucky, state="branch-q1.sz-nanshan")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    canaries["the other's id"] = (await sandbox.control("GET", f"people/{unlucky['id']}"))["external_userid"]
    said = f"{canaries['external_userid']} {PHONE} {NAME}"
    for odd in (said, f"<xml><Event>{said}"):  # cannot be read; is read as an event that nobody knows
        assert await inbox.receive(demo, inbox.Arrival("demo", "wecom", odd.encode())) == inbox.STORED
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    lines = logged.getvalue().splitlines()
    messages = {json.loads(line)["message"] for line in lines}
    assert {"details come later", "an event is a dead letter"} <= messages
    letters = await demo.store.tenant("demo")["dead_letters"].find({}, sort=[("reason", 1)])
    assert [(letter["reason"], letter["name"]) for letter in letters] == [
        ("", "unreadable"), ("event_not_xml", ""),
    ]  # fmt: skip
    found = [(what, line[:300]) for what, canary in canaries.items() for line in lines if canary in line]
    assert found == []
