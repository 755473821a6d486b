"""From a form or a file to a live segment: versions, maker and checker (promise P7), as items of the
catalogue have them. A version never changes, and customers/approvals decides on it.

Whoever asks gives the bank's vocabulary, since the rooms above know the campaigns and rewards that a
rule may name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, cast

from customers.actors import ClerkActor
from customers.approvals import approvals, versioned
from customers.approvals.versioned import DRAFT, LIVE, PENDING, SUBMITTED, Documents, Wanted
from customers.banks.bank import Bank
from customers.rules.errors import RuleError
from customers.rules.vocabulary import Titles, Vocabulary
from customers.segments import document, filling, judging, rows
from customers.segments.document import Segment
from customers.segments.rows import (
    ARCHIVE,
    ARCHIVED,
    PUT,
    SegmentRow,
    SegmentVersionRow,
)
from services.cache import invalidate
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc
from services.texts import Language

SEGMENT = approvals.Kind(
    name="segment",
    right="segments.write",
    submitted="segment.submitted",
    approved="segment.approved",
    rejected="segment.rejected",
    refused="segment.approval_refused",
    decided="segment_decided",
    changed="segment_changed",
    revocable=True,
    lapses=False,
)
DOCUMENTS = Documents(
    kind=SEGMENT,
    rows=rows.SEGMENTS,
    versions=rows.SEGMENT_VERSIONS,
    unknown="segment_unknown",
    edited="segment_edited_meanwhile",
)
MOST_SHOWN = 100
MOST_SEGMENTS = 1_000


async def titles(bank: Bank) -> dict[str, Titles]:
    """The segments that a rule may name, with what they are called."""
    return {
        row["segment"]: row["name"]
        for row in await rows.everything(bank)
        if row["state"] != ARCHIVED
    }


async def uses(bank: Bank) -> dict[str, frozenset[str]]:
    """The segments that each segment's rule names."""
    return {
        row["segment"]: frozenset(row["uses"])
        for row in await rows.everything(bank)
        if row["state"] != ARCHIVED
    }


async def submit(
    bank: Bank,
    actor: ClerkActor,
    key: str,
    segment: Segment,
    words: Vocabulary,
    *,
    base: int | None = None,
) -> int:
    """Asks for another clerk's word on a new segment, or on what a segment is to be from now on; the
    number of its version. `base` is the newest version that the actor has seen, 0 for a segment that
    must not be there yet (None: whatever there is).

    Raises SegmentRefused, Conflict `segment_exists`, `segment_unchanged`, `segment_edited_meanwhile`
    or `segments_full`.
    """
    tree = document.checked(key, segment, words, await uses(bank))
    row = await rows.find(bank, key)
    if row is None:
        if len(await rows.everything(bank)) >= MOST_SEGMENTS:
            raise Conflict("segments_full", f"there are {MOST_SEGMENTS} segments already")
        await rows.add(bank, _first(bank, key, segment, document.used(tree)))
    elif base == 0 and await rows.versions(bank, {"segment": key}, limit=1):
        raise Conflict("segment_exists", f"there is a segment {key}", data={"id": key})
    else:
        await _expect_change(bank, row, segment)
    wanted = Wanted(action=PUT, content=segment.model_dump())
    return await versioned.submit(bank, actor, DOCUMENTS, key, wanted, base)


async def archive(bank: Bank, actor: ClerkActor, key: str, why: str) -> int:
    """Asks for the segment to be one no more; the number of its version. Raises NotFound
    `segment_unknown`, InvalidInput `reason_missing`, Conflict `segment_not_live` or
    `segment_used`."""
    if not why.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await named(bank, key)
    if row["state"] != LIVE:
        raise Conflict("segment_not_live", f"{key} is no live segment", data={"id": key})
    await _expect_unused(bank, key)
    wanted = Wanted(action=ARCHIVE, content=segment_of(row).model_dump(), why=why.strip())
    return await versioned.submit(bank, actor, DOCUMENTS, key, wanted)


def segment_of(row: SegmentRow) -> Segment:
    """What its row says of a segment."""
    said = {"name": dict(row["name"]), "kind": row["kind"], "rule": row["rule"]}
    return Segment.model_validate(said)


def _first(bank: Bank, key: str, segment: Segment, used: list[str]) -> SegmentRow:
    return {
        "_id": rows.segment_id(bank.id, key),
        "segment": key,
        **_said(segment, used),  # type: ignore[typeddict-item]
        "state": DRAFT,
        "live_version": None,
        "versions": 0,
        "updated_at": bank.utc(),
    }


