"""Customers by the hundred: the same people as one by one, whatever is known of them, races or dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from customers import relationships
from customers.identity import resolution
from customers.identity.resolution import Facts
from customers.wecom_mirror import customers, details
from customers.wecom_mirror.sync import Batch, Job, Problem
from services.container import Services
from services.store.mongo import Collection, Doc
from tests.conftest import Sandbox
from tests.support.banks import open_bank


class Killed(BaseException):
    """The process ends here."""


async def job(services: Services) -> Job:
    return Job(await open_bank(services, "demo"), 1, services.clock(), part="customers", private=True)


async def page(services: Services) -> Batch:
    return await customers.CUSTOMERS_PART.read(await job(services), "")


async def write(services: Services, batch: Batch) -> None:
    await customers.CUSTOMERS_PART.write(await job(services), batch)


async def known(services: Services) -> dict[str, list[tuple[str, tuple[str, ...], list[tuple[str, str]]]]]:
    """external_userid → name, tags and friendships (RM and remark) of every customer that has it."""
    db = services.store.tenant("demo")
    found: dict[str, list[tuple[str, tuple[str, ...], list[tuple[str, str]]]]] = {}
    for row in await db["customers"].find({"merged_into": {"$exists": False}}, limit=None):
        person = await resolution.customer(await open_bank(services, "demo"), row["_id"])
        pairs = await db["relationships"].find({"active": True, "cid": person.cid}, limit=None)
        at_bank = await open_bank(services, "demo")
        remarks = sorted((each["userid"], relationships.open_notes(at_bank, each)["remark"]) for each in pairs)
        found.setdefault(person.external_userid, []).append((person.name, tuple(sorted(person.tags)), remarks))
    return found


async def some(services: Services, sandbox: Sandbox) -> list[dict[str, Any]]:
    """Three people of one RM, the first also another's, with a tag and a remark."""
    people = [await sandbox.person(name) for name in ("刘敏", "周浩", "吴越")]
    for person in people:
        await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    await sandbox.control("POST", f"people/{people[0]['id']}/add", {"userid": "rm.wang"})
    client = (await open_bank(services, "demo")).wecom
    made = await client.tags.create(["网点"], group_name="渠道")
    tag = made["tag_group"]["tag"][0]["id"]
    await client.tags.mark("rm.wang", people[0]["external_userid"], add=[tag])
    await client.customers.remark("rm.chen", people[1]["external_userid"], remark="周总")
    return people


def expected(people: Sequence[dict[str, Any]]) -> dict[str, Any]:
    one, two, three = (person["external_userid"] for person in people)
    return {
        one: [("刘敏", ("渠道:网点",), [("rm.chen", ""), ("rm.wang", "")])],
        two: [("周浩", (), [("rm.chen", "周总")])],
        three: [("吴越", (), [("rm.chen", "")])],
    }


async def test_a_page_brings_in_what_it_says(bank: Services, sandbox: Sandbox) -> None:
    people = await some(bank, sandbox)
    await write(bank, await page(bank))
    assert await known(bank) == expected(people)


async def test_a_page_and_single_details_end_in_the_same(bank: Services, sandbox: Sandbox) -> None:
    people = await some(bank, sandbox)
    for person in people:
        await details.fetch(await open_bank(bank, "demo"), person["external_userid"])
    assert await known(bank) == expected(people)
    db, names = bank.store.tenant("demo"), ("customers", "identities", "relationships")
    before = {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}
    await write(bank, await page(bank))
    assert {name: await db[name].find({}, sort=[("_id", 1)]) for name in names} == before


