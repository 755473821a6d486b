"""What the bank's own systems send: signed by a secret or by an SM2 key, answered item by item, stored whole."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any

import httpx
import orjson
import yaml

from config.bounds import INTAKE_BYTES
from customers.banks import apply, systems
from customers.intake import receiving
from customers.intake.rows import INTAKE
from services.container import Services
from services.security.sm2 import sm3
from services.store.mongo import Doc
from tests.conftest import DEMO_BANK
from tests.support.bank_systems import event, moment, send, signed
from tests.support.banks import open_bank
from tests.support.sm2_signer import Signer

DEMO = DEMO_BANK.read_text(encoding="utf-8")
PATH = "/open/v1/events"


async def stored(demo: Services) -> list[Doc]:
    return await demo.store.tenant("demo")[INTAKE].find({}, limit=None)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_each_event_is_answered_and_the_good_ones_are_one_sealed_row(
    http: httpx.AsyncClient, demo: Services
) -> None:
    ahead = moment(-900)
    items: list[Any] = [
        event("e1"),
        event("e2", "never.declared"),
        event("e3", data={"product": "saving"}),
        {**event("e4"), "at": ahead},
        {**event("e5"), "at": "2026-11-30T10:00:00"},
        event("e6", "payment.made", data={"amount": 1250, "channel": "app"}),
        event("e7", "payment.made", data={"amount": 12.5}),
        {**event("e8"), "customer": {"number": "C0001", "phone": "13800000001"}},
        {**event("e9"), "more": 1},
        {**event("e10"), "id": "no spaces"},
        7,
        event("e11", phone="12"),
        event("e12", openid="o1", appid="wxnobody"),
        event("e13", ago=500 * 86_400.0),
        event("e14", data={"product": "x"}) | {"data": []},
    ]
    answer = await send(http, PATH, {"events": items})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (2, 13)
    assert [(one.get("id"), one["status"], one.get("code"), one.get("field")) for one in told["items"]] == [
        ("e1", "accepted", None, None),
        ("e2", "refused", "event_undeclared", "name"),
        ("e3", "refused", "data_unknown", "data.product"),
        ("e4", "refused", "at_future", "at"),
        ("e5", "refused", "at_wrong", "at"),
        ("e6", "accepted", None, None),
        ("e7", "refused", "data_wrong", "data.amount"),
        ("e8", "refused", "customer_wrong", "customer"),
        ("e9", "refused", "key_unknown", "more"),
        ("no spaces", "refused", "id_wrong", "id"),
        (None, "refused", "item_unreadable", ""),
        ("e11", "refused", "customer_wrong", "customer.phone"),
        ("e12", "refused", "appid_unknown", "customer.appid"),
        ("e13", "refused", "at_too_old", "at"),
        ("e14", "refused", "data_wrong", "data"),
    ]
    (row,) = await stored(demo)
    assert (row["accepted"], row["refused"]["event_undeclared"], row["refused"]["customer_wrong"]) == (2, 1, 2)
    kept = receiving.items_of(await open_bank(demo, "demo"), row)  # type: ignore[arg-type]
    assert [one["id"] for one in kept] == ["e1", "e6"]
    again = await send(http, PATH, {"events": items})
    assert (again.json(), len(await stored(demo))) == (told, 1)


async def test_what_is_told_of_customers_is_answered_too(http: httpx.AsyncClient, demo: Services) -> None:
    items = [
        {"customer": {"number": "C0001"}, "fields": {"stage": "opened", "payroll": True}},
        {"customer": {"number": "C0001"}, "fields": {"stage": "gone"}},
        {"customer": {"number": "C0001"}, "fields": {"nothing": 1}},
        {"customer": {"number": "C0001"}, "fields": {"interest": "bonds"}},
        {"customer": {"number": "C0001"}, "fields": {}},
        {"fields": {"stage": "opened"}},
        {"customer": {"number": "C0001"}, "fields": {"birthday": None}, "at": moment(60)},
        {"customer": {"number": "C0001"}, "fields": {"birthday": "1990-02-30"}},
    ]
    answer = await send(http, "/open/v1/customers", {"customers": items})
    assert [one.get("code", "") for one in answer.json()["items"]] == [
        "", "field_choice", "field_unknown", "field_writer", "fields_missing", "customer_missing", "", "field_type",
    ]  # fmt: skip
    one = await send(http, "/open/v1/customers/C0002", {"fields": {"holdings": 3}}, "PUT")
    assert one.json() == {"accepted": 1, "refused": 0, "items": [{"status": "accepted"}]}
    same = await send(http, "/open/v1/customers/C0002", {"fields": {"holdings": 3}}, "PUT")
    assert same.json()["accepted"] == 1
    assert sorted(row["accepted"] for row in await stored(demo)) == [1, 1, 2]
    wrong = await send(http, "/open/v1/customers/C0002", {"customer": {"number": "C3"}, "fields": {}}, "PUT")
    assert code_of(wrong) == (400, "invalid_body")


async def test_a_body_that_is_none_is_refused_whole(http: httpx.AsyncClient, demo: Services) -> None:
    for body, said in (
        (b"", (400, "invalid_body")),
        (b"[]", (400, "invalid_body")),
        (b'{"events":[]}', (400, "invalid_body")),
        (b'{"events":[1],"more":1}', (400, "invalid_body")),
        (b'{"events":' + b"[" * 2_000 + b"]" * 2_000 + b"}", (400, "invalid_body")),
        (orjson.dumps({"events": [event(f"e{n}") for n in range(501)]}), (413, "too_many_items")),
        (b" " * (INTAKE_BYTES + 1), (413, "body_too_large")),
    ):
        assert code_of(await send(http, PATH, body)) == said
    assert await stored(demo) == []


async def test_who_is_not_the_system_is_refused_and_nothing_is_stored(http: httpx.AsyncClient, demo: Services) -> None:
    partner = {"who": "demo/coffee-pos", "secret": "fake-partner-secret-for-the-sandbox-only0"}
    wrong, stale = (401, "signature_wrong"), {"at": int(time.time()) - 3_000}
    others: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"secret": "x" * 40}, wrong),
        (partner, wrong),
        ({"who": "demo/nobody"}, wrong),
        ({"who": "nobank/core"}, wrong),
        (stale, (401, "signature_stale")),
        ({"nonce": "short"}, (401, "signature_missing")),
    ]
    for other, said in others:
        assert code_of(await send(http, PATH, {"events": [event("e1")]}, **other)) == said
    assert await stored(demo) == []


async def test_an_altered_or_replayed_request_is_refused(http: httpx.AsyncClient, demo: Services) -> None:
    body = orjson.dumps({"events": [event("e1")]})
    headers = signed("POST", PATH, body)
    altered = await http.post(PATH, content=body.replace(b'"e1"', b'"e2"'), headers=headers)
    assert code_of(altered) == (401, "signature_wrong")
    assert await stored(demo) == []
    assert (await http.post(PATH, content=body, headers=headers)).status_code == 200
    assert code_of(await http.post(PATH, content=body, headers=headers)) == (401, "signature_replayed")
    elsewhere = await http.put("/open/v1/customers/C1", content=body, headers=signed("POST", PATH, body))
    assert code_of(elsewhere) == (401, "signature_wrong")
    assert len(await stored(demo)) == 1
    rows = await demo.store.tenant("demo")["audit"].find({"action": "system.refused"}, limit=None)
    assert sorted(row["data"]["reason"] for row in rows) == [
        "signature_replayed", "signature_wrong", "signature_wrong",
    ]  # fmt: skip
    assert {row["object"] for row in rows} == {"system:core"}


async def test_a_system_sends_only_what_it_may(http: httpx.AsyncClient, demo: Services) -> None:
    await apply.apply_tenant(demo, DEMO.replace("may: [events, customers]", "may: [customers]"), "bank.yaml")
    assert code_of(await send(http, PATH, {"events": [event("e1")]})) == (403, "system_may_not")
    assert await stored(demo) == []


async def test_a_new_secret_and_the_one_before_are_good_together(http: httpx.AsyncClient, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    second = await systems.set_secret(bank, "core", overlap=timedelta(days=1))
    for secret in (None, second):
        other = {} if secret is None else {"secret": secret}
        assert (await send(http, PATH, {"events": [event("e1")]}, **other)).status_code == 200
    third = await systems.set_secret(bank, "core")
    assert code_of(await send(http, PATH, {"events": [event("e1")]}, secret=second)) == (401, "signature_wrong")
    assert (await send(http, PATH, {"events": [event("e1")]}, secret=third)).status_code == 200


async def test_a_system_signs_with_sm2_and_changes_its_key_with_an_overlap(
    http: httpx.AsyncClient, demo: Services
) -> None:
    async def ask(signer: Signer, body: bytes, **other: Any) -> httpx.Response:
        at, nonce = str(int(time.time())), secrets.token_hex(16)
        digest = sm3(other.get("signed_body", body)).hex()
        signature = signer.sign("\n".join(("POST", PATH, at, nonce, digest)).encode())
        headers = {"Yinqiao-Partner": "demo/core", "Yinqiao-Timestamp": at, "Yinqiao-Nonce": nonce}
        return await http.post(PATH, content=body, headers={**headers, "Yinqiao-Signature": signature})

    async def put(*keys: Signer) -> None:
        file = yaml.safe_load(DEMO)
        (core,) = (one for one in file["systems"] if one["id"] == "core")
        del core["secret"]
        core |= {"algorithm": "sm2-sm3", "public_key": "\n".join(one.public for one in keys)}
        await apply.apply_tenant(demo, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")

    old, new = Signer(), Signer()
    body = orjson.dumps({"events": [event("e1")]})
    await put(old)
    assert (await ask(old, body)).json()["accepted"] == 1
    assert code_of(await ask(new, body)) == (401, "signature_wrong")
    assert code_of(await ask(old, body, signed_body=b"{}")) == (401, "signature_wrong")
    assert code_of(await send(http, PATH, body)) == (401, "signature_wrong")
    await put(old, new)
    for signer in (old, new):
        assert (await ask(signer, body)).status_code == 200
    await put(new)
    assert code_of(await ask(old, body)) == (401, "signature_wrong")
    assert len(await stored(demo)) == 1
