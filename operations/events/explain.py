"""Why? What an event was, what was decided because of it, what was called, and what the platform
answered.

Everything comes from what the event's row, its runs and its effects kept when they ended
(services/queue/trace_rows.py). Customers' ids are masked, and what they wrote is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from campaigns import live
from campaigns.engine.rows import RUNS
from customers.banks.bank import Bank
from operations.events.dispatch import UNKNOWN
from operations.events.handle import DEAD, plain, read
from operations.events.rows import DEAD_LETTERS
from services import ids
from services.errors import Conflict, InvalidInput, NotFound
from services.queue.inbox import INBOX, WECHAT, WECOM
from services.queue.outbox import OUTBOX
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import EventUnreadable

Explain = Callable[[str], str]
"""The text of a code in somebody's language, or the code itself."""

WAITING = "waiting"
STATES = (WAITING, DEAD, UNKNOWN)
"""What the list of events may be asked for; without one it has the newest."""
SHORTEST = 8
_ID = re.compile(rf"[0-9a-f]{{{SHORTEST},64}}")
_PERSONAL = {"external_userid", "openid"}
_HIDDEN = {"welcome_code", "response_code", "chat_key", "content", "session_from", "media_id"}
_HEAD = {"corp_id", "create_time"}


async def find(bank: Bank, event: str) -> Doc:
    """The inbox row of an id, with or without the bank before it; SHORTEST of its characters will
    do when no other begins so.

    Raises InvalidInput `event_id`, NotFound `event_unknown`, Conflict `event_ambiguous`.
    """
    short = event.removeprefix(f"{bank.id}:").lower()
    if not _ID.fullmatch(short):
        raise InvalidInput(
            "event_id", f"an event's id is at least {SHORTEST} characters of 0-9 and a-f"
        )
    begins = {"_id": {"$gte": f"{bank.id}:{short}", "$lt": f"{bank.id}:{short}g"}}
    found = await bank.db[INBOX].find(begins, limit=2)
    if not found:
        raise NotFound("event_unknown", "no such event")
    if len(found) > 1:
        raise Conflict("event_ambiguous", "several events begin so: give more of the id")
    return found[0]


async def why(bank: Bank, event: str, explain: Explain) -> dict[str, Any]:
    """The whole answer for one event, as JSON takes it; times are ISO texts, `after` is in seconds
    since it was received.

    Raises what `find` raises.
    """
    row = await find(bank, event)
    story = row.get("story") or {}
    began = row["at"].timestamp()
    told = [note for note in story.get("decided", []) if note["kind"] != "effect.asked"]
    runs = await _runs(bank, row, story, explain)
    mine = [effect["effect"] for run in runs for effect in run["effects"]]
    asked = [note["effect"] for note in story.get("decided", []) if note["kind"] == "effect.asked"]
    answer = {
        "event": row["_id"],
        "tenant": bank.id,
        "received": {"at": row["at"].isoformat(), "source": row["source"], **_about(bank, row)},
        "state": WAITING if row["open"] else row["state"],
        **_reason(row, explain),
        "attempts": row["attempts"],
        "tries": _tries(row, began, explain),
        "decided": [_decision(note, began, explain) for note in told],
        "called": _calls(story, began),
        "runs": runs,
        "effects": await _effects(bank, [one for one in asked if one not in mine], explain),
    }
    if answer["received"].get("type") == "external_contact_added":
        answer["welcome"] = _welcome(answer, explain)
    return answer


def mask(value: str) -> str:
    """Enough of an id to compare it with another, too little to use it."""
    return f"{value[:4]}…{value[-2:]}" if len(value) > 8 else "…"


def _about(bank: Bank, row: Doc) -> dict[str, Any]:
    """What the message says of itself, without what is a person's own."""
    if row["source"] != WECOM and not row["source"].startswith(f"{WECHAT}:"):
        return {"type": row.get("type", row["source"]), "happened_at": None, "about": {}}
    message = bank.vault.open(INBOX, "body", row["_id"], bytes(row["body"]))
    try:
        told = read(row["source"], message)
    except EventUnreadable as error:
        return {"type": "unreadable", "happened_at": None, "about": {"why": error.code}}
    if not told:
        return {"type": "empty", "happened_at": None, "about": {}}
    event = told[0]
    at = event.create_time.isoformat() if event.create_time is not None else None
    return {"type": events.kind(event), "happened_at": at, "about": _shown(event)}


