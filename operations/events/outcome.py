"""What came of an event: an event is handled when it was decided what to do, and done when all of
that was done. Lists show the worst of what it asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

from campaigns.engine import rows as runs
from customers.banks.bank import Bank
from customers.banks.tasks import SEND_EFFECTS
from services.queue import inbox, outbox
from services.queue.inbox import InboxRow
from services.queue.outbox import OutboxRow

State = Literal["", "unfinished", "failed"]
DONE: State = ""
UNFINISHED: State = "unfinished"
FAILED: State = "failed"
ASKED = "effect.asked"
"""The note of an effect that was asked for."""
PAGE, MOST = 200, 2000
"""Events that are looked through for those of one outcome: together, and at the most."""
_FIRST = ("welcome",)
"""Of several that ended alike the one to speak of."""
RUN = "run"


class Came(TypedDict):
    """The worst of what came of an event: DONE when all was done, UNFINISHED while something waits,
    FAILED when something ended without success. `kind` is the effect's, or RUN."""

    state: State
    kind: str
    reason: str


_ALL_DONE = Came(state=DONE, kind="", reason="")


async def of_rows(bank: Bank, rows: Sequence[InboxRow]) -> dict[str, Came]:
    """What came of each of these events, by id."""
    effects = await outbox.read_all(
        bank.services, bank.id, [name for row in rows for name in asked(row, "effect")]
    )
    found = await runs.read(bank, [name for row in rows for name in asked(row, RUN)])
    answer = {}
    for row in rows:
        came = [_of_effect(effects[name]) for name in asked(row, "effect") if name in effects]
        came += [_of_run(found[name]) for name in asked(row, RUN) if name in found]
        answer[row["_id"]] = max(came, key=_weight, default=_ALL_DONE)
    return answer


def asked(row: InboxRow, name: str) -> list[str]:
    """The ids of the effects or runs that the handling of the event speaks of."""
    notes = row["trace"]["decided"] if "trace" in row else []
    return list(dict.fromkeys(note[name] for note in notes if note.get(name)))


def _of_effect(row: OutboxRow) -> Came:
    done = row["state"] == "done" or row["reason"] == "friendship_over"  # nothing was to be done
    state: State = UNFINISHED if row["open"] else DONE if done else FAILED
    return Came(state=state, kind=row["kind"], reason=row["reason"] or row["state"])


def _of_run(run: runs.Run) -> Came:
    state: State = FAILED if run["status"] == "error" else DONE
    return Came(state=state, kind=RUN, reason=run["reason"])


def _weight(came: Came) -> tuple[int, bool]:
    return (DONE, UNFINISHED, FAILED).index(came["state"]), came["kind"] in _FIRST


async def newest(bank: Bank, state: str, limit: int) -> list[InboxRow]:
    """The newest handled events of which that came, among the newest MOST."""
    found: list[InboxRow] = []
    seen: set[str] = set()
    before: float | None = None
    while len(found) < limit and len(seen) < MOST:
        page = await inbox.newest(bank.db, waiting=False, limit=PAGE, before=before)
        fresh = [row for row in page if row["_id"] not in seen]
        if not fresh:
            break
        seen |= {row["_id"] for row in fresh}
        before = page[-1]["due"]
        came = await of_rows(bank, fresh)
        found += [row for row in fresh if came[row["_id"]]["state"] == state]
    return found[:limit]


async def retry(bank: Bank, row: InboxRow) -> int:
    """Has what failed of an event tried again: its effects, but for those that are too late, and its
    runs; how many."""
    effects = await _with_fallbacks(bank, row)
    again = await outbox.reopen(bank.db, effects, bank.now())
    again += await runs.reopen(bank, asked(row, RUN))
    if again:
        bank.signal(SEND_EFFECTS)
    return again


async def _with_fallbacks(bank: Bank, row: InboxRow) -> list[str]:
    names = asked(row, "effect")
    found: Iterable[Any] = (await outbox.read_all(bank.services, bank.id, names)).values()
    told = [note for effect in found for note in effect.get("trace", {}).get("decided", [])]
    return [*names, *(note["effect"] for note in told if note["kind"] == ASKED)]
