"""Acquisition links: made once, whoever comes through them, their figures, and the alarms of the balance."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from campaigns.channels import acquisition, live_codes
from campaigns.channels.balance import known as known_balance
from campaigns.channels.balance import read as read_balance
from campaigns.publishing import versions
from customers.banks import bank as banks_bank
from operations.sync import run as syncing
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Doc
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import WELCOME

TEXT = (
    WELCOME.replace("codes('c')", "codes('ads')").replace(
        "codes: {c: {per: branch, branches: all}}",
        "links: {ads: {branches: [sz-nanshan]}, vip: {staff: [rm.liu, rm.gone]}}",
    )
    + "- {id: hi, send: {via: wecom.welcome, template: hi}}\n- {id: tag, tag: {add: ['来源:{{channel.branch}}']}}\n"
)
CREATE = "customer_acquisition/create_link"


async def links(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The links at WeCom by name."""
    return {one["link_name"]: one for one in (await sandbox.control("GET", "links"))["links"]}


async def channel(services: Services, state: str) -> Doc:
    row = await services.store.tenant("demo")["channels"].find_one({"state": state})
    assert row is not None
    return row


async def clicked(sandbox: Sandbox, link: dict[str, Any], state: str, **more: Any) -> dict[str, Any]:
    person = await sandbox.person("刘敏")
    body = {"link": link["link_id"], "channel": state, **more}
    await sandbox.control("POST", f"people/{person['id']}/click", body)
    return person


async def raised(services: Services, state: str = "open") -> list[tuple[str, str]]:
    rows = await services.store.tenant("demo")["alarms"].find({"state": state})
    return sorted((row["kind"], row["key"]) for row in rows if row["kind"].startswith("link"))


def inbox_row(services: Services, name: str) -> Doc:
    return {"_id": f"demo:{name}", "at": datetime.fromtimestamp(services.clock(), UTC)}


def balance(level: Any, at: float) -> events.AcquisitionBalance:
    return events.AcquisitionBalance(corp_id="c", create_time=datetime.fromtimestamp(at, UTC), level=level)


async def react(services: Services, *tellings: events.Event) -> None:
    for number, event in enumerate(tellings):
        await acquisition.acquisition_changed(
            await open_bank(services, "demo"), inbox_row(services, f"e{number}"), event
        )


async def test_links_are_made_once_with_their_state(demo: Services, sandbox: Sandbox) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, TEXT)
    said = await versions.apply(bank, TEXT, "t.yaml", "cli")
    assert said == ["campaign hello: version 1 is this document already"]
    made = await links(sandbox)
    assert {name: one["user_list"] for name, one in made.items()} == {
        "ads.sz-nanshan": ["rm.chen", "rm.li"], "vip": ["rm.liu"],
    }  # fmt: skip
    row = await channel(demo, "ads.sz-nanshan")
    assert row["url"] == f"{made['ads.sz-nanshan']['url']}?customer_channel=ads.sz-nanshan"
    assert await live_codes.of_campaign(bank, "hello") == []


async def test_an_answer_that_was_lost_makes_no_second_link(demo: Services, sandbox: Sandbox) -> None:
    bank = await open_bank(demo, "demo")
    await tools.fault(sandbox, "timeout_after_success", CREATE, times=1)
    with pytest.raises(Unavailable, match="wecom_unavailable"):
        await versions.apply(bank, TEXT, "t.yaml", "cli")
    assert sorted(await links(sandbox)) == ["ads.sz-nanshan"]
    await versions.apply(bank, TEXT, "t.yaml", "cli")
    assert len((await sandbox.control("GET", "links"))["links"]) == 2


