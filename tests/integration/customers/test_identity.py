"""The ids of one person lead to one customer, in whatever order and however often they are told."""

from __future__ import annotations

import asyncio
from itertools import permutations

import bson
import pytest

from customers.identity import resolution
from customers.identity.resolution import Facts
from services.container import Services
from services.errors import NotFound
from services.store import batching
from services.store.mongo import Doc
from tests.support.banks import open_bank

BANK, LIFE = "wx1", "wx2"
E, U, O1, O2 = "wmE00000000000000000000000000001", "oU000000000000000000000000001", "oO1", "oO2"

LATER_DETAILS = Facts(external_userid=E)
ADDED = Facts(external_userid=E, unionid=U, name="刘敏")
LOGIN = Facts(unionid=U, openids={BANK: O1})
LOGIN_WITHOUT_UNIONID = Facts(openids={BANK: O1})
OTHER_LOGIN = Facts(unionid=U, openids={LIFE: O2})
OTHER_LOGIN_WITHOUT_UNIONID = Facts(openids={LIFE: O2})


async def _live(services: Services, tenant: str) -> list[Doc]:
    rows = await services.store.tenant(tenant)["customers"].find({})
    return [row for row in rows if not row.get("merged_into")]


async def _told(services: Services, tenant: str, order: tuple[Facts, ...]) -> list[str]:
    at_bank = await open_bank(services, tenant)
    return [await resolution.identify(at_bank, facts) for facts in order]


async def _one_person(services: Services, tenant: str, told: list[str]) -> resolution.Customer:
    """The one customer that every id, and every cid ever given, leads to now."""
    (row,) = await _live(services, tenant)
    for facts in (Facts(external_userid=E), Facts(unionid=U), Facts(openids={BANK: O1}), Facts(openids={LIFE: O2})):
        assert await resolution.identify(await open_bank(services, tenant), facts) == row["_id"]
    at_bank = await open_bank(services, tenant)
    people = [await resolution.customer(at_bank, cid) for cid in told]
    assert {person.cid for person in people} == {row["_id"]}
    assert set(told) <= set(people[0].cids)
    return people[0]


async def test_a_customer_is_known_by_all_his_ids(services: Services) -> None:
    facts = Facts(E, U, {BANK: O1, LIFE: O2}, "+8613800138000", "刘敏")
    cid = await resolution.identify(await open_bank(services, "demo"), facts)
    person = await resolution.customer(await open_bank(services, "demo"), cid)
    assert (person.external_userid, person.unionid, person.openids, person.phone, person.name) == (
        E, U, {BANK: O1, LIFE: O2}, "+8613800138000", "刘敏",
    )  # fmt: skip
    assert (person.cids, person.tags) == ([cid], ())
    await _one_person(services, "demo", [cid])


@pytest.mark.parametrize(
    "order",
    [
        (LOGIN, ADDED, OTHER_LOGIN),
        (ADDED, LOGIN, OTHER_LOGIN),
        (LOGIN_WITHOUT_UNIONID, OTHER_LOGIN_WITHOUT_UNIONID, LOGIN, OTHER_LOGIN, ADDED),
        (LATER_DETAILS, LOGIN, OTHER_LOGIN, ADDED),
        (LATER_DETAILS, LOGIN_WITHOUT_UNIONID, OTHER_LOGIN, LOGIN, ADDED),
    ],
    ids=["login before add", "add before login", "two openids, then the unionid", "details late", "all late"],
)
async def test_one_person_is_one_customer(services: Services, order: tuple[Facts, ...]) -> None:
    person = await _one_person(services, "demo", await _told(services, "demo", order))
    assert (person.external_userid, person.unionid, person.openids) == (E, U, {BANK: O1, LIFE: O2})
    assert person.name == "刘敏"


async def test_every_order_of_telling_ends_in_the_same_customer(services: Services) -> None:
    """120 orders, each at a bank of its own."""
    facts = (LATER_DETAILS, LOGIN_WITHOUT_UNIONID, LOGIN, ADDED, OTHER_LOGIN)

    async def play(number: int, order: tuple[Facts, ...]) -> None:
        person = await _one_person(services, f"bank{number}", await _told(services, f"bank{number}", order))
        assert (person.external_userid, person.unionid, person.openids, person.name) == (
            E, U, {BANK: O1, LIFE: O2}, "刘敏",
        ), order  # fmt: skip

    await asyncio.gather(*(play(number, order) for number, order in enumerate(permutations(facts))))


@pytest.mark.parametrize("facts", [ADDED, LOGIN, Facts(E, U, {BANK: O1, LIFE: O2}, "+8613800138000", "刘敏")])
async def test_twenty_tellings_of_the_same_at_once_give_one_customer(services: Services, facts: Facts) -> None:
    at_bank = await open_bank(services, "demo")
    told = await asyncio.gather(*(resolution.identify(at_bank, facts) for _ in range(20)))
    assert len(set(told)) == 1
    assert [row["_id"] for row in await _live(services, "demo")] == [told[0]]


async def test_twenty_tellings_of_different_ids_at_once_end_in_one_customer(services: Services) -> None:
    """What a scan and two logins know, told by twenty at once, at ten banks; told once more, it is one customer."""
    facts = (LATER_DETAILS, LOGIN_WITHOUT_UNIONID, LOGIN, ADDED, OTHER_LOGIN)

    async def play(tenant: str) -> None:
        at_bank = await open_bank(services, tenant)
        told = await asyncio.gather(*(resolution.identify(at_bank, facts[n % 5]) for n in range(20)))
        again = await _told(services, tenant, (ADDED, LOGIN, OTHER_LOGIN))
        await _one_person(services, tenant, [*told, *again])

    await asyncio.gather(*(play(f"bank{n}") for n in range(10)))


