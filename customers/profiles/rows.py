"""The rows of profiles: one document a customer, with all that a rule may ask of him."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from services.store.rows import Rows


class Follower(TypedDict):
    """An RM whose friend the customer is, the RM's branch, and since when (seconds UTC)."""

    userid: str
    branch: str
    since: float


class EventTally(TypedDict):
    """How often an event happened to a customer: in all, `first` and `last` (seconds UTC), and by
    day, counted from 1970 in the bank's zone."""

    n: int
    first: float
    last: float
    days: dict[str, int]


class HeldReward(TypedDict):
    """How many vouchers of a reward he holds, and when he got the last (seconds UTC)."""

    n: int
    last: float


class Profile(TypedDict):
    """A customer as rules see him; the `_id` is his cid. `fields` are declared ones that lie open,
    `blind` the indexes of sealed ones. Names that are keys here (of events, campaigns, rewards) have
    `/` in place of dots. `campaigns` is when he last entered each. `rfm` is in which fifth of the
    bank's customers he is by `r`, `f` and `m`, 5 the highest. Moments are in seconds UTC. `seq` counts
    the changes."""

    _id: str
    seq: int
    fields: dict[str, Any]
    blind: dict[str, str]
    tags: list[str]
    rms: list[Follower]
    events: dict[str, EventTally]
    campaigns: dict[str, float]
    rewards: dict[str, HeldReward]
    segments: list[str]
    lists: list[str]
    bound: bool
    created_at: float
    added_at: NotRequired[float]
    rfm: NotRequired[dict[str, int]]


PROFILES = Rows(
    "profiles",
    indexes=(
        (("tenant", 1), ("_id", 1)),
        (("tenant", 1), ("segments", 1)),
    ),
)
"""Customers as rules see them: made from all that is known of them, and never the only place of
anything."""
