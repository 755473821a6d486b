"""The channels as the console shows them: live codes with who is behind them, links with the
balance, group codes, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from campaigns.channels import balance, links, rosters
from campaigns.channels.rows import (
    ARRIVALS,
    CODE,
    GROUP,
    LINK,
    AcquisitionLink,
    Channel,
    GroupCodeRow,
    LinkRow,
    LiveCodeRow,
    channels,
)
from campaigns.community.rows import GroupGreeting, greetings
from customers.banks.bank import Bank
from customers.wecom_mirror import groups, members

MOST_GROUPS = 200
Arrivals = Mapping[str, Counter[str]]
"""state → userid → today's customers; under "" those who opened a link or asked through it."""


async def overview(bank: Bank) -> dict[str, Any]:
    """Everything on the page, each list in the order of its states; groups the largest first."""
    rows = await channels(bank)
    arrivals = await _today(bank, rows)
    mirrored = await links.mirrored(bank)
    present = await groups.listed(bank)
    by_chat_id = {group["chat_id"]: group for group in present}
    return {
        "codes": [_code(bank, row, arrivals) for row in _of_kind(rows, CODE)],
        "links": [_link(bank, row, arrivals, mirrored) for row in _of_kind(rows, LINK)],
        "balance": await balance.known(bank),
        "group_codes": [_group_code(bank, row, by_chat_id) for row in _of_kind(rows, GROUP)],
        "groups": present[:MOST_GROUPS],
        "group_count": len(present),
        "greetings": [_greeting(row) for row in await greetings(bank)],
        "names": await _names(bank, rows, arrivals, present),
    }


async def _names(
    bank: Bank, rows: Sequence[Channel], arrivals: Arrivals, present: Sequence[groups.Listed]
) -> dict[str, str]:
    """userid → name of the members on the page."""
    shown = {userid for counts in arrivals.values() for userid in counts}
    shown |= {group["owner"] for group in present[:MOST_GROUPS]}
    for row in rows:
        shown |= {*cast("LiveCodeRow", row).get("users", [])}
        shown |= {each["one"] for each in row.get("left_out", [])}
    return await members.names_of(bank, sorted(shown - {""}))


def _of_kind(rows: Sequence[Channel], kind: str) -> list[Any]:
    return [row for row in rows if row["kind"] == kind]


async def _today(bank: Bank, rows: Sequence[Channel]) -> Arrivals:
    """Who came today, on the day of each channel's own time zone."""
    now = bank.now()
    days = {row["state"]: rosters.day_of(row["tz"], now) for row in rows}
    some = {"day": {"$in": sorted(set(days.values()))}}
    fields = {"day": 1, "state": 1, "userid": 1}
    found: dict[str, Counter[str]] = {}
    for row in await bank.db[ARRIVALS].find(some, fields=fields, limit=None):
        if days.get(row["state"]) == row["day"]:
            found.setdefault(row["state"], Counter())[row["userid"]] += 1
    return found


def _head(bank: Bank, row: Channel) -> dict[str, Any]:
    return {
        "state": row["state"],
        "campaign": row["campaign"],
        "branch": bank.branches.get(row["branch"], row["branch"]),
        "at_wecom": row["at_wecom"],
        "left_out": [(each["one"], each["why"]) for each in row.get("left_out") or []],
    }


def _code(bank: Bank, row: LiveCodeRow, arrivals: Arrivals) -> dict[str, Any]:
    counts = arrivals.get(row["state"], Counter())
    cap = row.get("cap")
    behind = row.get("users") or []
    full = sorted(userid for userid, count in counts.items() if cap and count >= cap)
    return {
        **_head(bank, row),
        "behind": [(userid, counts[userid]) for userid in behind],
        "out": [(userid, counts[userid]) for userid in full if userid not in behind],
        "cap": cap,
        "today": counts.total(),
        "qr_code": row.get("qr_code", ""),
    }


def _link(
    bank: Bank, row: LinkRow, arrivals: Arrivals, mirrored: Mapping[str, AcquisitionLink]
) -> dict[str, Any]:
    counts = arrivals.get(row["state"], Counter())
    link = mirrored.get(row.get("link_id", ""))
    return {
        **_head(bank, row),
        "users": row.get("users") or [],
        "url": row.get("url", ""),
        "today": counts.total() - counts[""],
        "figures": link.get("figures") if link else None,
    }


def _group_code(
    bank: Bank, row: GroupCodeRow, by_chat_id: Mapping[str, groups.Listed]
) -> dict[str, Any]:
    shown: list[tuple[str, int | None]] = []
    for chat_id in row.get("groups") or []:
        group = by_chat_id.get(chat_id)
        name = (group["name"] if group else "") or chat_id
        shown.append((name, group["people"] if group else None))
    return {**_head(bank, row), "groups": shown, "qr_code": row.get("qr_code", "")}


def _greeting(row: GroupGreeting) -> dict[str, str]:
    return {
        "campaign": row["campaign"],
        "name": row["name"],
        "content": row.get("content", ""),
    }
