"""The one table of reactions: every kind of event is in it, or is known to need none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from operations.events import dispatch
from services.container import Services
from services.wechat import events
from tests.support.banks import open_bank

ROW = {"_id": "demo:x", "at": datetime(2026, 1, 1, tzinfo=UTC), "owner": "w", "tenant": "demo"}
NO_REACTION = {
    events.AppEntered,
    events.AppSubscribed,
    events.AppUsed,
    events.BatchJobDone,
    events.MemberTagChanged,
    events.MemberWrote,
    events.MenuUsed,
    events.ServiceSession,
}
TO_COME = {
    events.ArchiveConsented,
    events.ArchiveNotified,
    events.GroupCreated,
    events.GroupDismissed,
    events.GroupUpdated,
}
BASES = {events.AppEvent, events.ContactEvent, events.Event, events.GroupEvent, events.Push, events.Unknown}


def _all() -> set[Any]:
    return {kind for name in events.__all__ if isinstance(kind := getattr(events, name), type)}


def test_every_event_has_a_reaction_or_is_known_to_need_none() -> None:
    kinds = _all() - BASES - TO_COME
    assert set(dispatch.REACTIONS) | NO_REACTION >= kinds
    assert set(dispatch.REACTIONS) & NO_REACTION == set()


async def test_a_known_event_without_a_reaction_is_noted_and_an_unknown_one_unknown(services: Services) -> None:
    head: dict[str, Any] = {"corp_id": "ww1", "create_time": None}
    noted = events.AppEntered(**head, userid="rm.chen", event_key="", agent_id=7)
    assert await dispatch.react(await open_bank(services, "demo"), ROW, noted) == (dispatch.NOTED, None)
    unknown = events.Unknown(**head, event="brand_new", change_type="")
    assert await dispatch.react(await open_bank(services, "demo"), ROW, unknown) == (dispatch.UNKNOWN, None)
