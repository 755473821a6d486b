"""Quotas in pieces and in fen: whoever claims at once, no more is given than they say."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from customers import relationships
from customers.banks.staff import Staff, take_from_file
from rewards import catalogue, claims, ledger, limits, offers
from rewards.ledger import accounts, sweep
from rewards.rows import Limits, Place, QuotaRow
from services.container import Services
from services.store.mongo import Doc
from tests.integration.rewards import world
from tests.integration.rewards.world import CAMPAIGN, REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

LONG = accounts.LEASE_SECONDS + 1


def quota(per: str, most: int, *, period: str = "ever", unit: str = "count", over: str = REWARD) -> QuotaRow:
    return {"over": over, "per": per, "period": period, "unit": unit, "most": most}


async def put(services: Services, *quotas: QuotaRow, stock: int = 100, **changes: Any) -> None:
    said = Limits(quotas=list(quotas), **changes.pop("limits", {}))
    await world.put(services, stock, limits=said, **changes)


async def at_once(services: Services, cids: list[str]) -> Counter[str]:
    return Counter(await asyncio.gather(*(world.answer(services, world.request(cid)) for cid in cids)))


async def whole(services: Services) -> None:
    """Nothing is under way any more, and the books agree."""

    async def quiet() -> bool:
        return await world.settled(services) and not await services.store.tenant(TENANT)["ledger_batches"].count({})

    await until(quiet)
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def used(services: Services, account: str) -> int:
    return -(await accounts.balance(await open_bank(services, TENANT), account)).posted


async def befriend(services: Services, cid: str, userid: str, branch: str) -> None:
    bank = await open_bank(services, TENANT)
    await take_from_file(bank, Staff(userid, userid, branch))
    await relationships.changed(bank, userid, cid, at=bank.now(), active=True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (quota("reward", 3), "quota_reward"),
        (quota("reward", 3, period="day"), "quota_day"),
        (quota("reward", 3, period="month"), "quota_reward"),
        (quota("reward", 399, unit="cost"), "quota_reward"),
        (quota("campaign", 3, over=CAMPAIGN), "quota_campaign"),
        (quota("campaign", 300, unit="cost", over=CAMPAIGN), "quota_campaign"),
        (quota("branch", 3), "quota_branch"),
        (quota("channel", 3), "quota_channel"),
        (quota("staff", 3, period="day"), "quota_staff"),
    ],
)
async def test_so_many_are_given_and_the_next_is_told_why(services: Services, said: QuotaRow, reason: str) -> None:
    await put(services, said)
    assert await at_once(services, [f"c{n}" for n in range(10)]) == {"granted": 3, reason: 7}
    await whole(services)
    assert await world.stock(services) == {"total": 100, "available": 97, "held": 0, "granted": 3, "retired": 0}
    assert await world.answer(services, world.request("late")) == reason
    await whole(services)


async def test_two_processes_give_no_more_than_the_quota(services: Services, second: Services) -> None:
    await put(services, quota("reward", 20))
    cids = [f"c{n}" for n in range(60)]
    answers = Counter()
    for found in await asyncio.gather(at_once(services, cids[:30]), at_once(second, cids[30:])):
        answers += found
    assert answers["granted"] == 20
    assert answers["quota_reward"] + answers["quota_in_doubt"] == 40
    await whole(services)
    assert await used(services, f"quota:{REWARD}:reward:all:ever") == 20


async def test_without_the_guard_two_processes_give_more(
    services: Services, second: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that the conditional write is there for: read what is left, then write."""
    await put(services, quota("reward", 20))

    async def read_then_write(bank: Any, account: str, batch: str, ids: Any, each: int, *, floor: int = 0) -> int:
        left = (await accounts.balance(bank, account, floor=floor)).available // each
        await asyncio.sleep(0.05)
        return min(len(ids), left)

    monkeypatch.setattr(accounts, "take", read_then_write)
    first, other = await asyncio.gather(
        at_once(services, [f"a{n}" for n in range(20)]), at_once(second, [f"b{n}" for n in range(20)])
    )
    assert first["granted"] + other["granted"] > 20


