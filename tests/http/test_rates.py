"""How often each may ask (handlers/http/rates.py): who asks too often is told to wait, nobody else is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from tornado.httputil import HTTPHeaders

from customers.actors import ClerkActor, CustomerActor, StaffActor
from handlers.http import rates
from handlers.http.auth import CUSTOMER
from handlers.http.base import address_of
from handlers.http.route import Op
from handlers.routes import ROUTES
from services.container import Services
from services.errors import TooMany
from services.security.throttle import Rate
from tests.conftest import Sandbox, Server
from tests.http.conftest import APPID, Clerk, form_token

VOUCHER = "flash.coffee"


async def _wechat_calls(sandbox: Sandbox, path: str) -> int:
    calls = (await sandbox.control("GET", "calls", limit=2_000))["calls"]
    return sum(path in call["path"] for call in calls)


async def test_bogus_logins_are_bounded_before_they_are_calls_to_wechat(
    http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    began = time.monotonic()

    async def bogus(number: int) -> httpx.Response:
        return await http.post(f"/mp/{APPID}/login", json={"code": f"bogus-{number}"})

    answers = [answer for start in range(0, 200, 50) for answer in
               await asyncio.gather(*(bogus(start + number) for number in range(50)))]  # fmt: skip
    statuses = Counter(answer.status_code for answer in answers)
    rounds = 1 + int((time.monotonic() - began) / rates.LOGIN_SECONDS)
    assert statuses.keys() == {401, 429}
    assert statuses[401] <= rates.LOGIN_FAILURES * rounds
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= rates.LOGIN_SECONDS
    assert refused.json()["error"]["code"] == "too_many_attempts"


async def test_a_crowd_behind_one_gateway_signs_in(http: httpx.AsyncClient, sandbox: Sandbox) -> None:
    people = [await sandbox.person(f"客户{number}") for number in range(rates.LOGIN_FAILURES + 20)]
    codes = [await sandbox.open(person, APPID) for person in people]
    answers = [await http.post(f"/mp/{APPID}/login", json={"code": code}) for code in codes]
    assert {answer.status_code for answer in answers} == {200}


async def test_a_customer_who_claims_without_end_is_told_to_wait(
    customer: httpx.AsyncClient, clients: Any, sandbox: Sandbox
) -> None:
    began = time.monotonic()

    async def claim(client: httpx.AsyncClient, number: int) -> httpx.Response:
        headers = {"Idempotency-Key": f"key-{number}"}
        return await client.post(f"/mp/{APPID}/rewards/none.such/claim", headers=headers)

    answers = [answer for start in range(0, 300, 60) for answer in
               await asyncio.gather(*(claim(customer, start + number) for number in range(60)))]  # fmt: skip
    refused = [answer for answer in answers if answer.status_code == 429]
    grown = (time.monotonic() - began) / rates.CLAIMS.each
    assert 300 - len(refused) <= rates.CLAIMS.most + grown + 1
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    other = await clients()
    code = await sandbox.open(await sandbox.person("另一位"), APPID)
    token = (await other.post(f"/mp/{APPID}/login", json={"code": code})).json()["token"]
    other.headers["Authorization"] = f"Bearer {token}"
    assert (await claim(other, 1)).status_code == 404
    assert (await customer.get(f"/mp/{APPID}/home")).status_code == 200


async def test_a_clerk_who_searches_without_end_is_told_to_wait(clerk: Clerk) -> None:
    lin = await clerk("lin")
    token = form_token((await lin.get("/console/people")).text)
    searches = (lin.post("/console/people", data={"_xsrf": token, "q": f"138{number:08}"}) for number in range(150))
    refused = [answer for answer in await asyncio.gather(*searches) if answer.status_code == 429]
    assert refused
    assert all("操作过于频繁" in answer.text and int(answer.headers["Retry-After"]) >= 1 for answer in refused)


async def test_forged_callbacks_are_counted_and_genuine_ones_never(
    http: httpx.AsyncClient, server: Server, demo: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = rates.Rate("forged", 20, 3_600)
    monkeypatch.setattr(rates, "FORGERIES", few)
    query = {"msg_signature": "0" * 40, "timestamp": "1", "nonce": "n"}
    body = b"<xml><Encrypt><![CDATA[" + b"A" * 64 + b"]]></Encrypt></xml>"
    statuses = [(await http.post("/wecom/demo/callback", params=query, content=body)).status_code for _ in range(30)]
    assert Counter(statuses) == {403: 20, 429: 10}
    from bench import callbacks

    for _ in range(3):
        head, _, sent = callbacks.added()[1].partition(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        assert (await http.post(path, content=sent)).status_code == 200


class _Request:
    def __init__(self, remote: str, forwarded: str) -> None:
        self.remote_ip = remote
        self.headers = HTTPHeaders({"X-Forwarded-For": forwarded})


PROXIES = ["10.0.0.9", "192.168.0.0/16", "2001:db8:ffff::1"]


@pytest.mark.parametrize(
    ("remote", "forwarded", "counted"),
    [
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # nobody's word but a proxy's
        ("10.0.0.9", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.9", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what the caller made up stands before it
        ("10.0.0.9", "1.1.1.1, 198.51.100.1, 192.168.3.4", "198.51.100.1"),
        ("10.0.0.9", "", "10.0.0.9"),
        ("10.0.0.9", "nonsense", "10.0.0.9"),
        ("10.0.0.9", "198.51.100.1, nonsense", "10.0.0.9"),
        ("::ffff:10.0.0.9", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:aaaa::1", "", "2001:db8:1:2::"),
        ("2001:db8:1:2:bbbb::2", "", "2001:db8:1:2::"),  # the same household
        ("2001:db8:ffff::1", "2001:db8:5:6::7", "2001:db8:5:6::"),
        ("", "198.51.100.1", ""),
    ],
)
def test_whose_word_an_address_is(remote: str, forwarded: str, counted: str) -> None:
    request: Any = _Request(remote, forwarded)
    assert address_of(request, PROXIES) == counted


def test_no_two_are_counted_as_one() -> None:
    actors = [
        CustomerActor("demo", "demo:1", APPID),
        StaffActor("demo", "demo:1"),
        ClerkActor("demo", "demo:1", "", frozenset()),
        CustomerActor("other", "demo:1", APPID),
    ]
    assert len({rates.who_is(actor) for actor in actors}) == len(actors)


async def test_what_we_could_not_do_is_given_back_and_what_was_refused_is_not(services: Services) -> None:
    asked = Op(CUSTOMER, "one", rate=Rate("one", 1, 60))
    customer = CustomerActor("demo", "demo:1", APPID)
    for status in (503, 500, 409):
        turn = rates.Turn(services)
        await turn.take(asked, "POST", customer)
        turn.ended(status)
        await asyncio.sleep(0.2)
    with pytest.raises(TooMany):
        await rates.Turn(services).take(asked, "POST", customer)


def test_every_route_of_somebody_who_is_signed_in_has_a_rate() -> None:
    for rate in (rates.READS, rates.WRITES, rates.CLAIMS, rates.SEARCHES, rates.FORGERIES):
        assert rate.most > 0
    named = {op.rate.name for route in ROUTES for op in route.ops.values() if op.rate is not None}
    assert named == {"claim", "partner", "search", "system"}
