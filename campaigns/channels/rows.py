"""The rows of channels, the ways through which customers come; of who came, and of what is known of
acquisition links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from campaigns.document.model import Campaign
from customers.banks.bank import Bank
from services.cache import cached, invalidate
from services.store.mongo import Doc
from services.store.rows import Rows

CODE, LINK, GROUP = "code", "link", "group"
CACHE_SECONDS = 1.0


class LeftOut(TypedDict):
    """Somebody (a userid, or a group's chat_id) whom WeCom does not take into a channel, and why;
    since when we know (seconds UTC)."""

    one: str
    why: str
    at: float


class Provisioned(TypedDict):
    """Something that is made at WeCom once: `at_wecom` is `wanted` or `present`, and `since` when
    somebody last began to make it (seconds UTC; 0.0: whoever comes may begin)."""

    _id: str
    at_wecom: str
    since: float


class Channel(Provisioned):
    """A way through which customers come, by the `state` that it carries; of one `kind`. `code` is
    its name in the document of its campaign, `tz` that campaign's time zone.

    Once present it waits for its next look (`open`, `due` in seconds UTC, `owner`, `attempts`).
    `left_out` belong into it, and WeCom refuses them.
    """

    campaign: str
    kind: str
    code: str
    branch: str
    state: str
    tz: str
    open: NotRequired[bool]
    due: NotRequired[float]
    owner: NotRequired[str | None]
    attempts: NotRequired[int]
    seen: NotRequired[int]
    left_out: NotRequired[list[LeftOut]]


class LiveCodeRow(Channel):
    """`users` are behind the code, `updates` when it was changed lately (seconds UTC)."""

    config_id: NotRequired[str]
    qr_code: NotRequired[str]
    users: NotRequired[list[str]]
    skip_verify: NotRequired[bool]
    cap: NotRequired[int | None]
    updates: NotRequired[list[float]]


class LinkRow(Channel):
    """An acquisition link that leads to `users`."""

    link_id: NotRequired[str]
    url: NotRequired[str]
    users: NotRequired[list[str]]
    skip_verify: NotRequired[bool]


class GroupCodeRow(Channel):
    """A code into `groups`; `listed` are those of the document when it was looked at last."""

    config_id: NotRequired[str]
    qr_code: NotRequired[str]
    groups: NotRequired[list[str]]
    listed: NotRequired[list[str]]


class Arrival(TypedDict):
    """A customer who came through a channel to `userid`; without one, somebody unknown who did
    `what` with a link (opened, requested)."""

    _id: str
    day: str
    state: str
    userid: str
    at: datetime
    what: NotRequired[str]


class Figures(TypedDict):
    """What a link brought in the last 30 days (`clicks`, `new`), and of all who came how many have
    written and how many have not."""

    clicks: int
    new: int
    came: int
    silent: int
    wrote: int
    read_at: datetime


class AcquisitionLink(TypedDict):
    """A link as WeCom has it; `seen` is the number of the last sync that saw it."""

    _id: str
    link_id: str
    name: str
    url: str
    skip_verify: bool
    users: list[str]
    departments: list[int]
    active: bool
    figures: NotRequired[Figures]
    seen: NotRequired[int]


class Expiring(TypedDict):
    """Part of the balance that ends `at` (seconds UTC)."""

    at: int
    number: int


class Balance(TypedDict):
    """What is left of the bank's acquisition quota, None where nothing is known. It is at `level`
    since `at`, was last refilled when `cleared` says, and WeCom was last `asked` then (all seconds
    UTC)."""

    _id: str
    level: str
    at: float
    cleared: float
    asked: float
    balance: int | None
    total: int | None
    expiring: list[Expiring]


CHANNELS = Rows("channels", indexes=((("tenant", 1), ("open", 1), ("due", 1)),))
"""The ways through which customers come: live codes, acquisition links, group codes."""
ARRIVALS = Rows(
    "arrivals",
    indexes=((("tenant", 1), ("day", 1), ("state", 1), ("userid", 1)),),
)
"""Adds that count for an RM's daily cap."""
ACQUISITION_LINKS = Rows("acquisition_links")
"""Acquisition links as WeCom has them."""
ACQUISITION_BALANCE = Rows("acquisition_balance")
"""What is left of the bank's acquisition quota."""


async def by_state(bank: Bank, state: str) -> Channel | None:
    """The channel whose live code, link or group code carries `state`, or None; at most
    CACHE_SECONDS old."""

    async def load() -> dict[str, Channel]:
        return {row["state"]: row for row in await channels(bank)}

    return (await cached(bank.services, _key(bank), CACHE_SECONDS, load)).get(state)


async def channels(bank: Bank, query: Mapping[str, Any] | None = None) -> list[Channel]:
    """The channels that match, in the order of their states."""
    rows = await bank.db[CHANNELS].find(query or {}, sort=[("state", 1)], limit=None)
    return cast("list[Channel]", rows)


def invalidate_channels(bank: Bank) -> None:
    """Channels were changed: this process reads them again."""
    invalidate(bank.services, _key(bank))


async def save(bank: Bank, row: Channel, fields: Mapping[str, Any]) -> None:
    """Writes those of `fields` that are not in the row as they should be."""
    if differs(row, fields):
        await bank.db[CHANNELS].update({"_id": row["_id"]}, {"$set": dict(fields)})
        invalidate_channels(bank)


def differs(row: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether any of `fields` has another value in the row."""
    return any(row.get(name) != value for name, value in fields.items())


def new_channel(
    bank: Bank, campaign: Campaign, kind: str, name: str, state: str, branch: str = ""
) -> Doc:
    """The row of a channel that the document wants under `name`, before it is made."""
    return {
        "_id": f"{bank.id}:{state}",
        "campaign": campaign.id,
        "kind": kind,
        "code": name,
        "branch": branch,
        "state": state,
        "tz": campaign.window.tz,
    }


def _key(bank: Bank) -> str:
    return f"channels:{bank.id}"