async def test_who_comes_through_a_link_enters_its_campaign(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    await tools.go_live(demo, TEXT)
    await clicked(sandbox, (await links(sandbox))["ads.sz-nanshan"], "ads.sz-nanshan")
    await tools.all_work(demo)
    (run,) = await tools.runs(demo)
    assert run["campaign"] == "hello"
    tag = await tools.effect(demo, "tag")
    assert tag["state"] == "done"
    arrivals = await demo.store.tenant("demo")["arrivals"].find({"state": "ads.sz-nanshan"})
    assert sorted(bool(row["userid"]) for row in arrivals) == [False, True]
    assert [row.get("what") for row in arrivals if not row["userid"]] == ["requested"]


async def test_figures_and_balance_are_read_every_hour(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, TEXT)
    link = (await links(sandbox))["ads.sz-nanshan"]
    person = await clicked(sandbox, link, "ads.sz-nanshan", userid="rm.chen")
    await clicked(sandbox, link, "ads.sz-nanshan")
    await clicked(sandbox, link, "ads.sz-nanshan", add=False)
    await sandbox.control("POST", f"people/{person['id']}/message", {"userid": "rm.chen", "text": "您好"})
    await jobs.keep_channels(bank)
    mirror = await demo.store.tenant("demo")["acquisition_links"].find_one({"link_id": link["link_id"]})
    assert mirror is not None
    names = ("clicks", "new", "came", "silent", "wrote")
    assert {name: mirror["figures"][name] for name in names} == {
        "clicks": 3, "new": 2, "came": 2, "silent": 1, "wrote": 1,
    }  # fmt: skip
    known = await known_balance(bank)
    assert (known["balance"], known["level"]) == ((await sandbox.control("GET", "links"))["quota"]["balance"], "ok")
    row = await channel(demo, "ads.sz-nanshan")
    assert 3000 < row["due"] - clock() <= acquisition.LOOK_SECONDS


async def test_members_of_a_link_follow_the_branch(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await tools.go_live(demo, TEXT)
    await demo.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"active": False}})
    clock.advance(2)
    await jobs.keep_channels(await open_bank(demo, "demo"))
    assert (await links(sandbox))["ads.sz-nanshan"]["user_list"] == ["rm.chen"]


