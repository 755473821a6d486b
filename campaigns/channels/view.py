"""The channels as the console shows them: live codes with who is behind them, links with the
balance, group codes, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from campaigns.channels import acquisition, live_codes, rosters
from campaigns.channels.rows import ACQUISITION_LINKS, ARRIVALS, CHANNELS
from campaigns.community.rows import GROUP_GREETINGS
from customers.banks.bank import Bank
from customers.wecom_mirror import groups
from services.store.mongo import Doc

MOST_GROUPS = 200


async def overview(bank: Bank) -> dict[str, Any]:
    """Everything on the page, each list in the order of its states; groups the largest first."""
    db = bank.db
    rows = await db[CHANNELS].find({}, sort=[("state", 1)], limit=None)
    arrivals = await _today(bank, rows)
    mirror = {row["link_id"]: row for row in await db[ACQUISITION_LINKS].find({}, limit=None)}
    present = await groups.listed(bank)
    by_chat = {row["chat_id"]: row for row in present}
    names = bank.branches
    greetings = await db[GROUP_GREETINGS].find({}, sort=[("campaign", 1), ("name", 1)], limit=None)
    return {
        "codes": [_code(row, arrivals, names) for row in rows if row["kind"] == live_codes.CODE],
        "links": [
            _link(row, arrivals, mirror, names) for row in rows if row["kind"] == live_codes.LINK
        ],
        "balance": await acquisition.balance(bank),
        "group_codes": [
            _group_code(row, by_chat) for row in rows if row["kind"] == live_codes.GROUP
        ],
        "groups": present[:MOST_GROUPS],
        "group_count": len(present),
        "greetings": [
            {name: row.get(name, "") for name in ("campaign", "name", "content")}
            for row in greetings
        ],
    }


async def _today(bank: Bank, rows: list[Doc]) -> dict[str, Counter[str]]:
    """state → userid → today's customers; under "" those who opened a link or asked through it."""
    found: dict[str, Counter[str]] = {}
    now = bank.now()
    days = {row["state"]: rosters.day_of(row["tz"], now) for row in rows}
    for day in sorted(set(days.values())):
        wanted = await bank.db[ARRIVALS].find(
            {"day": day}, fields={"state": 1, "userid": 1}, limit=None
        )
        for row in wanted:
            if days.get(row["state"]) == day:
                found.setdefault(row["state"], Counter())[row["userid"]] += 1
    return found


def _head(row: Doc, branches: Mapping[str, str]) -> dict[str, Any]:
    branch = branches.get(row["branch"], row["branch"])
    return {
        "state": row["state"],
        "campaign": row["campaign"],
        "branch": branch,
        "made": row["made"],
    }


def _code(
    row: Doc, arrivals: dict[str, Counter[str]], branches: Mapping[str, str]
) -> dict[str, Any]:
    counts, cap = arrivals.get(row["state"], Counter()), row.get("cap")
    behind = row.get("users") or []
    out = sorted(
        userid for userid, count in counts.items() if cap and count >= cap and userid not in behind
    )
    return {
        **_head(row, branches),
        "behind": [(userid, counts[userid]) for userid in behind],
        "out": [(userid, counts[userid]) for userid in out],
        "cap": cap,
        "today": counts.total(),
        "qr_code": row.get("qr_code", ""),
    }


def _link(
    row: Doc, arrivals: dict[str, Counter[str]], mirror: dict[str, Doc], branches: Mapping[str, str]
) -> dict[str, Any]:
    counts = arrivals.get(row["state"], Counter())
    there = mirror.get(row.get("link_id", ""), {})
    return {
        **_head(row, branches),
        "users": row.get("users") or [],
        "url": row.get("url", ""),
        "today": counts.total() - counts[""],
        "figures": there.get("figures"),
    }


def _group_code(row: Doc, by_chat: Mapping[str, groups.Listed]) -> dict[str, Any]:
    people: list[tuple[str, int | None]] = []
    for chat_id in row.get("groups") or []:
        group = by_chat.get(chat_id)
        name = (group["name"] if group else "") or chat_id
        people.append((name, group["people"] if group else None))
    return {**_head(row, {}), "groups": people, "qr_code": row.get("qr_code", "")}
