"""One customer, from the scan of a code to a redeemed reward, through every wall that is there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from customers.access import rm
from customers.actors import StaffActor
from customers.banks import apply
from customers.identity import resolution
from rewards import ledger
from services.container import Services
from services.wechat.wecom.customers import Customers
from tests.conftest import DEMO_BANK, Sandbox
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until

BANK, LIFE = "wx5ab0000000000001", "wx5ab0000000000002"


async def login(http: httpx.AsyncClient, sandbox: Sandbox, person: dict[str, Any], appid: str = BANK) -> dict[str, str]:
    answer = await http.post(f"/mp/{appid}/login", json={"code": await sandbox.open(person, appid)})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_a_scan_leads_to_a_redeemed_reward(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    scan = await sandbox.scan(person, state="branch-q1.sz-nanshan")
    assert scan["delivered"] is True
    await jobs.handle_inbox(await open_bank(demo, "demo"))

    seen = await sandbox.control("GET", f"people/{person['id']}")
    welcomes = (await sandbox.control("GET", "welcomes"))["welcomes"]
    assert len(welcomes) == 1, seen
    assert "刘敏您好" in str(welcomes[0])
    assert "来源:sz-nanshan" in str(seen) or "sz-nanshan" in str(seen["friends"])

    headers = await login(http, sandbox, person)
    home = (await http.get(f"/mp/{BANK}/home", headers=headers)).json()
    assert home["rm"]["branch"] == "深圳南山支行"
    assert {r["id"]: r["state"] for r in home["rewards"]}["acq-branch.coffee"] == "claimable"

    path = f"/mp/{BANK}/rewards/acq-branch.coffee/claim"
    first = await http.post(path, headers={**headers, "Idempotency-Key": "k1"})
    again = await http.post(path, headers={**headers, "Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert "Idempotency-Hit" not in first.headers
    assert again.headers["Idempotency-Hit"] == "true"
    assert first.json() == again.json()
    other = await http.post(path, headers={**headers, "Idempotency-Key": "k2"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "quota_customer")

    had = (await http.get(f"/mp/{BANK}/redemptions", headers=headers)).json()["redemptions"]
    assert [row["id"] for row in had] == [first.json()["redemption"]["id"]]
    await until(lambda: _settled(demo))
    assert await ledger.check(await open_bank(demo, "demo")) == []

    life = await login(http, sandbox, person, LIFE)
    assert (await http.get(f"/mp/{LIFE}/redemptions", headers=life)).json()["redemptions"] == had

    code = await sandbox.phone_code(person, BANK)
    bound = await http.post(f"/mp/{BANK}/phone", headers=headers, json={"code": code, "consent": "phone/2026-11"})
    assert bound.status_code == 200, bound.text
    await jobs.handle_inbox(await open_bank(demo, "demo"))  # the claim is told to his story
    actor = StaffActor("demo", scan["userid"])
    (listed,) = await rm.list_customers(await open_bank(demo, actor.tenant), actor)
    assert listed["phone"] == "138****8000"
    card = await rm.customer_card(await open_bank(demo, actor.tenant), actor, listed["cid"])
    kinds = {row["kind"] for row in card["timeline"]}
    told = {"customer.added", "campaign.entered", "welcome.sent", "tag.added", "reward.offered"}
    assert kinds >= told | {"reward.claimed", "phone.bound"}
    assert (await resolution.customer(await open_bank(demo, "demo"), listed["cid"])).phone == "+8613800138000"


async def test_another_spelling_of_the_rm_in_the_file_is_greeted_by_his_name_and_branch(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    file = DEMO_BANK.read_text(encoding="utf-8").replace("userid: rm.li,", "userid: RM.Li,")
    file = file.replace("name: 李嘉宁", "name: 测试")
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": -1})
    await apply.apply_tenant(demo, file, "tenant.yaml")  # WeCom is away: the file's spelling holds
    await sandbox.control("DELETE", "faults")
    demo.cache.clear()
    person = await sandbox.person("刘敏")
    await sandbox.scan(person, state="branch-q1.sz-nanshan", userid="rm.li")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (welcome,) = (await sandbox.control("GET", "welcomes"))["welcomes"]
    assert "深圳南山支行的客户经理测试" in str(welcome)


async def _settled(services: Services) -> bool:
    rows = await services.store.tenant("demo")["rewards"].find({})
    return all(row["held"] == 0 for row in rows)


async def test_a_claim_ends_the_wait_for_it(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    person = await sandbox.person()
    await sandbox.scan(person, state="branch-q1.gz-tianhe")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    runs = demo.store.tenant("demo")["runs"]
    (run,) = await runs.find({})
    assert (run["status"], run["waiting"], run["pending_steps"]) == ("active", "reward.claimed", [])
    headers = await login(http, sandbox, person)
    await http.post(f"/mp/{BANK}/rewards/acq-branch.coffee/claim", headers={**headers, "Idempotency-Key": "k"})
    await until(lambda: _settled(demo))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (run,) = await runs.find({})
    assert (run["status"], run["open"]) == ("done", False)


async def test_fifty_scans_in_one_second_are_fifty_welcomes(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    people = await asyncio.gather(*(sandbox.person(f"客户{n}") for n in range(50)))
    await asyncio.gather(*(sandbox.scan(person, state="branch-q1.sz-futian") for person in people))
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert (await sandbox.control("GET", "welcomes"))["count"] == 50
    assert await demo.store.tenant("demo")["runs"].count({}) == 50
    assert await demo.store.tenant("demo")["inbox"].count({"state": "handled"}) == 50


async def test_a_claim_is_told_to_the_story_once_however_often_it_is_told(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person = await sandbox.person()
    headers = await login(http, sandbox, person)
    await http.post(f"/mp/{BANK}/rewards/flash.voucher/claim", headers={**headers, "Idempotency-Key": "k"})
    await until(lambda: _settled(demo))
    db = demo.store.tenant("demo")
    for _ in range(2):
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        assert await db["timeline"].count({"kind": "reward.claimed"}) == 1
        await db["inbox"].update_many(
            {}, {"$set": {"open": True, "due": 0.0}}
        )  # as if the worker had died after telling


async def test_who_comes_back_is_a_friend_again_though_the_details_are_old(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WeCom's details may still carry the first friendship's time (the sandbox's are fresh, so they are aged here)."""
    person = await sandbox.person()
    first = await sandbox.scan(person, state="branch-q1.sz-nanshan", userid="rm.chen")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    await sandbox.control("POST", "clock", {"advance": 5})
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": "rm.chen"})
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert await rm.list_customers(await open_bank(demo, "demo"), StaffActor("demo", "rm.chen")) == []
    fetch = Customers.get

    async def aged(client: Any, external_userid: str, cursor: str = "") -> dict[str, Any]:
        answer = await fetch(client, external_userid, cursor)
        for user in answer["follow_user"]:
            user["createtime"] = first["create_time"]
        return answer

    monkeypatch.setattr(Customers, "get", aged)
    await sandbox.control("POST", "clock", {"advance": 5})
    await sandbox.scan(person, state="branch-q1.sz-nanshan", userid="rm.chen")
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert len(await rm.list_customers(await open_bank(demo, "demo"), StaffActor("demo", "rm.chen"))) == 1
