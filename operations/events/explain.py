"""What an event was, what was decided because of it, what was called, and what the platform answered.

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
from campaigns.engine import rows
from campaigns.engine.launch import effect_id
from campaigns.engine.rows import Run
from customers.banks.bank import Bank
from operations.events import dead_letters, outcome
from operations.events.dispatch import NOTED
from operations.events.handle import plain, read
from operations.events.outcome import ASKED, FAILED, UNFINISHED
from operations.events.rows import DEAD, UNKNOWN
from services import ids
from services.errors import Conflict, InvalidInput, NotFound
from services.observe.trace import Call
from services.queue import inbox, outbox
from services.queue.inbox import WECHAT, WECOM, InboxRow
from services.queue.outbox import OutboxRow
from services.queue.trace_rows import Traced, TraceRow
from services.wechat import events
from services.wechat.core.errors import EventUnreadable
from services.wechat.events import KNOWN_WORDS
from services.wechat.events.reading import decode

Texts = Callable[[str], str]
"""The text of a code in somebody's language, or the code itself."""

Answer = dict[str, Any]
"""As JSON takes it."""

NO_TRACE = TraceRow(decided=[], called=[], dropped=0)
"""Of what was not handled yet."""
WAITING = "waiting"
STATES = (WAITING, UNFINISHED, FAILED, DEAD, UNKNOWN, NOTED)
"""What the list of events may be asked for; without one it has the newest. UNFINISHED and FAILED
are what came of them (outcome.py)."""
SHOWN_BYTES = 4096
"""Of a message that could not be read so much is shown."""
SHORTEST = 8
_ID = re.compile(rf"[0-9a-f]{{{SHORTEST},64}}")
_PERSONAL = {"external_userid", "openid"}
_HIDDEN = {"welcome_code", "response_code", "chat_key", "content", "session_from", "media_id"}
_HEAD = {"corp_id", "create_time"}
_WRITTEN = re.compile(
    r"""(</?[A-Za-z_]{1,40}\s?/?>|<!\[CDATA\[|"[A-Za-z_]{1,40}"\s*:)|([^\s<>{}\[\],:"'&;()=]{2,})"""
)
"""What tells how a message is built, and what may be a person's own."""


async def find(bank: Bank, event: str) -> InboxRow:
    """The inbox row of an id, with or without the bank before it; SHORTEST of its characters will
    do when no other begins so.

    Raises InvalidInput `event_id`, NotFound `event_unknown`, Conflict `event_ambiguous`.
    """
    short = event.removeprefix(f"{bank.id}:").lower()
    if not _ID.fullmatch(short):
        raise InvalidInput(
            "event_id", f"an event's id is at least {SHORTEST} characters of 0-9 and a-f"
        )
    found = await inbox.beginning_with(bank.db, f"{bank.id}:{short}", limit=2)
    if not found:
        raise NotFound("event_unknown", "no such event")
    if len(found) > 1:
        raise Conflict("event_ambiguous", "several events begin so: give more of the id")
    return found[0]


async def explain_event(bank: Bank, event: str, texts: Texts) -> Answer:
    """The whole answer for one event; times are ISO texts, `after` is in seconds since it was
    received.

    Raises what `find` raises.
    """
    row = await find(bank, event)
    trace = row.get("trace") or NO_TRACE
    notes = trace["decided"]
    began = row["at"].timestamp()
    runs = await _runs(bank, notes, texts)
    answer: Answer = {
        "event": row["_id"],
        "tenant": bank.id,
        "received": {"at": row["at"].isoformat(), "source": row["source"], **_about(bank, row)},
        "state": _state(row),
        "outcome": _outcome((await outcome.of_rows(bank, [row]))[row["_id"]], texts),
        **_reason(row, texts),
        "attempts": row["attempts"],
        "tries": _tries(row, began, texts),
        "decided": [_decision(note, began, texts) for note in notes if note["kind"] != ASKED],
        "called": _calls(trace["called"], began),
        "runs": runs,
        "effects": await _effects(bank, _asked_besides(notes, runs), texts),
    }
    if answer["received"].get("type") == "external_contact_added":
        answer["welcome"] = _welcome(answer, texts)
    if answer["state"] in (DEAD, UNKNOWN) and row["source"] != inbox.REWARDS:
        answer["message"] = _message(inbox.message_of(bank.services, row))
    return answer


def _outcome(came: outcome.Came, texts: Texts) -> Answer:
    """What came of an event, in words."""
    state, kind, reason = came["state"], came["kind"], came["reason"]
    if not state:
        return {"state": "", "kind": "", "reason": "", "text": ""}
    about = texts(f"effect_{kind}")
    text = f"{about}: {reason_text(reason, texts)}" if reason != "ready" else about
    return {"state": state, "kind": kind, "reason": reason, "text": text}


