"""Who is who, as clerks see it: finding a customer, explaining how we know him, undoing a merge,
answering a question.

What changes who is who takes two clerks: one asks, another agrees (promise P7). Ids are shown
masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from customers import relationships, timeline
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.banks.bank import Bank
from customers.identity import customer_numbers, merging, review_tasks, unmerging
from customers.identity.facts import NUMBER, Customer, Origin, mask_id, mask_name
from customers.identity.rows import (
    CUSTOMERS,
    MERGES,
    REVIEW_TASKS,
    CustomerRow,
    MergeRow,
    ReviewTask,
    cids_of,
    cids_with_phone,
    find_merge,
    read_identities,
    root,
)
from customers.identity.sealing import (
    identity_id,
    identity_ids_of,
    open_customer,
    open_identity,
    phone_index,
)
from services import phones, sheets
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, TooMany
from services.phones import mask_phone
from services.store.mongo import Doc

READ, DECIDE = "customers.read", "customers.unmerge"
MOST_FOUND = 50
SEARCH = "search"
"""The kind of session that keeps what a search found."""
_DAY = 86_400
_LIKE_A_PHONE = re.compile(
    r"\+?(?:[\s().\-/]*\d){7,20}[\s().\-/]*(?:(?:ext|x|#|转|分机).*)?", re.IGNORECASE
)
UNDOING = approvals.Kind(
    name="merge",
    right="customers.unmerge",
    submitted="merge.undo_asked",
    approved="",  # `merge.undone` says so when it is done
    rejected="merge.undo_refused",
    refused="merge.approval_refused",
    decided="merge_decided",
    replaces=approvals.AFTERWARDS,
)
ANSWER = approvals.Kind(
    name="identity",
    right="customers.unmerge",
    submitted="question.proposed",
    approved="",  # `question.answered` says so when it is done
    rejected="",
    refused="question.approval_refused",
    decided="question_decided",
    replaces=approvals.ANY_TIME,
)


def _check(actor: ClerkActor, permission: str) -> None:
    if permission not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {permission}")


def _reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    return reason.strip()


async def search(bank: Bank, actor: ClerkActor, wanted: str) -> list[dict[str, Any]]:
    """The customers with exactly this phone, customer number, external_userid, unionid or cid,
    masked.

    Who looks for what and finds how many is in the audit trail before it is answered: by the blind
    index of what was looked for, the same that finds the customer where it is a phone. Raises TooMany
    `searches_used_up` beyond a clerk's searches of a day, so that nobody finds out by trying who is a
    customer of the bank.
    """
    _check(actor, READ)
    wanted = sheets.cell(wanted)
    if not wanted:
        return []
    await _count_search(bank, actor)
    phone = _as_phone(bank, wanted)
    index = phone_index(bank, phone) if phone else bank.vault.blind("search", wanted)
    lines = await _lines(bank, await _found(bank, wanted, phone))
    kind = "phone" if phone else "id"
    await bank.audit(actor.login, "customer.searched", index, by=kind, found=len(lines))
    return lines


async def _count_search(bank: Bank, actor: ClerkActor) -> None:
    what = f"search|{bank.id}|{actor.login}|{bank.today()}"
    most = bank.services.settings.searches_a_day
    counted = await bank.services.sessions.count(what, seconds=_DAY)
    if counted == most + 1:
        await bank.audit(actor.login, "customer.search_refused", actor.login, searches=most)
    if counted > most:
        raise TooMany(
            "searches_used_up", "your searches of this day are used up", retry_after=_left(bank)
        )


def _left(bank: Bank) -> int:
    """The seconds until the bank's day is over."""
    now = datetime.fromtimestamp(bank.now(), bank.tz)
    return _DAY - (now.hour * 3600 + now.minute * 60 + now.second)


async def keep_search(bank: Bank, actor: ClerkActor, found: Sequence[Mapping[str, Any]]) -> str:
    """A name, good for the clerk alone, under which he finds again what he found: nothing that he
    looked for is in an address."""
    kept = {"tenant": bank.id, "login": actor.login, "cids": [row["cid"] for row in found]}
    return await bank.services.sessions.open(SEARCH, kept)


