"""What a customer reads of his points: how many he has, what expires when, and what each came from
or went to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.ledger import lines
from rewards.ledger.rows import PageLine
from rewards.points import accounts, nights, program
from rewards.points.program import Live
from rewards.points.rows import POINTS_VERSIONS, version_id
from rewards.rows import TRANSFERS
from services.clock import utc
from services.errors import InvalidInput
from services.store.mongo import Doc
from services.texts import Language, sentence

PAGE = 20
MOST = 100
_CURSOR = re.compile(r"([0-9]{1,15})-([0-9a-f]{32})", re.ASCII)
Titles = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """What one transfer brought, or took where it is below zero. `kind` is what it was: `earn`,
    `points` (a reward), `spend`, `refund`, `expire_points`, or a correction."""

    id: str
    at: datetime
    points: int
    kind: str
    row: Doc


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines, newest first; `next` is the cursor of those before them, empty where there are none."""

    lines: tuple[Line, ...]
    next: str


async def read(bank: Bank, cids: Sequence[str], before: str = "", limit: int = PAGE) -> Statement:
    """The lines of a customer under all of his ids, at most `limit` of them, from behind the cursor
    `before`. Raises InvalidInput `cursor_invalid`."""
    names = [accounts.of(cid) for cid in cids]
    last = _read_cursor(bank, before)
    found = await lines.newest(bank, names, limit + 1 + 128, last[0] if last else None)
    sums: dict[str, int] = {}
    first: dict[str, PageLine] = {}
    for line in found:
        if last is None or (line["at"], line["id"]) < last:
            sums[line["id"]] = sums.get(line["id"], 0) + line["amount"]
            first.setdefault(line["id"], line)
    shown = list(first.values())[:limit]
    rows = await bank.by_id(TRANSFERS, [line["id"] for line in shown])
    told = tuple(
        Line(line["id"], line["at"], sums[line["id"]], line["kind"], rows[line["id"]])
        for line in shown
    )
    return Statement(told, _cursor(told[-1]) if len(first) > limit else "")


def _cursor(line: Line) -> str:
    return f"{round(line.at.timestamp() * 1000)}-{line.id.rpartition(':')[2]}"


def _read_cursor(bank: Bank, cursor: str) -> tuple[datetime, str] | None:
    if not cursor:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None or int(match[1]) >= 10**14:
        raise InvalidInput("cursor_invalid", "this is no cursor of an earlier answer")
    return utc(int(match[1]) / 1000), f"{bank.id}:{match[2]}"


async def titles(bank: Bank, told: Sequence[Line], lang: Language) -> dict[str, str]:
    """What each line was for, by its id, in the reader's language."""
    live = await program.find_live(bank)
    rewards = await catalogue.all_rewards(bank)
    old = await _old_rules(bank, live, told)
    found: dict[str, str] = {}
    for line in told:
        about = line.row.get("about", {})
        title = about.get("title") or _rule_title(live, old, about)
        if not title and about.get("reward") in rewards:
            title = rewards[about["reward"]]["title"]
        found[line.id] = _worded(line, title or {}, lang)
    return found


def _worded(line: Line, title: Titles, lang: Language) -> str:
    name = title.get(lang) or title.get("zh") or ""
    what = line.row["kind"] if line.row["kind"] == "refund" else line.kind
    if what in ("earn", "points", "spend") and name:
        return name
    code = f"points_line_{what}"
    said = sentence(code, lang, title=name)
    return said if said != code else sentence("points_line_other", lang)


def _rule_title(live: Live | None, old: Mapping[int, Doc], about: Mapping[str, Any]) -> Titles:
    """What the rule was called; as it is now, or as it was when it is no more."""
    rule = about.get("rule", "")
    if live is not None and rule in live.program.rules:
        return live.program.rules[rule].title.model_dump()
    document = old.get(about.get("version", 0), {})
    title: Titles = document.get("rules", {}).get(rule, {}).get("title", {})
    return title


async def _old_rules(bank: Bank, live: Live | None, told: Sequence[Line]) -> dict[int, Doc]:
    """The documents of the versions of which there are rules no more."""
    rules = live.program.rules if live is not None else {}
    abouts = [line.row.get("about", {}) for line in told]
    gone = {one["version"] for one in abouts if "version" in one and one.get("rule") not in rules}
    rows = await bank.by_id(POINTS_VERSIONS, [version_id(bank.id, one) for one in sorted(gone)])
    return {row["version"]: row["document"] for row in rows.values()}


async def view(
    bank: Bank, cid: str, lang: Language, before: str = "", limit: int = PAGE
) -> dict[str, Any]:
    """The customer's points as his mini-program shows them: what he has, what expires soon, how more
    are earned, and a page of lines. Raises InvalidInput `cursor_invalid`."""
    cids = await resolution.cids(bank, cid)
    now = bank.utc()
    has = accounts.together(await accounts.read(bank, cids), now)
    live = await program.find_live(bank)
    told = await read(bank, cids, before, min(limit, MOST))
    what = await titles(bank, told.lines, lang)
    return {
        "program": _text(live.program.name.model_dump(), lang) if live else "",
        "available": has.available,
        "held": has.held,
        "expiring": [
            {"points": one.points, "until": last_day(bank, one.at)}
            for one in nights.expiring(has, now, _notice_days(live))
            if one.at is not None
        ],
        "ways": _ways(bank, live, lang),
        "lines": [
            {
                "id": one.id.rpartition(":")[2],
                "at": one.at,
                "points": one.points,
                "kind": one.row["kind"] if one.row["kind"] == "refund" else one.kind,
                "what": what[one.id],
            }
            for one in told.lines
        ],
        "next": told.next,
    }


def last_day(bank: Bank, at: datetime) -> str:
    """The last of the bank's days before `at`."""
    return (at.astimezone(bank.tz) - timedelta(seconds=1)).date().isoformat()


def _notice_days(live: Live | None) -> int:
    notice = live.program.notice if live is not None else None
    return notice.days if notice is not None else nights.NOTICE_DAYS


def _ways(bank: Bank, live: Live | None, lang: Language) -> list[dict[str, Any]]:
    """What the customer may earn points for today."""
    rules = live.program.rules.values() if live is not None else ()
    return [
        {
            "title": _text(rule.title.model_dump(), lang),
            "points": rule.points,
            "per_day": rule.per_day,
            "per_month": rule.per_month,
            "ever": rule.ever,
        }
        for rule in rules
        if rule.holds(bank.today())
    ]


def _text(title: Titles, lang: Language) -> str:
    return title.get(lang) or title.get("zh") or ""
