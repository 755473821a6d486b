"""The sync with WeCom: what comes in, what is mended, and that no kill, race or refusal loses it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from campaigns.delivery import tagging
from customers import relationships
from customers.banks import bank as banks_bank
from customers.identity import resolution
from customers.wecom_mirror import customers
from customers.wecom_mirror.sync import Batch, Job, Outcome, Problem, keep_problems
from operations.sync import run as syncing
from operations.sync import view, walk
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.integration.customers.dump import of_store
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

BATCH = "/cgi-bin/externalcontact/batch/get_by_user"


async def people(sandbox: Sandbox, count: int, **more: Any) -> None:
    await sandbox.control("POST", "people/bulk", {"count": count, "seed": 7, **more})


async def run(services: Services, clock: MovedClock, *, shifts: int = 20) -> dict[str, Any]:
    """Works until the sync is over; the newest sync's row."""
    for _ in range(shifts):
        await jobs.sync(await open_bank(services, "demo"))
        row = await syncing.latest(await open_bank(services, "demo"))
        assert row is not None
        if not row["open"]:
            return row
        clock.advance(61)
    raise AssertionError(f"still {row['state']} in {row['part']}: {row['reason']}")


async def truth(sandbox: Sandbox) -> set[tuple[str, str]]:
    """Every friendship that the sandbox knows, as RM and external_userid."""
    told = await sandbox.control("GET", "truth")
    found: set[tuple[str, str]] = set()
    for userid in told["members"]:
        after: int | None = 0
        while after is not None:
            page = await sandbox.control("GET", "truth", userid=userid, limit=1000, after=after)
            found |= {(userid, one["external_userid"]) for one in page["customers"]}
            after = page["after"]
    return found


async def ours(services: Services) -> set[tuple[str, str]]:
    """Every friendship that we know, in the same words."""
    db = services.store.tenant("demo")
    names = {
        row["_id"]: services.vault.open_text("demo", "customers", "external_userid", row["_id"], row["external_userid"])
        for row in await db["customers"].find({}, limit=None)
    }
    rows = await db["relationships"].find({"active": True}, limit=None)
    assert len(rows) == len({(row["userid"], row["cid"]) for row in rows})
    return {(row["userid"], names[row["cid"]]) for row in rows}


async def counts(services: Services) -> dict[str, int]:
    db = services.store.tenant("demo")
    return {name: await db[name].count() for name in ("customers", "identities", "relationships")}


