"""The mirror of customer groups: every order of telling ends as WeCom has it, and a joining is one story."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from customers.banks import bank as banks_bank
from customers.identity import resolution
from customers.wecom_mirror import groups
from operations.sync import run
from services.container import Services
from services.store.mongo import Doc
from services.wechat import events
from tests.conftest import Sandbox
from tests.support import jobs, killing
from tests.support.banks import open_bank
from tests.support.clock import StillClock

V0 = "0" * 32


def inbox_row(services: Services, name: str) -> Doc:
    return {"_id": f"demo:{name}", "at": datetime.fromtimestamp(services.clock(), UTC)}


def told(cls: type[events.GroupEvent], chat_id: str, at: float | None = None, **fields: Any) -> events.GroupEvent:
    when = None if at is None else datetime.fromtimestamp(at, UTC)
    return cls(corp_id="c", create_time=when, chat_id=chat_id, **fields)


def updated(chat_id: str, detail: str, who: tuple[str, ...] = (), last: str = "", now: str = "", **more: Any) -> Any:
    scenes = {"join_scene": None, "quit_scene": None, **more}
    versions = {"last_mem_ver": last, "cur_mem_ver": now}
    counts = {"member_changes": who, "mem_change_cnt": len(who)}
    return told(events.GroupUpdated, chat_id, update_detail=detail, **scenes, **versions, **counts)


async def react(services: Services, *tellings: events.GroupEvent) -> None:
    for number, event in enumerate(tellings):
        await groups.group_changed(await open_bank(services, "demo"), inbox_row(services, f"e{number}"), event)


async def made(sandbox: Sandbox, *people: dict[str, Any]) -> dict[str, Any]:
    body = {"owner": "rm.chen", "name": "南山理财交流群", "people": [one["id"] for one in people]}
    return dict(await sandbox.control("POST", "groups", body))


async def group(sandbox: Sandbox, chat_id: str) -> dict[str, Any]:
    return dict(await sandbox.control("GET", f"groups/{chat_id}"))


async def mirror(services: Services, chat_id: str) -> tuple[Doc, list[str]]:
    """The group's row, and its present people by WeCom's ids."""
    db = services.store.tenant("demo")
    row = await db["groups"].find_one({"_id": f"demo:{chat_id}"})
    assert row is not None
    present = await db["group_members"].find({"chat_id": chat_id, "active": True})
    names = [
        one["userid"] or services.vault.open_text("demo", "group_members", "who", one["_id"], one["who"])
        for one in present
    ]
    return row, sorted(names)


async def stories(services: Services) -> list[tuple[str, str]]:
    rows = await services.store.tenant("demo")["timeline"].find({})
    return sorted((row["kind"], row["data"].get("how", "")) for row in rows if row["kind"].startswith("group."))


async def test_a_new_group_comes_in_with_its_people(bank: Services, sandbox: Sandbox) -> None:
    liu, zhou = await sandbox.person("刘敏"), await sandbox.person("周强")
    there = await made(sandbox, liu, zhou)
    await react(bank, told(events.GroupCreated, there["chat_id"]))
    row, present = await mirror(bank, there["chat_id"])
    assert (groups.name_of(await open_bank(bank, "demo"), row), row["owner"], row["people"], row["customers"]) == (
        "南山理财交流群", "rm.chen", 3, 2,
    )  # fmt: skip
    assert present == sorted(["rm.chen", liu["external_userid"], zhou["external_userid"]])
    assert row["version"] == (await group(sandbox, there["chat_id"]))["version"]
    assert await stories(bank) == [("group.joined", "")] * 2


async def test_people_of_whom_only_an_id_is_known_become_customers_when_they_are_known(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WeCom tells no unionid of who is nobody's friend, unless the corp is bound to the mini-program."""
    person = await sandbox.person("刘敏")
    one = {"userid": person["external_userid"], "type": 2, "name": "刘敏", "join_time": 5}
    tenant = await banks_bank.open_bank(bank, "demo")
    told_group = {"chat_id": "wrA", "owner": "rm.chen", "member_list": [one], "member_version": V0}
    assert await groups.bring(tenant, told_group, bank.clock())
    db = bank.store.tenant("demo")
    assert (await db["customers"].count(), await stories(bank)) == (0, [])
    cid = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid=person["external_userid"])
    )
    assert await groups.bring(tenant, told_group, bank.clock())
    (row,) = await db["group_members"].find({})
    assert (row["cid"], await stories(bank)) == (cid, [("group.joined", "")])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a_dismissal_ends_the_group_in_whatever_order_it_is_told(
    bank: Services, sandbox: Sandbox, order: tuple[int, ...]
) -> None:
    there = await made(sandbox, await sandbox.person("刘敏"))
    chat_id = there["chat_id"]
    await sandbox.control("POST", f"groups/{chat_id}/rename", {"name": "新名"})
    tellings = [
        told(events.GroupCreated, chat_id),
        updated(chat_id, "change_name"),
        told(events.GroupDismissed, chat_id),
    ]
    if order[0] != 2:
        await react(bank, tellings[order[0]])
    await sandbox.control("DELETE", f"groups/{chat_id}")
    await react(bank, *(tellings[place] for place in order))
    row, present = await mirror(bank, chat_id)
    assert (row["active"], row["ended_by"], row["people"], present) == (False, "event", 0, [])


