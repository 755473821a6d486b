from __future__ import annotations

from typing import Any

import pytest

from customers import relationships, timeline
from customers.access import rm
from customers.actors import StaffActor
from customers.identity import resolution
from customers.identity.resolution import Facts
from services.container import Services
from services.errors import NotFound, NotSignedIn, PlatformRefused, Unavailable
from services.wechat.wecom.members import Members
from tests.conftest import Sandbox
from tests.support.banks import open_bank

CHEN, LI = StaffActor("demo", "rm.chen"), StaffActor("demo", "rm.li")
OTHER_CHEN = StaffActor("other", "rm.chen")


async def _friend(services: Services, actor: StaffActor, name: str, phone: str, at: float = 100.0) -> str:
    facts = Facts(external_userid=f"wm{name}", name=name, phone=f"+86{phone}" if phone else "")
    cid = await resolution.identify(await open_bank(services, actor.tenant), facts)
    await relationships.changed(
        await open_bank(services, actor.tenant), actor.userid, cid, at=at, active=True, state="s", add_way=1
    )
    return cid


async def test_an_rm_sees_his_present_friends_masked_and_newest_first(services: Services) -> None:
    first = await _friend(services, CHEN, "刘敏", "13800138000", at=100.0)
    second = await _friend(services, CHEN, "欧阳娜娜", "", at=200.0)
    await _friend(services, LI, "张三", "13900139000")
    await services.store.tenant("demo")["customers"].update({"_id": first}, {"$set": {"tags": ["vip"]}})
    assert await rm.list_customers(await open_bank(services, "demo"), CHEN) == [
        {"cid": second, "name": "欧***", "phone": "", "since": 200.0, "tags": []},
        {"cid": first, "name": "刘*", "phone": "138****8000", "since": 100.0, "tags": ["vip"]},
    ]
    await relationships.changed(await open_bank(services, "demo"), "rm.chen", second, at=300.0, active=False)
    at_bank = await open_bank(services, "demo")
    assert [row["cid"] for row in await rm.list_customers(at_bank, CHEN)] == [first]


async def test_the_card_is_masked_and_tells_the_story_newest_first(services: Services) -> None:
    cid = await _friend(services, CHEN, "刘敏", "13800138000")
    await timeline.record(await open_bank(services, "demo"), cid, "customer.added", "1", at=100.0, userid="rm.chen")
    await timeline.record(await open_bank(services, "demo"), cid, "customer.login", "1", at=200.0)
    card = await rm.customer_card(await open_bank(services, "demo"), CHEN, cid)
    assert (card["name"], card["phone"]) == ("刘*", "138****8000")
    assert card["follow"] == {"since": 100.0, "state": "s", "add_way": 1}
    assert [(row["kind"], row["data"]) for row in card["timeline"]] == [
        ("customer.login", {}),
        ("customer.added", {"userid": "rm.chen"}),
    ]
    assert not any(clear in repr(card) for clear in ("13800138000", "刘敏", "wm刘敏"))


@pytest.mark.parametrize(
    "actor", [LI, OTHER_CHEN, StaffActor("demo", "nobody")], ids=["colleague", "other bank", "nobody"]
)
async def test_who_does_not_follow_a_customer_cannot_know_that_he_exists(services: Services, actor: StaffActor) -> None:
    cid = await _friend(services, CHEN, "刘敏", "13800138000")
    with pytest.raises(NotFound) as refused:
        await rm.customer_card(await open_bank(services, actor.tenant), actor, cid)
    with pytest.raises(NotFound) as unknown:
        await rm.customer_card(await open_bank(services, actor.tenant), actor, "demo:nobody")
    assert (refused.value.code, refused.value.message) == (unknown.value.code, unknown.value.message)
    assert await rm.list_customers(await open_bank(services, actor.tenant), actor) == []


async def test_a_friendship_that_ended_closes_the_card(services: Services) -> None:
    cid = await _friend(services, CHEN, "刘敏", "13800138000")
    await rm.customer_card(await open_bank(services, "demo"), CHEN, cid)
    await relationships.changed(await open_bank(services, "demo"), "rm.chen", cid, at=200.0, active=False)
    with pytest.raises(NotFound):
        await rm.customer_card(await open_bank(services, "demo"), CHEN, cid)


