"""RMs offer rewards of their own accord: never more than the month allows, each with a reason, as their own cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from customers import relationships
from customers.actors import StaffActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import allowance, offers
from rewards.rows import OFFERS, Offer
from services.container import Services
from services.errors import InvalidInput, NotFound, YinqiaoError
from services.store.mongo import Doc
from tests.integration.rewards import world
from tests.integration.rewards.world import REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

RM, HEAD = "rm.li", "rm.chen"
"""Of one branch; the second is its head."""
BRANCH = "sz-nanshan"


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, TENANT)


async def _put(services: Services, **more: Any) -> None:
    await world.put(services, 100, **{"open_to": "staff", "allowance": {"rm": 3, "head": 5}, **more})


async def _friends(bank: Bank, count: int, userid: str = RM, prefix: str = "f") -> list[str]:
    async def one(name: str) -> str:
        cid = await resolution.identify(bank, resolution.Facts(external_userid=f"wm{name}", name=name))
        await relationships.changed(bank, userid, cid, at=bank.now(), active=True)
        return cid

    return list(await asyncio.gather(*(one(f"{userid}{prefix}{number}") for number in range(count))))


async def _offer(bank: Bank, cid: str, userid: str = RM, key: str = "", reason: str = "老客户") -> str:
    """`offered`, or the reason code of the refusal."""
    try:
        await allowance.offer(bank, StaffActor(TENANT, userid), cid, REWARD, reason, key or cid)
    except YinqiaoError as error:
        return error.code
    return "offered"


async def _offerable(bank: Bank, userid: str) -> list[allowance.Offerable]:
    found = await allowance.list_offerable(bank, StaffActor(TENANT, userid))
    return [one for one in found if one.reward["reward"] == REWARD]


async def _rows(bank: Bank) -> list[Offer]:
    return cast("list[Offer]", await bank.db[OFFERS].find({"reward": REWARD}, limit=None))


async def test_without_slots_clicks_at_once_offer_more_than_there_is(
    bank: Bank, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counted(bank: Bank, made: Offer) -> bool:
        """Looks how many there are, and writes then."""
        if len(await _rows(bank)) >= 3:
            return False
        await asyncio.sleep(0.05)
        unguarded = {name: value for name, value in made.items() if name != "slot"}
        return await bank.insert(OFFERS, cast("Doc", unguarded))

    monkeypatch.setattr(allowance, "_insert", counted)
    await _put(demo)
    await asyncio.gather(*(_offer(bank, cid) for cid in await _friends(bank, 8)))
    assert len(await _rows(bank)) > 3


async def test_with_slots_clicks_at_once_offer_exactly_what_there_is(
    bank: Bank, demo: Services, second: Services
) -> None:
    await _put(demo)
    other = await open_bank(second, TENANT)
    cids = await _friends(bank, 12)
    both = [(bank, other)[number % 2] for number in range(12)]
    answers = await asyncio.gather(*(_offer(one, cid) for one, cid in zip(both, cids, strict=True)))
    assert Counter(answers) == {"offered": 3, "allowance_used": 9}
    rows = await _rows(bank)
    assert len(rows) == 3
    assert [row["place"] for row in rows] == [{"branch": BRANCH, "staff": RM}] * 3
    refused = await demo.store.tenant(TENANT)["audit"].count({"action": "reward.offer_refused"})
    assert refused == 9


async def test_one_form_sent_twice_is_one_offer_and_another_is_told_so(bank: Bank, demo: Services) -> None:
    await _put(demo)
    (cid,) = await _friends(bank, 1)
    twice = await asyncio.gather(*(_offer(bank, cid, key="one") for _ in range(6)))
    assert set(twice) == {"offered"}
    assert await _offer(bank, cid, key="two") == "already_offered"
    await relationships.changed(bank, HEAD, cid, at=bank.now(), active=True)
    assert await _offer(bank, cid, HEAD, key="three") == "already_offered"
    assert len(await _rows(bank)) == 1
    told = await demo.store.tenant(TENANT)["timeline"].find({"cid": cid, "kind": "reward.offered"})
    assert [row["data"] for row in told] == [{"reward": REWARD, "userid": RM}]


async def test_two_rms_who_offer_the_same_to_one_customer_offer_it_once(bank: Bank, demo: Services) -> None:
    await _put(demo)
    (cid,) = await _friends(bank, 1)
    await relationships.changed(bank, HEAD, cid, at=bank.now(), active=True)
    answers = await asyncio.gather(_offer(bank, cid, RM, key="a"), _offer(bank, cid, HEAD, key="b"))
    assert sorted(answers) == ["already_offered", "offered"]
    (row,) = await _rows(bank)
    others = [one for one in (RM, HEAD) if one != row["place"]["staff"]]
    assert [one.used for one in await _offerable(bank, others[0])] == [0]


async def test_the_head_of_a_branch_may_offer_more_and_each_month_begins_anew(
    bank: Bank, demo: Services, clock: MovedClock
) -> None:
    await _put(demo)
    cids = await _friends(bank, 6, HEAD)
    assert [await _offer(bank, cid, HEAD) for cid in cids] == ["offered"] * 5 + ["allowance_used"]
    now = datetime.fromtimestamp(bank.now(), bank.tz)
    next_month = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, 1, tzinfo=bank.tz)
    clock.advance(next_month.timestamp() - bank.now())
    later = await open_bank(demo, TENANT)
    assert await _offer(later, cids[5], HEAD) == "offered"


async def test_a_smaller_allowance_counts_what_was_offered_before(bank: Bank, demo: Services) -> None:
    await _put(demo)
    cids = await _friends(bank, 4)
    assert [await _offer(bank, cid) for cid in cids[:2]] == ["offered"] * 2
    await _put(demo, allowance={"rm": 1})
    assert await _offer(bank, cids[2]) == "allowance_used"
    (one,) = await _offerable(bank, RM)
    assert (one.limit, one.used, one.left, one.why) == (1, 2, 0, "allowance_used")
    await _put(demo, allowance={"rm": 0})
    assert await _offer(bank, cids[3]) == "allowance_used"


async def test_what_may_not_be_offered_is_refused_and_nothing_is_changed(bank: Bank, demo: Services) -> None:
    await _put(demo, open_to="anyone", allowance={})
    mine, theirs = (await _friends(bank, 1))[0], (await _friends(bank, 1, HEAD, "x"))[0]
    before = await world.all_rows(demo)
    assert await _offer(bank, mine) == "not_allowed"
    assert await _offerable(bank, RM) == []
    await _put(demo)
    before["rewards"] = (await world.all_rows(demo))["rewards"]
    with pytest.raises(NotFound):
        await allowance.offer(bank, StaffActor(TENANT, RM), theirs, REWARD, "他人的客户", "k")
    with pytest.raises(InvalidInput) as refused:
        await allowance.offer(bank, StaffActor(TENANT, RM), mine, REWARD, "  ", "k")
    assert refused.value.fields == {"reason": "required"}
    with pytest.raises(NotFound):
        await allowance.offer(bank, StaffActor(TENANT, RM), mine, "camp.none", "老客户", "k")
    await _put(demo, ends=datetime(2026, 2, 1, tzinfo=UTC))
    before["rewards"] = (await world.all_rows(demo))["rewards"]
    assert await _offer(bank, mine) == "ended"
    assert await world.all_rows(demo) == before


async def test_an_offer_is_promised_until_it_is_claimed_and_then_the_rms_cost(bank: Bank, demo: Services) -> None:
    await _put(demo)
    first, second = await _friends(bank, 2)
    assert await world.answer(demo, world.request(first)) == "not_eligible"
    for cid in (first, second):
        assert await _offer(bank, cid, reason="生日") == "offered"
    assert await world.answer(demo, world.request(first)) == "granted"
    given = await allowance.list_given(bank, [RM])
    assert [(one.cid, one.claimed_at is not None, one.cost, one.reason) for one in given] == [
        (second, False, 100, "生日"),
        (first, True, 100, "生日"),
    ]
    (total,) = allowance.sums(given, [RM])
    assert total == allowance.Sum(RM, offers=2, claimed=1, spent=100, promised=100)
    assert await allowance.colleagues(bank, StaffActor(TENANT, RM)) == [RM]
    assert await allowance.colleagues(bank, StaffActor(TENANT, HEAD)) == [HEAD, RM]
    raw = await bank.db[OFFERS].find({"cid": first})
    assert "生日".encode() not in raw[0]["reason"]


async def test_a_campaigns_offer_takes_nothing_of_the_allowance(bank: Bank, demo: Services) -> None:
    await _put(demo)
    (cid,) = await _friends(bank, 1)
    assert await offers.make(bank, cid, REWARD, "run")
    assert await _offer(bank, cid) == "already_offered"
    assert [one.used for one in await _offerable(bank, RM)] == [0]
