"""What a person must look at before a version goes live, and may let pass: days that promise too
little or are over, other campaigns for the same people, words that read like what WeChat bans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from campaigns import live
from campaigns.document.model import Campaign
from campaigns.document.rows import CampaignRow
from customers.banks.bank import Bank
from services import ids
from services.documents.problems import Problem

OVERRULED = frozenset({"wording_soft"})
"""Notices that a checker lets pass with a reason only."""
_CODES = re.compile(r"codes\(\s*['\"]([^'\"]*)['\"]\s*\)")


async def find(bank: Bank, document: Campaign, texts: Iterable[Problem]) -> list[Problem]:
    """Everything to look at; `texts` is what reading found in the document's texts."""
    return [*texts, *await current(bank, document)]


async def current(bank: Bank, document: Campaign) -> list[Problem]:
    """What there is to look at now, whatever it was when the version was submitted."""
    return [*_days(bank, document), *await _overlaps(bank, document)]


def _days(bank: Bank, document: Campaign) -> Iterable[Problem]:
    today, window = bank.today(), document.window
    if window.to < today:
        yield Problem(0, "notice_window_over", {"to": window.to.isoformat()})
    if document.disclosure is None or not document.rewards:
        return
    claim_by = document.disclosure.claim_by
    if claim_by < today:
        yield Problem(0, "notice_claim_over", {"claim_by": claim_by.isoformat()})
    elif claim_by < window.to:
        days = {"claim_by": claim_by.isoformat(), "to": window.to.isoformat()}
        yield Problem(0, "notice_claim_early", days)


async def _overlaps(bank: Bank, document: Campaign) -> list[Problem]:
    """Other campaigns that are published, and reach the same people at the same time."""
    found: list[Problem] = []
    for row in (await live.campaign_rows(bank)).values():
        if row["campaign"] == document.id or row["state"] not in ("live", "paused"):
            continue
        other = await live.published(bank, row["campaign"])
        if other is not None and _at_once(document, other):
            found += _shared(document, other, row)
    return found


def _at_once(one: Campaign, other: Campaign) -> bool:
    return one.window.starts < other.window.ends and other.window.starts < one.window.ends


def _shared(one: Campaign, other: Campaign, row: CampaignRow) -> Iterable[Problem]:
    about = {"name": dict(row["name"]), "id": row["campaign"]}
    codes = sorted(_codes(one) & _codes(other))
    if codes:
        yield Problem(0, "notice_overlap_codes", {**about, "codes": codes})
    if _same_audience(one, other):
        yield Problem(0, "notice_overlap_audience", about)
        if _greets(one) and _greets(other):
            yield Problem(0, "notice_overlap_welcome", about)
    titles = sorted(_titles(one) & _titles(other))
    if titles:
        yield Problem(0, "notice_overlap_rewards", {**about, "rewards": titles})


def _codes(document: Campaign) -> set[str]:
    return {*document.codes, *document.links, *document.group_codes}


def _same_audience(one: Campaign, other: Campaign) -> bool:
    """Whether one coming may enter both: a rule that is the same, none at all, or the same code."""
    if one.entry is None or other.entry is None:
        return False
    rules = [entry.when for entry in (one.entry, other.entry)]
    if None in rules or len({"".join((rule or "").split()) for rule in rules}) == 1:
        return True
    first, second = (set(_CODES.findall(rule or "")) for rule in rules)
    return bool(first & second) or not (first and second)


def _greets(document: Campaign) -> bool:
    return any(step.verb == "send" and step.body.greets for _, step in document.all_steps())


def _titles(document: Campaign) -> set[str]:
    return {"".join(reward.title.zh.split()) for reward in document.rewards.values()}


def stored(notices: Iterable[Problem]) -> list[dict[str, Any]]:
    """Notices as a row keeps them."""
    return [{"line": one.line, "code": one.code, "data": dict(one.data)} for one in notices]


def opened(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Notices that a row keeps."""
    return [Problem(row["line"], row["code"], row["data"]) for row in rows]


def digest(notices: Iterable[Problem]) -> str:
    """What says that somebody saw these notices, and no others; empty without any."""
    rows = stored(notices)
    return ids.fingerprint(orjson.dumps(rows, option=orjson.OPT_SORT_KEYS)) if rows else ""