async def test_each_level_of_the_balance_is_told_once_until_it_is_back(demo: Services, sandbox: Sandbox) -> None:
    await tools.go_live(demo, TEXT)
    now = demo.clock() - 1000
    await react(demo, balance("low", now), balance("low", now), balance("exhausted", now + 10))
    assert await raised(demo) == [("links.balance_exhausted", "0"), ("links.balance_low", "0")]
    await react(demo, balance("increased", now + 20), balance("increased", now + 20))
    assert await raised(demo) == []
    await react(demo, balance("low", now + 30))
    assert await raised(demo) == [("links.balance_low", str(int(now + 20)))]
    (alarm,) = await demo.store.tenant("demo")["alarms"].find({"state": "open", "kind": "links.balance_low"})
    assert alarm["userids"] == ["rm.chen", "rm.liu", "rm.wang"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_levels_told_in_any_order_end_as_the_newest(demo: Services, order: tuple[int, ...]) -> None:
    now = demo.clock() - 1000
    tellings = [balance("low", now), balance("exhausted", now + 10), balance("increased", now + 20)]
    await react(demo, *(tellings[place] for place in order))
    assert (await raised(demo), (await known_balance(await open_bank(demo, "demo")))["level"]) == ([], "ok")


async def test_the_hourly_reading_raises_what_no_event_told_and_ends_it(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    soon = int(clock()) + 5 * 86400
    quota = {"balance": 7, "quota_list": [{"expire_date": soon, "balance": 5}]}
    await sandbox.control("POST", "acquisition/quota", quota)
    bank = await banks_bank.open_bank(demo, "demo")
    await read_balance(bank)
    clock.advance(3601)
    await read_balance(bank)
    expected = [("links.balance_low", "0"), ("links.quota_expiring", f"{soon}:7")]
    assert await raised(demo) == expected
    await react(demo, balance("low", clock()))
    expire = datetime.fromtimestamp(soon, UTC)
    when = datetime.fromtimestamp(soon - 7 * 86400 + 60, UTC)
    await react(demo, events.QuotaExpiring(corp_id="c", create_time=when, expire_time=expire, expire_quota_num=5))
    assert await raised(demo) == expected
    await sandbox.control("POST", "acquisition/quota", {"balance": 900, "quota_list": []})
    clock.advance(3601)
    await read_balance(bank)
    assert await raised(demo) == [("links.quota_expiring", f"{soon}:7")]


async def test_a_link_that_is_deleted_is_told_and_made_again_by_the_next_version(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, TEXT)
    await jobs.keep_channels(bank)
    link = (await links(sandbox))["ads.sz-nanshan"]
    await sandbox.control("POST", f"links/{link['link_id']}/unavailable")
    await sandbox.control("DELETE", f"links/{link['link_id']}")
    await tools.all_work(demo)
    rows = await demo.store.tenant("demo")["alarms"].find({"state": "open"})
    assert sorted((row["kind"], row["userids"], row["data"]["state"]) for row in rows) == [
        ("link.deleted", ["rm.chen"], "ads.sz-nanshan"), ("link.unavailable", ["rm.chen"], "ads.sz-nanshan"),
    ]  # fmt: skip
    assert (await channel(demo, "ads.sz-nanshan"))["at_wecom"] == "wanted"
    await versions.apply(bank, TEXT, "t.yaml", "cli")
    assert sorted(await links(sandbox)) == ["ads.sz-nanshan", "vip"]
    assert (await channel(demo, "ads.sz-nanshan"))["at_wecom"] == "present"


async def test_what_a_customer_of_a_link_writes_is_in_his_story(
    demo: Services, http: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    await tools.go_live(demo, TEXT)
    link = (await links(sandbox))["ads.sz-nanshan"]
    person = await clicked(sandbox, link, "ads.sz-nanshan", userid="rm.chen")
    for _ in range(3):
        await sandbox.control("POST", f"people/{person['id']}/message", {"userid": "rm.chen", "text": "您好"})
    await tools.all_work(demo)
    rows = await demo.store.tenant("demo")["timeline"].find({})
    told = {row["kind"]: row["data"] for row in rows if row["kind"].startswith("link.")}
    assert sorted(told) == ["link.chat_started", "link.message"]
    assert told["link.message"] == {
        "userid": "rm.chen", "messages": 3, "link_id": link["link_id"], "state": "ads.sz-nanshan",
    }  # fmt: skip


async def test_a_chat_key_that_is_over_is_not_asked_for(demo: Services, sandbox: Sandbox) -> None:
    long_ago = datetime.fromtimestamp(demo.clock() - acquisition.KEY_SECONDS - 1, UTC)
    ids = {"userid": "rm.chen", "external_userid": "wmX" + "0" * 29}
    await tools.fault(sandbox, "errcode", "customer_acquisition/get_chat_info", errcode=-1)
    await react(demo, events.MessageFromCustomer(corp_id="c", create_time=long_ago, chat_key="K", **ids))
    (row,) = await demo.store.tenant("demo")["timeline"].find({"kind": "link.message"})
    assert row["data"]["messages"] is None


async def test_a_sync_leaves_our_links_as_they_are(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    bank = await open_bank(demo, "demo")
    await tools.go_live(demo, TEXT)
    await jobs.keep_channels(bank)
    await syncing.start(bank, "cli", parts=["live_codes", "links"])
    clock.advance(1)
    await jobs.sync(bank)
    row = await syncing.latest(bank)
    assert row is not None
    assert row["state"] == "done"
    told = {name: (one["new"], one["changed"], one["gone"]) for name, one in row["counts"].items()}
    assert told == {"live_codes": (0, 0, 0), "links": (0, 0, 0)}
    mirror = await demo.store.tenant("demo")["acquisition_links"].find({}, limit=None)
    assert all(one["figures"]["came"] == 0 for one in mirror)