async def kept_search(bank: Bank, actor: ClerkActor, search: str) -> list[dict[str, Any]]:
    """The customers of an earlier search of this clerk's, as they are now; raises NotFound when it is
    over, or another's."""
    _check(actor, READ)
    kept = await bank.services.sessions.read(SEARCH, search)
    if kept is None or (kept["tenant"], kept["login"]) != (bank.id, actor.login):
        raise NotFound("search_over", "this search is over; search again")
    return await _lines(bank, set(kept["cids"]))


async def _lines(bank: Bank, cids: set[str]) -> list[dict[str, Any]]:
    rows: dict[str, CustomerRow] = {}
    for cid in sorted(cids):
        try:
            row = await root(bank, cid)
        except NotFound:  # an id was claimed by somebody who did not live to write the customer
            continue
        rows[row["_id"]] = row
    return [await _line(bank, open_customer(bank, row)) for row in rows.values()]


async def _found(bank: Bank, wanted: str, phone: phones.Phone | None) -> set[str]:
    """The cids that this may mean."""
    by_id = [identity_id(bank, kind, wanted) for kind in (NUMBER, "external_userid", "unionid")]
    cids = {row["cid"] for row in (await read_identities(bank, by_id)).values()}
    if phone:
        cids |= {*await cids_with_phone(bank, phone_index(bank, phone), MOST_FOUND)}
    if wanted.startswith(f"{bank.id}:"):
        cids.add(wanted)
    return cids


async def the_one(bank: Bank, wanted: str) -> CustomerRow:
    """The customer with this cid, phone, customer number, external_userid or unionid, for whoever
    operates the process. Raises NotFound `customer_unknown`, Conflict `customer_ambiguous`."""
    wanted = sheets.cell(wanted)
    cids = await _found(bank, wanted, _as_phone(bank, wanted))
    rows = {row["_id"]: row for row in [await root(bank, cid) for cid in sorted(cids)]}
    if not rows:
        raise NotFound("customer_unknown", "no such customer")
    if len(rows) > 1:
        raise Conflict("customer_ambiguous", f"several customers have this: {', '.join(rows)}")
    return next(iter(rows.values()))


def check_readable(bank: Bank, wanted: str) -> None:
    """To be asked when nobody was found: raises InvalidInput `digits_lost` or `search_unreadable`
    for what looks like a phone and cannot be read as one."""
    try:
        phones.read(wanted, bank.region)
    except InvalidInput as error:
        if error.code == "digits_lost":
            raise
        if _LIKE_A_PHONE.fullmatch(sheets.cell(wanted)):
            raise InvalidInput("search_unreadable", "nobody has it, and it is no phone") from None


def _as_phone(bank: Bank, wanted: str) -> phones.Phone | None:
    """What somebody looks for, read as a phone; None when it is none."""
    try:
        return phones.read(wanted, bank.region)
    except InvalidInput:
        return None


async def _line(bank: Bank, customer: Customer) -> dict[str, Any]:
    last = await relationships.last_of(bank, customer.cids)
    over = last is not None and not last["active"]
    return {
        "cid": customer.cid,
        "name": mask_name(customer.name),
        "phone": mask_phone(customer.phone),
        "number": mask_id(customer.number),
        "friend": last is not None and last["active"],
        "ended_at": last.get("ended_at", last["at"]) if last is not None and over else None,
        "programs": len(customer.openids),
    }


async def explain(bank: Bank, actor: ClerkActor, cid: str) -> dict[str, Any]:
    """Everything that says who this customer is: his ids (masked) with source, proof and time, the
    merges that he was in, and the questions about him. Raises NotFound."""
    _check(actor, READ)
    row = await root(bank, cid)
    customer = open_customer(bank, row)
    tasks = await review_tasks.of_customer(bank, customer.cids)
    return {
        **await _line(bank, customer),
        "asked": cid,
        "created_at": row["created_at"],
        "aliases": list(customer.aliases),
        "never_merge_with": list(row.get("never_merge_with", [])),
        "ids": await _ids_view(bank, row, customer),
        "merges": [_merge_view(merge) for merge in await _merges_of(bank, customer.cids)],
        "review_tasks": [_question_view(bank, task) for task in tasks],
    }


