"""Who was merged with another and told apart again has not won a second grant by it."""

from __future__ import annotations

import pytest

from customers.actors import ClerkActor, CustomerActor
from customers.banks.bank import Bank
from customers.identity import resolution, review
from customers.identity.resolution import Facts
from rewards import ledger, portal
from services.container import Services
from services.errors import Conflict
from tests.integration.rewards import world
from tests.integration.rewards.world import BANK, REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

LIN, ZHAO = [ClerkActor(TENANT, login, login, frozenset({review.READ, review.DECIDE})) for login in ("lin", "zhao")]


async def _two(services: Services) -> tuple[str, str]:
    bank = await open_bank(services, TENANT)
    winner = await resolution.identify(bank, Facts(external_userid="wm"))
    return winner, await resolution.identify(bank, Facts(unionid="u", openids={BANK: "o"}))


async def _merge(services: Services) -> str:
    await resolution.identify(await open_bank(services, TENANT), Facts(external_userid="wm", unionid="u"))
    (merge,) = await services.store.tenant(TENANT)["merges"].find({"state": "done"})
    return str(merge["_id"])


async def _undo(services: Services, merge: str) -> None:
    bank = await open_bank(services, "demo")
    await review.undo(bank, LIN, merge, "two persons")
    await review.approve_undo(bank, ZHAO, merge)


async def _claim(services: Services, cid: str, key: str) -> str:
    try:
        claimed = await portal.claim(
            await open_bank(services, "demo"), CustomerActor(TENANT, cid, BANK), REWARD, key, b""
        )
    except Conflict as error:
        return error.code
    return "replayed" if claimed.replayed else "granted"


async def test_what_was_granted_while_they_were_one_counts_for_both(services: Services, clock: MovedClock) -> None:
    await world.put(services, 10)
    winner, loser = await _two(services)
    merge = await _merge(services)
    clock.advance(10)
    assert await _claim(services, loser, "k1") == "granted"
    clock.advance(10)
    await _undo(services, merge)
    assert await _claim(services, loser, "k1") == "replayed"
    assert [await _claim(services, cid, "k2") for cid in (winner, loser)] == ["quota_customer", "quota_customer"]
    assert await world.grants(services) == 1
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_without_the_shared_time_the_same_person_is_granted_twice(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off: a claim asks for the grants of his own id alone."""
    claimant = resolution.claimant

    async def forgetful(bank: Bank, cid: str) -> tuple[list[str], list[resolution.Shared]]:
        return (await claimant(bank, cid))[0], []

    monkeypatch.setattr(resolution, "claimant", forgetful)
    await world.put(services, 10)
    _, loser = await _two(services)
    merge = await _merge(services)
    clock.advance(10)
    told = [await _claim(services, loser, "k1")]
    clock.advance(10)
    await _undo(services, merge)
    told.append(await _claim(services, loser, "k2"))
    assert told == ["granted", "granted"]


async def test_what_each_was_granted_apart_from_the_other_stays_his_own(services: Services, clock: MovedClock) -> None:
    await world.put(services, 10)
    winner, loser = await _two(services)
    assert await _claim(services, winner, "k1") == "granted"
    clock.advance(10)
    merge = await _merge(services)
    assert await _claim(services, loser, "k2") == "quota_customer"
    clock.advance(10)
    await _undo(services, merge)
    clock.advance(10)
    assert await _claim(services, loser, "k3") == "granted"
    assert await world.grants(services) == 2
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_who_was_told_apart_and_merged_again_still_has_what_he_was_granted(
    services: Services, clock: MovedClock
) -> None:
    bank = await open_bank(services, "demo")
    await world.put(services, 10)
    winner, loser = await _two(services)
    merge = await _merge(services)
    clock.advance(10)
    assert await _claim(services, winner, "k1") == "granted"
    clock.advance(10)
    await _undo(services, merge)
    await resolution.identify(await open_bank(services, TENANT), Facts(external_userid="wm", unionid="u"))
    (question,) = await review.list_questions(bank, LIN)
    await review.propose(bank, LIN, question["id"], "merge", "one person")
    await review.agree(bank, ZHAO, question["id"])
    assert await _claim(services, loser, "k2") == "quota_customer"
    assert await world.grants(services) == 1
