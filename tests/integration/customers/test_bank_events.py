"""Events of the bank's own systems: split, joined, counted, told; once, whatever is sent twice or cut short."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import awaited, customer_numbers
from customers.identity.awaited import AWAITED
from customers.intake import joining, retention, splitting, tallies, view, waits
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, INTAKE
from customers.profiles import refreshing
from customers.rfm import measuring
from customers.timeline import TIMELINE
from rewards.points.document import ProgramError
from services.container import Services
from services.errors import Conflict
from tests.integration.rewards.points_world import begin, points
from tests.support import unguarded
from tests.support.bank_systems import customer, event, join, split, take
from tests.support.banks import open_bank
from tests.support.jobs import handle_inbox
from tests.support.waiting import until

PHONE = "+8613800000001"


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def known(bank: Bank, number: str, **facts: Any) -> str:
    """A customer with the bank's number."""
    cid = await customer(bank, **facts or {"unionid": f"u-{number}"})
    await customer_numbers.link(bank, number, cid, source="bank", proof="test")
    return cid


async def due(bank: Bank) -> int:
    """How many are to be looked for now."""
    return await bank.db[AWAITED].count({"due": {"$lte": bank.now()}})


async def test_points_are_earned_by_an_event_of_the_bank_once(bank: Bank) -> None:
    rule = {"title": {"zh": "登录", "en": "Login"}, "event": "bank.app.login", "points": 5}
    await begin(bank, rules={"app": rule})
    cid = await known(bank, "C0001")
    ago = time.time() - bank.now() + 60
    await take(bank, [event("e1", ago=ago), event("e2", ago=ago), event("e3", "account.opened", ago=ago)])
    await split(bank)
    await take(bank, [event("e1", ago=ago), event("e2", ago=ago + 1)])
    await split(bank)
    await handle_inbox(bank)
    assert (await points(bank, cid)).available == 10
    with pytest.raises(ProgramError):
        await begin(bank, rules={"app": {**rule, "event": "bank.never.declared"}})


