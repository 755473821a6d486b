"""Two customers turn out to be one person: nothing that either had is lost, and nothing is there twice."""

from __future__ import annotations

import asyncio

import pytest

from customers import relationships, timeline
from customers.access import rm
from customers.actors import StaffActor
from customers.identity import resolution
from customers.identity.resolution import Facts
from services.container import Services
from tests.support.banks import open_bank
from tests.support.killing import Killed, before_write

BANK = "wx1"
SCANNED = Facts(external_userid="wmE", name="刘敏")
LOGGED_IN = Facts(openids={BANK: "oO1"}, unionid="oU", phone="+8613800138000")
BOTH = Facts(external_userid="wmE", unionid="oU")


async def _two(services: Services, tenant: str, first: Facts, second: Facts) -> tuple[str, str]:
    """Two customers, each with a story and tags; the one who was scanned has two RMs, of whom he deleted one."""
    at_bank = await open_bank(services, tenant)
    elder, younger = [await resolution.identify(at_bank, facts) for facts in (first, second)]
    scanned, logged_in = (elder, younger) if first is SCANNED else (younger, elder)
    customers = services.store.tenant(tenant)["customers"]
    await customers.update({"_id": scanned}, {"$addToSet": {"tags": {"$each": ["来源:网点", "vip"]}}})
    await customers.update({"_id": logged_in}, {"$addToSet": {"tags": {"$each": ["vip", "已登录"]}}})
    await relationships.changed(
        await open_bank(services, tenant), "rm.a", scanned, at=100.0, active=True, state="s1", add_way=1
    )
    await relationships.changed(await open_bank(services, tenant), "rm.b", scanned, at=100.0, active=True)
    await relationships.changed(await open_bank(services, tenant), "rm.b", scanned, at=200.0, active=False)
    await timeline.record(await open_bank(services, tenant), scanned, "customer.added", "1", at=100.0)
    await timeline.record(await open_bank(services, tenant), logged_in, "customer.login", "1", at=150.0)
    return elder, younger


async def _is_one(services: Services, tenant: str, elder: str, younger: str) -> None:
    """Both ways lead to the elder, who has everything."""
    for facts in (Facts(external_userid="wmE"), Facts(unionid="oU"), Facts(openids={BANK: "oO1"})):
        assert await resolution.identify(await open_bank(services, tenant), facts) == elder
    for cid in (elder, younger):
        person = await resolution.customer(await open_bank(services, tenant), cid)
        assert (person.cid, person.cids) == (elder, [elder, younger])
        assert (person.external_userid, person.unionid, person.openids) == ("wmE", "oU", {BANK: "oO1"})
        assert (person.name, person.phone) == ("刘敏", "+8613800138000")
        assert sorted(person.tags) == ["vip", "已登录", "来源:网点"]
        story = await timeline.story(
            await open_bank(services, tenant), await resolution.cids(await open_bank(services, tenant), cid)
        )
        assert [row["kind"] for row in story] == ["customer.login", "customer.added"]
    pairs = await relationships.of_customer(await open_bank(services, tenant), [elder, younger])
    assert [(row["userid"], row["cid"], row["at"], row.get("state")) for row in pairs] == [("rm.a", elder, 100.0, "s1")]
    assert await services.store.tenant(tenant)["relationships"].count({"active": False}) == 1


@pytest.mark.parametrize("order", [(SCANNED, LOGGED_IN), (LOGGED_IN, SCANNED)], ids=["scan first", "login first"])
async def test_the_elder_keeps_what_both_had(services: Services, order: tuple[Facts, Facts]) -> None:
    elder, younger = await _two(services, "demo", *order)
    assert elder != younger
    assert await resolution.identify(await open_bank(services, "demo"), BOTH) == elder
    await _is_one(services, "demo", elder, younger)


async def test_a_merge_that_is_told_again_changes_nothing(services: Services) -> None:
    elder, younger = await _two(services, "demo", LOGGED_IN, SCANNED)
    await resolution.identify(await open_bank(services, "demo"), BOTH)
    db = services.store.tenant("demo")
    names = ("customers", "identities", "relationships", "timeline")
    before = {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}
    for facts in (BOTH, SCANNED, LOGGED_IN):
        assert await resolution.identify(await open_bank(services, "demo"), facts) == elder
    assert {name: await db[name].find({}, sort=[("_id", 1)]) for name in names} == before
    await _is_one(services, "demo", elder, younger)


async def test_ten_merges_of_the_same_two_at_once_are_one(services: Services) -> None:
    elder, younger = await _two(services, "demo", LOGGED_IN, SCANNED)
    at_bank = await open_bank(services, "demo")
    told = await asyncio.gather(*(resolution.identify(at_bank, BOTH) for _ in range(10)))
    assert set(told) == {elder}
    await _is_one(services, "demo", elder, younger)


@pytest.mark.parametrize("order", [(SCANNED, LOGGED_IN), (LOGGED_IN, SCANNED)], ids=["scan first", "login first"])
async def test_a_merge_that_was_cut_short_anywhere_is_completed_by_the_next_telling(
    services: Services, monkeypatch: pytest.MonkeyPatch, order: tuple[Facts, Facts]
) -> None:
    for number in range(100):
        tenant = f"bank{number}"
        elder, younger = await _two(services, tenant, *order)
        with monkeypatch.context() as patch:
            was_killed = before_write(patch, number)
            try:
                await resolution.identify(await open_bank(services, tenant), BOTH)
            except Killed:
                assert was_killed()
            else:
                break
        assert await resolution.identify(await open_bank(services, tenant), BOTH) == elder, (
            f"killed before write {number}"
        )
        await _is_one(services, tenant, elder, younger)
    assert number >= 4


