"""A friendship ends as it was, in whatever order its beginning and ending are told (contract/wechat C3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import permutations
from typing import Any

import pytest

from customers import relationships
from services.container import Services
from services.store.mongo import Collection
from tests.support.banks import open_bank

ADD = {"at": 100.0, "active": True, "state": "first", "add_way": 1}
DELETE = {"at": 200.0, "active": False}
ADD_AGAIN = {"at": 300.0, "active": True, "state": "again", "add_way": 2}
DELETE_AGAIN = {"at": 400.0, "active": False}

Told = dict[str, Any]


async def _tell(services: Services, tenant: str, order: tuple[Told, ...]) -> None:
    for told in order:
        await relationships.changed(await open_bank(services, tenant), "rm.a", f"{tenant}:c", **told)


async def _pair(services: Services, tenant: str) -> tuple[bool, float, str] | None:
    (row,) = await services.store.tenant(tenant)["relationships"].find({})
    present = await relationships.between(await open_bank(services, tenant), "rm.a", [f"{tenant}:c"])
    listed = await relationships.of_staff(await open_bank(services, tenant), "rm.a")
    assert (
        listed
        == await relationships.of_customer(await open_bank(services, tenant), [f"{tenant}:c"])
        == ([present] if present else [])
    )
    assert row["active"] is (present is not None)
    return (row["active"], row["at"], row.get("state", "")) if present else None


@pytest.mark.parametrize(
    ("in_order", "ends"),
    [
        ((ADD, DELETE), None),
        ((ADD, DELETE, ADD_AGAIN), (True, 300.0, "again")),
        ((ADD, DELETE, ADD_AGAIN, DELETE_AGAIN), None),
        ((ADD, ADD, DELETE, DELETE, ADD_AGAIN), (True, 300.0, "again")),
    ],
    ids=["add, delete", "and add again", "and delete again", "each told twice"],
)
async def test_every_order_of_telling_ends_as_the_right_one(
    services: Services, in_order: tuple[Told, ...], ends: tuple[bool, float, str] | None
) -> None:
    orders = list(permutations(in_order))
    await asyncio.gather(*(_tell(services, f"bank{n}", order) for n, order in enumerate(orders)))
    for n, order in enumerate(orders):
        assert await _pair(services, f"bank{n}") == ends, order


@pytest.mark.parametrize("order", list(permutations((ADD, DELETE, ADD_AGAIN))), ids=lambda order: "".join(
    str(int(told["at"]) // 100) for told in order
))  # fmt: skip
async def test_a_beginning_is_known_to_be_over_in_every_order(services: Services, order: tuple[Told, ...]) -> None:
    await _tell(services, "demo", order)
    bank = await open_bank(services, "demo")
    over = [await relationships.ended_since(bank, "rm.a", ["demo:c"], at) for at in (100.0, 200.0, 300.0)]
    assert over == [True, True, False]


async def test_what_is_told_all_at_once_ends_as_the_right_order(services: Services) -> None:
    for n in range(20):
        tenant = f"bank{n}"
        told = (ADD_AGAIN, DELETE, ADD, DELETE, ADD_AGAIN)
        await asyncio.gather(*(_tell(services, tenant, (one,)) for one in told[n % 5 :] + told[: n % 5]))
        assert await _pair(services, tenant) == (True, 300.0, "again")


@pytest.mark.parametrize("order", list(permutations((ADD, {**DELETE, "at": 100.0}))), ids=["in order", "turned round"])
async def test_of_one_second_the_end_is_believed(services: Services, order: tuple[Told, ...]) -> None:
    await _tell(services, "demo", order)
    assert await _pair(services, "demo") is None


async def test_friends_are_listed_newest_first_and_without_those_who_left(services: Services) -> None:
    for n in range(5):
        await relationships.changed(await open_bank(services, "demo"), "rm.a", f"demo:{n}", at=100.0 + n, active=True)
    await relationships.changed(await open_bank(services, "demo"), "rm.a", "demo:3", at=200.0, active=False)
    await relationships.changed(await open_bank(services, "demo"), "rm.b", "demo:0", at=500.0, active=True)
    await relationships.changed(await open_bank(services, "other"), "rm.a", "demo:9", at=500.0, active=True)
    listed = await relationships.of_staff(await open_bank(services, "demo"), "rm.a")
    assert [row["cid"] for row in listed] == ["demo:4", "demo:2", "demo:1", "demo:0"]
    at_bank = await open_bank(services, "demo")
    assert [row["userid"] for row in await relationships.of_customer(at_bank, ["demo:0"])] == ["rm.b", "rm.a"]
    assert await relationships.between(await open_bank(services, "demo"), "rm.b", ["demo:1", "demo:2"]) is None
    assert await relationships.between(await open_bank(services, "other"), "rm.a", ["demo:0"]) is None


async def test_tags_that_are_marked_at_the_same_moment_share_a_write_and_stay_with_their_own(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks, writes = [await open_bank(services, f"bank{n}") for n in range(2)], Counter[str]()
    for bank in banks:
        for n in range(4):
            await relationships.changed(bank, "rm.a", f"{bank.id}:{n}", **ADD)
            await relationships.retag(bank, "rm.a", f"{bank.id}:{n}", ["old"], [])
    update_many = Collection.update_many

    async def counted(self: Collection, query: Any, change: Any) -> int:
        writes[self._scope["tenant"]] += 1
        return await update_many(self, query, change)

    monkeypatch.setattr(Collection, "update_many", counted)
    marks = [(n, f"new{n % 2}", ["old"] if n % 2 else []) for n in range(3)]
    acts = [(bank, n, [new], taken) for bank in banks for n, new, taken in marks]
    await asyncio.gather(*(relationships.retag(bank, "rm.a", f"{bank.id}:{n}", *tags) for bank, n, *tags in acts))
    for bank in banks:
        rows = await bank.db["relationships"].find({}, sort=[("_id", 1)])
        tags = {row["cid"].partition(":")[2]: row["tags"] for row in rows}
        assert tags == {"0": ["old", "new0"], "1": ["new1"], "2": ["old", "new0"], "3": ["old"]}
        assert writes[bank.id] == 3
