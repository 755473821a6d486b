"""What the mini-program tells of subscribe messages, and learns of the code that it was opened with, through real HTTP."""

from __future__ import annotations

import httpx

from customers.banks import apply
from customers.messaging import poster_codes
from customers.messaging.poster_codes import Scene
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.support.banks import open_bank

ANSWERS = {"answers": {"tpl-1": "accept", "tpl-2": "reject"}}


async def test_a_report_needs_a_key_and_counts_nothing_where_wechat_tells(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    path = f"/mp/{appid}/subscriptions"
    missing = await customer.post(path, json=ANSWERS)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "idempotency_key_missing")
    told = await customer.post(path, json=ANSWERS, headers={"Idempotency-Key": "k"})
    assert (told.status_code, told.json()) == (200, {"counted": {"tpl-1": False, "tpl-2": False}})
    assert await demo.store.tenant("demo")["subscriptions"].count() == 0


async def test_without_push_a_report_counts_once_for_each_key(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    text = DEMO_BANK.read_text(encoding="utf-8")
    quiet = text.replace(
        "token: FakePushTokenSandbox1, aes_key: FakePushAesKeyForTheSandboxOnly100000000000", "token: ''"
    )
    await apply.apply_tenant(demo, quiet, "demo.yaml")
    path = f"/mp/{appid}/subscriptions"
    for key, counted in (("k1", True), ("k1", False), ("k2", True)):
        told = await customer.post(path, json=ANSWERS, headers={"Idempotency-Key": key})
        assert told.json() == {"counted": {"tpl-1": counted, "tpl-2": counted}}
    rows = await demo.store.tenant("demo")["subscriptions"].find({}, sort=[("template_id", 1)])
    assert [(row["template_id"], row["allowance"], row["state"]) for row in rows] == [
        ("tpl-1", 2, "accepted"), ("tpl-2", 0, "refused"),
    ]  # fmt: skip


async def test_made_up_templates_are_refused_and_nothing_is_kept(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    text = DEMO_BANK.read_text(encoding="utf-8")
    quiet = text.replace(
        "token: FakePushTokenSandbox1, aes_key: FakePushAesKeyForTheSandboxOnly100000000000", "token: ''"
    )
    await apply.apply_tenant(demo, quiet, "demo.yaml")
    path = f"/mp/{appid}/subscriptions"
    wrong = {
        "made-up": "template_unknown",
        "x" * 64: "template_unknown",
        "x" * 65: "invalid_body",
        "x" * 20_000: "invalid_body",
        "tpl 1": "invalid_body",
        "tpl\u0000": "invalid_body",
        "": "invalid_body",
    }
    for number, (template, code) in enumerate(wrong.items()):
        body = {"answers": {"tpl-1": "accept", template: "accept"}}
        told = await customer.post(path, json=body, headers={"Idempotency-Key": f"k{number}"})
        assert (told.status_code, told.json()["error"]["code"]) == (400, code), template[:70]
    assert await demo.store.tenant("demo")["subscriptions"].count() == 0


async def test_what_is_no_answer_is_refused(customer: httpx.AsyncClient, appid: str, demo: Services) -> None:
    for body in ({}, {"answers": {}}, {"answers": {"tpl": "maybe"}}, {"answers": dict.fromkeys("abcd", "accept")}):
        told = await customer.post(f"/mp/{appid}/subscriptions", json=body, headers={"Idempotency-Key": "k"})
        assert (told.status_code, told.json()["error"]["code"]) == (400, "invalid_body")
    assert await demo.store.tenant("demo")["subscriptions"].count() == 0


async def test_the_mini_program_learns_what_its_code_stands_for(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    scene = Scene(campaign="acq-branch", inviter="demo:" + "a" * 32)
    await poster_codes.code(await open_bank(demo, "demo"), appid, scene)
    known = await customer.get(f"/mp/{appid}/scenes/{poster_codes.key_of('demo', appid, scene)}")
    assert known.json() == {"page": "", "campaign": "acq-branch", "invited": True}
    unknown = await customer.get(f"/mp/{appid}/scenes/{'a' * 26}")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "scene_unknown")
