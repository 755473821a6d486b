"""The portal's pages in the mini-program's web-view: a ticket lets one browser in once, and production has them."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest
from tornado.httpserver import HTTPServer

from handlers.routes import ROUTES
from server import make_app
from services.container import Services
from services.security import sessions
from tests.conftest import Sandbox
from tests.http.conftest import OTHER_APPID, form_token, post_form
from tests.support.forms import forms_of

Make = Callable[[], Awaitable[httpx.AsyncClient]]
OTHER_PROGRAM = "wx5ab0000000000002"


@pytest.fixture
async def ticket(customer: httpx.AsyncClient, appid: str) -> str:
    answer = await customer.post(f"/mp/{appid}/tickets")
    assert answer.status_code == 200
    body = answer.json()
    assert body["expires_in"] == 60
    assert body["url"].endswith(f"/h5/{appid}/enter?ticket={body['ticket']}")
    return str(body["ticket"])


async def _enter(client: httpx.AsyncClient, appid: str, ticket: str, to: str = "") -> httpx.Response:
    query = {"ticket": ticket, **({"to": to} if to else {})}
    return await client.get(f"/h5/{appid}/enter", params=query)


async def test_a_ticket_lets_one_browser_in_and_its_address_signs_nobody_in_after(
    clients: Make, appid: str, ticket: str
) -> None:
    visitor, later = await clients(), await clients()
    entered = await _enter(visitor, appid, ticket)
    assert (entered.status_code, entered.headers["Location"]) == (303, f"/h5/{appid}/")
    cookie = entered.headers["Set-Cookie"]
    assert cookie.startswith(f"yq_portal_{appid}=")
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert ticket not in cookie
    home = await visitor.get(f"/h5/{appid}/?lang=en")
    assert "Hello" in home.text
    again = await _enter(later, appid, ticket)
    assert again.status_code == 401
    assert "这个链接只能用一次" in again.text
    assert f"yq_portal_{appid}" not in later.cookies


async def test_the_ticket_leads_to_a_page_below_and_nowhere_else(
    customer: httpx.AsyncClient, clients: Make, appid: str
) -> None:
    start = f"/h5/{appid}/"
    for to, expected in (
        ("redemptions", f"{start}redemptions"),
        ("../../console/", start),
        ("/example.org", start),
        ("?x=1", f"{start}?x=1"),
    ):
        ticket = (await customer.post(f"/mp/{appid}/tickets")).json()["ticket"]
        assert (await _enter(await clients(), appid, ticket, to)).headers["Location"] == expected


async def test_a_ticket_of_another_program_of_an_ended_session_or_late_lets_nobody_in(
    customer: httpx.AsyncClient, clients: Make, appid: str, demo: Services, other_bank: str
) -> None:
    visitor = await clients()
    for other in (OTHER_PROGRAM, OTHER_APPID):
        ticket = (await customer.post(f"/mp/{appid}/tickets")).json()["ticket"]
        assert (await _enter(visitor, other, ticket)).status_code == 401
    late = (await customer.post(f"/mp/{appid}/tickets")).json()["ticket"]
    await demo.sessions._redis.pexpire(sessions._key("ticket", late), 1)
    await asyncio.sleep(0.01)
    assert (await _enter(visitor, appid, late)).status_code == 401
    ended = (await customer.post(f"/mp/{appid}/tickets")).json()["ticket"]
    await customer.post(f"/mp/{appid}/logout")
    assert (await _enter(visitor, appid, ended)).status_code == 401
    assert (await _enter(visitor, appid, "")).status_code == 401
    assert (await customer.post(f"/mp/{appid}/tickets")).status_code == 401
    assert not [name for name in visitor.cookies if "portal" in name]


async def _rush(clients: Make, appid: str, ticket: str) -> int:
    visitors = [await clients() for _ in range(8)]
    answers = await asyncio.gather(*(_enter(visitor, appid, ticket) for visitor in visitors))
    assert {answer.status_code for answer in answers} <= {303, 401}
    return sum(answer.status_code == 303 for answer in answers)


async def test_without_its_guard_a_ticket_lets_several_in(
    clients: Make, appid: str, ticket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_then_delete(self: sessions.Sessions, kind: str, token: str) -> sessions.Session | None:
        key = sessions._key(kind, token)
        raw = await self._redis.get(key)
        await asyncio.sleep(0.05)
        await self._redis.delete(key)
        return None if raw is None else self._open(key, raw, self._clock())

    monkeypatch.setattr(sessions.Sessions, "take", read_then_delete)
    assert await _rush(clients, appid, ticket) > 1


async def test_with_its_guard_a_ticket_lets_one_in(clients: Make, appid: str, ticket: str) -> None:
    assert await _rush(clients, appid, ticket) == 1


async def test_the_pages_claim_under_their_own_address(clients: Make, appid: str, ticket: str) -> None:
    visitor = await clients()
    await _enter(visitor, appid, ticket)
    home = f"/h5/{appid}/"
    shown = (await visitor.get(home)).text
    assert "/preview/" not in shown
    key = shown.split('name="key" value="')[1].split('"')[0]
    forged = await visitor.post(f"{home}rewards/flash.voucher/claim", data={"key": key})
    assert forged.status_code == 403
    sent = {"_xsrf": form_token(shown), "key": key}
    claimed = await visitor.post(f"{home}rewards/flash.voucher/claim", data=sent)
    assert claimed.headers["Location"].startswith(home)
    await post_form(visitor, home, f"{home}logout")
    left = await visitor.get(f"{home}redemptions")
    assert (left.status_code, left.headers["Location"]) == (303, home)


async def test_the_rules_stand_before_the_first_claim_and_their_version_is_kept(
    clients: Make, appid: str, ticket: str, demo: Services
) -> None:
    visitor = await clients()
    await _enter(visitor, appid, ticket)
    home, claim = f"/h5/{appid}/", f"/h5/{appid}/rewards/flash.voucher/claim"
    page = (await visitor.get(home)).text
    form = next(one for one in forms_of(page) if one.action == claim)
    assert "先到先得" in page
    assert 'name="accept" value="yes" required' in page
    sent = {name: value for name, value in form.sent().items() if name != "accept"}
    unticked = await visitor.post(claim, data=sent)
    assert unticked.status_code == 409
    stale = await visitor.post(claim, data={**sent, "accept": "yes", "disclosure": "0" * 32})
    assert stale.status_code == 409
    assert "规则" in stale.text
    assert await demo.store.tenant("demo")["transfers"].count({"kind": "grant"}) == 0
    claimed = await visitor.post(claim, data={**sent, "accept": "yes"})
    assert claimed.status_code == 303
    (grant,) = await demo.store.tenant("demo")["transfers"].find({"kind": "grant"})
    assert (grant["terms"], grant["accepted"]) == (sent["disclosure"], True)
    kept = await demo.store.tenant("demo")["disclosure_acceptances"].find({})
    assert [(row["campaign"], row["digest"]) for row in kept] == [("flash", sent["disclosure"])]


async def test_a_voucher_is_shown_to_its_customer_alone(
    customer: httpx.AsyncClient, clients: Make, appid: str, ticket: str, sandbox: Sandbox
) -> None:
    claim = await customer.post(f"/mp/{appid}/rewards/flash.voucher/claim", json={}, headers={"Idempotency-Key": "k"})
    path = f"/h5/{appid}/redemptions/{claim.json()['redemption']['id']}"
    visitor = await clients()
    await _enter(visitor, appid, ticket)
    page = (await visitor.get(path)).text
    assert claim.json()["redemption"]["code"] in page
    assert page.count("<svg") == 1
    first, second = [(await visitor.get(f"{path}/now")).text for _ in range(2)]
    assert "<html" not in first
    assert first.split("<svg")[1] != second.split("<svg")[1]
    other = await clients()
    code = await sandbox.open(await sandbox.person("张伟"), appid)
    token = (await other.post(f"/mp/{appid}/login", json={"code": code})).json()["token"]
    theirs = await other.post(f"/mp/{appid}/tickets", headers={"Authorization": f"Bearer {token}"})
    await _enter(other, appid, theirs.json()["ticket"])
    for stranger in (path, f"{path}/now", f"/h5/{appid}/redemptions/{'0' * 32}"):
        refused = await other.get(stranger)
        assert (refused.status_code, "<svg" in refused.text) == (404, False)
    nobody = await (await clients()).get(f"{path}/now")
    assert (nobody.status_code, nobody.headers["Location"]) == (303, f"/h5/{appid}/")


async def _another(clients: Make, appid: str, sandbox: Sandbox, name: str) -> httpx.AsyncClient:
    """Another customer, inside the pages."""
    client = await clients()
    code = await sandbox.open(await sandbox.person(name), appid)
    token = (await client.post(f"/mp/{appid}/login", json={"code": code})).json()["token"]
    ticket = (await client.post(f"/mp/{appid}/tickets", headers={"Authorization": f"Bearer {token}"})).json()["ticket"]
    await _enter(client, appid, ticket)
    return client


def _shown_code(page: str) -> str:
    found = re.search(r'id="gift".*?ticket-code[^"]*">([^<]+)<', page, re.DOTALL)
    return found.group(1) if found else ""


async def test_a_voucher_is_given_away_on_the_pages(
    customer: httpx.AsyncClient, clients: Make, appid: str, ticket: str, sandbox: Sandbox
) -> None:
    claim = await customer.post(f"/mp/{appid}/rewards/flash.voucher/claim", json={}, headers={"Idempotency-Key": "k"})
    base = f"/h5/{appid}"
    path = f"{base}/redemptions/{claim.json()['redemption']['id']}"
    giver = await clients()
    await _enter(giver, appid, ticket)
    first = _shown_code((await post_form(giver, path, f"{path}/gift")).text)
    second = _shown_code((await post_form(giver, path, f"{path}/gift")).text)
    assert (len(first), len(second), first == second) == (19, 19, False)
    friend = await _another(clients, appid, sandbox, "张伟")
    refused = await post_form(friend, f"{base}/gifts", f"{base}/gifts", code=first)
    assert (refused.status_code, f'value="{first}"' in refused.text) == (404, True)
    assert "没有找到赠送的券" in refused.text
    own = await post_form(giver, f"{base}/gifts", f"{base}/gifts", code=second)
    assert (own.status_code, "已在自己名下" in own.text) == (409, True)
    assert f'href="{base}/gifts"' in (await friend.get(f"{base}/redemptions")).text
    taken = await post_form(friend, f"{base}/gifts", f"{base}/gifts", code=f" {second.lower()} ")
    assert (taken.status_code, taken.url.path) == (200, path)
    assert "领取成功" in taken.text
    assert claim.json()["redemption"]["code"] not in taken.text
    for gone in (await giver.get(path), await post_form(giver, f"{base}/gifts", f"{path}/gift/withdrawal")):
        assert (gone.status_code, "不在您名下" in gone.text) == (404, True)
        assert "bootstrap" not in gone.text


async def test_a_gift_is_taken_back_and_one_that_was_begun_is_not_offered(
    customer: httpx.AsyncClient, clients: Make, appid: str, ticket: str, sandbox: Sandbox
) -> None:
    claim = await customer.post(f"/mp/{appid}/rewards/flash.voucher/claim", json={}, headers={"Idempotency-Key": "k"})
    base = f"/h5/{appid}"
    path = f"{base}/redemptions/{claim.json()['redemption']['id']}"
    giver, friend = await clients(), await _another(clients, appid, sandbox, "张伟")
    await _enter(giver, appid, ticket)
    code = _shown_code((await post_form(giver, path, f"{path}/gift")).text)
    back = await post_form(giver, path, f"{path}/gift/withdrawal")
    assert (_shown_code(back.text), "已取消转赠" in back.text) == ("", True)
    for _ in range(10):
        assert (await post_form(friend, f"{base}/gifts", f"{base}/gifts", code=code)).status_code == 404
    shut = await post_form(friend, f"{base}/gifts", f"{base}/gifts", code=code)
    assert (shut.status_code, "尝试次数过多" in shut.text) == (429, True)


async def test_what_is_refused_outside_a_page_is_as_light_as_the_others(
    customer: httpx.AsyncClient, clients: Make, appid: str, ticket: str
) -> None:
    visitor = await clients()
    await _enter(visitor, appid, ticket)
    gone = await visitor.get(f"/h5/{appid}/redemptions/{'0' * 32}/address")
    assert (gone.status_code, "没有这件寄送的权益" in gone.text) == (404, True)
    assert "bootstrap" not in gone.text
    assert "h5.css" in gone.text


async def test_production_has_the_pages_and_takes_no_login_code_there(demo: Services, appid: str, ticket: str) -> None:
    changed = {"env": "production", "public_url": "https://yinqiao.example"}
    bank = dataclasses.replace(demo, settings=demo.settings.model_copy(update=changed))
    listening = HTTPServer(make_app(bank))
    listening.listen(0, "127.0.0.1")
    port = next(iter(listening._sockets.values())).getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            arrived = await client.get(f"/h5/{appid}/", params={"code": "a-login-code"})
            assert (arrived.status_code, "从小程序打开" in arrived.text) == (200, True)
            assert "沙盒" not in arrived.text
            entered = await _enter(client, appid, ticket)
            cookie = entered.headers["Set-Cookie"]
            parts = {part.strip() for part in cookie.split(";")}
            assert cookie.startswith(f"__Host-yq_portal_{appid}=")
            assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= parts
            assert "Strict-Transport-Security" in entered.headers
            session = cookie.split(";")[0]
            home = await client.get(f"/h5/{appid}/", headers={"Cookie": session})
            assert "您好" in home.text
            token = {"X-XSRFToken": form_token(home.text), "Cookie": f"{session}; {home.headers['Set-Cookie']}"}
            dev = [(method, route) for route in ROUTES if route.dev for method in route.ops]
            paths = {(method, re.sub(r"\{\w+\}", appid, route.path)) for method, route in dev}
            ends = {at: (await client.request(*at, headers=token)).status_code for at in paths}
            assert (len(ends), set(ends.values())) == (len(dev), {404}), "of what is for development nothing"
    finally:
        listening.stop()
        await listening.close_all_connections()
