"""Userids compare as WeCom compares them: `RM.Li` in the bank's file is WeCom's `rm.li`."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from customers import relationships
from customers.access import rm
from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.banks import apply, staff
from customers.handover import batches
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.intercepts import Rule, submit
from customers.wecom_mirror import members
from operations.events import dispatch
from services.clock import utc
from services.container import Services
from services.errors import InvalidInput, NotFound
from services.wechat import events
from tests.conftest import DEMO_BANK, Sandbox
from tests.support.banks import open_bank

LIN = ClerkActor("demo", "lin", "林晓", frozenset())


def file(**spelled: str) -> str:
    """The demo bank's file with these userids (`rm_li` for rm.li) spelled otherwise."""
    text = DEMO_BANK.read_text(encoding="utf-8")
    for userid, spelling in spelled.items():
        text = text.replace(f" {userid.replace('_', '.')},", f" {spelling},")
    return text


async def _apply(services: Services, text: str) -> list[str]:
    said = await apply.apply_tenant(services, text, "tenant.yaml")
    services.cache.clear()
    return said


async def _sign_in(services: Services, sandbox: Sandbox, userid: str) -> str:
    at_bank = await open_bank(services, "demo")
    return (await rm.staff_login(at_bank, await sandbox.oauth_code(userid))).userid


async def test_another_spelling_in_the_file_is_the_same_member(services: Services, sandbox: Sandbox) -> None:
    await _apply(services, file(rm_li="RM.Li", rm_chen="Rm.Chen"))
    at_bank = await open_bank(services, "demo")
    assert await _sign_in(services, sandbox, "rm.li") == "rm.li"
    assert (await staff.staff_member(at_bank, "rm.li")).branch == "sz-nanshan"
    assert (await staff.staff_of_branches(at_bank))["sz-nanshan"] == ["rm.chen", "rm.li"]
    assert at_bank.heads["sz-nanshan"] == "rm.chen"
    assert await services.store.tenant("demo")["staff"].count() == 6


