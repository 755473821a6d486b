"""WeCom's live codes follow who stands behind them (tests/unit/campaigns/test_who_is_behind.py)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from campaigns.channels import reconcile, rosters
from operations import scheduler
from services.container import Services
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import WELCOME

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"
UPDATE = "externalcontact/update_contact_way"
STAFF = ["rm.chen", "rm.li"]


async def way(sandbox: Sandbox, state: str) -> dict[str, Any]:
    (found,) = [one for one in (await sandbox.control("GET", "ways"))["ways"] if one["state"] == state]
    return dict(found)


async def channel(services: Services, state: str = tools.CODE) -> Doc:
    row = await services.store.tenant("demo")["channels"].find_one({"state": state})
    assert row is not None
    return row


def text(**code: Any) -> str:
    fields = {"per": "branch", "branches": "all", **code}
    body = "{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"
    return WELCOME.replace("{per: branch, branches: all}", body) + HI


async def came(services: Services, sandbox: Sandbox, http: httpx.AsyncClient, count: int) -> list[str]:
    """So many customers scan, one after the other, and what they caused is done; whom WeCom gave them to."""
    given = []
    for number in range(count):
        _, scan = await tools.scanned(sandbox, http, tools.CODE, f"客户{number}")
        given.append(scan["userid"])
        await tools.all_work(services)
        await jobs.keep_channels(await open_bank(services, "demo"))
    return given


async def test_at_the_cap_an_rm_is_taken_out_and_nobody_over_it_gets_more(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox, clock: MovedClock
) -> None:
    await tools.go_live(demo, text(daily_cap=2, backup="[rm.wang]"))
    given = await came(demo, sandbox, http, 6)
    assert sorted(given[:4]) == ["rm.chen", "rm.chen", "rm.li", "rm.li"]
    assert given[4:] == ["rm.wang", "rm.wang"]
    assert (await way(sandbox, tools.CODE))["user"] == ["rm.wang"]
    assert (await channel(demo))["users"] == ["rm.wang"]
    clock.advance(24 * 3600)
    await jobs.keep_channels(await open_bank(demo, "demo"))
    assert (await way(sandbox, tools.CODE))["user"] == ["rm.chen", "rm.li"]


async def test_without_the_looks_wecom_goes_on_giving_customers_over_the_cap(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """The race: the guard is off."""
    await tools.go_live(demo, text(daily_cap=1, backup="[rm.wang]"))
    given = []
    for number in range(6):
        given.append((await tools.scanned(sandbox, http, tools.CODE, f"客户{number}"))[1]["userid"])
        await tools.all_work(demo)
    assert sorted(given) == ["rm.chen"] * 3 + ["rm.li"] * 3


async def test_an_add_is_counted_once_however_often_it_is_handled(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    await tools.go_live(demo, text(daily_cap=5))
    await came(demo, sandbox, http, 1)
    inbox = demo.store.tenant("demo")["inbox"]
    await inbox.update_many({}, {"$set": {"open": True, "due": 0.0, "owner": None}})
    await tools.all_work(demo)
    row = await channel(demo)
    today = await rosters.today(await open_bank(demo, "demo"), tools.CODE, rosters.day_of(row["tz"], demo.clock()))
    assert sum(today.values()) == 1


async def test_the_add_that_reaches_the_cap_makes_the_code_due_even_while_it_is_looked_at(
    demo: Services, sandbox: Sandbox
) -> None:
    await tools.go_live(demo, text(daily_cap=1))
    held = {"due": demo.clock() + 60, "owner": "somebody"}
    await demo.store.tenant("demo")["channels"].update({"state": tools.CODE}, {"$set": held})
    row = await channel(demo)
    await rosters.came(await open_bank(demo, "demo"), row, "rm.chen", "demo:cid", demo.clock())
    woken = await channel(demo)
    assert (woken["owner"], woken["due"] <= demo.clock()) == (None, True)


async def test_nobody_left_keeps_the_last_and_tells_the_head_once_a_day(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, text(daily_cap=1))
    row = await channel(demo)
    for userid in STAFF:
        await rosters.came(bank, row, userid, f"demo:{userid}", clock())
    for _ in range(3):
        await jobs.keep_channels(bank)
        clock.advance(61)
    assert (await way(sandbox, tools.CODE))["user"] == STAFF
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({"kind": "code.nobody"})
    assert (alarm["data"]["state"], alarm["userids"]) == (tools.CODE, ["rm.chen"])


async def test_a_leaver_is_taken_out_of_the_code(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, text())
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    clock.advance(61)
    await jobs.keep_channels(bank)
    assert (await way(sandbox, tools.CODE))["user"] == ["rm.chen"]
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": True}})
    clock.advance(61)
    await jobs.keep_channels(bank)
    assert (await way(sandbox, tools.CODE))["user"] == STAFF


async def test_a_code_changes_a_few_times_a_minute_and_then_waits(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await tools.go_live(demo, text())
    rows = demo.store.tenant("demo")["channels"]
    for turn in range(5):
        await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": turn % 2 == 1}})
        await rows.update({"state": tools.CODE}, {"$set": {"due": clock()}})
        clock.advance(2)
        await jobs.keep_channels(await open_bank(demo, "demo"))
    row = await channel(demo)
    assert (row["users"], len(row["updates"])) == (["rm.chen"], rosters.MOST_UPDATES)
    assert clock() < row["due"] < clock() + rosters.LOOK_SECONDS


async def test_two_workers_change_a_code_once(demo: Services, second: Services, sandbox: Sandbox) -> None:
    await tools.go_live(demo, text())
    second.cache.clear()
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    await demo.store.tenant("demo")["channels"].update({"state": tools.CODE}, {"$set": {"due": 0.0}})
    demo.cache.clear()
    await asyncio.gather(*[jobs.keep_channels(await open_bank(one, "demo")) for one in (demo, second, demo, second)])
    assert len((await channel(demo))["updates"]) == 1


async def test_an_answer_that_was_lost_is_asked_for_again(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, text())
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    clock.advance(61)
    await tools.fault(sandbox, "timeout_after_success", UPDATE, times=1)
    await jobs.keep_channels(bank)
    both = (tools.CODE, tools.NANSHAN)
    assert sorted([(await channel(demo, state))["users"] for state in both]) == [["rm.chen"], STAFF]
    clock.advance(61)
    await jobs.keep_channels(bank)
    for state in both:
        assert (await channel(demo, state))["users"] == (await way(sandbox, state))["user"] == ["rm.chen"]


async def test_what_wecom_refuses_for_good_is_an_alarm(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await tools.go_live(demo, text())
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    clock.advance(61)
    await tools.fault(sandbox, "errcode", UPDATE, errcode=84074)
    await jobs.keep_channels(await open_bank(demo, "demo"))
    raised = await demo.store.tenant("demo")["alarms"].find({"kind": "channel.refused"})
    assert {alarm["data"]["state"]: alarm["data"]["why"] for alarm in raised} == {
        tools.CODE: "platform_subject_state:84074", tools.NANSHAN: "platform_subject_state:84074",
    }  # fmt: skip
    row = await channel(demo)
    assert (row["users"], row["open"], row["due"] < clock() + reconcile.RETRY.most) == (STAFF, True, True)


async def test_a_new_version_reaches_a_code_that_is_there(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await tools.go_live(demo, text())
    clock.advance(1)
    await tools.go_live(demo, text(slots='[{from: "00:00", to: "00:00", staff: [rm.li]}]', skip_verify="false"))
    await jobs.keep_channels(await open_bank(demo, "demo"))
    found = await way(sandbox, tools.CODE)
    assert (found["user"], found["skip_verify"]) == (["rm.li"], False)


async def test_a_channel_that_cannot_be_looked_after_holds_up_no_other(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await tools.go_live(demo, text())
    await demo.store.tenant("demo")["channels"].update({"state": tools.CODE}, {"$unset": {"branch": ""}})
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    clock.advance(61)
    await jobs.keep_channels(await open_bank(demo, "demo"))
    assert (await way(sandbox, tools.NANSHAN))["user"] == ["rm.chen"]
    row = await channel(demo)
    assert (row["users"], row["owner"], row["due"] > clock()) == (STAFF, None, True)


async def test_arrivals_of_long_ago_are_forgotten(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, text())
    row = await channel(demo)
    await rosters.came(bank, row, "rm.chen", "demo:a", clock() - (rosters.KEPT_DAYS + 2) * 86400)
    await rosters.came(bank, row, "rm.chen", "demo:b", clock())
    await scheduler.tick(bank)
    (left,) = await demo.store.tenant("demo")["arrivals"].find({})
    assert left["day"] == rosters.day_of(row["tz"], clock())