@pytest.mark.parametrize("first", [SCANNED, LOGGED_IN])
async def test_a_person_whose_first_telling_was_cut_short_is_still_let_in(
    services: Services, monkeypatch: pytest.MonkeyPatch, first: Facts
) -> None:
    """The ids were claimed, the customer never written; the other half of his ids has a customer already."""
    second = SCANNED if first is LOGGED_IN else LOGGED_IN
    for number in range(10):
        tenant = f"bank{number}"
        other = await resolution.identify(await open_bank(services, tenant), second)
        with monkeypatch.context() as patch:
            before_write(patch, number)
            try:
                await resolution.identify(await open_bank(services, tenant), first)
            except Killed:
                pass
            else:
                break
        assert await resolution.identify(await open_bank(services, tenant), BOTH) == other
        for facts in (first, second, BOTH):
            assert await resolution.identify(await open_bank(services, tenant), facts) == other
    assert number >= 2


async def test_a_friendship_that_ends_after_the_merge_has_ended(services: Services) -> None:
    _, younger = await _two(services, "demo", LOGGED_IN, SCANNED)
    cid = await resolution.identify(await open_bank(services, "demo"), BOTH)
    assert cid != younger
    actor = StaffActor("demo", "rm.a")
    at_bank = await open_bank(services, actor.tenant)
    assert [row["cid"] for row in await rm.list_customers(at_bank, actor)] == [cid]
    await relationships.changed(await open_bank(services, "demo"), "rm.a", cid, at=300.0, active=False)
    assert await rm.list_customers(await open_bank(services, actor.tenant), actor) == []
    assert await relationships.of_customer(await open_bank(services, "demo"), [cid, younger]) == []
    await relationships.changed(await open_bank(services, "demo"), "rm.a", cid, at=250.0, active=True)
    assert await rm.list_customers(await open_bank(services, actor.tenant), actor) == []


async def test_an_rm_who_followed_both_follows_one_and_the_newer_word_counts(services: Services) -> None:
    elder, younger = await _two(services, "demo", LOGGED_IN, SCANNED)
    await relationships.changed(await open_bank(services, "demo"), "rm.a", elder, at=50.0, active=True, state="old")
    await relationships.changed(await open_bank(services, "demo"), "rm.b", elder, at=300.0, active=True, state="again")
    await resolution.identify(await open_bank(services, "demo"), BOTH)
    for userid, state in (("rm.a", "s1"), ("rm.b", "again")):
        (listed,) = await rm.list_customers(await open_bank(services, "demo"), StaffActor("demo", userid))
        assert listed["cid"] == elder
        _, pair = await rm.access_customer(await open_bank(services, "demo"), StaffActor("demo", userid), younger)
        assert (pair["cid"], pair["state"]) == (elder, state)


async def test_a_chain_of_merges_ends_at_the_eldest(services: Services) -> None:
    login, scan, life = LOGGED_IN, SCANNED, Facts(openids={"wx2": "oO2"})
    at_bank = await open_bank(services, "demo")
    cids = [await resolution.identify(at_bank, facts) for facts in (life, login, scan)]
    for n, cid in enumerate(cids):
        await timeline.record(await open_bank(services, "demo"), cid, f"happened.{n}", "1", at=float(n))
    assert await resolution.identify(await open_bank(services, "demo"), BOTH) == cids[1]
    assert (
        await resolution.identify(await open_bank(services, "demo"), Facts(unionid="oU", openids={"wx2": "oO2"}))
        == cids[0]
    )
    for cid in cids:
        person = await resolution.customer(await open_bank(services, "demo"), cid)
        assert (person.cid, sorted(person.cids)) == (cids[0], sorted(cids))
        at_bank = await open_bank(services, "demo")
        at_bank = await open_bank(services, "demo")
        assert [row["kind"] for row in await timeline.story(at_bank, await resolution.cids(at_bank, cid))] == [
            "happened.2",
            "happened.1",
            "happened.0",
        ]
    assert person.openids == {BANK: "oO1", "wx2": "oO2"}


async def test_what_was_told_last_is_not_undone_by_what_the_younger_had_been_told(services: Services) -> None:
    await resolution.identify(await open_bank(services, "demo"), LOGGED_IN)
    await resolution.identify(
        await open_bank(services, "demo"), Facts(external_userid="wmE", name="旧名", phone="+8613900139000")
    )
    cid = await resolution.identify(
        await open_bank(services, "demo"),
        Facts(external_userid="wmE", unionid="oU", name="新名", phone="+8613700137000"),
    )
    person = await resolution.customer(await open_bank(services, "demo"), cid)
    assert (person.name, person.phone) == ("新名", "+8613700137000")


async def test_a_merge_at_one_bank_touches_nothing_of_another(services: Services) -> None:
    mine = await _two(services, "other", LOGGED_IN, SCANNED)
    await _two(services, "demo", LOGGED_IN, SCANNED)
    db = services.store.tenant("other")
    names = ("customers", "identities", "relationships")
    before = {name: await db[name].find({}, sort=[("_id", 1)]) for name in names}
    await resolution.identify(await open_bank(services, "demo"), BOTH)
    assert {name: await db[name].find({}, sort=[("_id", 1)]) for name in names} == before
    at_bank = await open_bank(services, "other")
    assert [(await resolution.customer(at_bank, cid)).cid for cid in mine] == list(mine)
