"""Who is who, as clerks see it: finding a customer, explaining how we know him, undoing a merge,
answering a question.

What changes who is who takes two clerks: one asks, another agrees (promise P7). Ids are shown
masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from customers import timeline
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import customer_numbers, merging, review_tasks, unmerging
from customers.identity.facts import NUMBER, Customer, Origin, mask_id, mask_name, mask_phone
from customers.identity.rows import (
    CUSTOMERS,
    IDENTITIES,
    MERGES,
    REVIEW_TASKS,
    CustomerRow,
    IdentityRow,
    MergeRow,
    ReviewTask,
    cids_of,
    find_merge,
    root,
)
from customers.identity.sealing import (
    identity_id,
    identity_ids_of,
    open_customer,
    open_identity,
    phone_index,
)
from services.clock import utc
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Doc

READ, DECIDE = "customers.read", "customers.unmerge"
MOST_FOUND = 50


def _check(actor: ClerkActor, permission: str) -> None:
    if permission not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {permission}")


def _reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    return reason.strip()


async def search(bank: Bank, actor: ClerkActor, wanted: str) -> list[dict[str, Any]]:
    """The customers with exactly this phone, customer number, external_userid, unionid or cid,
    masked."""
    _check(actor, READ)
    wanted = wanted.strip()
    if not wanted:
        return []
    tenant, db = bank.id, bank.db
    by_id = [identity_id(bank, kind, wanted) for kind in (NUMBER, "external_userid", "unionid")]
    found = {row["cid"] for row in (await bank.read(IDENTITIES, by_id)).values()}
    by_phone = {"phone_index": phone_index(bank, wanted)}
    found |= {
        row["_id"]
        for row in await db[CUSTOMERS].find(by_phone, fields={"_id": 1}, limit=MOST_FOUND)
    }
    if wanted.startswith(f"{tenant}:"):
        found |= {
            row["_id"] for row in await db[CUSTOMERS].find({"_id": wanted}, fields={"_id": 1})
        }
    rows: dict[str, CustomerRow] = {}
    for cid in sorted(found):
        try:
            row = await root(bank, cid)
        except NotFound:  # an id was claimed by somebody who did not live to write the customer
            continue
        rows[row["_id"]] = row
    return [_line(open_customer(bank, row)) for row in rows.values()]


def _line(person: Customer) -> dict[str, Any]:
    return {
        "cid": person.cid,
        "name": mask_name(person.name),
        "phone": mask_phone(person.phone),
        "number": mask_id(person.number),
        "friend": bool(person.external_userid),
        "programs": len(person.openids),
    }


async def explain(bank: Bank, actor: ClerkActor, cid: str) -> dict[str, Any]:
    """Everything that says who this customer is: his ids (masked) with source, proof and time, the
    merges that he was in, and the questions about him. Raises NotFound."""
    _check(actor, READ)
    row = await root(bank, cid)
    person = open_customer(bank, row)
    ids = (await bank.read(IDENTITIES, identity_ids_of(bank, row))).values()
    provenance = cast("Doc", row.get("provenance", {}))
    shown = [
        _id_view(each["kind"], mask_id(open_identity(bank, cast("IdentityRow", each))), each)
        for each in ids
    ]
    for name, text in (("phone", mask_phone(person.phone)), ("name", mask_name(person.name))):
        if text:
            shown.append(_id_view(name, text, provenance.get(name, {})))
    return {
        **_line(person),
        "asked": cid,
        "created_at": row["created_at"],
        "aliases": list(person.aliases),
        "never_merge_with": list(row.get("never_merge_with", [])),
        "ids": sorted(shown, key=lambda each: (each["kind"], str(each["at"]))),
        "merges": [_merge_view(merge) for merge in await _merges_of(bank, cids_of(row))],
        "questions": [
            _question_view(bank, each)
            for each in await review_tasks.of_customer(bank, cids_of(row))
        ],
    }


def _id_view(kind: str, shown: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "shown": shown,
        **{name: told.get(name, "") for name in ("source", "proof", "at")},
    }


async def _merges_of(bank: Bank, cids: Sequence[str]) -> list[MergeRow]:
    rows = bank.db[MERGES]
    found = [
        await rows.find({field: {"$in": list(cids)}}, limit=None) for field in ("winner", "loser")
    ]
    every = {row["_id"]: row for part in found for row in part}
    by_time = sorted(every.values(), key=lambda row: (row["at"], row["_id"]))
    return cast("list[MergeRow]", by_time)


def _merge_view(merge: MergeRow) -> dict[str, Any]:
    origin, row = merge["merge_origin"], cast("Doc", merge)
    return {
        "id": merge["_id"],
        "loser": merge["loser"],
        "winner": merge["winner"],
        "at": merge["at"],
        "state": merge["state"],
        "source": origin.get("source", ""),
        "proof": origin.get("proof", ""),
        "id_kinds": list(origin.get("ids", [])),
        "ids": sorted(doc_id.split(":")[1] for doc_id, _ in merge["ids"]),
        "fields": list(merge["fields"]),
        "tags": list(merge["tags"]),
        "relationships": sorted(
            one["userid"] for one in merge["relationships"] if one["cid"] == merge["loser"]
        ),
        **{name: row.get(name, "") for name in ("asked_by", "reason", "undone_by", "undone_at")},
    }


def _question_view(bank: Bank, task: ReviewTask) -> dict[str, Any]:
    row = cast("Doc", task)
    sealed = row.get("value")
    value = bank.vault.open_text(REVIEW_TASKS, "value", row["_id"], sealed) if sealed else ""
    fields = ("kind", "cids", "state", "source", "proof", "at")
    rest = ("answer", "reason", "proposed_by", "agreed_by")
    return {
        "id": row["_id"],
        "about": mask_id(value),
        "answers": list(review_tasks.ANSWERS[row["kind"]]),
        **{name: row[name] for name in fields},
        **{name: row.get(name, "") for name in rest},
    }


async def list_questions(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """What waits for a clerk's answer or another's consent, newest first."""
    _check(actor, READ)
    return [_question_view(bank, row) for row in await review_tasks.open_ones(bank)]


async def _merge_row(bank: Bank, actor: ClerkActor, merge_id: str) -> MergeRow:
    _check(actor, DECIDE)
    merge = await find_merge(bank, merge_id)
    if merge is None:
        raise NotFound("merge_unknown", "no such merge")
    return merge


async def undo(bank: Bank, actor: ClerkActor, merge_id: str, reason: str) -> str:
    """Asks for a merge to be undone; another clerk agrees with `approve_undo`. The loser's cid.

    Raises NotFound, InvalidInput `reason_missing`, Conflict `merge_decided` when it is not there to
    be asked for.
    """
    merge, why = await _merge_row(bank, actor, merge_id), _reason(reason)
    db = bank.db
    asked = {"state": merging.ASKED, "asked_by": actor.login, "reason": why}
    if not await db[MERGES].update({"_id": merge_id, "state": merging.DONE}, {"$set": asked}):
        raise Conflict("merge_decided", "this merge is undone, or its undoing was asked for")
    await bank.audit(actor.login, "merge.undo_asked", merge_id, loser=merge["loser"], reason=why)
    return str(merge["loser"])


async def keep(bank: Bank, actor: ClerkActor, merge_id: str) -> str:
    """Turns down, or takes back, the wish to undo a merge; the loser's cid. Raises NotFound,
    Conflict `merge_decided`."""
    merge = await _merge_row(bank, actor, merge_id)
    db = bank.db
    if not await db[MERGES].update(
        {"_id": merge_id, "state": merging.ASKED}, {"$set": {"state": merging.DONE}}
    ):
        raise Conflict("merge_decided", "nobody waits for this merge to be undone")
    await bank.audit(actor.login, "merge.undo_refused", merge_id, loser=merge["loser"])
    return str(merge["loser"])


async def approve_undo(bank: Bank, actor: ClerkActor, merge_id: str) -> str:
    """Undoes a merge whose undoing another clerk asked for; the loser's cid. Called again after it
    was cut short, it goes on.

    Raises NotFound, Forbidden `asker_cannot_agree`, Conflict `merge_decided` or `merge_covered`.
    """
    merge = await _merge_row(bank, actor, merge_id)
    if merge["state"] not in (merging.ASKED, merging.UNDOING):
        raise Conflict("merge_decided", "nobody asked for this merge to be undone")
    if merge["asked_by"] == actor.login:
        raise Forbidden("asker_cannot_agree", "whoever asked for it cannot agree to it")
    await unmerging.begin(bank, merge, actor.login)
    for cid in (merge["winner"], merge["loser"]):
        await timeline.record(bank, cid, "customer.unmerged", merge_id)
    facts = {
        "loser": merge["loser"],
        "winner": merge["winner"],
        "asked_by": merge["asked_by"],
        "reason": merge["reason"],
    }
    await bank.audit(actor.login, "merge.undone", merge_id, **facts)
    return str(merge["loser"])


async def _question_row(bank: Bank, actor: ClerkActor, question: str) -> Doc:
    _check(actor, DECIDE)
    row = await bank.db[REVIEW_TASKS].find_one({"_id": question})
    if row is None:
        raise NotFound("question_unknown", "no such question")
    return row


async def propose(bank: Bank, actor: ClerkActor, question: str, answer: str, reason: str) -> str:
    """Proposes an answer to a question; another clerk agrees with `agree`. A cid that the question
    is about.

    Raises NotFound, InvalidInput `answer_unknown` or `reason_missing`, Conflict `question_decided`.
    """
    row, why = await _question_row(bank, actor, question), _reason(reason)
    if answer not in review_tasks.ANSWERS[row["kind"]]:
        raise InvalidInput(
            "answer_unknown", "this question has no such answer", fields={"answer": "unknown"}
        )
    db = bank.db
    fields = {
        "state": review_tasks.PROPOSED,
        "answer": answer,
        "reason": why,
        "proposed_by": actor.login,
    }
    waits = {"_id": question, "state": {"$in": [review_tasks.OPEN, review_tasks.PROPOSED]}}
    if not await db[REVIEW_TASKS].update(waits, {"$set": fields}):
        raise Conflict("question_decided", "this question was answered")
    await bank.audit(actor.login, "question.proposed", question, answer=answer, reason=why)
    return str(row["cids"][0])


async def agree(bank: Bank, actor: ClerkActor, question: str) -> str:
    """Agrees to another clerk's answer and does what it says. A cid that the question is about.

    Raises NotFound, Forbidden `asker_cannot_agree`, Conflict `question_decided`, or
    `numbers_differ` for two customers whom the bank gave different numbers.
    """
    row = await _question_row(bank, actor, question)
    if row["state"] != review_tasks.PROPOSED:
        raise Conflict("question_decided", "nobody proposed an answer to this question")
    if row["proposed_by"] == actor.login:
        raise Forbidden("asker_cannot_agree", "whoever proposed it cannot agree to it")
    await _act(bank, actor, row)
    db = bank.db
    same = {
        "_id": question,
        "state": review_tasks.PROPOSED,
        "answer": row["answer"],
        "proposed_by": row["proposed_by"],
    }
    ended = {
        "state": review_tasks.ANSWERED,
        "agreed_by": actor.login,
        "answered_at": utc(bank.now()),
    }
    if not await db[REVIEW_TASKS].update(same, {"$set": ended}):
        raise Conflict("question_decided", "somebody else decided on this question")
    await bank.audit(
        actor.login,
        "question.answered",
        question,
        answer=row["answer"],
        proposed_by=row["proposed_by"],
    )
    return str(row["cids"][0])


async def _act(bank: Bank, actor: ClerkActor, row: Doc) -> None:
    """What the answer says; safe to repeat."""
    _tenant, origin = bank.id, Origin("clerk", row["_id"])
    if row["answer"] == "merge":
        one, other = [await root(bank, cid) for cid in row["cids"]]
        if one["_id"] == other["_id"]:
            return
        if merging.conflict_between(one, other) == "numbers_differ":
            raise Conflict("numbers_differ", "the bank gave these customers different numbers")
        await _bring_together(bank, one, other)
        one, other = [await root(bank, cid) for cid in row["cids"]]
        await merging.merge(bank, one, other, origin, ["clerk"])
    elif row["answer"] == "move":
        number = bank.vault.open_text(REVIEW_TASKS, "value", row["_id"], row["value"])
        await customer_numbers.move(bank, number, row["cids"][0], origin)


async def _bring_together(bank: Bank, one: CustomerRow, other: CustomerRow) -> None:
    """They are apart no more."""
    customers = bank.db[CUSTOMERS]
    for row, from_ in ((one, other), (other, one)):
        apart_from = {"$pull": {"never_merge_with": {"$in": cids_of(from_)}}}
        await customers.update({"_id": row["_id"]}, apart_from)