def _said(segment: Segment, used: list[str]) -> Doc:
    return {
        "name": segment.name.model_dump(),
        "kind": segment.kind,
        "rule": segment.rule,
        "uses": used,
    }


async def users(bank: Bank, key: str) -> list[SegmentRow]:
    """The segments whose rules name this one."""
    return [
        row
        for row in await rows.everything(bank)
        if key in row["uses"] and row["state"] != ARCHIVED
    ]


async def _expect_unused(bank: Bank, key: str) -> None:
    found = [row["segment"] for row in await users(bank, key)]
    if found:
        by = ", ".join(found)
        raise Conflict("segment_used", f"{by} use {key}", data={"by": by})


async def _expect_change(bank: Bank, row: SegmentRow, segment: Segment) -> None:
    """The same content is no new version, while it is live or waits. A frozen one may be taken
    again."""
    asked = {"segment": row["segment"], "state": {"$in": PENDING}}
    newest = await rows.versions(bank, asked, limit=1)
    same = newest[0] if newest else None
    taken_again = same is None and segment.kind == document.FROZEN
    if same is None and row["state"] == LIVE and row["live_version"] and not taken_again:
        same = await rows.version(bank, row["segment"], row["live_version"])
    if same is not None and same["action"] == PUT and same["content"] == segment.model_dump():
        data = {"version": str(same["version"]), "id": row["segment"]}
        raise Conflict("segment_unchanged", f"version {same['version']} is this already", data=data)


async def approve(bank: Bank, actor: ClerkActor, key: str, version: int, words: Vocabulary) -> None:
    """Agrees to another clerk's version: it is live, or the segment is archived. What was cut short
    is completed by approving again.

    Raises Forbidden `approver_is_author`, NotFound `segment_unknown`, SegmentRefused for a rule that
    cannot be read any more, Conflict: `segment_decided`, `segment_changed`, `segment_not_live` for a
    rule that names a segment to which nobody has agreed yet, `segment_used`.
    """
    row = await _version_of(bank, key, version)
    segment = Segment.model_validate(row["content"])
    uses_now: list[str] = []
    if row["action"] == PUT:
        tree = document.checked(key, segment, words, await uses(bank))
        uses_now = document.used(tree)
        await _expect_live(bank, uses_now)
    else:
        await _expect_unused(bank, key)
    content = versioned.content(DOCUMENTS, row)
    async with approvals.approve(bank, actor, SEGMENT, row["_id"], content) as approval:
        await versioned.follow(bank, DOCUMENTS, row["_id"], approval)
        said: Doc = {"version": version, "approved_by": approval.decided_by}
        async with bank.audited(actor.login, "segment.published", key, **said):
            await _go_live(bank, row, _said(segment, uses_now))


async def _expect_live(bank: Bank, keys: list[str]) -> None:
    for key in keys:
        if (await named(bank, key))["state"] != LIVE:
            raise Conflict("segment_not_live", f"{key} is no live segment", data={"id": key})


async def reject(bank: Bank, actor: ClerkActor, key: str, version: int, reason: str) -> None:
    """Turns a version down. Raises InvalidInput `reason_missing`, NotFound, Conflict
    `segment_decided`."""
    await versioned.reject(bank, actor, DOCUMENTS, key, version, reason)


async def _go_live(bank: Bank, row: SegmentVersionRow, said: Doc) -> None:
    """The segment's row says what the version does, and it is filled. A later version that is live
    already stays."""
    key, number = row["segment"], row["version"]
    await filling.begin(bank, key)  # before: who comes in by the new rule comes in quietly
    fields: Doc = {"state": ARCHIVED, "uses": []}
    if row["action"] == PUT:
        fields = {**said, "state": LIVE, "live_version": number}
    await versioned.carry_out(bank, DOCUMENTS, key, number, fields)
    invalidate(bank.services, judging.cache_key(bank.id))
    await versioned.put_live(bank, DOCUMENTS, key, number)


async def apply(
    bank: Bank,
    wanted: Mapping[str, Segment],
    used: Mapping[str, frozenset[str]],
    words: Vocabulary,
    by: str,
) -> list[str]:
    """The command line's way: live at once in development, submitted for approval in production.
    `used` are the segments that each of these names, which come first. Safe to run again."""
    actor = ClerkActor(bank.id, by, by, frozenset({"segments.write"}))
    alone = ClerkActor(bank.id, f"{by} (development)", by, frozenset())
    done: list[str] = []
    for key in TopologicalSorter(used).static_order():
        if key not in wanted:
            continue
        number, fresh = await _put(bank, actor, key, wanted[key], words)
        if not fresh and (await _version_of(bank, key, number))["state"] == LIVE:
            done.append(f"segment {key}: version {number} is this already")
        elif bank.services.settings.env == "production":
            done.append(f"segment {key}: version {number} is pending approval in the console")
        else:
            await approve(bank, alone, key, number, words)
            done.append(f"segment {key}: version {number} is live")
    return done