async def test_who_signed_in_before_and_who_is_two_customers_here_is_one_after_the_page(
    bank: Services, sandbox: Sandbox
) -> None:
    people = await some(bank, sandbox)
    one, two, _ = people
    signed_in = await resolution.identify(
        await open_bank(bank, "demo"), Facts(unionid=one["unionid"], openids={"wx1": "oOne"})
    )
    a = await resolution.identify(await open_bank(bank, "demo"), Facts(unionid=two["unionid"]))
    b = await resolution.identify(await open_bank(bank, "demo"), Facts(external_userid=two["external_userid"]))
    assert a != b
    await write(bank, await page(bank))
    assert await known(bank) == expected(people)
    assert (await resolution.customer(await open_bank(bank, "demo"), signed_in)).external_userid == one[
        "external_userid"
    ]
    at_bank = await open_bank(bank, "demo")
    merged = {(await resolution.customer(at_bank, cid)).cid for cid in (a, b)}
    assert len(merged) == 1


async def test_a_page_that_two_workers_write_at_once_is_there_once(
    bank: Services, second: Services, sandbox: Sandbox
) -> None:
    people = await some(bank, sandbox)
    batch = await page(bank)
    await asyncio.gather(*(write(one, batch) for one in (bank, second, bank, second)))
    assert await known(bank) == expected(people)


async def test_events_that_come_while_a_page_is_written_make_nobody_twice(
    bank: Services, second: Services, sandbox: Sandbox
) -> None:
    people = await some(bank, sandbox)
    batch = await page(bank)
    at_bank = await open_bank(second, "demo")
    singles = [details.fetch(at_bank, person["external_userid"]) for person in people]
    await asyncio.gather(write(bank, batch), *singles)
    assert await known(bank) == expected(people)


@pytest.mark.parametrize("fatal", range(1, 5))
async def test_killed_before_any_write_of_a_page_the_next_try_completes_it(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    people = await some(bank, sandbox)
    await customers.CUSTOMERS_PART.read(await job(bank), "")
    batch, writes = await page(bank), 0
    real = Collection.insert_new

    async def dying(self: Collection, docs: Sequence[Doc]) -> set[int]:
        nonlocal writes
        writes += bool(docs)
        if writes == fatal:
            raise Killed
        return await real(self, docs)

    monkeypatch.setattr(Collection, "insert_new", dying)
    try:
        await write(bank, batch)
    except Killed:
        bank.cache.clear()
    assert writes >= min(fatal, 4)
    monkeypatch.undo()
    await write(bank, batch)
    assert await known(bank) == expected(people)


async def test_a_friendship_that_ended_while_the_page_was_read_stays_ended(bank: Services, sandbox: Sandbox) -> None:
    people = await some(bank, sandbox)
    batch = await page(bank)
    cid = await resolution.identify(await open_bank(bank, "demo"), Facts(external_userid=people[2]["external_userid"]))
    since = max(item["follow_info"]["createtime"] for item in batch.items)
    await relationships.changed(await open_bank(bank, "demo"), "rm.chen", cid, at=since + 1.0, active=False)
    await write(bank, batch)
    assert await relationships.between(await open_bank(bank, "demo"), "rm.chen", [cid]) is None


async def test_a_member_without_a_licence_is_a_problem_and_not_the_end(bank: Services) -> None:
    batch = Batch([], "", bank.clock(), problems=[Problem("rm.li", "unlicensed")])
    outcome = await customers.CUSTOMERS_PART.write(await job(bank), batch)
    assert (outcome.done, outcome.problems) == (0, [Problem("rm.li", "unlicensed")])


async def test_a_list_that_cannot_be_read_ends_nobodys_friendship(bank: Services, sandbox: Sandbox) -> None:
    await some(bank, sandbox)
    await write(bank, await page(bank))
    fault = {"target": "api", "kind": "errcode", "path": "/cgi-bin/externalcontact/list", "errcode": 84074}
    await sandbox.control("POST", "faults", fault)
    before = await known(bank)
    the_job = await job(bank)
    batch = await customers.FRIENDSHIPS_PART.read(the_job, "")
    outcome = await customers.FRIENDSHIPS_PART.write(the_job, batch)
    assert (outcome.gone, [one.object for one in outcome.problems]) == (0, ["rm.chen"])
    assert await known(bank) == before
