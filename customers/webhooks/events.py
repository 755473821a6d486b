"""What a bank's own systems may be told of: one table from an event's name to the kinds of happenings
that it stands for, and to what of them is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """`kinds` are those of the customers' timeline, or of `telling.tell_of`, each with what the
    event says of it besides. Of a happening's own data only `says` leaves the bank's systems here:
    no name, no phone number, nothing that somebody wrote."""

    name: str
    kinds: Mapping[str, Mapping[str, str]]
    says: frozenset[str] = field(default_factory=frozenset)


def _same(name: str, *says: str) -> Event:
    """An event that is called as its happening."""
    return Event(name, {name: {}}, frozenset(says))


_LEFT = {
    "customer.deleted_rm": {"by": "customer"},
    "rm.deleted_customer": {"by": "rm"},
    "sync.ended": {"by": "sync"},
}

EVENTS: dict[str, Event] = {
    one.name: one
    for one in (
        _same("customer.added", "userid", "state"),
        Event("customer.left", _LEFT, frozenset({"userid"})),
        Event("customer.bound", {"phone.bound": {}}, frozenset({"appid"})),
        _same("customer.merged", "merged"),
        _same("customer.unmerged"),
        _same("segment.entered", "segment"),
        _same("segment.left", "segment"),
        _same("campaign.entered", "campaign"),
        _same("reward.claimed", "reward"),
        _same("voucher.granted", "voucher", "reward"),
        _same("voucher.used", "voucher", "reward", "count", "uses_left", "place"),
        _same("voucher.undone", "voucher", "reward", "count"),
        _same("voucher.expired", "voucher", "reward"),
        _same("voucher.recalled", "voucher", "reward"),
        _same("voucher.refunded", "voucher", "reward"),
        _same("points.earned", "points", "rule", "reward"),
        _same("points.expired", "points"),
        _same("consent.withdrawn", "purpose"),
    )
}
"""Every event that a webhook may ask for."""

OF_KIND: dict[str, Event] = {kind: one for one in EVENTS.values() for kind in one.kinds}


def said(event: Event, kind: str, data: Mapping[str, object]) -> dict[str, object]:
    """What the event says of a happening."""
    return {name: value for name, value in data.items() if name in event.says} | dict(
        event.kinds[kind]
    )
