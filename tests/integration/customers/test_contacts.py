"""Members and departments: whatever the order of events, we end where WeCom is; who belongs to a branch is its staff."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customers import relationships
from customers.banks import apply
from customers.banks.staff import staff_member
from customers.identity import resolution
from customers.wecom_mirror import members
from services.container import Services
from services.errors import NotFound
from services.wechat.events import DepartmentChanged, MemberChanged, MemberLeft
from tests.conftest import DEMO_BANK, Sandbox
from tests.support.banks import open_bank
from tests.support.clock import StillClock

ROW: dict[str, Any] = {"_id": "demo:e", "at": datetime.fromtimestamp(1_800_000_000, UTC)}


def head(at: float) -> dict[str, Any]:
    return {"corp_id": "ww", "create_time": datetime.fromtimestamp(at, UTC)}


async def changed(bank: Services, userid: str, at: float, new: str = "") -> None:
    event = MemberChanged(**head(at), change="update", userid=userid, new_userid=new, fields={})
    await members.member_changed(await open_bank(bank, "demo"), ROW, event)


async def left(bank: Services, userid: str, at: float) -> None:
    await members.member_left(await open_bank(bank, "demo"), ROW, MemberLeft(**head(at), userid=userid))


async def staff(bank: Services, userid: str) -> dict[str, Any] | None:
    bank.cache.clear()
    row = await bank.store.tenant("demo")["staff"].find_one({"_id": f"demo:{userid}"})
    return None if row is None else {name: row.get(name) for name in ("branch", "active", "source")}


async def member(bank: Services, userid: str) -> dict[str, Any]:
    row = await bank.store.tenant("demo")["members"].find_one({"_id": f"demo:{userid}"})
    assert row is not None
    return {name: row.get(name) for name in ("active", "name", "departments", "status")}


async def test_a_new_member_of_a_branchs_department_is_its_staff(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3})
    await changed(bank, "rm.new", 1_800_000_010)
    assert await staff(bank, "rm.new") == {"branch": "sz-futian", "active": True, "source": "wecom"}
    assert await member(bank, "rm.new") == {"active": True, "name": "何新", "departments": [3], "status": 1}


async def test_who_is_in_the_file_stays_where_the_file_puts_him(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members/rm.li", {"department": 4})
    await changed(bank, "rm.li", 1_800_000_010)
    assert await staff(bank, "rm.li") == {"branch": "sz-nanshan", "active": True, "source": "file"}


async def test_moving_to_another_department_moves_the_staff_member_and_leaving_all_ends_him(
    bank: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3})
    await changed(bank, "rm.new", 1_800_000_010)
    await sandbox.control("POST", "members/rm.new", {"department": 4})
    await changed(bank, "rm.new", 1_800_000_020)
    assert (await staff(bank, "rm.new") or {})["branch"] == "gz-tianhe"
    await sandbox.control("POST", "members/rm.new", {"department": 1})
    await changed(bank, "rm.new", 1_800_000_030)
    assert await staff(bank, "rm.new") == {"branch": "gz-tianhe", "active": False, "source": "wecom"}


async def test_a_department_below_a_branchs_counts_as_the_branchs(bank: Services, sandbox: Sandbox) -> None:
    made = await sandbox.control("POST", "departments", {"name": "财富中心", "parentid": 2})
    department = int(made["department"]["id"])
    event = DepartmentChanged(
        **head(1_800_000_005), change="create", department_id=department, name=None, parent_id=None, order=None
    )
    await members.department_changed(await open_bank(bank, "demo"), ROW, event)
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": department})
    await changed(bank, "rm.new", 1_800_000_010)
    assert (await staff(bank, "rm.new") or {})["branch"] == "sz-nanshan"


@pytest.mark.parametrize("status", [2, 5])
async def test_a_disabled_member_is_staff_no_more(bank: Services, sandbox: Sandbox, status: int) -> None:
    await sandbox.control("POST", "members/rm.chen", {"status": status})
    await changed(bank, "rm.chen", 1_800_000_010)
    assert (await staff(bank, "rm.chen") or {})["active"] is False
    with pytest.raises(NotFound):
        await staff_member(await open_bank(bank, "demo"), "rm.chen")


async def test_a_member_who_left_is_staff_no_more_also_when_an_older_change_is_told_after(
    bank: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("DELETE", "members/rm.chen")
    await left(bank, "rm.chen", 1_800_000_020)
    await changed(bank, "rm.chen", 1_800_000_010)
    assert (await staff(bank, "rm.chen") or {})["active"] is False
    row = await bank.store.tenant("demo")["members"].find_one({"_id": "demo:rm.chen"})
    assert (row or {})["active"] is False


async def test_a_leaving_that_is_told_after_the_coming_back_changes_nothing(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3})
    await changed(bank, "rm.new", 1_800_000_020)
    before = await member(bank, "rm.new")
    await left(bank, "rm.new", 1_800_000_010)
    assert await member(bank, "rm.new") == before
    assert (await staff(bank, "rm.new") or {})["active"] is True


async def test_a_new_userid_takes_the_friendships_and_the_place_along(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    cid = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid=person["external_userid"])
    )
    relation = relationships.FollowInfo("rm.chen", 1_799_999_000.0, "", 1, "刘总", "VIP", ())
    await relationships.bring(await open_bank(bank, "demo"), cid, relation, 1_799_999_500.0)
    await sandbox.control("POST", "members/rm.chen", {"userid": "rm.chen2"})
    await changed(bank, "rm.chen", 1_800_000_010, new="rm.chen2")
    await changed(bank, "rm.chen", 1_800_000_010, new="rm.chen2")
    assert await relationships.of_staff(await open_bank(bank, "demo"), "rm.chen") == []
    (row,) = await relationships.of_staff(await open_bank(bank, "demo"), "rm.chen2")
    assert (row["cid"], row["at"]) == (cid, 1_799_999_000.0)
    assert relationships.open_notes(await open_bank(bank, "demo"), row) == {"remark": "刘总", "description": "VIP"}
    assert await staff(bank, "rm.chen2") == {"branch": "sz-nanshan", "active": True, "source": "file"}
    assert (await staff(bank, "rm.chen") or {})["active"] is False


async def test_who_left_before_his_new_userid_is_told_does_not_get_back_in_by_it(
    bank: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("POST", "members/rm.chen", {"userid": "rm.chen2"})
    await sandbox.control("DELETE", "members/rm.chen2")
    await left(bank, "rm.chen2", 1_800_000_020)
    await changed(bank, "rm.chen", 1_800_000_010, new="rm.chen2")
    assert (await staff(bank, "rm.chen") or {})["active"] is False
    assert (await staff(bank, "rm.chen2") or {})["active"] is False


async def test_departments_in_any_order_end_as_in_order(bank: Services, sandbox: Sandbox) -> None:
    made = await sandbox.control("POST", "departments", {"name": "财富中心", "parentid": 2})
    department = int(made["department"]["id"])

    async def tell(change: Any, at: float) -> None:
        event = DepartmentChanged(
            **head(at), change=change, department_id=department, name="x", parent_id=1, order=None
        )
        await members.department_changed(await open_bank(bank, "demo"), ROW, event)

    await sandbox.control("POST", f"departments/{department}", {"name": "私人银行"})
    await tell("update", 1_800_000_020)
    await tell("create", 1_800_000_010)
    row = await bank.store.tenant("demo")["departments"].find_one({"department_id": department})
    assert ((row or {})["name"], (row or {})["parent_id"], (row or {})["active"]) == ("私人银行", 2, True)
    await sandbox.control("DELETE", f"departments/{department}")
    await tell("delete", 1_800_000_030)
    await tell("update", 1_800_000_025)
    row = await bank.store.tenant("demo")["departments"].find_one({"department_id": department})
    assert (row or {})["active"] is False


async def test_applying_the_file_again_leaves_staff_of_departments_alone(bank: Services, sandbox: Sandbox) -> None:
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3})
    await changed(bank, "rm.new", 1_800_000_010)
    await apply.apply_tenant(bank, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    assert (await staff(bank, "rm.new") or {})["active"] is True