async def test_each_branch_has_its_own_share_in_one_group_of_claims(services: Services) -> None:
    """64 customers of four branches, of an RM who left, and of nobody, at once."""
    await put(services, quota("branch", 5), stock=1_000)
    branches = ["sz-nanshan", "sz-futian", "gz-tianhe", "gz-yuexiu"]
    for n in range(48):
        await befriend(services, f"c{n}", f"rm.{branches[n % 4]}", branches[n % 4])
    cids = [f"c{n}" for n in range(64)]  # 12 of each branch, and 16 of whom nobody knows whose they are
    assert await at_once(services, cids) == {"granted": 25, "quota_branch": 39}
    await whole(services)
    for branch in branches:
        assert await used(services, f"quota:{REWARD}:branch:{branch}:ever") == 5
    assert await used(services, f"quota:{REWARD}:branch:-:ever") == 5
    rows = await services.store.tenant(TENANT)["transfers"].find({"kind": "grant"})
    assert Counter(row.get("place", {}).get("branch") for row in rows) == {None: 5, **dict.fromkeys(branches, 5)}


async def test_an_offer_says_whose_the_claim_is(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await put(services, quota("channel", 1), quota("staff", 2), quota("branch", 3), open_to="offered")
    for n in range(5):
        place = Place(channel="q1.sz-nanshan" if n < 2 else f"q{n}.sz-nanshan", branch="sz-nanshan", staff="rm.chen")
        await offers.make(bank, f"c{n}", REWARD, "run", place)
        await befriend(services, f"c{n}", "rm.other", "gz-tianhe")  # his RM now: the offer counts
    answers = [await world.answer(services, world.request(f"c{n}")) for n in range(5)]
    assert answers == ["granted", "quota_channel", "granted", "quota_staff", "quota_staff"]
    await whole(services)
    assert await used(services, f"quota:{REWARD}:branch:sz-nanshan:ever") == 2


async def test_what_a_later_quota_refuses_goes_back_to_the_earlier(services: Services) -> None:
    """The customer's and the branch's quota had taken their piece before the campaign's said no."""
    await put(services, quota("customer", 1), quota("branch", 100), quota("campaign", 2, over=CAMPAIGN))
    assert await at_once(services, [f"c{n}" for n in range(6)]) == {"granted": 2, "quota_campaign": 4}
    await whole(services)
    assert await used(services, f"quota:{REWARD}:branch:-:ever") == 2
    assert sorted([await used(services, f"quota:{REWARD}:customer:c{n}:ever") for n in range(6)]) == [0, 0, 0, 0, 1, 1]


async def test_a_customers_quota_counts_what_his_merged_ids_had(services: Services) -> None:
    await put(services, quota("customer", 3), per_customer=10)
    for n in range(2):
        assert await world.answer(services, world.request("loser", f"k{n}")) == "granted"
    await whole(services)

    def both(key: str) -> claims.Claim:
        return replace(world.request("winner", key), cids=("winner", "loser"))

    assert [await world.answer(services, both(f"w{n}")) for n in range(2)] == ["granted", "quota_customer"]
    await whole(services)


async def test_a_quota_of_a_day_begins_anew_the_next_day(services: Services, clock: MovedClock) -> None:
    await put(services, quota("customer", 1, period="day"), per_customer=10)
    assert await world.answer(services, world.request("a", "k1")) == "granted"
    await whole(services)
    assert await world.answer(services, world.request("a", "k2")) == "quota_customer"
    clock.advance(86_400)
    assert await world.answer(services, world.request("a", "k3")) == "granted"
    await whole(services)


@pytest.mark.parametrize(("gate", "granted"), [("before", 0), ("after", 1)])
async def test_killed_around_the_grant_the_quota_tells_the_truth(
    services: Services, clock: MovedClock, gate: str, granted: int
) -> None:
    bank = await open_bank(services, TENANT)
    await put(services, quota("reward", 1), quota("branch", 5))
    assert await world.claim_and_die(services, world.request("a"), **{gate: world.die}) == "Killed"
    assert await world.answer(services, world.request("b")) == "quota_in_doubt"
    clock.advance(LONG)
    await claims.settle_stale(bank)
    await sweep.settle_stale(bank)
    await whole(services)
    assert await used(services, f"quota:{REWARD}:reward:all:ever") == granted
    assert await used(services, f"quota:{REWARD}:branch:-:ever") == granted
    assert await world.answer(services, world.request("b")) == ("quota_reward" if granted else "granted")
    await whole(services)
    assert await world.grants(services) == 1


async def test_a_late_grant_after_its_leases_were_swept_is_not_given(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await put(services, quota("reward", 1))
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a")))
        await stall.reached.wait()
        clock.advance(LONG)
        await sweep.settle_stale(bank)
        async with world.process(services) as other:
            assert await world.answer(other, world.request("b")) == "granted"
        stall.release()
        assert await late == "claim_unknown"
    clock.advance(LONG)
    await claims.settle_stale(bank)
    await sweep.settle_stale(bank)
    await whole(services)
    assert await world.grants(services) == 1


async def test_of_exclusive_rewards_a_customer_has_one(services: Services) -> None:
    """Two rewards of two campaigns are of one group; twenty customers claim both at once."""
    bank = await open_bank(services, TENANT)
    group = Limits(stack="gift", most=1)
    for key in ("r", "s"):
        await world.put(services, 100, key=key, limits=group)
    second = f"{CAMPAIGN}.s"
    wanted = [(name, f"c{n}") for n in range(20) for name in (REWARD, second)]
    answers = Counter(
        await asyncio.gather(
            *(world.answer(services, replace(world.request(cid), reward=name)) for name, cid in wanted)
        )
    )
    assert answers["granted"] == 20
    assert answers["exclusive"] + answers["quota_in_doubt"] == 20
    await whole(services)
    rows = await bank.db["transfers"].find({"kind": "grant"})
    assert Counter(row["cid"] for row in rows) == {f"c{n}": 1 for n in range(20)}
    services.cache.clear()  # what was in doubt a moment ago
    assert await world.answer(services, replace(world.request("c1", "k2"), reward=second)) in (
        "exclusive",
        "quota_customer",
    )


async def test_a_group_of_rewards_shares_no_account_with_a_reward_of_that_name(services: Services) -> None:
    """A campaign `stack` gives a reward `gift`, and there is a group `gift`."""
    bank, named = await open_bank(services, TENANT), catalogue.reward_id("stack", "gift")
    reward = await _named(services, quota("customer", 1, over=named))
    found = [one.account for one in limits.bounds(bank, reward, world.request("a"))]
    assert len(set(found)) == len(found) == 2


async def _named(services: Services, said: QuotaRow) -> Any:
    await put(services, said, limits={"stack": "gift", "most": 1})
    return await world.reward_row(services)


async def test_two_claims_of_one_customer_around_a_merge_take_two(services: Services) -> None:
    """In one group of claims: the first was read before he was merged with another, the second after."""
    await put(services, quota("customer", 2), per_customer=2)
    first = world.request("a", "k1")
    second = replace(world.request("a", "k2"), cids=("a", "b"))
    answers = await asyncio.gather(world.answer(services, first), world.answer(services, second))
    assert answers == ["granted", "granted"]
    await whole(services)
    assert await used(services, f"quota:{REWARD}:customer:a:ever") == 2


async def test_limits_that_were_changed_judge_nobody_unseen(services: Services) -> None:
    """A claim that was read by the old row is tried again by the new one."""
    await put(services, quota("reward", 5))
    async with world.process(services) as other:
        assert await world.answer(other, world.request("a")) == "granted"
        await put(services, quota("reward", 1))
        assert await world.answer(other, world.request("b")) == limits.CHANGED
        other.cache.clear()
        assert await world.answer(other, world.request("b")) == "quota_reward"
    await whole(services)


@pytest.mark.parametrize(
    ("before", "after", "second", "refusal"),
    [
        ({"per_customer": 2}, {"per_customer": 1}, "a", "quota_customer"),
        ({"open_to": "anyone"}, {"open_to": "offered"}, "b", "not_eligible"),
    ],
)
async def test_who_may_have_how_many_was_changed_and_judges_nobody_unseen(
    services: Services, before: Doc, after: Doc, second: str, refusal: str
) -> None:
    await world.put(services, 100, **before)
    async with world.process(services) as other:
        assert await world.answer(other, world.request("a")) == "granted"
        await world.put(services, 100, **after)
        assert await world.answer(other, world.request(second, "k2")) == limits.CHANGED
        other.cache.clear()
        assert await world.answer(other, world.request(second, "k2")) == refusal
        assert await world.grants(services) == 1
    await whole(services)


async def test_a_reward_without_limits_makes_no_more_writes(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> int:
        raise AssertionError("an account was touched")

    monkeypatch.setattr(accounts, "take", never)
    monkeypatch.setattr(accounts, "settle", never)
    monkeypatch.setattr(accounts, "read", never)
    await world.put(services, 3)
    assert await at_once(services, ["a", "b", "c", "d"]) == {"granted": 3, "sold_out": 1}
