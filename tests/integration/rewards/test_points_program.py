"""The points programme: submitted by one clerk, agreed to by another, and never put over what nobody has seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from rewards.points import program
from rewards.points.document import ProgramError
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.support.banks import open_bank
from tests.support.killing import Killed, before_write

LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
LOGIN = {"title": {"zh": "登录"}, "event": "customer.login", "points": 10, "per_day": 50}


def value(**rule: Any) -> dict[str, Any]:
    return {
        "kind": "points/v1",
        "id": "points",
        "name": {"zh": "银桥积分", "en": "Yinqiao Points"},
        "cost": 800,
        "lifetime": 365,
        "rules": {"login": {**LOGIN, **rule}},
    }


async def states(bank: Bank) -> dict[int, str]:
    return {row["version"]: row["state"] for row in await program.list_versions(bank)}


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def test_a_programme_holds_when_another_clerk_has_agreed(bank: Bank) -> None:
    number = await program.submit(bank, LIN, 0, value())
    assert await program.find_live(bank) is None
    with pytest.raises(Forbidden, match="approver_is_author"):
        await program.approve(bank, LIN, number)
    assert (await program.holding(bank), await states(bank)) == ((0, None), {1: "submitted"})
    await program.approve(bank, ZHAO, number)
    live = await program.live(bank)
    assert (live.version, live.program.rules["login"].points, await states(bank)) == (1, 10, {1: "live"})
    rows = await bank.db["audit"].find({"object": "points"}, sort=[("seq", 1)])
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("lin", "points.submitted"),
        ("lin", "points.approval_refused"),
        ("zhao", "points.approved"),
    ]


async def test_earlier_versions_are_kept(bank: Bank) -> None:
    await program.approve(bank, ZHAO, await program.submit(bank, LIN, 0, value()))
    await program.approve(bank, ZHAO, await program.submit(bank, LIN, 1, value(points=20)))
    kept = [(row["version"], row["state"], row["document"]["rules"]["login"]["points"]) for row in
            await program.list_versions(bank)]  # fmt: skip
    assert kept == [(2, "live", 20), (1, "over", 10)]


async def test_of_two_changes_of_one_version_one_holds(bank: Bank) -> None:
    await program.approve(bank, ZHAO, await program.submit(bank, LIN, 0, value()))
    first = await program.submit(bank, LIN, 1, value(points=20))
    second = await program.submit(bank, LIN, 1, value(per_day=60))
    other = ClerkActor("demo", "audit", "周审", frozenset())

    async def agree(actor: ClerkActor, number: int) -> str:
        try:
            await program.approve(bank, actor, number)
        except Conflict as error:
            return error.code
        return "live"

    said = await asyncio.gather(agree(ZHAO, first), agree(other, second))
    assert sorted(said) == ["live", "points_version_old"]
    lost = second if said[0] == "live" else first
    assert (await states(bank))[lost] == "lapsed"
    with pytest.raises(Conflict, match="points_decided"):
        await program.approve(bank, ZHAO, lost)


@pytest.mark.parametrize(
    ("base", "changed", "code"),
    [(0, value(points=20), "points_version_old"), (1, value(), "points_same"), (7, value(), "points_version_old")],
)
async def test_what_changes_nothing_or_what_is_over_is_refused(
    bank: Bank, base: int, changed: dict[str, Any], code: str
) -> None:
    await program.approve(bank, ZHAO, await program.submit(bank, LIN, 0, value()))
    with pytest.raises(Conflict, match=code):
        await program.submit(bank, LIN, base, changed)
    assert await states(bank) == {1: "live"}


async def test_a_programme_keeps_its_id_and_a_wrong_one_is_refused(bank: Bank) -> None:
    await program.approve(bank, ZHAO, await program.submit(bank, LIN, 0, value()))
    with pytest.raises(InvalidInput, match="points_id"):
        await program.submit(bank, LIN, 1, value() | {"id": "other"})
    with pytest.raises(ProgramError):
        await program.submit(bank, LIN, 1, value(points=-1))
    assert await states(bank) == {1: "live"}


async def test_a_rejected_version_says_why_and_never_holds(bank: Bank) -> None:
    number = await program.submit(bank, LIN, 0, value())
    with pytest.raises(InvalidInput, match="reason_missing"):
        await program.reject(bank, ZHAO, number, " ")
    await program.reject(bank, ZHAO, number, "太多")
    (row,) = await program.list_versions(bank)
    assert (row["state"], row["decided_by"], row["reason"]) == ("rejected", "zhao", "太多")
    with pytest.raises(Conflict, match="points_decided"):
        await program.approve(bank, ZHAO, number)
    with pytest.raises(NotFound, match="points_version_unknown"):
        await program.approve(bank, ZHAO, 9)


async def test_an_approval_that_was_cut_short_anywhere_is_finished_by_approving_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = 0
    for number in range(30):
        changed = value(points=10 + number + 1)
        version = await program.submit(bank, LIN, (await program.holding(bank))[0], changed)
        with monkeypatch.context() as patched:
            reached = before_write(patched, number)
            try:
                await program.approve(bank, ZHAO, version)
            except Killed:
                pass
        await program.approve(bank, ZHAO, version) if reached() else None
        assert (await program.holding(bank))[0] == version
        assert (await states(bank))[version] == "live"
        if not reached():
            break
    assert not reached()


async def test_the_command_line_puts_it_live_in_development(bank: Bank) -> None:
    text = "kind: points/v1\nid: points\nname: {zh: 积分}\ncost: 1\nlifetime: 30\n"
    assert await program.apply(bank, text, "points.yaml", "cli:me") == ["points programme points: version 1 is live"]
    assert await program.apply(bank, text, "points.yaml", "cli:me") == [
        "points programme points: version 1 is this programme already"
    ]