async def test_everything_that_wecom_has_comes_in_once(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await people(sandbox, 250, tagged=True, friends_each=2)
    assert await syncing.start(await open_bank(demo, "demo"), "cli") == (1, True)
    row = await run(demo, clock)
    assert (row["state"], sorted(row["counts"])) == ("done", sorted(syncing.PARTS))
    assert await ours(demo) == await truth(sandbox)
    assert await counts(demo) == {"customers": 250, "identities": 500, "relationships": 500}
    assert row["counts"]["customers"] | {"started_at": 0, "finished_at": 0} == {
        "started_at": 0, "finished_at": 0, "done": 500, "total": 500, "new": 500, "changed": 0, "gone": 0, "errors": 0,
    }  # fmt: skip
    assert (await demo.store.tenant("demo")["members"].count({"active": True})) == 6
    assert (await demo.store.tenant("demo")["departments"].count({"active": True})) == 4


async def test_a_second_sync_changes_nothing(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await people(sandbox, 120, tagged=True)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    await run(demo, clock)
    db, names = demo.store.tenant("demo"), ("customers", "identities", "relationships", "corp_tags")
    before = {name: await db[name].find({}, sort=[("_id", 1)], limit=None) for name in names}
    await syncing.start(await open_bank(demo, "demo"), "cli")
    row = await run(demo, clock)
    assert {name: await db[name].find({}, sort=[("_id", 1)], limit=None) for name in names} == before
    assert {
        name: (each["new"], each["changed"], each["gone"]) for name, each in row["counts"].items()
    } == dict.fromkeys(syncing.PARTS, (0, 0, 0))


async def test_short_and_empty_pages_end_nothing(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    """contract/wechat F7: only the cursor says that there is no more."""
    await people(sandbox, 330)
    fault = {"target": "api", "kind": "short_pages", "path": "batch/get_by_user"}
    await sandbox.control("POST", "faults", fault)
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["customers"])
    assert (await run(demo, clock))["state"] == "done"
    assert await ours(demo) == await truth(sandbox)


async def test_who_starts_second_joins_the_first(demo: Services, second: Services, sandbox: Sandbox) -> None:
    told = await asyncio.gather(
        *[syncing.start(await open_bank(one, "demo"), "cli") for one in (demo, second, demo, second)]
    )
    assert sorted(told) == [(1, False), (1, False), (1, False), (1, True)]
    assert await demo.store.tenant("demo")["syncs"].count() == 1
    assert await demo.store.tenant("demo")["audit"].count({"action": "sync.started"}) == 1


async def test_an_unknown_part_is_refused_and_nothing_begins(demo: Services) -> None:
    with pytest.raises(InvalidInput, match="no part money"):
        await syncing.start(await open_bank(demo, "demo"), "cli", parts=["money"])
    assert await syncing.latest(await open_bank(demo, "demo")) is None


async def test_a_cancelled_sync_stops_at_the_next_page(
    demo: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(sandbox, 250)
    pages = 0

    async def write(job: Job, batch: Batch) -> Outcome:
        nonlocal pages
        pages += 1
        await syncing.cancel(await open_bank(demo, "demo"), "cli")
        return await customers.CUSTOMERS_PART.write(job, batch)

    part = syncing.Part("customers", customers.CUSTOMERS_PART.read, write, private=True)
    monkeypatch.setitem(syncing.PARTS, "customers", part)
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["customers"])
    await jobs.sync(await open_bank(demo, "demo"))
    row = await syncing.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert (pages, row["state"], row["open"], row["counts"]) == (1, "cancelled", False, {})
    assert (await counts(demo))["customers"] == 100
    with pytest.raises(Conflict, match="sync_not_running"):
        await syncing.cancel(await open_bank(demo, "demo"), "cli")


async def test_a_platform_that_fails_is_waited_for(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await people(sandbox, 120)
    await tools.fault(sandbox, "errcode", BATCH, errcode=-1, times=9)
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["customers"])
    await jobs.sync(await open_bank(demo, "demo"))
    row = await syncing.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert (row["state"], row["reason"], row["open"]) == ("waiting", "platform_busy:-1", True)
    await run(demo, clock)
    assert await ours(demo) == await truth(sandbox)


async def test_a_part_that_is_refused_for_good_is_left_out_and_can_be_tried_again(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", "/cgi-bin/externalcontact/customer_acquisition/list_link", errcode=48002)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    row = await run(demo, clock)
    assert row["state"] == "done"
    assert row["counts"]["links"]["left_out"] is True
    (error,) = await demo.store.tenant("demo")["sync_errors"].find({})
    assert (error["part"], error["code"]) == ("links", "platform_bad_config:48002")
    await sandbox.control("DELETE", "faults")
    assert await syncing.retry(await open_bank(demo, "demo"), "cli", error["_id"].split(":", 1)[1]) is True
    row = await run(demo, clock)
    assert (row["number"], row["plan"], row["state"]) == (2, ["links"], "done")
    assert await demo.store.tenant("demo")["sync_errors"].count() == 0


async def test_an_object_that_fails_is_an_error_row_until_it_comes_in(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    """A live code that WeCom lists and does not tell."""
    await tools.fault(sandbox, "errcode", "/cgi-bin/externalcontact/get_contact_way", errcode=41044, times=1)
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["live_codes"])
    row = await run(demo, clock)
    assert row["counts"]["live_codes"]["errors"] == 1
    (error,) = await demo.store.tenant("demo")["sync_errors"].find({})
    assert (error["part"], error["attempts"], error["private"]) == ("live_codes", 1, False)
    name = error["_id"].split(":", 1)[1]
    await tools.fault(sandbox, "errcode", "/cgi-bin/externalcontact/get_contact_way", errcode=41044, times=1)
    assert await syncing.retry(await open_bank(demo, "demo"), "cli", name) is False
    (error,) = await demo.store.tenant("demo")["sync_errors"].find({})
    assert error["attempts"] == 2
    assert await syncing.retry(await open_bank(demo, "demo"), "cli", name) is True
    with pytest.raises(NotFound, match="sync_error_unknown"):
        await syncing.retry(await open_bank(demo, "demo"), "cli", name)


async def differences(services: Services) -> list[tuple[str, str, str]]:
    """Part, kind and what it is about, of the newest comparison."""
    number, found = await view.differences(await open_bank(services, "demo"))
    assert number is not None
    return sorted((row["part"], row["kind"], row["about"]) for row in found)


def nightly(services: Services, mode: str = "mend") -> Services:
    """The same services with the nightly comparison switched on."""
    return replace(services, settings=services.settings.model_copy(update={"nightly_sync": mode}))


async def night(clock: MovedClock, hour: int = 3) -> None:
    """It is so late, in China's time."""
    now = datetime.fromtimestamp(clock(), UTC) + timedelta(hours=8)
    wanted = (now + timedelta(days=1)).replace(hour=hour, minute=0, second=0, microsecond=0)
    clock.advance((wanted - now).total_seconds())


async def disagree(services: Services, sandbox: Sandbox, clock: MovedClock) -> tuple[str, str]:
    """Two friendships, of which one gets a tag and a remark in WeCom behind our back, and a third we do not know of."""
    await people(sandbox, 2, userids=["rm.chen"])
    await syncing.start(await open_bank(services, "demo"), "cli")
    await run(services, clock)
    tagged, other = sorted(one for _, one in await truth(sandbox))
    bank = await banks_bank.open_bank(services, "demo")
    client = bank.wecom
    tag = await tagging.tag_id(bank, "夜间")
    await client.tags.mark("rm.chen", tagged, add=[tag])
    await client.customers.remark("rm.chen", tagged, remark="刘总")
    await people(sandbox, 1, userids=["rm.wang"])
    return tagged, other


async def test_a_night_finds_what_differs_and_mends_it(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await disagree(demo, sandbox, clock)
    ghost = await resolution.identify(
        await open_bank(demo, "demo"), resolution.Facts(external_userid="wmGhost0000000000000000000000001")
    )
    await relationships.changed(await open_bank(demo, "demo"), "rm.li", ghost, at=clock() - 100, active=True)
    await night(clock)
    await syncing.nightly(await open_bank(nightly(demo), "demo"))
    row = await run(demo, clock)
    assert (row["kind"], row["by"], row["state"]) == ("nightly", "nightly", "done")
    assert await differences(demo) == [
        ("customers", "missing", "rm.wang"),
        ("customers", "notes", "rm.chen"),
        ("customers", "tags", "rm.chen"),
        ("friendships", "gone", "rm.li"),
        *await strange_codes(sandbox),
    ]
    assert await ours(demo) == await truth(sandbox)
    metric = demo.metrics.sync_differences.labels("demo", "customers")
    assert metric._value.get() == 2
    clock.advance(24 * 3600)
    await syncing.nightly(await open_bank(nightly(demo), "demo"))
    await run(demo, clock)
    assert await differences(demo) == await strange_codes(sandbox)


async def strange_codes(sandbox: Sandbox) -> list[tuple[str, str, str]]:
    """Live codes that no campaign made: there is none in the demo."""
    ways = (await sandbox.control("GET", "ways"))["ways"]
    assert all(way["state"].startswith(("branch-q1.", "c.")) for way in ways)
    return []


async def test_a_night_that_only_reports_changes_nothing(demo: Services, sandbox: Sandbox, clock: MovedClock) -> None:
    await disagree(demo, sandbox, clock)
    reporting = nightly(demo, "report")
    db, names = (
        demo.store.tenant("demo"),
        ("customers", "identities", "relationships", "corp_tags", "staff", "timeline"),
    )
    before = {name: await db[name].find({}, sort=[("_id", 1)], limit=None) for name in names}
    await night(clock)
    await syncing.nightly(await open_bank(reporting, "demo"))
    await run(reporting, clock)
    assert {name: await db[name].find({}, sort=[("_id", 1)], limit=None) for name in names} == before
    assert [one for one in await differences(demo) if one[0] == "customers"] == [
        ("customers", "missing", "rm.wang"),
        ("customers", "notes", "rm.chen"),
        ("customers", "tags", "rm.chen"),
    ]


async def test_a_night_that_is_off_begins_nothing(demo: Services, clock: MovedClock) -> None:
    await night(clock)
    await syncing.nightly(await open_bank(demo, "demo"))
    assert await syncing.latest(await open_bank(demo, "demo")) is None


async def test_a_night_begins_once_and_only_at_night(
    demo: Services, second: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await night(clock, hour=1)
    await syncing.nightly(await open_bank(nightly(demo), "demo"))
    assert await syncing.latest(await open_bank(demo, "demo")) is None
    await night(clock, hour=2)
    await asyncio.gather(
        *[syncing.nightly(await open_bank(nightly(one), "demo")) for one in (demo, second, demo, second)]
    )
    assert await demo.store.tenant("demo")["syncs"].count() == 1
    await syncing.cancel(await open_bank(demo, "demo"), "cli")
    clock.advance(3600)
    await syncing.nightly(await open_bank(nightly(demo), "demo"))
    assert await demo.store.tenant("demo")["syncs"].count() == 1


async def test_a_friendship_that_wecom_no_longer_knows_is_ended_and_told(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await people(sandbox, 5)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    await run(demo, clock)
    (gone, *_) = [row for row in await demo.store.tenant("demo")["relationships"].find({"active": True})]
    ghost = await resolution.identify(
        await open_bank(demo, "demo"), resolution.Facts(external_userid="wmGhost0000000000000000000000001")
    )
    await relationships.changed(
        await open_bank(demo, "demo"), gone["userid"], ghost, at=clock() - 100, active=True, state="", add_way=1
    )
    clock.advance(10)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    row = await run(demo, clock)
    assert row["counts"]["friendships"]["gone"] == 1
    assert await ours(demo) == await truth(sandbox)
    (story,) = await demo.store.tenant("demo")["timeline"].find({"cid": ghost, "kind": "sync.ended"})
    assert story["data"] == {"userid": gone["userid"]}


async def test_a_friendship_that_began_after_the_sync_is_not_ended_by_it(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await syncing.start(await open_bank(demo, "demo"), "cli", parts=["friendships"])
    cid = await resolution.identify(
        await open_bank(demo, "demo"), resolution.Facts(external_userid="wmNew000000000000000000000000001")
    )
    clock.advance(1)
    await relationships.changed(await open_bank(demo, "demo"), "rm.chen", cid, at=clock(), active=True)
    row = await run(demo, clock)
    assert row["counts"]["friendships"]["gone"] == 0
    assert await relationships.between(await open_bank(demo, "demo"), "rm.chen", [cid]) is not None


async def test_what_a_sync_ended_by_mistake_the_next_one_finds_again(
    demo: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await people(sandbox, 5)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    await run(demo, clock)
    rows = await demo.store.tenant("demo")["relationships"].find({"active": True})
    await relationships.end_unseen(await open_bank(demo, "demo"), rows, clock() + 5)
    assert await ours(demo) == set()
    clock.advance(10)
    await syncing.start(await open_bank(demo, "demo"), "cli")
    await run(demo, clock)
    assert await ours(demo) == await truth(sandbox)


async def test_nothing_of_a_customer_is_kept_in_clear(
    demo: Services, sandbox: Sandbox, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P6: neither by a sync that is halfway, nor by its errors and differences (with the ids that it met)."""
    await people(sandbox, 250)
    names = {external for _, external in await truth(sandbox)}
    clients = (await open_bank(demo, "demo")).wecom
    for external in sorted(names)[:3]:
        await clients.customers.remark(
            (await clients.customers.get(external))["follow_user"][0]["userid"], external, remark="司马相如的备注"
        )

    async def slowly(job: Job, batch: Batch) -> Outcome:
        clock.advance(walk.TIME_BUDGET)
        return await customers.CUSTOMERS_PART.write(job, batch)

    part = syncing.Part("customers", customers.CUSTOMERS_PART.read, slowly, private=True)
    monkeypatch.setitem(syncing.PARTS, "customers", part)
    await syncing.start(await open_bank(demo, "demo"), "cli", kind="nightly", parts=["customers"])
    await jobs.sync(await open_bank(demo, "demo"))
    row = await syncing.latest(await open_bank(demo, "demo"))
    assert row is not None
    assert (row["open"], row["counts"]["customers"]["done"]) == (True, 200)
    await keep_problems(
        await open_bank(demo, "demo"), syncing.PARTS["customers"], [Problem(one, "internal") for one in names]
    )
    await run(demo, clock)
    kept = of_store(demo)
    assert {"syncs", "sync_errors", "sync_differences", "customers", "relationships"} <= set(kept)
    wanted = [*names, "司马相如的备注"]
    assert [(where, one) for one in wanted for where in kept if one.encode() in kept[where]] == []