async def test_who_was_claimed_by_another_in_between_is_still_one_customer(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of `LOGIN`'s ids and the claiming of them, `LOGIN_WITHOUT_UNIONID` is told in full."""
    read, told = batching.read, list[str]()

    async def read_then_lose_a_moment(services_: Services, tenant: str, collection: str, wanted: list[str]) -> object:
        found = await read(services_, tenant, collection, wanted)
        if collection == "identities" and not told:
            told.append("")
            told[0] = await resolution.identify(await open_bank(services, "demo"), LOGIN_WITHOUT_UNIONID)
        return found

    monkeypatch.setattr(batching, "read", read_then_lose_a_moment)
    told.append(await resolution.identify(await open_bank(services, "demo"), LOGIN))
    monkeypatch.undo()
    told += await _told(services, "demo", (LOGIN, LOGIN_WITHOUT_UNIONID, ADDED, OTHER_LOGIN))
    await _one_person(services, "demo", told)


async def test_different_people_are_different_customers(services: Services) -> None:
    people = [Facts(unionid=f"oU{n}", external_userid=f"wm{n}", openids={BANK: f"o{n}"}) for n in range(20)]
    at_bank = await open_bank(services, "demo")
    told = await asyncio.gather(*(resolution.identify(at_bank, facts) for facts in people))
    assert len(set(told)) == 20
    assert len(await _live(services, "demo")) == 20


async def test_the_same_person_at_two_banks_is_two_customers_who_know_nothing_of_each_other(services: Services) -> None:
    ours = await resolution.identify(await open_bank(services, "demo"), ADDED)
    theirs = await resolution.identify(await open_bank(services, "other"), LOGIN)
    assert ours != theirs
    with pytest.raises(NotFound):
        await resolution.customer(await open_bank(services, "other"), ours)
    assert (await resolution.customer(await open_bank(services, "other"), theirs)).external_userid == ""
    ids = [row["_id"] for t in ("demo", "other") for row in await services.store.tenant(t)["identities"].find({})]
    assert len({row_id.rsplit(":", 1)[1] for row_id in ids}) == 4


async def test_the_same_text_as_another_kind_of_id_is_another_person(services: Services) -> None:
    at_bank = await open_bank(services, "demo")
    told = [
        await resolution.identify(at_bank, facts)
        for facts in (
            Facts(unionid="x"),
            Facts(external_userid="x"),
            Facts(openids={BANK: "x"}),
            Facts(openids={LIFE: "x"}),
        )
    ]
    assert len(set(told)) == 4


async def test_nobody_is_identified_by_nothing(services: Services) -> None:
    for facts in (Facts(), Facts(name="刘敏", phone="+8613800138000"), Facts(openids={BANK: ""})):
        with pytest.raises(ValueError, match="nobody"):
            await resolution.identify(await open_bank(services, "demo"), facts)
    assert await services.store.tenant("demo")["customers"].count() == 0


async def test_what_is_told_later_counts_and_what_is_not_told_stays(services: Services) -> None:
    cid = await resolution.identify(
        await open_bank(services, "demo"), Facts(unionid=U, name="旧名", phone="+8613800138000")
    )
    await resolution.identify(await open_bank(services, "demo"), Facts(unionid=U, name="新名"))
    person = await resolution.customer(await open_bank(services, "demo"), cid)
    assert (person.name, person.phone) == ("新名", "+8613800138000")
    (row,) = await _live(services, "demo")
    assert row["phone_index"] == services.vault.blind("demo", "customers.phone", "+8613800138000")


async def test_telling_nothing_new_changes_nothing(services: Services) -> None:
    await resolution.identify(await open_bank(services, "demo"), ADDED)
    before = await services.store.tenant("demo")["customers"].find({})
    await resolution.identify(await open_bank(services, "demo"), LATER_DETAILS)
    await resolution.identify(await open_bank(services, "demo"), ADDED)
    assert await services.store.tenant("demo")["customers"].find({}) == before


async def test_nothing_of_a_person_is_stored_in_clear(services: Services) -> None:
    await resolution.identify(
        await open_bank(services, "demo"), Facts(E, U, {BANK: O1 + "canary"}, "+8613800138000", "刘敏")
    )
    db = services.store.tenant("demo")
    rows = [*await db["customers"].find({}), *await db["identities"].find({})]
    stored = b"".join(bson.encode(row) for row in rows)
    assert len(stored) > 500
    for clear in (E, U, O1 + "canary", "13800138000", "刘敏"):
        assert clear.encode() not in stored


@pytest.mark.parametrize(
    ("clear", "masked"),
    [("+8613800138000", "138****8000"), ("+4915123456700", "+49 151****6700"), ("12345", "****45"), ("", "")],
)
def test_a_phone_is_shown_masked(clear: str, masked: str) -> None:
    assert resolution.mask_phone(clear) == masked


@pytest.mark.parametrize(("clear", "masked"), [("刘敏", "刘*"), ("欧阳娜娜", "欧***"), ("Ann", "A**"), ("", "")])
def test_a_name_is_shown_masked(clear: str, masked: str) -> None:
    assert resolution.mask_name(clear) == masked