async def test_what_is_too_old_goes_and_its_counts_stay(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    await take(bank, [event("e1"), event("e2", number="C0002")])
    await split(bank)
    await retention.forget_old(bank)
    assert (await bank.db[BANK_EVENTS].count(), await bank.db[INTAKE].count()) == (2, 1)
    long_ago = bank.now() - 401 * 86_400
    await bank.db[BANK_EVENTS].update_many({}, {"$set": {"received": long_ago}})
    await bank.db[INTAKE].update_many({}, {"$set": {"due": long_ago}})
    await retention.forget_old(bank)
    assert (await bank.db[BANK_EVENTS].count(), await bank.db[INTAKE].count()) == (0, 0)
    assert await counted(bank) == {(cid, "app.login"): 1}
    await bank.db[AWAITED].update_many({}, {"$set": {"due": 0.0}})
    await join(bank)
    assert await bank.db[AWAITED].count() == 0


async def at_rest(bank: Bank) -> bool:
    """Whether nothing is done behind an answer."""
    return not bank.services.groups._background


async def counted(bank: Bank) -> dict[tuple[str, str], int]:
    """How often what happened to whom, by the tallies."""
    rows = await bank.db[EVENT_TALLIES].find({}, limit=None)
    return {(row["cid"], row["name"]): sum(row["days"].values()) for row in rows}


async def states(bank: Bank) -> list[tuple[str, bool]]:
    rows = await bank.db[INTAKE].find({}, sort=[("_id", 1)], limit=None)
    return [(row["state"], "body" in row) for row in rows]


async def test_an_event_is_joined_counted_and_told_once(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    checked = await take(bank, [event("e1"), event("e2"), event("e3", "account.opened", data={"product": "saving"})])
    assert checked.wrong == {}
    row = await bank.db[INTAKE].find_one({})
    assert row is not None
    assert (row["accepted"], row["system"], row["open"]) == (3, "core", True)
    assert b"C0001" not in row["body"]
    for _ in range(2):
        await split(bank)
    assert await counted(bank) == {(cid, "app.login"): 2, (cid, "account.opened"): 1}
    assert await states(bank) == [("done", False)]
    told = await bank.db[TIMELINE].find({"kind": "bank.event"}, limit=None)
    assert sorted((one["cid"], one["data"]["event"]) for one in told) == [
        (cid, "account.opened"), (cid, "app.login"), (cid, "app.login"),
    ]  # fmt: skip
    stored = await bank.db[BANK_EVENTS].find({}, limit=None)
    assert {b"C0001" in one["data"] for one in stored} == {False}


async def test_an_event_that_comes_again_in_another_request_adds_nothing(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    await take(bank, [event("e1")])
    await take(bank, [event("e1", "payment.made"), event("e2")])
    await take(bank, [event("e1")], system="cards")
    await split(bank)
    assert await bank.db[BANK_EVENTS].count() == 3
    assert (await counted(bank))[cid, "app.login"] >= 2


async def test_a_days_count_is_the_rows_of_the_day(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    day = 86_400.0
    for number, ago in enumerate([0.0, 2 * day, 2 * day, 40 * day]):
        await take(bank, [event(f"e{number}", ago=ago)])
        await split(bank)
    row = await bank.db[EVENT_TALLIES].find_one({"cid": cid})
    assert row is not None
    today = tallies.day_of(row["last"], bank.tz)
    assert row["days"] == {str(today): 1, str(today - 2): 2, str(today - 40): 1}
    assert row["last"] - row["first"] == pytest.approx(40 * day, abs=60)


async def _paid(bank: Bank, event_id: str, fen: int) -> None:
    await take(bank, [event(event_id, "payment.made", data={"amount": fen, "channel": "app"})])
    await split(bank)


async def test_what_events_came_to_is_summed_beside_their_count(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    for event_id, fen in (("e1", 10_000), ("e2", 250), ("e2", 250), ("e3", -4_000)):
        await _paid(bank, event_id, fen)
    (row,) = await bank.db[EVENT_TALLIES].find({"cid": cid})
    ((day, count),) = row["days"].items()
    assert (count, row["sums"]) == (3, {"amount": {day: 6_250}})
    stored = await bank.db[BANK_EVENTS].find({}, limit=None)
    assert sorted(one["amounts"]["amount"] for one in stored) == [-4_000, 250, 10_000]


async def test_a_count_that_was_written_before_there_were_sums_goes_on(bank: Bank) -> None:
    cid = await known(bank, "C0001")
    for event_id in ("e1", "e2"):
        await _paid(bank, event_id, 10_000)
    await bank.db[EVENT_TALLIES].update({"cid": cid}, {"$unset": {"rev": "", "sums": ""}})
    await bank.db[BANK_EVENTS].update_many({}, {"$unset": {"amounts": ""}})
    assert bank.rfm is not None
    span = (f"{bank.id}:", f"{bank.id};")
    by: Any = {"events": bank.rfm.events, "amounts": bank.rfm.amounts, "since": 0}
    before = await measuring.measure(bank, await refreshing.batch_of(bank, span), by)
    assert (before[cid].f, before[cid].m) == (2, 0)
    await _paid(bank, "e3", 250)
    (row,) = await bank.db[EVENT_TALLIES].find({"cid": cid})
    ((day, count),) = row["days"].items()
    assert (count, row["sums"], row["rev"]) == (3, {"amount": {day: 250}}, 1)


@pytest.mark.parametrize("guarded", [False, True], ids=["guard-off", "guard-on"])
async def test_who_counted_earlier_and_writes_later_leaves_count_and_sum_of_the_later(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    cid = await known(bank, "C0001")
    await _paid(bank, "e1", 10_000)
    (earlier,) = await bank.db[EVENT_TALLIES].find({"cid": cid}, fields={"tenant": 0})
    await _paid(bank, "e2", -4_000)
    if not guarded:
        monkeypatch.setattr(tallies, "_raised", lambda row, tally: {**row, **tally, "rev": row["rev"] + 1})
    await tallies._write(bank, [earlier])
    (row,) = await bank.db[EVENT_TALLIES].find({"cid": cid})
    ((day, count),) = row["days"].items()
    assert (count, row["sums"]["amount"][day]) == ((2, 6_000) if guarded else (1, 10_000))


@pytest.mark.parametrize("kind", ["number", "phone", "unionid", "openid", "external_userid"])
async def test_who_is_not_known_yet_is_waited_for(bank: Bank, kind: str) -> None:
    appid = next(iter(bank.miniprograms))
    named = {
        "number": {"number": "C0001"},
        "phone": {"phone": "138 0000 0001"},
        "unionid": {"unionid": "u-1"},
        "openid": {"openid": "o-1", "appid": appid},
        "external_userid": {"external_userid": "wm1"},
    }[kind]
    await take(bank, [event("e1", **named), event("e2", **named)])
    await split(bank)
    (waits_for,) = await bank.db[AWAITED].find({})
    assert (waits_for["by"], waits_for["open"]) == (kind, True)
    assert await counted(bank) == {}
    facts: dict[str, Any] = {
        "number": {"unionid": "u-C0001"},
        "phone": {"unionid": "u-1", "phone": PHONE},
        "unionid": {"unionid": "u-1"},
        "openid": {"openids": {appid: "o-1"}},
        "external_userid": {"external_userid": "wm1"},
    }[kind]
    cid = await known(bank, "C0001", **facts) if kind == "number" else await customer(bank, **facts)

    await until(partial(due, bank))
    await join(bank)
    assert await counted(bank) == {(cid, "app.login"): 2}
    assert await bank.db[AWAITED].count() == 0
    assert await bank.db[BANK_EVENTS].count({"wait": {"$exists": True}}) == 0
    assert await bank.db[TIMELINE].count({"kind": "bank.event", "cid": cid}) == 2


async def test_a_phone_of_two_customers_waits_for_a_clerk(bank: Bank) -> None:
    one = await customer(bank, unionid="u-1", phone=PHONE)
    other = await customer(bank, unionid="u-2", phone=PHONE)
    await take(bank, [event("e1", phone="13800000001")])
    await split(bank)
    (row,) = await bank.db[AWAITED].find({})
    assert row["reason"] == "phone_shared"
    found = (await joining.find(bank, [row["_id"]]))[row["_id"]]
    assert found.among == tuple(sorted([one, other]))
    assert await counted(bank) == {}
    (seen,) = await view.shared(bank)
    assert (seen["events"], [who["cid"] for who in seen["among"]]) == (1, sorted([one, other]))
    clerk = ClerkActor("demo", "lin", "林晓", frozenset({"intake.join"}))
    with pytest.raises(Conflict, match="wait_changed"):
        await view.join(bank, clerk, row["_id"], await customer(bank, unionid="u-3"))
    await view.join(bank, clerk, row["_id"], other)
    await join(bank)
    assert await counted(bank) == {(other, "app.login"): 1}
    await take(bank, [event("e2", phone="+8613800000001")])
    await split(bank)
    assert await counted(bank) == {(other, "app.login"): 2}
    assert (await view.shared(bank), await view.waiting(bank)) == ([], 0)


async def _interrupted(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody becomes known between the look for him and the waiting for him."""
    cids = []
    wait_for = waits.wait_for

    async def meanwhile(*given: Any) -> None:
        cids.append(await known(bank, "C0001"))
        await until(partial(at_rest, bank))
        await wait_for(*given)

    monkeypatch.setattr(waits, "wait_for", meanwhile)
    await take(bank, [event("e1")])
    row = await bank.db[INTAKE].find_one({})
    assert row is not None
    await splitting.bring(bank, [splitting._event(bank, row, event("e1"))])  # type: ignore[arg-type]
    return cids[0]


async def test_without_the_second_look_who_became_known_meanwhile_waits_on(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        """What it is without the guard."""

    monkeypatch.setattr(waits, "_look_again", never)
    await _interrupted(bank, monkeypatch)
    assert await due(bank) == 0


async def test_who_became_known_meanwhile_is_joined_at_once(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    cid = await _interrupted(bank, monkeypatch)
    assert await due(bank) == 1
    await join(bank)
    assert await counted(bank) == {(cid, "app.login"): 1}


async def test_what_is_woken_while_it_ends_stays(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that goes in after the last look at what waits, and before the row goes."""
    await take(bank, [event("e1")])
    await split(bank)
    cid = await known(bank, "C0001")
    await until(partial(due, bank))
    end = awaited.end

    async def late(bank: Bank, owner: str, row: Any) -> None:
        monkeypatch.setattr(awaited, "end", end)
        found = joining.find

        async def blind(bank: Bank, wanted: Any) -> Any:
            monkeypatch.setattr(joining, "find", found)
            return {}

        monkeypatch.setattr(joining, "find", blind)
        intake = await bank.db[INTAKE].find_one({})
        await splitting.bring(bank, [splitting._event(bank, intake, event("e2"))])  # type: ignore[arg-type]
        await end(bank, owner, row)

    monkeypatch.setattr(awaited, "end", late)
    await join(bank)
    assert await counted(bank) == {(cid, "app.login"): 2}
    assert await bank.db[AWAITED].count() == 0


async def test_two_who_count_at_once_leave_the_whole_count(bank: Bank) -> None:
    """A count that was made before the other's row went in does not take its place."""
    cid = await known(bank, "C0001")
    await take(bank, [event("e1")])
    await split(bank)
    (old,) = await bank.db[BANK_EVENTS].find({})
    stale = dict(old)
    await take(bank, [event("e2")])
    await split(bank)
    counts = tallies._counts

    async def seen_before(_bank: Bank, buckets: Any) -> Any:
        return {one: tallies._Day(n=1) for one in buckets}

    tallies._counts = seen_before  # type: ignore[assignment]
    try:
        await tallies.count(bank, [stale])  # type: ignore[list-item]
    finally:
        tallies._counts = counts
    assert await counted(bank) == {(cid, "app.login"): 2}


@pytest.mark.parametrize("guarded", [False, True], ids=["guard-off", "guard-on"])
async def test_two_who_raise_a_count_at_once_lose_nothing(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Each has read the row before the other writes it."""
    cid = await known(bank, "C0001")
    await take(bank, [event("e1")])
    await split(bank)
    (row,) = await bank.db[BANK_EVENTS].find({})
    others = [{**row, "day": row["day"] - n, "bucket": f"before {n}"} for n in (1, 2)]
    await bank.db[BANK_EVENTS].insert_new([{**other, "_id": other["bucket"]} for other in others])
    if not guarded:
        unguarded.replaces_whatever_is_there(monkeypatch)
    meeting, real, met = asyncio.Barrier(2), Bank.by_id, 0

    async def by_id(*args: Any) -> Any:
        nonlocal met
        found = await real(*args)
        met += 1
        if met <= 2:
            await meeting.wait()
        return found

    monkeypatch.setattr(Bank, "by_id", by_id)
    await asyncio.gather(*(tallies.count(bank, [other]) for other in others))  # type: ignore[list-item]
    assert ((await counted(bank))[cid, "app.login"] == 3) is guarded