def _shown(event: events.Event) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name in _HEAD or value in (None, "", (), {}):
            continue
        if isinstance(event, events.Unknown):
            shown[field.name] = plain(value)
        elif field.name in _PERSONAL:
            shown[field.name] = mask(value)
        elif field.name in _HIDDEN:
            shown[field.name] = "…"
        elif field.name == "member_changes":
            shown[field.name] = len(value)
        elif isinstance(
            value, Mapping
        ):  # what changed of a member, or was chosen on a card: not how
            shown[field.name] = ", ".join(value)
        else:
            shown[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return shown


def _reason(row: Mapping[str, Any], explain: Explain) -> dict[str, str]:
    reason = str(row.get("reason") or "")
    return {"reason": reason, "reason_text": reason_text(reason, explain)}


def reason_text(reason: str, explain: Explain) -> str:
    """The text of an effect's or event's reason, such as `gave_up_after_12:platform_busy:-1`."""
    code, _, rest = reason.partition(":")
    if code.startswith("gave_up_after_"):
        return f"{explain('gave_up_after')} {code.removeprefix('gave_up_after_')}: {reason_text(rest, explain)}"
    return (f"{explain(code)} ({rest})" if rest else explain(code)) if code else ""


def _calls(story: Mapping[str, Any], began: float) -> list[dict[str, Any]]:
    names = ("path", "errcode", "ms")
    return [
        {**{name: call[name] for name in names}, "after": round(call["at"] - began, 3)}
        for call in story.get("called", [])
    ]


def _tries(row: Mapping[str, Any], began: float, explain: Explain) -> list[dict[str, Any]]:
    """The tries that came to nothing, each with its reason."""
    return [
        {
            "after": round(one["at"] - began, 3),
            **_reason(one, explain),
            "called": _calls(one, began),
        }
        for one in row.get("tries", [])
    ]


def _decision(note: Mapping[str, Any], began: float, explain: Explain) -> dict[str, Any]:
    data = {name: value for name, value in note.items() if name not in ("kind", "at")}
    code = f"why_{note['kind'].replace('.', '_')}"
    text = explain(code)
    text = note["kind"] if text == code else text
    if "why" in data:
        text = f"{text}: {explain_why(data['why'], explain)}"
    return {"after": round(note["at"] - began, 3), "kind": note["kind"], "text": text, "data": data}


def explain_why(code: str, explain: Explain) -> str:
    """The text of a decision's ground: its own, else that of the reason code of the same name."""
    text = explain(f"why_{code}")
    return explain(code) if text == f"why_{code}" else text


async def _runs(
    bank: Bank, row: Doc, story: Mapping[str, Any], explain: Explain
) -> list[dict[str, Any]]:
    """The runs that began with the event, or were told of it, with what they did outside."""
    named = list(dict.fromkeys(note["run"] for note in story.get("decided", []) if note.get("run")))
    found = await bank.read(RUNS, named) if named else {}
    return [await _run(bank, found[name], explain) for name in named if name in found]


async def _run(bank: Bank, run: Doc, explain: Explain) -> dict[str, Any]:
    tenant = bank.id
    program = await live.program(bank, run["campaign"], run["version"])
    steps = [ids.tenant_id(tenant, "effect", run["_id"], step) for step in program.ops]
    fallbacks = [ids.tenant_id(tenant, "fallback", effect) for effect in steps]
    return {
        "run": run["_id"],
        "campaign": run["campaign"],
        "version": run["version"],
        "status": run["status"],
        **_reason(run, explain),
        "trail": [list(step) for step in run["trail"]],
        "effects": await _effects(bank, [*steps, *fallbacks], explain),
    }


async def _effects(bank: Bank, wanted: Iterable[str], explain: Explain) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(wanted))
    found = await bank.read(OUTBOX, names) if names else {}
    return [_effect(found[name], explain) for name in names if name in found]


