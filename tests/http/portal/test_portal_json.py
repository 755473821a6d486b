"""The mini-program's routes, from login to redemptions, through real HTTP."""

from __future__ import annotations

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
