"""A sync against what happens meanwhile: who leaves, comes or changes while a page is on its way; a platform in trouble."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import pytest

from bench.lag import MOST_MS, watched
from customers import relationships
from customers.banks import bank as banks_bank
from customers.handover import departures
from customers.identity import resolution
from customers.identity.resolution import Facts
from customers.identity.sealing import identity_id
from customers.wecom_mirror import customers, details, members, tags
from customers.wecom_mirror.sync import Batch, Job, Part, follow_users
from services.cache import cached
from services.container import Services
from services.store.mongo import Collection, Doc
from services.wechat.core.errors import BadRequest, Transient
from tests.conftest import Sandbox
from tests.support.banks import open_bank
from tests.support.clock import StillClock

LIST = "/cgi-bin/externalcontact/list"


class Killed(BaseException):
    """The process ends here."""


async def job(services: Services, part: Part, **more: Any) -> Job:
    bank = await banks_bank.open_bank(services, "demo")
    return Job(bank, 1, services.clock(), part=part.name, private=part.private, **more)


async def walk(services: Services, part: Part, **more: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Reads and writes every page of a part: its cursors, and the objects that could not be brought in with the reasons."""
    the_job, cursor = await job(services, part, **more), ""
    cursors: list[str] = []
    problems: list[tuple[str, str]] = []
    while len(cursors) < 40:
        batch = await part.read(the_job, cursor)
        outcome = await part.write(the_job, batch)
        problems += [(one.object, one.code) for one in outcome.problems]
        cursor = batch.next
        if not cursor:
            return cursors, problems
        cursors.append(cursor)
    raise AssertionError(f"no end after {len(cursors)} pages: {cursors[-1]}")


async def friends(sandbox: Sandbox, *userids: str) -> list[dict[str, Any]]:
    """One friend for each of these RMs."""
    people = [await sandbox.person(name) for name, _ in zip(("刘敏", "周浩", "吴越", "郑洁"), userids, strict=False)]
    for person, userid in zip(people, userids, strict=True):
        await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    return people


async def pairs(services: Services) -> list[tuple[str, str]]:
    """Present friendships, as RM and the customer's name."""
    rows = await services.store.tenant("demo")["relationships"].find({"active": True}, limit=None)
    at_bank = await open_bank(services, "demo")
    return sorted([(row["userid"], (await resolution.customer(at_bank, row["cid"])).name) for row in rows])


async def test_a_member_who_leaves_while_the_sync_walks_costs_nobody_else_his_customers(
    bank: Services, sandbox: Sandbox
) -> None:
    await friends(sandbox, "rm.chen", "rm.li", "rm.wang")
    everyone = await follow_users(await job(bank, customers.CUSTOMERS_PART))
    await sandbox.control("DELETE", "members/rm.li")
    cursors, problems = await walk(bank, customers.CUSTOMERS_PART)
    assert "rm.li" in everyone
    assert problems == [("rm.li", "platform_subject_state:60111")]
    assert await pairs(bank) == [("rm.chen", "刘敏"), ("rm.wang", "吴越")]
    assert len(cursors) < 2 * len(everyone)


async def test_when_nobody_may_have_customers_any_more_the_walk_ends(bank: Services, sandbox: Sandbox) -> None:
    await friends(sandbox, "rm.chen")
    the_job = await job(bank, customers.CUSTOMERS_PART)
    cursor = '{"after":"","users":["rm.chen"],"next":""}'

    async def nobody() -> list[str]:
        return []

    await cached(bank, "follow_users:demo", 60.0, nobody)
    batch = await customers.CUSTOMERS_PART.read(the_job, cursor)
    assert (len(batch.items), batch.next) == (1, "")


