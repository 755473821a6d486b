"""No act of a person's is without its row of the audit trail, wherever his process dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from campaigns.publishing import versions
from customers.access import history
from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.approvals import approvals
from customers.banks import clerks
from services.container import Services
from services.errors import Conflict, NotFound, Unavailable
from services.security import intents
from services.security.intents import GRACE
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.killing import Killed, before_write

LIN = ClerkActor("demo", "lin", "林晓", frozenset({"campaigns.pause"}))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def _rows(services: Services, action: str) -> list[dict[str, object]]:
    rows = await services.store.tenant("demo")["audit"].find({"action": action}, sort=[("seq", 1)])
    return [row["data"] for row in rows]


async def _paused(services: Services) -> bool:
    row = await services.store.tenant("demo")["campaigns"].find_one({"campaign": "acq-branch"})
    return row is not None and row["state"] == "paused"


async def _new_password(services: Services) -> bool:
    row = await clerks.find(await open_bank(services, "demo"), "zhao")
    return row is not None and row.get("epoch", 0) > 2


async def _pause(services: Services) -> None:
    await versions.pause(await open_bank(services, "demo"), LIN, "acq-branch")


async def _set_password(services: Services) -> None:
    await clerks.set_password(await open_bank(services, "demo"), "zhao", "steinhauer 4 segel")


ACTS = {
    "campaign.paused": (_pause, _paused),
    "clerk.password_set": (_set_password, _new_password),
}


@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize("write", range(6))
async def test_whoever_dies_at_any_write_leaves_a_row_of_what_he_did(
    demo: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, action: str, write: int
) -> None:
    act, is_done = ACTS[action]
    before = len(await _rows(demo, action))
    with monkeypatch.context() as patch:
        killed = before_write(patch, write)
        try:
            await act(demo)
        except Killed:
            assert killed()
    bank = await open_bank(demo, "demo")
    await history.finish_acts(bank)
    clock.advance(GRACE + 1)
    await history.finish_acts(bank)
    await history.finish_acts(bank)
    rows = (await _rows(demo, action))[before:]
    if await is_done(demo):
        assert rows, "it was done, and nobody says so"
    assert len(rows) <= 2
    assert await demo.store.tenant("demo")["audit_intents"].count() == 0
    assert await demo.audit.verify(demo.store.tenant("demo")) == []


async def test_of_many_workers_one_writes_the_row_of_an_act_that_was_cut_short(
    demo: Services, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    await intents.begin(demo, bank.id, "lin", "campaign.paused", "acq-branch", {})
    clock.advance(GRACE + 1)
    await asyncio.gather(*(history.finish_acts(bank) for _ in range(6)))
    assert await _rows(demo, "campaign.paused") == [{"unfinished": True}]


async def test_without_the_intent_an_act_is_done_and_nobody_says_so(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that the guard is for: the row after the act, and death between the two."""
    bank = await open_bank(demo, "demo")

    async def act() -> None:
        await bank.db["campaigns"].update({"campaign": "acq-branch"}, {"$set": {"state": "paused"}})
        await bank.audit("lin", "campaign.paused", "acq-branch")

    with monkeypatch.context() as patch:
        before_write(patch, 1)
        with pytest.raises(Killed):
            await act()
    await history.finish_acts(bank)
    assert await _paused(demo)
    assert await _rows(demo, "campaign.paused") == []


@pytest.mark.parametrize(
    ("error", "left"),
    [(NotFound("campaign_unknown"), 0), (Conflict("wrong_state"), 0), (Unavailable("store_unavailable"), 1)],
    ids=str,
)
async def test_what_was_refused_has_no_row_and_what_nobody_knows_has_one(
    demo: Services, clock: MovedClock, error: Exception, left: int
) -> None:
    bank = await open_bank(demo, "demo")

    async def act() -> None:
        async with bank.audited("lin", "campaign.paused", "acq-branch", why="test"):
            raise error

    refused: Awaitable[None] = act()
    with pytest.raises(type(error)):
        await refused
    clock.advance(GRACE + 1)
    await history.finish_acts(bank)
    assert await _rows(demo, "campaign.paused") == [{"why": "test", "unfinished": True}] * left


async def test_an_act_that_changed_nothing_has_no_row(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    async with bank.audited("lin", "campaign.paused", "acq-branch") as act:
        act.done = False
    assert await _rows(demo, "campaign.paused") == []
    assert await demo.store.tenant("demo")["audit_intents"].count() == 0


@pytest.mark.parametrize("write", range(4))
async def test_a_decision_of_somebody_who_did_not_come_back_is_said_by_a_worker(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    bank, zhao = await open_bank(services, "demo"), ClerkActor("demo", "zhao", "赵敏", frozenset())
    kind = approvals.Kind(
        name="leaflet",
        right="",
        submitted="leaflet.submitted",
        approved="leaflet.approved",
        rejected="leaflet.rejected",
        refused="leaflet.refused",
        decided="leaflet_decided",
    )
    await approvals.submit(bank, LIN, kind, "one", {"text": "咖啡"})
    with monkeypatch.context() as patch:
        before_write(patch, write)
        with suppress(Killed):
            await approvals.reject(bank, zhao, kind, "one", "zu teuer")
    found = await approvals.find(bank, kind, "one")
    clock.advance(approvals.BUSY.total_seconds() + 1)
    for _ in range(2):
        await approvals.record_decisions(bank)
    told = [(row["reason"], row["author"]) for row in await _rows(services, "leaflet.rejected")]
    assert found is not None
    assert told[:1] == ([("zu teuer", "lin")] if found.state == "rejected" else [])
    assert len(told) <= 2


async def test_an_alarm_that_was_handled_by_somebody_who_did_not_come_back_is_in_the_trail(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(services, "demo")
    await alarms.raise_alarm(bank, "code.nobody", "one", userids=[], at=clock())
    (alarm,) = await services.store.tenant("demo")["alarms"].find({})
    with monkeypatch.context() as patch:
        before_write(patch, 1)
        with suppress(Killed):
            await alarms.handle_by_clerk(bank, LIN, alarm["_id"])
    assert await _rows(services, "alarm.handled") == []
    clock.advance(61)
    for _ in range(2):
        await alarms.record_handled(bank)
    assert [row["how"] for row in await _rows(services, "alarm.handled")] == ["console"]