def _message(message: bytes) -> Answer:
    """How a message is built that could not be read, with what may be a person's own masked and
    what cannot be printed escaped."""
    text = decode(message[:SHOWN_BYTES])
    shown = _WRITTEN.sub(lambda found: found[1] or _mask_word(found[2]), text)
    return {
        "size": len(message),
        "cut": len(message) > SHOWN_BYTES,
        "text": "".join(
            one if one.isprintable() or one == "\n" else _escaped(one) for one in shown
        ),
    }


def _mask_word(word: str) -> str:
    if word in KNOWN_WORDS:
        return word
    strange = "".join(one for one in word[1:] if not one.isprintable())
    return f"{word[0]}…{strange}"


def _escaped(one: str) -> str:
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _asked_besides(notes: Iterable[Mapping[str, Any]], runs: Iterable[Answer]) -> list[str]:
    """The effects that were asked for and belong to none of these runs."""
    of_runs = {effect["effect"] for run in runs for effect in run["effects"]}
    asked = [note["effect"] for note in notes if note["kind"] == ASKED]
    return [effect for effect in asked if effect not in of_runs]


def mask(value: str) -> str:
    """Enough of an id to compare it with another, too little to use it."""
    return f"{value[:4]}…{value[-2:]}" if len(value) > 8 else "…"


def _state(row: InboxRow) -> str:
    return WAITING if row["open"] else str(row.get("state"))


def _about(bank: Bank, row: InboxRow) -> Answer:
    """What the message says of itself, without what is a person's own."""
    nothing: Answer = {"happened_at": None, "about": {}}
    if row["source"] != WECOM and not row["source"].startswith(f"{WECHAT}:"):
        return {"type": row.get("type", row["source"]), **nothing}
    try:
        found = read(row["source"], inbox.message_of(bank.services, row))
    except EventUnreadable as error:
        return {"type": "unreadable", **nothing, "about": {"why": error.code}}
    if not found:
        return {"type": "empty", **nothing}
    event = found[0]
    at = event.create_time.isoformat() if event.create_time is not None else None
    return {"type": events.kind(event), "happened_at": at, "about": _shown(event)}


def _shown(event: events.Event) -> Answer:
    """An event's fields, as far as they have a value and may be shown."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    told = {
        name: value
        for name, value in values.items()
        if name not in _HEAD and value not in (None, "", (), {})
    }
    if isinstance(event, events.Unknown):
        return {name: plain(value) for name, value in told.items()}
    return {name: _shown_value(name, value) for name, value in told.items()}


def _shown_value(name: str, value: Any) -> Any:
    if name in _PERSONAL:
        return mask(value)
    if name in _HIDDEN:
        return "…"
    if name == "member_changes":
        return len(value)
    if isinstance(value, Mapping):  # what changed of a member, or was chosen on a card: not how
        return ", ".join(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _reason(row: Mapping[str, Any], texts: Texts) -> dict[str, str]:
    reason = str(row.get("reason") or "")
    return {"reason": reason, "reason_text": reason_text(reason, texts)}


def reason_text(reason: str, texts: Texts) -> str:
    """The text of an effect's or event's reason, such as `gave_up_after_12:platform_busy:-1`."""
    code, _, rest = reason.partition(":")
    if not code:
        return ""
    if code.startswith("gave_up_after_"):
        tries = code.removeprefix("gave_up_after_")
        return f"{texts('gave_up_after')} {tries}: {reason_text(rest, texts)}"
    return f"{texts(code)} ({rest})" if rest else texts(code)


def _calls(called: Iterable[Call], began: float) -> list[Answer]:
    return [
        {
            "path": call["path"],
            "errcode": call["errcode"],
            "ms": call["ms"],
            "after": round(call["at"] - began, 3),
        }
        for call in called
    ]


def _tries(row: Traced, began: float, texts: Texts) -> list[Answer]:
    """The tries that came to nothing, each with its reason."""
    return [
        {
            "after": round(one["at"] - began, 3),
            **_reason(one, texts),
            "called": _calls(one["called"], began),
        }
        for one in row.get("tries", [])
    ]


def _decision(note: Mapping[str, Any], began: float, texts: Texts) -> Answer:
    data = {name: value for name, value in note.items() if name not in ("kind", "at")}
    code = f"why_{note['kind'].replace('.', '_')}"
    text = texts(code)
    if text == code:
        text = note["kind"]
    if "why" in data:
        text = f"{text}: {ground_text(data['why'], texts)}"
    return {"after": round(note["at"] - began, 3), "kind": note["kind"], "text": text, "data": data}


def ground_text(code: str, texts: Texts) -> str:
    """The text of a decision's ground: its own, else that of the reason code of the same name."""
    text = texts(f"why_{code}")
    return texts(code) if text == f"why_{code}" else text