async def _ids_view(bank: Bank, row: CustomerRow, customer: Customer) -> list[dict[str, Any]]:
    """His ids and what else is known of him, masked, each with where it comes from."""
    identities = await read_identities(bank, identity_ids_of(bank, row))
    shown = [
        _id_view(each["kind"], mask_id(open_identity(bank, each)), each)
        for each in identities.values()
    ]
    provenance = row.get("provenance", {})
    for name, text in (
        ("phone", mask_phone(customer.phone)),
        ("name", mask_name(customer.name)),
    ):
        if text:
            shown.append(_id_view(name, text, provenance.get(name, {})))
    return sorted(shown, key=lambda each: (each["kind"], str(each["at"])))


def _id_view(kind: str, shown: str, told: Mapping[str, object]) -> dict[str, Any]:
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
    told = {"loser": merge["loser"], "reason": why}
    wanted: MergeRow = {**merge, "reason": why}
    if merge["state"] != merging.DONE or not await approvals.submit(
        bank, actor, UNDOING, merge_id, _undoing(wanted), **told
    ):
        raise Conflict("merge_decided", "this merge is undone, or its undoing was asked for")
    asked = {"state": merging.ASKED, "asked_by": actor.login, "reason": why}
    await bank.db[MERGES].update({"_id": merge_id, "state": merging.DONE}, {"$set": asked})
    return str(merge["loser"])


def _undoing(merge: MergeRow) -> approvals.Content:
    """What is decided on: whom it tells apart, which ids go back, and why."""
    decided = {
        "winner": merge["winner"],
        "loser": merge["loser"],
        "reason": merge.get("reason", ""),
        "ids": sorted(row_id for row_id, _ in merge["ids"]),
    }
    return {"merge": decided}


async def stay_merged(bank: Bank, actor: ClerkActor, merge_id: str) -> str:
    """Turns down, or takes back, the wish to undo a merge; the loser's cid. Raises NotFound,
    Conflict `merge_decided`."""
    merge = await _merge_row(bank, actor, merge_id)
    if merge["state"] != merging.ASKED and not await approvals.waits(bank, UNDOING, merge_id):
        raise Conflict("merge_decided", "nobody waits for this merge to be undone")
    await approvals.reject(bank, actor, UNDOING, merge_id)
    asked = {"_id": merge_id, "state": merging.ASKED}
    await bank.db[MERGES].update(asked, {"$set": {"state": merging.DONE}})
    return str(merge["loser"])


async def approve_undo(bank: Bank, actor: ClerkActor, merge_id: str) -> str:
    """Undoes a merge whose undoing another clerk asked for; the loser's cid. Called again after it
    was cut short, it goes on.

    Raises NotFound, Forbidden `approver_is_author`, Conflict `merge_decided`, `merge_covered` or
    `approval_changed`.
    """
    merge = await _merge_row(bank, actor, merge_id)
    async with approvals.approve(bank, actor, UNDOING, merge_id, _undoing(merge)) as approval:
        told = {"winner": merge["winner"], "asked_by": approval.author, **approval.data}
        async with bank.audited(actor.login, "merge.undone", merge_id, **told):
            await unmerging.begin(bank, merge, approval.decided_by)
            for cid in (merge["winner"], merge["loser"]):
                await timeline.record(bank, cid, "customer.unmerged", merge_id)
    return str(merge["loser"])


async def forget_phone(bank: Bank, cids: Sequence[str]) -> None:
    """Nobody is asked any more about a phone that these customers had, and no merge brings it
    back."""
    await merging.forget_phone(bank, cids)
    await approvals.replace(bank, ANSWER, await review_tasks.close_same_phone(bank, cids))


