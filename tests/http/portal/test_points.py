"""A customer's points in the mini-program: as JSON, and as a page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.item import Item
from rewards.points import earning, spending
from services.container import Services
from services.documents.parts import Text
from tests.conftest import Sandbox
from tests.integration.rewards import points_world as world
from tests.integration.rewards.world import ENDS, STARTS
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until


@pytest.fixture
async def bank(demo: Services) -> Bank:
    bank = await open_bank(demo, "demo")
    await world.begin(bank)
    return bank


async def _cid(bank: Bank, client: httpx.AsyncClient) -> str:
    token = client.headers["Authorization"].split()[1]
    session = await bank.services.sessions.read("customer", token)
    assert session is not None
    return str(session["cid"])


async def _told(client: httpx.AsyncClient, query: str = "", lang: str = "zh") -> dict[str, Any]:
    answer = await client.get(f"/mp/{world.APPID}/points{query}", headers={"Accept-Language": lang})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_statement_says_what_he_has_and_what_it_was_for(bank: Bank, customer: httpx.AsyncClient) -> None:
    cid = await _cid(bank, customer)
    await earning.earn(bank, world.login(cid, "k", bank.now()))
    soon = bank.utc().replace(microsecond=0) + timedelta(days=3)
    await world.give(bank, cid, 100, soon)
    await until(lambda: world.settled(bank))
    await spending.spend(bank, cid, 30, "order", Text(zh="咖啡券", en="Coffee voucher"))
    await until(lambda: world.settled(bank))
    told = await _told(customer, lang="en")
    assert (told["program"], told["available"], told["held"]) == ("Yinqiao Points", 80, 0)
    last = (soon.astimezone(bank.tz) - timedelta(seconds=1)).date().isoformat()
    assert told["expiring"] == [{"points": 70, "until": last}]
    assert told["ways"] == [{"title": "Signing in", "points": 10, "per_day": 50, "per_month": None, "ever": None}]
    assert [(line["points"], line["kind"], line["what"]) for line in told["lines"]] == [
        (-30, "spend", "Coffee voucher"),
        (100, "earn", "Signing in"),
        (10, "earn", "Signing in"),
    ]
    assert told["next"] == ""


async def test_lines_come_in_pages_and_none_is_left_out(bank: Bank, customer: httpx.AsyncClient) -> None:
    cid = await _cid(bank, customer)
    for n in range(7):
        await world.give(bank, cid, n + 1, None, f"k{n}")
    await until(lambda: world.settled(bank))
    found: list[int] = []
    query = "?limit=3"
    for _ in range(9):
        told = await _told(customer, query)
        found += [line["points"] for line in told["lines"]]
        if not told["next"]:
            break
        query = f"?limit=3&before={told['next']}"
    assert found == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("query", ["?before=nothing", "?before=1-2", "?limit=0", "?limit=101", "?limit=x"])
async def test_what_is_no_page_is_refused(bank: Bank, customer: httpx.AsyncClient, query: str) -> None:
    answer = await customer.get(f"/mp/{world.APPID}/points{query}")
    assert answer.status_code == 400


async def test_points_are_given_to_nobody_else(bank: Bank, customer: httpx.AsyncClient) -> None:
    body = {"to": "demo:another", "points": 10}
    answer = await customer.post(f"/mp/{world.APPID}/points/transfers", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "points_not_transferable")


async def test_a_bank_without_a_programme_has_a_page_without_points(
    demo: Services, customer: httpx.AsyncClient
) -> None:
    told = await _told(customer)
    assert (told["program"], told["available"], told["lines"], told["ways"]) == ("", 0, [], [])


async def _put(bank: Bank, stock: int = 5) -> None:
    item = Item(kind="points", title=Text(zh="新客积分"), cost=100, points=300)
    definition = catalogue.Definition(
        key="r", item=item, stock=stock, per_customer=1, per_day=None, open_to="anyone", starts=STARTS, ends=ENDS
    )
    await catalogue.put(bank, "camp", definition)
    await catalogue.set_state(bank, "camp", "live")


async def test_a_reward_of_points_is_on_the_account_once(bank: Bank, customer: httpx.AsyncClient) -> None:
    await world.begin(bank, rules={})
    await _put(bank)
    headers = {"Idempotency-Key": "k"}
    claimed = await customer.post(f"/mp/{world.APPID}/rewards/camp.r/claim", headers=headers)
    redemption = claimed.json()["redemption"]
    assert (redemption["code"], redemption["points"]) == ("", 300)
    await until(lambda: _inbox(bank))
    for _ in range(2):
        await jobs.handle_inbox(bank)
        await bank.db["inbox"].update({"source": "rewards"}, {"$set": {"open": True, "due": 0.0, "state": None}})
    await until(lambda: world.settled(bank))
    told = await _told(customer)
    assert (told["available"], [line["what"] for line in told["lines"]]) == (300, ["新客积分"])
    (row,) = await world.transfers(bank, kind="points")
    assert row["about"]["reward"] == "camp.r"


async def _inbox(bank: Bank) -> bool:
    return await bank.db["inbox"].count({"source": "rewards"}) == 1


async def test_points_that_are_granted_before_there_is_a_programme_come_with_it(
    demo: Services, customer: httpx.AsyncClient
) -> None:
    bank = await open_bank(demo, "demo")
    await _put(bank)
    await customer.post(f"/mp/{world.APPID}/rewards/camp.r/claim", headers={"Idempotency-Key": "k"})
    await until(lambda: _inbox(bank))
    await jobs.handle_inbox(bank)
    assert (await _told(customer))["available"] == 0
    await world.begin(bank)
    await bank.db["inbox"].update({"source": "rewards"}, {"$set": {"due": 0.0}})
    await jobs.handle_inbox(bank)
    await until(lambda: world.settled(bank))
    assert (await _told(customer))["available"] == 300


async def test_the_page_shows_the_same_in_both_languages(bank: Bank, http: httpx.AsyncClient, sandbox: Sandbox) -> None:
    code = await sandbox.open(await sandbox.person(), world.APPID)
    await http.get(f"/preview/{world.APPID}/?code={code}")
    row = (await bank.db["customers"].find({}, sort=[("created_at", -1)], limit=1))[0]
    for n in range(25):
        await world.give(bank, row["_id"], 1_000 + n, bank.utc() + timedelta(days=3), f"k{n}")
    await until(lambda: world.settled(bank))
    page = (await http.get(f"/preview/{world.APPID}/points")).text
    assert "我的积分" in page
    assert "25,300" in page
    assert "最后可用日期" in page
    assert "每天最多 50" in page
    assert orjson.dumps(page).count(b"+1,0") == 20
    (earlier,) = [part.split('"')[0] for part in page.split('href="') if "before=" in part.split('"')[0]]
    second = (await http.get(f"{earlier}&lang=en")).text
    assert "Statement" in second
    assert second.count("+1,0") == 5
    assert len(page.encode()) < 150_000
