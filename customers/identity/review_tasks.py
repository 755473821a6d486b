"""Questions about who is who, which no program may answer: a clerk proposes an answer and another
agrees (promise P7).

kept_apart      facts say that two customers are one, who were told apart before
numbers_differ  facts say that two customers are one, to whom the bank gave different numbers
number_taken    the bank's number of one customer was told for another
number_other    a customer has a number already, and another was told for him
same_phone      two customers bound the same phone: a suggestion
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from customers.banks.bank import Bank
from customers.identity.facts import Origin
from customers.identity.rows import REVIEW_TASKS, ReviewTask
from services import ids
from services.store.mongo import Doc

OPEN, PROPOSED, ANSWERED = "open", "proposed", "answered"
SAME_PHONE = "same_phone"
WITHDRAWN = "withdrawn"
"""The answer of nobody: one of the two has no phone any more."""
MOST_SHOWN = 100
ANSWERS = {
    "kept_apart": ("merge", "leave"),
    "numbers_differ": ("leave",),
    "number_taken": ("merge", "move", "leave"),
    "number_other": ("move", "leave"),
    SAME_PHONE: ("merge", "leave"),
}
"""What may be answered: `merge` the two, `move` the number to who it was told for, `leave`
everything as it is."""


def review_task_id(tenant: str, kind: str, cids: Sequence[str], about: str = "") -> str:
    return ids.tenant_id(tenant, "question", kind, *cids, about)


async def ask(
    bank: Bank,
    kind: str,
    cids: Sequence[str],
    origin: Origin,
    *,
    about: str = "",
    sealed: str = "",
) -> str:
    """Puts a question, once; what was answered `leave` stays answered, what was answered otherwise
    is open again. The row's id.

    `about` tells questions about the same customers apart and is no person's data; `sealed` is what
    only an answer needs.
    """
    row_id = review_task_id(bank.id, kind, cids, about)
    row: ReviewTask = {
        "_id": row_id,
        "kind": kind,
        "cids": list(cids),
        "state": OPEN,
        "source": origin.source,
        "proof": origin.proof,
        "at": bank.utc(),
    }
    if sealed:
        row["value"] = bank.vault.seal_text(REVIEW_TASKS, "value", row_id, sealed)
    if not await bank.insert(REVIEW_TASKS, cast("Doc", row)):
        again = {"_id": row_id, "state": ANSWERED, "answer": {"$ne": "leave"}}
        await bank.db[REVIEW_TASKS].update(again, {"$set": {"state": OPEN, "at": row["at"]}})
    return row_id


async def find(bank: Bank, task: str) -> ReviewTask | None:
    return cast("ReviewTask | None", await bank.db[REVIEW_TASKS].find_one({"_id": task}))


async def open_ones(bank: Bank) -> list[ReviewTask]:
    """What waits for a clerk, newest first."""
    rows = bank.db[REVIEW_TASKS]
    found: list[Doc] = []
    for state in (PROPOSED, OPEN):
        found += await rows.find({"state": state}, sort=[("at", -1)], limit=MOST_SHOWN)
    return cast("list[ReviewTask]", found)


async def of_customer(bank: Bank, cids: Sequence[str]) -> list[ReviewTask]:
    """Every question that a customer was in, newest first."""
    found = await bank.db[REVIEW_TASKS].find({"cids": {"$in": list(cids)}}, limit=MOST_SHOWN)
    newest_first = sorted(found, key=lambda row: (row["at"], row["_id"]), reverse=True)
    return cast("list[ReviewTask]", newest_first)


async def close_same_phone(bank: Bank, cids: Sequence[str]) -> list[str]:
    """Closes what was asked because one of these customers had the phone of another; the ids of the
    questions. Who binds the phone again is asked about again."""
    waits = {
        "kind": SAME_PHONE,
        "cids": {"$in": list(cids)},
        "state": {"$in": [OPEN, PROPOSED]},
    }
    rows = bank.db[REVIEW_TASKS]
    found = [row["_id"] for row in await rows.find(waits, limit=None, fields={"_id": 1})]
    if found:
        closed = {"state": ANSWERED, "answer": WITHDRAWN, "proposed_by": "", "reason": ""}
        wanted = {"_id": {"$in": found}, "state": waits["state"]}
        await rows.update_many(wanted, {"$set": {**closed, "answered_at": bank.utc()}})
    return found


async def change(bank: Bank, task: str, states: Sequence[str], fields: Doc) -> None:
    """Changes a question that is still in one of these states."""
    waits = {"_id": task, "state": {"$in": list(states)}}
    await bank.db[REVIEW_TASKS].update(waits, {"$set": fields})