@pytest.mark.parametrize("number", range(6))
async def test_a_group_that_is_brought_in_has_its_joinings_wherever_that_was_cut_short(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Who stands in the group is told of: nobody would tell of him later."""
    person = await sandbox.person("刘敏")
    tenant = await banks_bank.open_bank(bank, "demo")
    await resolution.identify(tenant, resolution.Facts(external_userid=person["external_userid"]))
    one = {"userid": person["external_userid"], "type": 2, "name": "刘敏", "join_time": 5}
    told_group = {"chat_id": "wrA", "owner": "rm.chen", "member_list": [one], "member_version": V0}
    with monkeypatch.context() as patch:
        struck = killing.before_write(patch, number)
        with contextlib.suppress(killing.Killed):
            await groups.bring(tenant, told_group, bank.clock())
    assert struck() or number >= 3
    assert await groups.bring(tenant, told_group, bank.clock())
    assert await stories(bank) == [("group.joined", "")]


async def test_goings_that_the_event_names_whole_cost_no_call(bank: Services, sandbox: Sandbox) -> None:
    liu, zhou = await sandbox.person("刘敏"), await sandbox.person("周强")
    there = await made(sandbox, liu, zhou)
    chat_id, before = there["chat_id"], there["version"]
    await react(bank, told(events.GroupCreated, chat_id))
    await sandbox.control("POST", f"groups/{chat_id}/leave", {"person": liu["id"], "removed": True})
    after = (await group(sandbox, chat_id))["version"]
    await sandbox.control(
        "POST", "faults", {"target": "api", "kind": "errcode", "path": "groupchat/get", "errcode": -1}
    )
    gone = updated(chat_id, "del_member", (liu["external_userid"],), before, after, quit_scene=1)
    await react(bank, gone, gone)
    row, present = await mirror(bank, chat_id)
    assert (row["version"], row["people"], row["customers"]) == (after, 2, 1)
    assert present == sorted(["rm.chen", zhou["external_userid"]])
    assert await stories(bank) == [("group.joined", ""), ("group.joined", ""), ("group.left", "removed")]


async def test_a_gap_in_the_versions_reads_the_whole_group_again(bank: Services, sandbox: Sandbox) -> None:
    """The event of the joining was lost."""
    liu, zhou = await sandbox.person("刘敏"), await sandbox.person("周强")
    there = await made(sandbox, liu)
    chat_id = there["chat_id"]
    await react(bank, told(events.GroupCreated, chat_id))
    await sandbox.control("POST", f"groups/{chat_id}/join", {"person": zhou["id"]})
    between = (await group(sandbox, chat_id))["version"]
    await sandbox.control("POST", f"groups/{chat_id}/leave", {"person": liu["id"]})
    after = (await group(sandbox, chat_id))["version"]
    await react(bank, updated(chat_id, "del_member", (liu["external_userid"],), between, after, quit_scene=0))
    row, present = await mirror(bank, chat_id)
    assert (row["version"], present) == (after, sorted(["rm.chen", zhou["external_userid"]]))
    assert await stories(bank) == [("group.joined", ""), ("group.joined", ""), ("group.left", "left")]


async def test_who_comes_back_is_in_the_group_and_has_two_joinings(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    liu = await sandbox.person("刘敏")
    tenant = await banks_bank.open_bank(bank, "demo")

    def group_of(version: str, *joined: int) -> dict[str, Any]:
        people = [
            {"userid": liu["external_userid"], "type": 2, "unionid": "oUnion", "name": "刘敏", "join_time": at}
            for at in joined
        ]
        return {"chat_id": "wrA", "owner": "rm.chen", "member_list": people, "member_version": version}

    for version, joined in (("1", [10]), ("2", []), ("3", [20])):
        assert await groups.bring(tenant, group_of(version, *joined), clock())
    row, present = await mirror(bank, "wrA")
    assert (row["version"], present) == ("3", [liu["external_userid"]])
    assert await stories(bank) == [("group.joined", ""), ("group.joined", ""), ("group.left", "unknown")]


async def test_an_older_answer_undoes_nothing(bank: Services, sandbox: Sandbox, clock: StillClock) -> None:
    """Two workers asked WeCom, and who asked first writes last."""
    tenant = await banks_bank.open_bank(bank, "demo")
    one = {"userid": "rm.li", "type": 1, "join_time": 5}
    empty = {"chat_id": "wrA", "owner": "rm.chen", "member_list": [], "member_version": "1"}
    full = {**empty, "member_list": [one], "member_version": "2"}
    first, second = clock(), clock()
    assert await groups.bring(tenant, full, second)
    assert not await groups.bring(tenant, empty, first)
    row, present = await mirror(bank, "wrA")
    assert (row["version"], present) == ("2", ["rm.li"])


async def test_a_sync_brings_in_changes_and_closes(bank: Services, sandbox: Sandbox, clock: StillClock) -> None:
    person = await sandbox.person("刘敏")
    kept, gone = await made(sandbox, person), await made(sandbox)
    first = await _synced(bank)
    assert (first["done"], first["new"], first["gone"]) == (2, 2, 0)
    await sandbox.control("POST", f"groups/{kept['chat_id']}/leave", {"person": person["id"]})
    await sandbox.control("DELETE", f"groups/{gone['chat_id']}")
    second = await _synced(bank)
    assert (second["done"], second["new"], second["changed"], second["gone"]) == (1, 0, 1, 1)
    assert (await mirror(bank, kept["chat_id"]))[1] == ["rm.chen"]
    assert (await mirror(bank, gone["chat_id"]))[0]["ended_by"] == "sync"
    third = await _synced(bank)
    assert (third["done"], third["new"], third["changed"], third["gone"]) == (1, 0, 0, 0)


async def test_a_corp_that_is_too_large_to_list_is_listed_by_owner(bank: Services, sandbox: Sandbox) -> None:
    await made(sandbox, await sandbox.person("刘敏"))
    too_large = {"target": "api", "kind": "errcode", "path": "groupchat/list", "errcode": 81017, "times": 1}
    await sandbox.control("POST", "faults", too_large)
    assert (await _synced(bank))["new"] == 1


async def test_an_owner_whom_wecom_does_not_take_holds_up_no_other_owners_groups(
    bank: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("POST", "groups", {"owner": "rm.wang", "name": "群", "people": []})
    for errcode, times in ((81017, 1), (60111, 3)):  # refused: six owners, three of them, the first alone
        fault = {"target": "api", "kind": "errcode", "path": "groupchat/list", "errcode": errcode, "times": times}
        await sandbox.control("POST", "faults", fault)
    assert (await _synced(bank))["new"] == 1
    errors = await bank.store.tenant("demo")["sync_errors"].find({})
    assert [row["code"] for row in errors] == ["platform_subject_state:60111"]


async def _synced(bank: Services) -> dict[str, Any]:
    await run.start(await open_bank(bank, "demo"), "cli", parts=["groups"])
    for _ in range(5):
        await jobs.sync(await open_bank(bank, "demo"))
        row = await run.latest(await open_bank(bank, "demo"))
        assert row is not None
        if not row["open"]:
            return dict(row["counts"]["groups"])
    raise AssertionError(f"still {row['state']}: {row['reason']}")


async def test_no_name_and_no_customers_id_lies_in_clear(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("欧阳小敏")
    there = await made(sandbox, person)
    await react(bank, told(events.GroupCreated, there["chat_id"]))
    for name in ("groups", "group_members"):
        dump = str(await bank.store.tenant("demo")[name].find({}))
        assert "欧阳小敏" not in dump
        assert "南山理财交流群" not in dump
        assert person["external_userid"] not in dump


async def test_a_group_that_wecom_shows_late_is_read_again(bank: Services, sandbox: Sandbox, clock: StillClock) -> None:
    """contract/wechat B7: `groupchat/get` may answer as it was before the change that the event told of."""
    liu, zhou = await sandbox.person("刘敏"), await sandbox.person("周强")
    there = await made(sandbox, liu)
    chat_id = there["chat_id"]
    await react(bank, told(events.GroupCreated, chat_id))
    before, _ = await mirror(bank, chat_id)
    await sandbox.control("POST", "switches", {"group_lag_seconds": 60})
    await sandbox.control("POST", f"groups/{chat_id}/join", {"person": zhou["id"]})
    now = (await group(sandbox, chat_id))["version"]
    joined = updated(chat_id, "add_member", (zhou["external_userid"],), before["version"], now, join_scene=0)
    clock.now += 5
    await react(bank, joined)
    assert (await mirror(bank, chat_id))[0]["version"] == before["version"]
    for state in ("group_lags", "group_lags", ""):
        clock.now += groups.LAG_SECONDS * 2
        if not state:
            await sandbox.control("POST", "clock", {"advance": 60})
        await jobs.send_effects(await open_bank(bank, "demo"))
        (effect,) = await bank.store.tenant("demo")["outbox"].find({"kind": "group"})
        assert effect["reason"] == state
    row, present = await mirror(bank, chat_id)
    assert (effect["state"], row["version"], zhou["external_userid"] in present) == ("done", now, True)


async def test_a_group_whose_newer_change_was_read_meanwhile_is_not_asked_for_again(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    liu, zhou = await sandbox.person("刘敏"), await sandbox.person("周强")
    chat_id = (await made(sandbox, liu))["chat_id"]
    await react(bank, told(events.GroupCreated, chat_id))
    before, _ = await mirror(bank, chat_id)
    await sandbox.control("POST", "switches", {"group_lag_seconds": 60})
    await sandbox.control("POST", f"groups/{chat_id}/join", {"person": zhou["id"]})
    now = (await group(sandbox, chat_id))["version"]
    clock.now += 5
    await react(bank, updated(chat_id, "add_member", (zhou["external_userid"],), before["version"], now))
    await sandbox.control("POST", "clock", {"advance": 60})
    clock.now += 5
    await groups.read(await open_bank(bank, "demo"), chat_id, clock.now)
    asked = (await sandbox.control("GET", "calls"))["counts"]["/wecom/cgi-bin/externalcontact/groupchat/get"]
    clock.now += 60
    await jobs.send_effects(await open_bank(bank, "demo"))
    (effect,) = await bank.store.tenant("demo")["outbox"].find({"kind": "group"})
    calls = (await sandbox.control("GET", "calls"))["counts"]["/wecom/cgi-bin/externalcontact/groupchat/get"]
    assert (effect["state"], calls) == ("done", asked)
