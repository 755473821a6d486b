"""The mini-program's routes, from login to redemptions, through real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import OTHER_APPID

SECOND = "wx5ab0000000000002"
VOUCHER = "flash.voucher"


async def _granted(services: Services) -> int:
    return await services.store.tenant("demo")["transfers"].count({"kind": "grant"})


async def test_a_login_code_works_once(http: httpx.AsyncClient, sandbox: Sandbox, appid: str) -> None:
    code = await sandbox.open(await sandbox.person(), appid)
    first = await http.post(f"/mp/{appid}/login", json={"code": code})
    assert first.status_code == 200
    assert first.json()["expires_in"] == 12 * 3600
    assert first.json()["customer"] == {"name": "", "phone": "", "bound": False}
    again = await http.post(f"/mp/{appid}/login", json={"code": code})
    assert (again.status_code, again.json()["error"]["code"]) == (401, "login_code_invalid")


async def test_a_code_that_wechat_refuses_is_answered_at_once_without_a_retry(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str
) -> None:
    for errcode, status, code in ((40163, 401, "login_code_invalid"), (40998, 502, "wechat_refused")):
        fault = {"target": "api", "kind": "errcode", "errcode": errcode, "path": "/sns/jscode2session", "times": 1}
        await sandbox.control("POST", "faults", fault)
        answer = await http.post(f"/mp/{appid}/login", json={"code": "0abc"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "Retry-After" not in answer.headers
        assert "does not answer" not in answer.text


async def test_a_claim_is_granted_once_and_its_answer_repeated(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    path, key = f"/mp/{appid}/rewards/{VOUCHER}/claim", {"Idempotency-Key": "k-1"}
    first = await customer.post(path, headers=key)
    again = await customer.post(path, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert "Idempotency-Hit" not in first.headers
    assert again.headers["Idempotency-Hit"] == "true"
    assert again.json() == first.json()
    other_body = await customer.post(path, headers=key, json={"note": 1})
    assert (other_body.status_code, other_body.json()["error"]["code"]) == (422, "idempotency_key_reused")
    other_key = await customer.post(path, headers={"Idempotency-Key": "k-2"})
    assert (other_key.status_code, other_key.json()["error"]["code"]) == (409, "quota_customer")
    assert await _granted(demo) == 1
    shown = (await customer.get(f"/mp/{appid}/redemptions")).json()["redemptions"]
    assert [row["id"] for row in shown] == [first.json()["redemption"]["id"]]


async def test_a_claim_that_cannot_be_read_grants_nothing(
    customer: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    path = f"/mp/{appid}/rewards/{VOUCHER}/claim"
    wrong = [
        ({}, b"", 400, "idempotency_key_missing"),
        ({"Idempotency-Key": "k" * 256}, b"", 400, "idempotency_key_too_long"),
        ({"Idempotency-Key": "k"}, b"[1]", 400, "body_not_object"),
        ({"Idempotency-Key": "k"}, b"{", 400, "body_not_json"),
    ]
    for headers, body, status, code in wrong:
        answer = await customer.post(path, headers=headers, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert await _granted(demo) == 0


async def test_the_home_speaks_the_language_that_is_asked_for(customer: httpx.AsyncClient, appid: str) -> None:
    zh = (await customer.get(f"/mp/{appid}/home")).json()
    en = (await customer.get(f"/mp/{appid}/home", headers={"Accept-Language": "en-GB,en"})).json()
    assert [reward["title"] for reward in zh["rewards"]] == ["二十元生活券"]
    assert [reward["title"] for reward in en["rewards"]] == ["Twenty-yuan voucher"]
    listed = (await customer.get(f"/mp/{appid}/rewards")).json()
    assert listed["rewards"] == zh["rewards"]


async def test_a_session_serves_the_banks_mini_programs_and_no_other_banks(
    customer: httpx.AsyncClient, other_bank: str
) -> None:
    assert (await customer.get(f"/mp/{SECOND}/home")).status_code == 200
    refused = await customer.get(f"/mp/{OTHER_APPID}/home")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "other_bank")


async def test_the_phone_is_bound_with_consent_only(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services
) -> None:
    person = await sandbox.person(phone="13812345678")
    login = await http.post(f"/mp/{appid}/login", json={"code": await sandbox.open(person, appid)})
    bearer = {"Authorization": f"Bearer {login.json()['token']}"}
    code = await sandbox.phone_code(person, appid)
    refused = await http.post(f"/mp/{appid}/phone", json={"code": code}, headers=bearer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "consent_missing")
    assert await demo.store.tenant("demo")["consents"].count() == 0
    body = {"code": code, "consent": "phone/2026-11"}
    bound = await http.post(f"/mp/{appid}/phone", json=body, headers=bearer)
    assert bound.json() == {"name": "", "phone": "138****5678", "bound": True}
    agreed = (await http.get(f"/mp/{appid}/consents", headers=bearer)).json()["consents"]
    assert [(one["purpose"], one["agrees"], one["version"]) for one in agreed] == [("phone", True, "phone/2026-11")]


async def test_what_was_agreed_to_is_withdrawn_at_any_time(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services
) -> None:
    person = await sandbox.person(phone="13812345678")
    login = await http.post(f"/mp/{appid}/login", json={"code": await sandbox.open(person, appid)})
    bearer = {"Authorization": f"Bearer {login.json()['token']}"}
    path = f"/mp/{appid}/consents/phone/withdrawal"
    refused = await http.post(path, headers=bearer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "consent_not_given")
    body = {"code": await sandbox.phone_code(person, appid), "consent": "phone/2026-11"}
    assert (await http.post(f"/mp/{appid}/phone", json=body, headers=bearer)).json()["bound"] is True
    assert (await http.get(f"/mp/{appid}/home", headers=bearer)).json()["customer"]["bound"] is True
    for _ in range(2):
        withdrawn = await http.post(path, headers=bearer)
        assert (withdrawn.status_code, withdrawn.json()) == (200, {"name": "", "phone": "", "bound": False})
    assert (await http.get(f"/mp/{appid}/home", headers=bearer)).json()["customer"]["bound"] is False
    assert (await http.post(path)).status_code == 401
    (one,) = (await http.get(f"/mp/{appid}/consents", headers=bearer)).json()["consents"]
    assert (one["agrees"], one["withdrawn"]) == (False, True)


async def test_a_session_that_was_ended_signs_nobody_in(customer: httpx.AsyncClient, appid: str) -> None:
    assert (await customer.post(f"/mp/{appid}/logout")).status_code == 204
    answer = await customer.get(f"/mp/{appid}/home")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "session_invalid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def _bound(http: httpx.AsyncClient, sandbox: Sandbox, person: dict[str, Any], appid: str) -> dict[str, str]:
    """The bearer header of the person, signed in to `appid` with his phone bound there."""
    login = await http.post(f"/mp/{appid}/login", json={"code": await sandbox.open(person, appid)})
    bearer = {"Authorization": f"Bearer {login.json()['token']}"}
    body = {"code": await sandbox.phone_code(person, appid), "consent": "phone/2026-11"}
    assert (await http.post(f"/mp/{appid}/phone", json=body, headers=bearer)).json()["bound"] is True
    return bearer


async def _is_bound(http: httpx.AsyncClient, appid: str, bearer: dict[str, str]) -> bool:
    return bool((await http.get(f"/mp/{appid}/home", headers=bearer)).json()["customer"]["bound"])


async def test_what_is_withdrawn_in_one_mini_program_is_withdrawn_in_all_of_the_bank(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services
) -> None:
    person = await sandbox.person(phone="13812345678")
    first = await _bound(http, sandbox, person, appid)
    login = await http.post(f"/mp/{SECOND}/login", json={"code": await sandbox.open(person, SECOND)})
    second = {"Authorization": f"Bearer {login.json()['token']}"}
    assert [await _is_bound(http, where, who) for where, who in ((appid, first), (SECOND, second))] == [True, True]
    withdrawn = await http.post(f"/mp/{SECOND}/consents/phone/withdrawal", headers=second)
    assert (withdrawn.status_code, withdrawn.json()["bound"]) == (200, False)
    for where, who in ((appid, first), (SECOND, second), (SECOND, first), (appid, second)):
        assert not await _is_bound(http, where, who)
        (one,) = (await http.get(f"/mp/{where}/consents", headers=who)).json()["consents"]
        assert (one["agrees"], one["withdrawn"]) == (False, True)
    (entry,) = await demo.store.tenant("demo")["audit"].find({"action": "consent.withdrawn"})
    assert entry["data"] == {"purpose": "phone", "channel": f"mp:{SECOND}"}


async def test_a_session_withdraws_nothing_at_another_bank(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services, other_bank: str
) -> None:
    bearer = await _bound(http, sandbox, await sandbox.person(phone="13812345678"), appid)
    for where, status, code in ((OTHER_APPID, 403, "other_bank"), ("wx5ab0000000000404", 404, "miniprogram_unknown")):
        refused = await http.post(f"/mp/{where}/consents/phone/withdrawal", headers=bearer)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert await _is_bound(http, appid, bearer)
    for tenant in ("demo", other_bank):
        rows = demo.store.tenant(tenant)
        assert await rows["consents"].count({"state": "withdrawn"}) == 0
        assert await rows["audit"].count({"action": "consent.withdrawn"}) == 0
        assert await rows["audit_intents"].count() == 0


async def test_nobody_withdraws_for_another_customer(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services
) -> None:
    """Who is asking comes from the session alone, also for two who share a phone."""
    his = await _bound(http, sandbox, await sandbox.person("甲", phone="13812345678"), appid)
    hers = await _bound(http, sandbox, await sandbox.person("乙", phone="13812345678"), appid)
    consents = demo.store.tenant("demo")["consents"]
    one, other = [row["cid"] for row in await consents.find({}, sort=[("at", 1)])]
    path = f"/mp/{appid}/consents/phone/withdrawal"
    done = await http.post(f"{path}?cid={one}", json={"cid": one, "customer": one}, headers={**hers, "X-Customer": one})
    assert (done.status_code, done.json()["bound"]) == (200, False)
    assert [await _is_bound(http, appid, who) for who in (his, hers)] == [True, False]
    (gone,) = await consents.find({"state": "withdrawn"})
    assert gone["cid"] == other
    for wrong in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {one}"},
        {"Cookie": his["Authorization"]},
    ):
        assert (await http.post(path, headers=wrong)).status_code == 401
    assert await _is_bound(http, appid, his)


async def test_a_withdrawal_that_is_sent_again_is_one_and_a_session_that_ended_sends_none(
    http: httpx.AsyncClient, sandbox: Sandbox, appid: str, demo: Services
) -> None:
    person = await sandbox.person(phone="13812345678")
    bearer = await _bound(http, sandbox, person, appid)
    path, rows = f"/mp/{appid}/consents/phone/withdrawal", demo.store.tenant("demo")
    answers = await asyncio.gather(*(http.post(path, headers=bearer) for _ in range(12)))
    assert {(answer.status_code, answer.json()["bound"]) for answer in answers} == {(200, False)}
    assert await rows["consents"].count({"state": "withdrawn"}) == 1
    assert await rows["timeline"].count({"kind": "consent.withdrawn"}) == 1
    assert (await http.post(f"/mp/{appid}/logout", headers=bearer)).status_code == 204
    again = await _bound(http, sandbox, person, appid)
    replayed = await http.post(path, headers=bearer)
    assert (replayed.status_code, replayed.json()["error"]["code"]) == (401, "session_invalid")
    assert await _is_bound(http, appid, again)
    assert await rows["consents"].count({"state": "withdrawn"}) == 1
