"""What a person must look at before a version goes live, and may let pass: days that promise too
little or are over, other campaigns for the same people, words that read like what WeChat bans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from campaigns import live
from campaigns.document import items, limits, rows
from campaigns.document.model import Campaign
from campaigns.document.stored import read
from campaigns.engine import facts
from customers.banks.bank import Bank
from customers.rules.errors import RuleError
from customers.rules.reading import read_rule
from customers.rules.tree import All, Either, Equals, Tree
from rewards.points import program
from services import ids
from services.documents.problems import Problem

OVERRULED = frozenset({"wording_soft"})
"""Notices that a checker lets pass with a reason only."""


async def find(bank: Bank, document: Campaign, texts: Iterable[Problem]) -> list[Problem]:
    """Everything to look at; `texts` is what reading found in the document's texts."""
    return [*texts, *await current(bank, document)]


async def current(bank: Bank, document: Campaign) -> list[Problem]:
    """What there is to look at now, whatever it was when the version was submitted."""
    same = await _unchanged(bank, document)
    days, money = _days(bank, document), limits.notices(document)
    points, overlaps = await _points(bank, document), await _overlaps(bank, document)
    return [*same, *days, *money, *points, *overlaps]


async def _unchanged(bank: Bank, document: Campaign) -> list[Problem]:
    """Whether the live version says the same in other words: comments, blanks, order of keys."""
    live_one = (await live.campaign_rows(bank)).get(document.id)
    published = await live.published(bank, document.id)
    if live_one is None or published is None:
        return []
    if published != document:
        return list(_changed_items(published, document))
    return [Problem(0, "notice_same_document", {"version": str(live_one["live_version"])})]


def _changed_items(published: Campaign, document: Campaign) -> Iterable[Problem]:
    """Rewards that the text leaves alone, and that are worth something else since their item
    was changed."""
    before, after = items.worths(published), items.worths(document)
    for key in before.keys() & after.keys():
        (item, old), (same, new) = before[key], after[key]
        if item == same and old != new:
            fields = sorted(name for name in new if old.get(name) != new[name])
            title = document.rewards[key].title.model_dump()
            yield Problem(0, "notice_item_changed", {"name": title, "id": item, "fields": fields})


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


async def _points(bank: Bank, document: Campaign) -> list[Problem]:
    """Whether points are given that the bank has no programme for."""
    gives = any(reward.kind == "points" for reward in document.rewards.values())
    if not gives or await program.find_live(bank) is not None:
        return []
    return [Problem(0, "notice_points_none")]


async def _overlaps(bank: Bank, document: Campaign) -> list[Problem]:
    """Other campaigns that are published or wait for approval, and reach the same people at the
    same time."""
    found: list[Problem] = []
    for row in (await live.campaign_rows(bank)).values():
        if row["campaign"] == document.id or row["state"] not in ("live", "paused"):
            continue
        other = await live.published(bank, row["campaign"])
        if other is not None and _at_once(document, other):
            found += _shared(document, other, {"name": dict(row["name"]), "id": other.id})
    return [*found, *await _waiting(bank, document)]


async def _waiting(bank: Bank, document: Campaign) -> list[Problem]:
    found: list[Problem] = []
    for row in await rows.versions(bank, {"state": {"$in": rows.PENDING}}):
        other, _ = read(row, bank.branches)
        if other is None or other.id == document.id or not _at_once(document, other):
            continue
        about = {"name": other.name.model_dump(), "id": other.id, "version": str(row["version"])}
        if list(_shared(document, other, about)):
            found.append(Problem(0, "notice_overlap_waiting", about))
    return found


def _at_once(one: Campaign, other: Campaign) -> bool:
    return one.window.starts < other.window.ends and other.window.starts < one.window.ends


def _shared(one: Campaign, other: Campaign, about: Mapping[str, Any]) -> Iterable[Problem]:
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
    groups = sorted(_stacks(one).keys() & _stacks(other).keys())
    if groups:
        yield Problem(0, "notice_overlap_stack", {**about, "groups": groups})


def _codes(document: Campaign) -> set[str]:
    return {*document.codes, *document.links, *document.group_codes}


def _same_audience(one: Campaign, other: Campaign) -> bool:
    """Whether one coming may enter both: by the same code, or by rules that ask for none."""
    if one.entry is None or other.entry is None:
        return False
    first, second = (_wanted_codes(document) for document in (one, other))
    return first is None or second is None or bool(first & second)


def _wanted_codes(document: Campaign) -> set[str] | None:
    """The names of codes without one of which nobody enters; None where he may come in another
    way."""
    if document.entry is None or document.entry.when is None:
        return None
    named: Mapping[str, tuple[str, ...]] = dict.fromkeys((*document.codes, *document.links), ())
    try:
        return _codes_of(read_rule(document.entry.when, facts.vocabulary(named)))
    except RuleError:  # an earlier release took it; nobody knows what it asks for
        return None


def _codes_of(node: Tree) -> set[str] | None:
    if isinstance(node, Equals) and node.group and not node.negated:
        return {node.group}
    if not isinstance(node, All | Either):
        return None
    each = [_codes_of(part) for part in node.parts]
    known = [names for names in each if names is not None]
    if isinstance(node, All):
        return min(known, key=len) if known else None
    return set().union(*known) if len(known) == len(each) else None


def _greets(document: Campaign) -> bool:
    return any(step.verb == "send" and step.body.greets for _, step in document.all_steps())


def _titles(document: Campaign) -> set[str]:
    return {"".join(reward.title.zh.split()) for reward in document.rewards.values()}


def _stacks(document: Campaign) -> dict[str, int]:
    """The groups that the campaign's rewards are in, with how many of each a customer may have."""
    rewards = document.rewards.values()
    return {one.stack.group: one.stack.most for one in rewards if one.stack is not None}


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
