"""The audience process follows what changes, from wherever it was, and one of any number leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from customers.banks import apply
from customers.banks.bank import Bank, open_bank
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.profiles import refreshing
from operations import audience, profiling
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Change, Changes, StreamLost
from tests.conftest import DEMO_BANK
from tests.support.waiting import until

NO_CLERKS = "\n".join(line for line in DEMO_BANK.read_text(encoding="utf-8").splitlines() if "login:" not in line)


@pytest.fixture
async def bank(services: Services) -> Bank:
    text = NO_CLERKS.replace("clerks:\n", "").replace("counters:\n", "")
    await apply.apply_tenant(services, text, "bank.yaml")
    return await open_bank(services, "demo")


@asynccontextmanager
async def _following(services: Services) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(audience.run(services, stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await task


async def _person(bank: Bank, number: int) -> str:
    return await resolution.identify(bank, Facts(external_userid=f"wm{number}"), source="callback", proof=f"e{number}")


async def _tell(bank: Bank, cid: str, at: float, **said: Any) -> None:
    assert (await values.write_many(bank, [Update(cid, said, at, "core", f"e{at}")]))[0].taken


async def _row(services: Services) -> Any:
    return await services.store.system(audience.AUDIENCE).find_one({"_id": audience.LEADER})


async def _settled(bank: Bank) -> bool:
    return not [cid async for _, found in profiling.check(bank) for cid in found]


async def _until_settled(bank: Bank) -> None:
    await until(lambda: _settled(bank), 30.0)


async def test_it_makes_what_is_there_follows_what_changes_and_goes_on_where_it_was(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await _person(bank, 1)
    async with _following(services):
        await until(lambda: refreshing.find(bank, there), 30.0)
        since = await _person(bank, 2)
        await _tell(bank, since, 10.0, balance_band="B")
        await until(lambda: bank.db["profiles"].count({"_id": since, "fields.balance_band": "B"}))
        token = (await _row(services))["token"]
    assert (await _row(services))["until"] == 0.0
    await _tell(bank, there, 20.0, holdings=4)
    monkeypatch.setattr(profiling, "rebuild", None)  # it is not asked for again
    async with _following(services):
        await until(lambda: bank.db["profiles"].count({"_id": there, "fields.holdings": 4}))
        assert (await _row(services))["token"] != token
    await _until_settled(bank)


@pytest.mark.parametrize("token", [{"_data": "00"}, {"_data": "8265000000000000012B0429296E1404"}])
async def test_where_there_is_no_going_on_everything_is_made_anew(
    bank: Bank, services: Services, token: dict[str, str]
) -> None:
    stream = services.store.watch({"customers": ()}, token)
    with pytest.raises(StreamLost, match="the changes cannot be read on"):
        await stream.gather(0.0, 1)
    await stream.close()
    cid = await _person(bank, 1)
    row = {"_id": audience.LEADER, "owner": "", "until": 0.0, "fence": 7, "token": token, "at": 1.0}
    await services.store.system(audience.AUDIENCE).insert(row)
    async with _following(services):
        await until(lambda: refreshing.find(bank, cid), 30.0)
        assert (await _row(services))["fence"] == 8
        await _tell(bank, cid, 10.0, gender="M")
        await until(lambda: bank.db["profiles"].count({"_id": cid, "fields.gender": "M"}))


async def test_making_everything_anew_goes_on_with_the_part_at_which_it_was_cut_short(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    cids = sorted([await _person(bank, number) for number in range(6)])
    monkeypatch.setattr(refreshing, "AT_ONCE", 1)
    spans, asked = await refreshing.spans_of(bank), list[tuple[str, str]]()
    assert len(spans) == 6
    refresh_span = refreshing.refresh_span

    async def cut_short(bank: Bank, span: tuple[str, str], *more: Any) -> Any:
        asked.append(span)
        if len(asked) == 3:
            await _tell(bank, cids[0], 10.0, balance_band="A")  # whose part is done
            raise Unavailable("store_unavailable", "it is away")
        return await refresh_span(bank, span, *more)

    monkeypatch.setattr(refreshing, "refresh_span", cut_short)
    async with _following(services):
        await until(lambda: bank.db["profiles"].count({"_id": cids[0], "fields.balance_band": "A"}), 30.0)
    assert asked == [*spans[:3], *spans[2:]]
    row = await _row(services)
    assert (row["anew"], row["token"] is not None, row["fence"]) == (None, True, 2)
    await _until_settled(bank)


async def test_one_of_two_leads_and_who_lost_the_lead_stores_nothing(services: Services) -> None:
    first = await audience._take(services, "first")
    assert first is not None
    assert await audience._take(services, "second") is None
    again = await audience._take(services, "first")  # it may take up its own lease again
    assert again is not None
    await services.store.system(audience.AUDIENCE).update({"_id": audience.LEADER}, {"$set": {"until": 0.0}})
    second = await audience._take(services, "second")
    assert second is not None
    assert [one["fence"] for one in (first, again, second)] == [1, 2, 3]
    for lost in (first, again):
        with pytest.raises(audience._NotLeading):
            await audience._hold(services, lost, token={"_data": "mine"})
    assert "token" not in await _row(services)
    await audience._hold(services, second, token={"_data": "his"})
    assert (await _row(services))["token"] == {"_data": "his"}


async def test_a_source_that_fails_at_one_bank_is_told_and_does_not_stop_the_rest(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = refreshing.refresh_all, await _person(bank, 1)

    async def refresh(at: Bank, cids: set[str], sources: Any) -> Any:
        if broken in cids:
            raise ValueError
        return await real(at, cids, sources)

    async with _following(services):
        await until(lambda: refreshing.find(bank, broken), 30.0)
        monkeypatch.setattr(refreshing, "refresh_all", refresh)
        await _tell(bank, broken, 10.0, gender="M")
        await until(lambda: bank.db["alarms"].count({"kind": "work.failed", "data.work": "audience"}))
        other = await _person(bank, 2)
        await until(lambda: refreshing.find(bank, other))


async def test_a_bank_whose_profiles_cannot_be_made_holds_up_no_other(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = NO_CLERKS.replace("clerks:\n", "").replace("counters:\n", "")
    text = text.replace("id: demo\n", "id: zzz\n", 1).replace("wx5ab", "wx6ab")
    await apply.apply_tenant(services, text, "bank.yaml")
    later = await open_bank(services, "zzz")
    cid, real = await _person(later, 1), profiling.rebuild

    def rebuild(at: Bank, upto: str) -> Any:
        if at.id == bank.id:
            raise ValueError
        return real(at, upto)

    monkeypatch.setattr(profiling, "rebuild", rebuild)
    async with _following(services):
        await until(lambda: refreshing.find(later, cid), 30.0)
        await until(lambda: bank.db["alarms"].count({"kind": "work.failed", "data.work": "audience"}))
        mine = await _person(bank, 2)
        await until(lambda: refreshing.find(bank, mine))


async def test_it_is_not_told_to_be_further_than_the_last_change_that_it_took(
    bank: Bank, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "MOST_CHANGES", 1)  # while others wait
    work, hold = audience._work, audience._hold
    taken, beyond = list[Any](), list[float]()

    async def worked(services: Services, changes: Any) -> None:
        taken[:] = changes
        await work(services, changes)

    async def held(services: Services, lead: Any, **fields: Any) -> None:
        if taken and "at" in fields:
            beyond.append(fields["at"] - taken[-1].at)
        await hold(services, lead, **fields)

    async with _following(services):
        await until(lambda: _is_followed(services), 30.0)
        monkeypatch.setattr(audience, "_work", worked)
        monkeypatch.setattr(audience, "_hold", held)
        cids = await asyncio.gather(*(_person(bank, number) for number in range(4)))
        for cid in cids:
            await until(lambda cid=cid: refreshing.find(bank, cid))
    assert len(beyond) >= 4
    assert max(beyond) <= 0.0


async def test_a_stream_that_has_nothing_to_tell_is_not_taken_for_one_that_is_at_its_end(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.store.mongo.MARK_SECONDS", 0.0)
    stream = services.store.watch({"customers": ()})
    await stream.gather(0.0, 1)
    rows = services.store.tenant("demo")
    await rows["inbox"].insert_new([{"_id": f"demo:{n}"} for n in range(2_000)])  # of which nothing is told
    before = services.clock()
    await rows["customers"].insert_new([{"_id": "demo:ann"}])
    found = list[Change]()
    while not found:
        found = await stream.gather(0.0, 10)
        assert found or (stream.known_until or 0.0) < before
    assert [one.id for one in found] == ["demo:ann"]
    after = services.clock()
    await until(lambda: _is_known(stream, after))
    await stream.close()


async def _is_known(stream: Changes, at: float) -> bool:
    assert await stream.gather(0.0, 10) == []
    return stream.known_until is not None and stream.known_until >= at


async def _is_followed(services: Services) -> bool:
    row = await _row(services)
    return row is not None and row.get("token") is not None


async def test_somebody_is_told_when_the_profiles_are_late(bank: Bank, services: Services) -> None:
    assert await audience.lag(services) is None
    row = {"_id": audience.LEADER, "owner": "", "until": 0.0, "fence": 1, "at": services.clock() - 30.0}
    rows = services.store.system(audience.AUDIENCE)
    await rows.insert(row)
    await audience.watch(bank)
    assert await bank.db["alarms"].count({"kind": audience.LATE}) == 0
    await rows.update({"_id": audience.LEADER}, {"$set": {"at": services.clock() - 90.0}})
    for _ in range(2):
        await audience.watch(bank)
    (alarm,) = await bank.db["alarms"].find({"kind": audience.LATE})
    assert 90 <= alarm["data"]["seconds"] < 100
    await audience.measure(services)
    assert services.metrics.registry.get_sample_value("yinqiao_audience_lag_seconds") == pytest.approx(90.0, abs=10.0)