async def _runs(bank: Bank, notes: Iterable[Mapping[str, Any]], texts: Texts) -> list[Answer]:
    """The runs that began with the event, or were told of it, with what they did outside."""
    named = list(dict.fromkeys(note["run"] for note in notes if note.get("run")))
    found = await rows.read(bank, named)
    return [await _run(bank, found[name], texts) for name in named if name in found]


async def _run(bank: Bank, run: Run, texts: Texts) -> Answer:
    steps = [effect_id(run, step) for step in await _steps(bank, run)]
    fallbacks = [ids.tenant_id(bank.id, "fallback", effect) for effect in steps]
    return {
        "run": run["_id"],
        "campaign": run["campaign"],
        "version": run["version"],
        "status": run["status"],
        **_reason(run, texts),
        "trail": [list(step) for step in run["trail"]],
        "effects": await _effects(bank, [*steps, *fallbacks], texts),
    }


async def _steps(bank: Bank, run: Run) -> Iterable[str]:
    """The steps of the run's version, those alone that it did where that cannot be read any more."""
    try:
        return (await live.program(bank, run["campaign"], run["version"])).ops
    except live.VersionUnreadable:
        return dict.fromkeys(step for step, *_ in run["trail"])


async def _effects(bank: Bank, wanted: Iterable[str], texts: Texts) -> list[Answer]:
    names = list(dict.fromkeys(wanted))
    found = await outbox.read(bank.services, bank.id, names)
    return [_effect(found[name], texts) for name in names if name in found]


def _effect(row: OutboxRow, texts: Texts) -> Answer:
    began = row["at"].timestamp()
    trace = row.get("trace") or NO_TRACE
    return {
        "effect": row["_id"],
        "kind": row["kind"],
        "step": row["step"],
        "at": row["at"].isoformat(),
        "state": row["state"],
        **_reason(row, texts),
        "attempts": row["attempts"],
        "decided": [_decision(note, began, texts) for note in trace["decided"]],
        "called": _calls(trace["called"], began),
        "tries": _tries(row, began, texts),
    }


_GROUNDS = ("cap", "campaign_paused", "already_entered", "outside_window", "rule_not_met")
"""Why somebody did not enter: of several campaigns' grounds the first of these is the one to look
at."""


def _welcome(answer: Answer, texts: Texts) -> Answer:
    """Whether the customer was welcomed because of this event, and why not."""
    effects = [effect for run in answer["runs"] for effect in run["effects"]]
    greetings = [effect for effect in effects if effect["kind"] == "welcome"]
    if greetings:
        last = greetings[-1]
        text = last["reason_text"] or texts(f"effect_{last['state']}")
        why = last["reason"] or last["state"]
        return {"sent": last["state"] == "done", "why": why, "text": text}
    code = answer["state"]
    if code not in (WAITING, DEAD):
        code = _no_welcome(answer["decided"])
    return {"sent": False, "why": code, "text": ground_text(code, texts)}


def _no_welcome(decided: Iterable[Answer]) -> str:
    """The ground for which no welcome was even asked for."""
    kinds, grounds = set(), set()
    for note in decided:
        kinds.add(note["kind"])
        if note["kind"] == "campaign.not_entered":
            grounds.add(note["data"]["why"])
    if "friendship.over" in kinds:
        return "friendship_over"
    if "campaign.entered" in kinds:
        return "no_welcome_step"
    ours = "channel.ours" in kinds
    for ground in _GROUNDS:
        if ground in grounds and (ours or ground != "rule_not_met"):
            return ground
    return "not_our_code" if grounds and not ours else "no_campaign"


async def newest(bank: Bank, state: str = "", limit: int = 50, texts: Texts = str) -> list[Answer]:
    """The newest events, without what is in them: those that ended and those that wait, or those in
    one of STATES. Raises InvalidInput `event_state`."""
    if state in (DEAD, UNKNOWN):
        rows = await dead_letters.newest(bank, state, limit)
    elif state in (UNFINISHED, FAILED):
        rows = await outcome.newest(bank, state, limit)
    elif state == NOTED:
        rows = await inbox.newest_in(bank.db, NOTED, limit)
    elif state in ("", WAITING):
        rows = await inbox.newest(bank.db, waiting=True, limit=limit)
        if not state:
            rows += await inbox.newest(bank.db, waiting=False, limit=limit)
    else:
        raise InvalidInput("event_state", "there is no such list of events")
    rows.sort(key=lambda row: (row["at"], row["_id"]), reverse=True)
    rows = rows[:limit]
    came = await outcome.of_rows(bank, rows)
    return [_line(row, _outcome(came[row["_id"]], texts), texts) for row in rows]


def _line(row: InboxRow, came: Answer, texts: Texts) -> Answer:
    return {
        "event": row["_id"].partition(":")[2],
        "at": row["at"],
        "source": row["source"].partition(":")[0],
        "type": row.get("type", ""),
        "state": _state(row),
        "outcome": came,
        **_reason(row, texts),
        "attempts": row["attempts"],
    }
