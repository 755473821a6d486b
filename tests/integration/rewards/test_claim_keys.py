"""The idempotency key: what is answered when a customer asks again."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from rewards import ledger
from services.container import Services
from tests.integration.rewards import world
from tests.integration.rewards.world import BANK, REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.waiting import until

CLAIM = f"/mp/{BANK}/rewards/{REWARD}/claim"


@pytest.fixture
async def customer(demo: Services) -> dict[str, str]:
    await world.put(demo, 5)
    return (await world.signed_in(demo, 1))[0]


async def test_the_first_answer_is_replayed(customer: dict[str, str], http: httpx.AsyncClient) -> None:
    headers = {**customer, "Idempotency-Key": "k"}
    first, again = await http.post(CLAIM, headers=headers), await http.post(CLAIM, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert "Idempotency-Hit" not in first.headers
    assert again.headers["Idempotency-Hit"] == "true"
    assert first.content == again.content


async def test_the_answer_is_replayed_when_nothing_could_be_granted_any_more(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient
) -> None:
    headers = {**customer, "Idempotency-Key": "k"}
    first = await http.post(CLAIM, headers=headers)
    await until(lambda: world.settled(demo))
    await world.put(demo, 1)
    await demo.store.tenant(TENANT)["rewards"].update({"reward": REWARD}, {"$set": {"state": "ended"}})
    again = await http.post(CLAIM, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)


async def test_an_equal_body_is_the_same_body(customer: dict[str, str], http: httpx.AsyncClient) -> None:
    headers = {**customer, "Idempotency-Key": "k"}
    first = await http.post(CLAIM, headers=headers, content=b'{"a": 1, "b": 2}')
    again = await http.post(CLAIM, headers=headers, content=b' {"b":2,"a":1}')
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["Idempotency-Hit"] == "true"


async def test_the_same_key_with_another_body_is_refused(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient
) -> None:
    headers = {**customer, "Idempotency-Key": "k"}
    assert (await http.post(CLAIM, headers=headers, json={"from": "home"})).status_code == 200
    await until(lambda: world.settled(demo))
    before = await world.all_rows(demo)
    for body in ({"from": "list"}, {}, {"from": None}):
        other = await http.post(CLAIM, headers=headers, json=body)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert await world.all_rows(demo) == before


async def test_a_new_key_gives_no_second_reward(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient
) -> None:
    assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k1"})).status_code == 200
    await until(lambda: world.settled(demo))
    before = await world.all_rows(demo)
    other = await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k2"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "quota_customer")
    assert await world.all_rows(demo) == before


@pytest.mark.parametrize(
    ("extra", "body", "code"),
    [
        ({}, b"", "idempotency_key_missing"),
        ({"Idempotency-Key": ""}, b"", "idempotency_key_missing"),
        ({"Idempotency-Key": "k" * 256}, b"", "idempotency_key_too_long"),
        ({"Idempotency-Key": "k"}, b"[]", "body_not_object"),
        ({"Idempotency-Key": "k"}, b"{", "body_not_json"),
    ],
)
async def test_a_claim_that_cannot_be_read_leaves_no_trace(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient, extra: dict[str, str], body: bytes, code: str
) -> None:
    before = await world.all_rows(demo)
    answer = await http.post(CLAIM, headers={**customer, **extra}, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert await world.all_rows(demo) == before


async def test_twenty_at_once_under_one_key_are_one_grant_and_one_answer(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient
) -> None:
    headers = {**customer, "Idempotency-Key": "k"}
    answers = await asyncio.gather(*(http.post(CLAIM, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Hit" not in answer.headers for answer in answers) == 1
    assert await world.grants(demo) == 1


async def test_twenty_at_once_under_twenty_keys_are_one_grant(
    demo: Services, customer: dict[str, str], http: httpx.AsyncClient
) -> None:
    keys = [{**customer, "Idempotency-Key": f"k{n}"} for n in range(20)]
    answers = await asyncio.gather(*(http.post(CLAIM, headers=headers) for headers in keys))
    refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code == 409]
    assert refused == ["quota_customer"] * 19
    await until(lambda: world.settled(demo))
    assert await world.stock(demo) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}


async def test_one_key_of_two_customers_is_two_keys(demo: Services, http: httpx.AsyncClient) -> None:
    await world.put(demo, 5)
    people = await world.signed_in(demo, 2)
    answers = [await http.post(CLAIM, headers={**one, "Idempotency-Key": "k"}) for one in people]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all("Idempotency-Hit" not in answer.headers for answer in answers)


async def test_as_many_keys_as_rewards_a_customer(demo: Services) -> None:
    await world.put(demo, 10, per_customer=3)
    answers = await asyncio.gather(*(world.answer(demo, world.request("a", f"k{n}")) for n in range(5)))
    assert sorted(answers) == ["granted"] * 3 + ["quota_customer"] * 2
    await until(lambda: world.settled(demo))
    assert await ledger.check(await open_bank(demo, TENANT)) == []