async def _question_row(bank: Bank, actor: ClerkActor, question: str) -> ReviewTask:
    _check(actor, DECIDE)
    row = await review_tasks.find(bank, question)
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
    proposed = {"answer": answer, "reason": why}
    waits = row["state"] in (review_tasks.OPEN, review_tasks.PROPOSED)
    content = _answer(row, answer, why)
    if not waits or not await approvals.submit(bank, actor, ANSWER, question, content, **proposed):
        raise Conflict("question_decided", "this question was answered")
    fields = {"state": review_tasks.PROPOSED, "proposed_by": actor.login, **proposed}
    await review_tasks.change(bank, question, (review_tasks.OPEN, review_tasks.PROPOSED), fields)
    return str(row["cids"][0])


def _answer(row: ReviewTask, answer: str, reason: str) -> approvals.Content:
    """What is decided on: the answer, and what it is an answer to."""
    about = {"kind": row["kind"], "cids": row["cids"]}
    return {"answer": {**about, "answer": answer, "reason": reason}}


async def agree(bank: Bank, actor: ClerkActor, question: str) -> str:
    """Agrees to another clerk's answer and does what it says. A cid that the question is about.

    Raises NotFound, Forbidden `approver_is_author`, Conflict `question_decided`,
    `approval_changed`, or `numbers_differ` for two customers whom the bank gave different numbers.
    """
    row = await _question_row(bank, actor, question)
    if row["state"] != review_tasks.PROPOSED:
        raise Conflict("question_decided", "nobody proposed an answer to this question")
    await _check_numbers(bank, actor, row)
    content = _answer(row, row["answer"], row["reason"])
    async with approvals.approve(bank, actor, ANSWER, question, content) as approval:
        told = {"answer": row["answer"], "proposed_by": approval.author}
        async with bank.audited(actor.login, "question.answered", question, **told):
            await _act(bank, row)
            ended = {"agreed_by": approval.decided_by, "answered_at": approval.decided_at}
            fields = {"state": review_tasks.ANSWERED, **ended}
            await review_tasks.change(bank, question, (review_tasks.PROPOSED,), fields)
    return str(row["cids"][0])


async def _check_numbers(bank: Bank, actor: ClerkActor, row: ReviewTask) -> None:
    """Before anything is decided: what cannot be done is not agreed to, and waits."""
    if row["answer"] == "merge" and row["proposed_by"] != actor.login:
        one, other = [await root(bank, cid) for cid in row["cids"]]
        _refuse_numbers(one, other)


def _refuse_numbers(one: CustomerRow, other: CustomerRow) -> None:
    if one["_id"] != other["_id"] and merging.conflict_between(one, other) == "numbers_differ":
        raise Conflict("numbers_differ", "the bank gave these customers different numbers")


async def _act(bank: Bank, row: ReviewTask) -> None:
    """What the answer says; safe to repeat."""
    origin = Origin("clerk", row["_id"])
    if row["answer"] == "merge":
        await _merge(bank, row["cids"], origin)
    elif row["answer"] == "move":
        number = bank.vault.open_text(REVIEW_TASKS, "value", row["_id"], row["value"])
        await customer_numbers.move(bank, number, row["cids"][0], origin)


async def _merge(bank: Bank, cids: Sequence[str], origin: Origin) -> None:
    one, other = [await root(bank, cid) for cid in cids]
    if one["_id"] == other["_id"]:
        return
    _refuse_numbers(one, other)
    await _bring_together(bank, one, other)
    one, other = [await root(bank, cid) for cid in cids]
    await merging.merge(bank, one, other, origin, ["clerk"])


async def _bring_together(bank: Bank, one: CustomerRow, other: CustomerRow) -> None:
    """They are apart no more."""
    customers = bank.db[CUSTOMERS]
    for row, from_ in ((one, other), (other, one)):
        apart_from = {"$pull": {"never_merge_with": {"$in": cids_of(from_)}}}
        await customers.update({"_id": row["_id"]}, apart_from)