async def test_the_same_userid_at_two_banks_is_two_people(services: Services) -> None:
    ours = await _friend(services, CHEN, "刘敏", "13800138000")
    theirs = await _friend(services, OTHER_CHEN, "刘敏", "13800138000")
    at_bank = await open_bank(services, "demo")
    assert [row["cid"] for row in await rm.list_customers(at_bank, CHEN)] == [ours]
    at_bank = await open_bank(services, "other")
    assert [row["cid"] for row in await rm.list_customers(at_bank, OTHER_CHEN)] == [theirs]
    for actor, cid in ((CHEN, theirs), (OTHER_CHEN, ours)):
        with pytest.raises(NotFound):
            await rm.customer_card(await open_bank(services, actor.tenant), actor, cid)


async def test_an_oauth_code_signs_its_rm_in_once(bank: Services, sandbox: Sandbox) -> None:
    code = await sandbox.oauth_code("rm.chen")
    assert await rm.staff_login(await open_bank(bank, "demo"), code) == CHEN
    for bad in (code, "OA" + "x" * 28):
        with pytest.raises(NotSignedIn) as refused:
            await rm.staff_login(await open_bank(bank, "demo"), bad)
        assert (refused.value.code, refused.value.status) == ("login_code_invalid", 401)


async def test_who_is_not_on_the_banks_list_is_no_staff(bank: Services, sandbox: Sandbox) -> None:
    await bank.store.tenant("demo")["staff"].update({"userid": "rm.chen"}, {"$set": {"active": False}})
    with pytest.raises(NotSignedIn) as refused:
        await rm.staff_login(await open_bank(bank, "demo"), await sandbox.oauth_code("rm.chen"))
    assert refused.value.code == "not_staff"


async def test_a_stranger_whom_wecom_knows_as_a_customer_is_no_staff(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stranger(self: Any, code: str) -> dict[str, Any]:
        return {"openid": "oO1", "external_userid": "wmE"}

    monkeypatch.setattr(Members, "get_user_info", stranger)
    with pytest.raises(NotSignedIn) as refused:
        await rm.staff_login(await open_bank(bank, "demo"), "OA1")
    assert refused.value.code == "not_staff"


@pytest.mark.parametrize("errcode", [40029, 40163, 41008, 42003, 42022])
async def test_a_dead_oauth_code_is_asked_once_and_the_rm_starts_again(
    bank: Services, sandbox: Sandbox, errcode: int
) -> None:
    path = "/cgi-bin/auth/getuserinfo"
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": errcode, "path": path})
    with pytest.raises(NotSignedIn) as refused:
        await rm.staff_login(await open_bank(bank, "demo"), await sandbox.oauth_code("rm.chen"))
    assert refused.value.code == "login_code_invalid"
    assert (await sandbox.control("GET", "calls"))["counts"]["/wecom" + path] == 1


@pytest.mark.parametrize("errcode", [50001, 60020, 48002, 40998])
async def test_what_wecom_refuses_for_good_is_no_outage(bank: Services, sandbox: Sandbox, errcode: int) -> None:
    path = "/cgi-bin/auth/getuserinfo"
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": errcode, "path": path})
    with pytest.raises(PlatformRefused) as refused:
        await rm.staff_login(await open_bank(bank, "demo"), await sandbox.oauth_code("rm.chen"))
    assert (refused.value.code, refused.value.status) == ("wecom_refused", 502)


async def test_while_wecom_is_away_the_rm_is_asked_to_try_again(bank: Services, sandbox: Sandbox) -> None:
    code = await sandbox.oauth_code("rm.chen")
    await sandbox.control("POST", "faults", {"target": "api", "kind": "http", "path": "/cgi-bin/auth/getuserinfo"})
    with pytest.raises(Unavailable) as refused:
        await rm.staff_login(await open_bank(bank, "demo"), code)
    assert (refused.value.code, refused.value.status) == ("wecom_unavailable", 503)
    await sandbox.control("DELETE", "faults")
    assert await rm.staff_login(await open_bank(bank, "demo"), code) == CHEN


async def test_the_rm_is_sent_to_his_own_banks_wecom(bank: Services) -> None:
    url = await rm.authorize_url(await open_bank(bank, "demo"), "https://crm.bank.example/sidebar/back", "s1")
    assert url.startswith(f"{bank.settings.wechat_open_base}/connect/oauth2/authorize?")
    assert "appid=ww0c0ffee000000001" in url
    assert "scope=snsapi_base" in url
    assert "state=s1" in url
    with pytest.raises(NotFound):
        await rm.authorize_url(await open_bank(bank, "nobank"), "https://crm.bank.example/", "s1")