async def test_a_cursor_that_is_refused_again_and_again_ends_the_part_and_not_the_patience(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has grown old begins these RMs anew; but not for ever."""
    await sandbox.control("POST", "people/bulk", {"count": 150, "seed": 7, "userids": ["rm.chen"]})
    fault = {"target": "api", "kind": "errcode", "path": "batch/get_by_user", "errcode": 40058}
    batch = await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), "")
    await sandbox.control("POST", "faults", {**fault, "times": 1})
    batch = await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), batch.next)
    assert batch.items == []
    batch = await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), batch.next)
    assert len(batch.items) == 100
    for _ in range(customers.ANEW - 1):
        await sandbox.control("POST", "faults", {**fault, "times": 1})
        batch = await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), batch.next)
        batch = await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), batch.next)
    await sandbox.control("POST", "faults", {**fault, "times": 1})
    with pytest.raises(BadRequest, match="40058"):
        await customers.CUSTOMERS_PART.read(await job(bank, customers.CUSTOMERS_PART), batch.next)


async def test_a_leaver_does_not_get_back_in_by_a_page_that_was_read_before_he_left(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    the_job = await job(bank, members.MEMBERS_PART)
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3})
    await walk(bank, members.MEMBERS_PART)
    staff = bank.store.tenant("demo")["staff"]
    assert ((await staff.find_one({"_id": "demo:rm.new"})) or {})["active"] is True
    clock.now += 10
    batch = await members.MEMBERS_PART.read(the_job, "2")
    assert "rm.new" in [row["userid"] for row in batch.items]
    clock.now += 1
    await departures.left(await open_bank(bank, "demo"), "rm.new", clock())
    clock.now += 1
    await members.MEMBERS_PART.write(the_job, batch)
    assert ((await staff.find_one({"_id": "demo:rm.new"})) or {})["active"] is False
    clock.now += 10
    await walk(bank, members.MEMBERS_PART)  # WeCom says now that he is there: he is back
    assert ((await staff.find_one({"_id": "demo:rm.new"})) or {})["active"] is True


async def test_a_department_that_goes_while_the_sync_walks_does_not_hide_the_other_members(
    bank: Services, sandbox: Sandbox
) -> None:
    await sandbox.control("POST", "departments", {"name": "临时", "parentid": 1, "id": 2000})
    await sandbox.control("POST", "departments", {"name": "新点", "parentid": 1, "id": 3000})
    await sandbox.control("POST", "members", {"userid": "rm.new", "name": "何新", "department": 3000})
    first = await members.MEMBERS_PART.read(await job(bank, members.MEMBERS_PART), "")
    assert first.next == "1"
    await sandbox.control("DELETE", "departments/2000")
    _, problems = await walk(bank, members.MEMBERS_PART)
    assert problems == []
    row = await bank.store.tenant("demo")["members"].find_one({"_id": "demo:rm.new"})
    assert (row or {})["name"] == "何新"


async def test_a_stranger_who_is_gone_before_he_is_asked_for_is_no_error(bank: Services, sandbox: Sandbox) -> None:
    people = await friends(sandbox, "rm.chen", "rm.wang")
    batches: list[Batch] = []
    the_job, cursor = await job(bank, customers.FRIENDSHIPS_PART), ""
    while not batches or cursor:
        batches.append(await customers.FRIENDSHIPS_PART.read(the_job, cursor))
        cursor = batches[-1].next
    await sandbox.control("POST", f"people/{people[0]['id']}/deleted-by", {"userid": "rm.chen"})
    outcomes = [await customers.FRIENDSHIPS_PART.write(the_job, batch) for batch in batches]
    assert [one for outcome in outcomes for one in outcome.problems] == []
    assert await pairs(bank) == [("rm.wang", "周浩")]


async def test_who_deleted_his_rm_stays_gone_though_wecom_still_lists_him(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    """84061 is one-sided: the member's list, the customer's details and the batch go on naming him."""
    people = await friends(sandbox, "rm.chen", "rm.wang")
    await walk(bank, customers.FRIENDSHIPS_PART)
    assert await pairs(bank) == [("rm.chen", "刘敏"), ("rm.wang", "周浩")]
    await sandbox.control("POST", f"people/{people[0]['id']}/delete", {"userid": "rm.chen"})
    at_bank = await open_bank(bank, "demo")
    external = people[0]["external_userid"]
    listed = await at_bank.wecom.customers.list("rm.chen")
    assert listed["external_userid"] == [external]
    cid = await resolution.identify(at_bank, Facts(external_userid=external))
    await relationships.changed(at_bank, "rm.chen", cid, at=clock.now + 1, active=False)
    clock.now += 3600
    for part in (customers.FRIENDSHIPS_PART, customers.CUSTOMERS_PART):
        await walk(bank, part)
        assert await pairs(bank) == [("rm.wang", "周浩")]
    await details.fetch(at_bank, external)
    assert await pairs(bank) == [("rm.wang", "周浩")]


async def test_a_platform_that_is_busy_amid_strangers_is_waited_for_and_none_of_them_is_an_error(
    bank: Services, sandbox: Sandbox
) -> None:
    await friends(sandbox, "rm.chen", "rm.wang")
    fault = {"target": "api", "kind": "errcode", "path": "/cgi-bin/externalcontact/get", "errcode": -1, "times": 1}
    await sandbox.control("POST", "faults", fault)
    with pytest.raises(Transient):
        await walk(bank, customers.FRIENDSHIPS_PART)
    _, problems = await walk(bank, customers.FRIENDSHIPS_PART)
    assert problems == []
    assert await pairs(bank) == [("rm.chen", "刘敏"), ("rm.wang", "周浩")]


async def test_a_known_customers_friendship_that_no_page_told_of_comes_in_with_the_list(
    bank: Services, sandbox: Sandbox
) -> None:
    """He is somebody here already, by another RM: he added this one after the page of this one's customers."""
    (person,) = await friends(sandbox, "rm.chen")
    await walk(bank, customers.CUSTOMERS_PART)
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.wang"})
    await walk(bank, customers.FRIENDSHIPS_PART)
    assert await pairs(bank) == [("rm.chen", "刘敏"), ("rm.wang", "刘敏")]


@pytest.mark.parametrize("where", ["identities", "customers"])
async def test_who_is_told_of_while_the_page_is_written_gets_the_tags_of_his_friendship(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """He signs in before his ids are written, or another worker makes his customer between ids and customer."""
    (person,) = await friends(sandbox, "rm.chen")
    client = (await open_bank(bank, "demo")).wecom
    tag = (await client.tags.create(["网点"], group_name="渠道"))["tag_group"]["tag"][0]["id"]
    await client.tags.mark("rm.chen", person["external_userid"], add=[tag])
    the_job = await job(bank, customers.CUSTOMERS_PART)
    batch = await customers.CUSTOMERS_PART.read(the_job, "")
    unionid = batch.items[0]["external_contact"]["unionid"]
    real = Collection.insert_new
    came: list[str] = []

    async def beaten(self: Collection, docs: list[Doc]) -> set[int]:
        lead = identity_id(await open_bank(bank, "demo"), "external_userid", person["external_userid"])
        ids, rows = any(doc["_id"] == lead for doc in docs), any("tags" in doc and "userid" not in doc for doc in docs)
        if not came and (ids if where == "identities" else rows):
            came.append("")
            came[0] = await resolution.identify(await open_bank(bank, "demo"), Facts(unionid=unionid), source="login")
        return await real(self, docs)

    monkeypatch.setattr(Collection, "insert_new", beaten)
    await customers.CUSTOMERS_PART.write(the_job, batch)
    assert len(came) == 1
    assert sorted((await resolution.customer(await open_bank(bank, "demo"), came[0])).tags) == ["渠道:网点"]


async def make(bank: Services, name: str) -> str:
    client = (await open_bank(bank, "demo")).wecom
    return str((await client.tags.create([name], group_name="渠道"))["tag_group"]["tag"][0]["id"])


async def tagged(bank: Services, sandbox: Sandbox, tag: str) -> str:
    """A customer whose friendship has the tag; his cid."""
    (person,) = await friends(sandbox, "rm.chen")
    client = (await open_bank(bank, "demo")).wecom
    await client.tags.mark("rm.chen", person["external_userid"], add=[tag])
    return (await details.fetch(await open_bank(bank, "demo"), person["external_userid"])).cid


async def names_of(bank: Services, cid: str) -> list[str]:
    return sorted((await resolution.customer(await open_bank(bank, "demo"), cid)).tags)


@pytest.mark.parametrize("fatal", [1, 2, 3])
async def test_killed_while_a_tag_gets_its_new_name_the_next_try_gives_it_to_all(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    tag = await make(bank, "网点")
    cid = await tagged(bank, sandbox, tag)
    await (await open_bank(bank, "demo")).wecom.tags.update(tag, name="支行")
    writes, real_many, real_bulk = 0, Collection.update_many, Collection.bulk_update

    def one_more() -> None:
        nonlocal writes
        writes += 1
        if writes == fatal:
            raise Killed

    async def many(self: Collection, query: Mapping[str, Any], change: Any) -> int:
        one_more()
        return await real_many(self, query, change)

    async def several(self: Collection, changes: Any) -> Any:
        if changes:
            one_more()
        return await real_bulk(self, changes)

    monkeypatch.setattr(Collection, "update_many", many)
    monkeypatch.setattr(Collection, "bulk_update", several)
    with pytest.raises(Killed):
        await tags.refresh(await banks_bank.open_bank(bank, "demo"))
    monkeypatch.undo()
    bank.cache.clear()
    await tags.refresh(await banks_bank.open_bank(bank, "demo"))
    assert await names_of(bank, cid) == ["渠道:支行"]


async def test_a_list_of_tags_that_was_read_before_one_was_made_takes_nothing_away(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    await make(bank, "网点")
    the_job = await job(bank, tags.TAGS_PART)
    batch = await tags.TAGS_PART.read(the_job, "")
    clock.now += 1
    fresh = await make(bank, "新客")
    cid = await tagged(bank, sandbox, fresh)
    assert await names_of(bank, cid) == ["渠道:新客"]
    clock.now += 1
    outcome = await tags.TAGS_PART.write(the_job, batch)
    assert (outcome.gone, await names_of(bank, cid)) == (0, ["渠道:新客"])
    assert fresh in await tags.known(await open_bank(bank, "demo"))


async def test_an_id_that_wecom_does_not_know_hides_none_that_it_does(bank: Services, sandbox: Sandbox) -> None:
    """A strategy's tag is refused by 92117, and with it the whole question."""
    tag = await make(bank, "网点")
    fault = {"target": "api", "kind": "errcode", "path": "get_corp_tag_list", "errcode": 40068, "times": 1}
    await sandbox.control("POST", "faults", fault)
    assert await tags.names(await open_bank(bank, "demo"), ["et-of-a-strategy", tag]) == ["渠道:网点"]


async def test_a_long_list_leaves_the_loop_to_others(bank: Services, sandbox: Sandbox, clock: StillClock) -> None:
    """8,000 customers of one RM who are all others than before: no step of it holds the loop for 50 ms (promise P10)."""
    db, count = bank.store.tenant("demo"), 8_000
    at_bank = await open_bank(bank, "demo")
    rows = [
        relationships.new_relationship(at_bank, f"demo:c{number}", relationships.FollowInfo("rm.chen", since=1.0), 1.0)
        for number in range(count)
    ]
    for start in range(0, count, 1000):
        await db["relationships"].insert_new(rows[start : start + 1000])
    there = [f"wmThere{number:024d}" for number in range(count)]
    the_job = await job(bank, customers.FRIENDSHIPS_PART, compare=True, mend=False)
    gc.collect()
    gc.freeze()  # as a worker does
    with watched() as worst:
        outcome = await customers.FRIENDSHIPS_PART.write(the_job, Batch([("rm.chen", there)], "", clock()))
    gc.unfreeze()
    assert (outcome.gone, outcome.new) == (count, count)
    assert worst.cpu_ms < MOST_MS, worst.what