async def _put(
    bank: Bank, actor: ClerkActor, key: str, segment: Segment, words: Vocabulary
) -> tuple[int, bool]:
    """The number of the version that says this, and whether it is new. A frozen segment that is live
    is not taken again by applying its file again."""
    row = await rows.find(bank, key)
    if row is not None and row["state"] == LIVE and segment_of(row) == segment:
        return row["live_version"] or 0, False
    try:
        return await submit(bank, actor, key, segment, words), True
    except Conflict as error:
        if error.code != "segment_unchanged":
            raise
        return int(error.data["version"]), False


async def named(bank: Bank, key: str) -> SegmentRow:
    """The segment of that id. Raises NotFound `segment_unknown`."""
    row = await rows.find(bank, key)
    if row is None:
        raise NotFound("segment_unknown", f"there is no segment {key}")
    return row


async def _version_of(bank: Bank, key: str, number: int) -> SegmentVersionRow:
    return cast("SegmentVersionRow", await versioned.named(bank, DOCUMENTS, key, number))


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A segment as lists show it, with the version that `waits` for a decision."""

    row: SegmentRow
    waits: SegmentVersionRow | None

    @property
    def state(self) -> str:
        """As the row says; a draft that waits for its first approval is `submitted`."""
        return SUBMITTED if self.row["state"] == DRAFT and self.waits else self.row["state"]


@dataclass(frozen=True, kw_only=True)
class View(Listed):
    """One segment: its `versions`, newest first, who is `used_by`, and what is wrong with its rule
    now (`broken`), since a field or a segment that it names is gone."""

    versions: list[SegmentVersionRow]
    used_by: list[SegmentRow]
    broken: RuleError | None

    @property
    def base(self) -> int:
        return self.versions[0]["version"] if self.versions else 0

    @property
    def newest(self) -> Segment:
        """What its newest version says; where its author was cut short before there was one, what he
        wrote."""
        if not self.versions:
            return segment_of(self.row)
        return Segment.model_validate(self.versions[0]["content"])

    def broken_in(self, language: Language) -> str:
        return "" if self.broken is None else self.broken.say(language)


async def list_segments(bank: Bank) -> list[Listed]:
    """Every segment by id, with what waits for it."""
    waiting = {
        row["segment"]: row for row in await rows.versions(bank, {"state": {"$in": PENDING}})
    }
    return [
        Listed(row=row, waits=waiting.get(row["segment"])) for row in await rows.everything(bank)
    ]


async def view(bank: Bank, key: str, words: Vocabulary) -> View:
    """One segment. Raises NotFound `segment_unknown`."""
    row = await named(bank, key)
    versions = await rows.versions(bank, {"segment": key}, limit=MOST_SHOWN)
    return View(
        row=row,
        waits=next((one for one in versions if one["state"] in PENDING), None),
        versions=versions,
        used_by=await users(bank, key),
        broken=await _broken(bank, row, words),
    )


async def _broken(bank: Bank, row: SegmentRow, words: Vocabulary) -> RuleError | None:
    if row["state"] == ARCHIVED:
        return None
    try:
        document.tree_of(row["segment"], row["rule"], words, await uses(bank))
    except RuleError as error:
        return error
    return None


def rule_marked(rule: str, column: int) -> tuple[str, str, str]:
    """The rule before, at and after the word at the column (from 1); 0 marks nothing."""
    if not column:
        return rule, "", ""
    at = min(column - 1, len(rule))
    ends = (place for place in range(at + 1, len(rule)) if rule[place] in " \n,()")
    end = next(ends, len(rule))
    return rule[:at], rule[at:end], rule[end:]


def plain(row: SegmentRow) -> dict[str, Any]:
    """A segment for the command line's table."""
    return {
        "segment": row["segment"],
        "name": row["name"]["zh"],
        "kind": row["kind"],
        "state": row["state"],
        "live": row["live_version"] or "",
        "rule": row["rule"] if len(row["rule"]) <= 60 else f"{row['rule'][:59]}…",
    }