def _effect(row: Doc, explain: Explain) -> dict[str, Any]:
    began, story = row["at"].timestamp(), row.get("story") or {}
    return {
        "effect": row["_id"],
        "kind": row["kind"],
        "step": row["step"],
        "at": row["at"].isoformat(),
        "state": row["state"],
        **_reason(row, explain),
        "attempts": row["attempts"],
        "decided": [_decision(note, began, explain) for note in story.get("decided", [])],
        "called": _calls(story, began),
        "tries": _tries(row, began, explain),
    }


_GROUNDS = ("cap", "campaign_paused", "already_entered", "outside_window", "rule_not_met")
"""Why somebody did not enter: of several campaigns' grounds the first of these is the one to look
at."""


def _welcome(answer: Mapping[str, Any], explain: Explain) -> dict[str, Any]:
    """Whether the customer was welcomed because of this event, and why not."""
    greetings = [
        effect for run in answer["runs"] for effect in run["effects"] if effect["kind"] == "welcome"
    ]
    if greetings:
        last = greetings[-1]
        text = last["reason_text"] or explain(f"effect_{last['state']}")
        return {
            "sent": last["state"] == "done",
            "why": last["reason"] or last["state"],
            "text": text,
        }
    code = answer["state"] if answer["state"] in (WAITING, DEAD) else _no_welcome(answer["decided"])
    return {"sent": False, "why": code, "text": explain_why(code, explain)}


def _no_welcome(decided: list[dict[str, Any]]) -> str:
    """The ground for which no welcome was even asked for."""
    kinds = {note["kind"] for note in decided}
    grounds = {note["data"]["why"] for note in decided if note["kind"] == "campaign.not_entered"}
    if "friendship.over" in kinds:
        return "friendship_over"
    if "campaign.entered" in kinds:
        return "no_welcome_step"
    ours = "channel.ours" in kinds
    for ground in _GROUNDS:
        if ground in grounds and (ours or ground != "rule_not_met"):
            return ground
    return "not_our_code" if grounds and not ours else "no_campaign"


async def newest(bank: Bank, state: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """The newest events, without what is in them: those that ended and those that wait, or those in
    one of STATES. Raises InvalidInput `event_state`."""
    db = bank.db
    if state in (DEAD, UNKNOWN):
        aside = await db[DEAD_LETTERS].find({"state": state}, sort=[("at", -1)], limit=limit)
        found = await bank.read(INBOX, [row["_id"] for row in aside]) if aside else {}
        rows = [row for row in found.values() if row.get("state") == state]
    elif state in ("", WAITING):
        rows = await db[INBOX].find({"open": True}, sort=[("due", -1)], limit=limit)
        if not state:
            rows += await db[INBOX].find({"open": False}, sort=[("due", -1)], limit=limit)
    else:
        raise InvalidInput("event_state", "there is no such list of events")
    rows.sort(key=lambda row: (row["at"], row["_id"]), reverse=True)
    return [_line(row) for row in rows[:limit]]


def _line(row: Doc) -> dict[str, Any]:
    return {
        "event": row["_id"].partition(":")[2],
        "at": row["at"],
        "source": row["source"].partition(":")[0],
        "type": row.get("type", ""),
        "state": WAITING if row["open"] else row["state"],
        "reason": row.get("reason", ""),
        "attempts": row["attempts"],
    }


async def unknown_counts(bank: Bank) -> list[dict[str, Any]]:
    """How often which event came that nobody knows, the most frequent first."""
    group = {"_id": "$name", "events": {"$sum": 1}, "last": {"$max": "$at"}}
    rows = await bank.db[DEAD_LETTERS].aggregate(
        [{"$match": {"state": UNKNOWN}}, {"$group": group}]
    )
    rows.sort(key=lambda row: (-row["events"], row["_id"]))
    return [
        {
            "event": row["_id"],
            "events": row["events"],
            "last": row["last"].isoformat(" ", "seconds"),
        }
        for row in rows
    ]