async def test_the_file_may_spell_what_wecom_spells_with_capitals(services: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members/rm.li", {"userid": "RM.Li"})
    await _apply(services, file())
    assert await _sign_in(services, sandbox, "rm.li") == "RM.Li"
    assert (await staff.staff_of_branches(await open_bank(services, "demo")))["sz-nanshan"] == ["RM.Li", "rm.chen"]


async def test_while_wecom_is_away_the_file_holds_and_the_spelling_comes_with_the_first_sign_in(
    services: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("POST", "faults", {"target": "api", "kind": "errcode", "errcode": -1})
    said = await _apply(services, file(rm_li="RM.Li"))
    assert said[-1].startswith("the members were not checked with WeCom")
    await sandbox.control("DELETE", "faults")
    at_bank = await open_bank(services, "demo")
    assert (await staff.staff_member(at_bank, "rm.li")).userid == "RM.Li"
    assert await _sign_in(services, sandbox, "rm.li") == "rm.li"
    services.cache.clear()
    assert (await staff.staff_member(at_bank, "RM.LI")).userid == "rm.li"


async def test_two_entries_that_differ_in_letter_case_alone_are_refused(services: Services) -> None:
    wrong = file().replace("\nclerks:", "\n  - {userid: RM.Li, name: 测试, branch: sz-nanshan}\nclerks:")
    with pytest.raises(InvalidInput, match="RM.Li is there twice, as rm.li before"):
        await apply.apply_tenant(services, wrong, "tenant.yaml")
    assert await services.store.system("tenants").count() == 0


async def test_who_is_unknown_or_may_have_no_customers_is_said(services: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "新人", "department": 1, "contact": False})
    document: dict[str, Any] = yaml.safe_load(file())
    document["staff"] += [
        {"userid": "rm.new", "name": "新人", "branch": "sz-futian"},
        {"userid": "rm.typo", "name": "写错", "branch": "gz-tianhe"},
    ]
    document["branches"][0]["head"] = "rm.nobody"
    said = await _apply(services, yaml.safe_dump(document, allow_unicode=True))
    assert sorted(said[1:]) == [
        "rm.new of sz-futian: has no right to customer contact at WeCom",
        "rm.nobody: WeCom knows no such member",
        "rm.typo of gz-tianhe: WeCom knows no such member",
    ]
    assert len(await _apply(services, file())) == 1


async def test_a_userid_that_changes_in_letter_case_alone_ends_nobody(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    cid = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    await relationships.changed(at_bank, "rm.li", cid, at=1.0, active=True, state="", add_way=1)
    token = await rm.open_session(at_bank, await rm.staff_login(at_bank, await sandbox.oauth_code("rm.li")))
    await sandbox.control("POST", "members/rm.li", {"userid": "RM.Li"})
    at = bank.clock()
    event = events.MemberChanged(
        corp_id="ww", create_time=utc(at), change="update", userid="rm.li", new_userid="RM.Li", fields={}
    )
    await members.member_changed(at_bank, {"_id": "demo:1", "at": utc(at)}, event)
    bank.cache.clear()
    still = await rm.actor_of(at_bank, token)
    assert [row["cid"] for row in await rm.list_customers(at_bank, still)] == [cid]
    assert await _sign_in(bank, sandbox, "RM.Li") == "RM.Li"
    assert [row["cid"] for row in await relationships.of_staff(at_bank, "RM.Li")] == [cid]
    assert await bank.store.tenant("demo")["alarms"].count() == 0


async def test_a_leaver_of_the_file_in_another_spelling_is_out(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("DELETE", "members/rm.li")
    at_bank, at = await open_bank(bank, "demo"), bank.clock()
    event = events.MemberLeft(corp_id="ww", create_time=utc(at), userid="RM.LI")
    await members.member_left(at_bank, {"_id": "demo:1", "at": utc(at)}, event)
    bank.cache.clear()
    with pytest.raises(NotFound):
        await staff.staff_member(at_bank, "rm.li")


async def test_a_form_may_spell_a_member_otherwise(bank: Services) -> None:
    at_bank = await open_bank(bank, "demo")
    with pytest.raises(InvalidInput, match="handover_same"):
        await batches.start(at_bank, LIN, batches.Wanted("onjob", "rm.li", "RM.LI", "k"))
    change = await submit(at_bank, LIN, Rule("保本承诺", "block", ("保本",), userids=("RM.LI", "rm.li")))
    row = await bank.store.tenant("demo")["intercept_changes"].find_one({"_id": change})
    assert row is not None
    assert row["userids"] == ["rm.li"]


async def test_a_head_is_told_once_however_he_is_spelled(bank: Services) -> None:
    at_bank = await open_bank(bank, "demo")
    await alarms.raise_alarm(at_bank, "code.nobody", "k", userids=["RM.Chen", "rm.chen"], state="s")
    assert await bank.store.tenant("demo")["notices"].count() == 1
    assert await alarms.untold(at_bank, "RM.CHEN")


async def test_what_a_callback_spells_otherwise_is_of_one_friendship(bank: Services) -> None:
    at_bank = await open_bank(bank, "demo")
    await members.read_member(at_bank, "rm.li", at_bank.now())
    cid = await resolution.identify(at_bank, Facts(external_userid="wmE", name="刘敏"))
    await relationships.changed(at_bank, "rm.li", cid, at=1.0, active=True, state="", add_way=1)
    ids = {"corp_id": "ww", "create_time": utc(2.0), "userid": "RM.LI", "external_userid": "wmE"}
    row: Any = {"_id": "demo:1", "at": utc(2.0)}
    assert await dispatch.react(at_bank, row, events.FollowUserDeleted(**ids)) == (dispatch.HANDLED, None)
    assert await relationships.of_staff(at_bank, "rm.li") == []
    (known,) = await at_bank.db["relationships"].find({})
    assert (known["userid"], known["active"], known["at"]) == ("rm.li", False, 2.0)


async def test_a_leaver_with_capitals_stays_out_though_wecom_lists_him_still(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members/rm.li", {"userid": "RM.Li"})
    at_bank, at = await open_bank(bank, "demo"), bank.clock()
    told: dict[str, Any] = {"corp_id": "ww", "userid": "RM.Li"}
    row: Any = {"_id": "demo:1", "at": utc(at)}
    await members.member_left(at_bank, row, events.MemberLeft(**told, create_time=utc(at)))
    older = events.MemberChanged(**told, create_time=utc(at - 5), change="update", new_userid="", fields={})
    await members.member_changed(at_bank, row, older)
    assert await members.present_at(at_bank, "rm.li") is None
