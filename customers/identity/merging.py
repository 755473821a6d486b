"""Two customers who turn out to be one person, and the way back.

The younger (the loser) is closed and what leads to him is carried to the elder (the winner): ids,
relationships, tags, and facts that the winner lacks. History stays where it is and is read along
(`aliases`, docs/decisions/0015). What is carried is written into a row of `merges` first, so that a
merge that was cut short goes on with the same plan, and one that was wrong can be undone.

Who was told apart stays apart: `never_merge_with` of either row names the other, and the write that
takes a loser in asks for it, so no race of two merges brings such a pair together. An id that is
carried counts its `moves`, and each move names the count that it saw: who acts on what he read
before a merge or before its undoing changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, cast

from customers import consent, relationships
from customers.banks.bank import Bank
from customers.identity import review_tasks
from customers.identity.facts import Customer, Origin
from customers.identity.rows import (
    CUSTOMERS,
    HOPS,
    IDENTITIES,
    MERGES,
    CustomerRow,
    MergeOrigin,
    MergeRow,
    cids_of,
    drop_phone,
    find_merge,
    read_customers,
    root,
    unmerged,
)
from customers.identity.sealing import (
    identity_ids_of,
    open_customer,
    sealed_fields,
)
from customers.webhooks import telling
from services import ids
from services.errors import Unavailable
from services.store.mongo import Doc

PLANNED, DONE, ASKED, UNDOING, UNDONE = "planned", "done", "asked", "undoing", "undone"
log = logging.getLogger(__name__)


def merge_id(tenant: str, loser: CustomerRow) -> str:
    """The id of a closed customer's merge; he may be merged, told apart and merged again."""
    return ids.tenant_id(tenant, "merge", loser["_id"], loser.get("merges", 0))


def conflict_between(one: CustomerRow, other: CustomerRow) -> str:
    """The kind of review task that keeps two customers from being merged, or an empty text."""
    if {*one.get("never_merge_with", [])} & {*cids_of(other)}:
        return "kept_apart"
    if {*other.get("never_merge_with", [])} & {*cids_of(one)}:
        return "kept_apart"
    numbers = {row["number_index"] for row in (one, other) if row.get("number_index")}
    return "numbers_differ" if len(numbers) > 1 else ""


def by_age(rows: Iterable[CustomerRow]) -> list[CustomerRow]:
    """The eldest first; everybody sees the same order, so two merges at once never go round in a
    circle."""
    return sorted(rows, key=lambda row: (row["created_at"], row["_id"]))


async def merge(
    bank: Bank, one: CustomerRow, other: CustomerRow, origin: Origin, kinds: Sequence[str]
) -> None:
    """Merges the younger of two customers into the elder; `kinds` are those of the ids that led
    here. Who must stay apart becomes a review task instead."""
    winner, loser = by_age((one, other))
    conflict = conflict_between(winner, loser)
    if conflict:
        await _ask(bank, conflict, winner, loser, origin)
        return
    merge_origin: MergeOrigin = {
        "source": origin.source,
        "proof": origin.proof,
        "at": bank.utc(),
        "ids": list(kinds),
    }
    closing = {"merged_into": winner["_id"], "carrying": True, "merge_origin": merge_origin}
    fence = {**unmerged(loser["_id"]), "never_merge_with": {"$nin": cids_of(winner)}}
    if await bank.db[CUSTOMERS].update(fence, {"$set": closing, "$inc": {"merges": 1}}):
        closed = (await read_customers(bank, [loser["_id"]]))[loser["_id"]]
        if closed.get("carrying"):
            await carry(bank, closed)


async def _ask(
    bank: Bank, conflict: str, winner: CustomerRow, loser: CustomerRow, origin: Origin
) -> None:
    both = sorted((winner["_id"], loser["_id"]))
    await review_tasks.ask(bank, conflict, both, origin)


async def carry(bank: Bank, loser: CustomerRow) -> None:
    """Gives what leads to a closed customer, and what only he knew, to whom he was merged into;
    safe to repeat."""
    taken = await _take_in(bank, loser)
    if taken is None:
        return
    winner, plan = taken
    await relationships.move(bank, loser["_id"], winner)
    await _point(bank, plan, winner)
    if "phone" in plan["fields"]:
        await _keep_no_phone(bank, [winner, *plan["cids"]])
    planned = {"_id": plan["_id"], "state": PLANNED}
    await bank.db[MERGES].update(planned, {"$set": {"state": DONE}})
    about = {"merged": loser["_id"]}
    at = plan["at"].timestamp()
    await telling.tell_of(bank, "customer.merged", winner, plan["_id"], at=at, **about)
    this_time = {"_id": loser["_id"], "merges": loser.get("merges", 0)}
    ended = {"$unset": {"carrying": "", "merge_origin": ""}}
    await bank.db[CUSTOMERS].update(this_time, ended)
    facts = {"tenant": bank.id, "winner": winner, "loser": loser["_id"]}
    log.info("customers merged", extra={"fields": facts})


async def _keep_no_phone(bank: Bank, cids: Sequence[str]) -> None:
    """A phone that came with the loser goes, when one of the two withdrew his consent since."""
    if (await consent.standing(bank, cids, "phone")).withdrawn:
        await drop_phone(bank, cids)
        await forget_phone(bank, cids)


async def _point(bank: Bank, plan: MergeRow, winner: str) -> None:
    """The loser's ids lead to the winner, as far as nobody moved them since the plan."""
    moved = {"$set": {"cid": winner}, "$inc": {"moves": 1}}
    changes = [({"_id": row_id, "moves": moves}, moved) for row_id, moves in plan["ids"]]
    await bank.db[IDENTITIES].bulk_update(changes)


async def _take_in(bank: Bank, loser: CustomerRow) -> tuple[str, MergeRow] | None:
    """Writes the plan, and the loser into the winner's row: the winner's cid and the plan. None
    when the two turn out to be apart, and the loser is his own again."""
    for _ in range(HOPS):
        winner = await root(bank, loser["merged_into"])
        if loser["_id"] in winner["aliases"]:  # an earlier try came this far
            plan = await find_merge(bank, merge_id(bank.id, loser))
            return None if plan is None else (winner["_id"], plan)
        conflict = conflict_between(winner, loser)
        if conflict or winner["_id"] == loser["_id"]:
            await _let_go(bank, loser)
            if conflict:
                await _ask(bank, conflict, winner, loser, _origin_of(loser))
            return None
        plan = await _plan(bank, loser, winner)
        await _keep_plan(bank, plan)
        change = _winners_change(bank, loser, winner, plan)
        if await bank.db[CUSTOMERS].update(_fence(loser, plan), change):
            return winner["_id"], plan
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _origin_of(loser: CustomerRow) -> Origin:
    origin = loser.get("merge_origin", {})
    return Origin(origin.get("source", ""), origin.get("proof", ""))


async def _let_go(bank: Bank, loser: CustomerRow) -> None:
    """He was closed, and is not merged after all."""
    this_time = {"_id": loser["_id"], "merges": loser.get("merges", 0), "carrying": True}
    reopened = {"$unset": {"merged_into": "", "carrying": "", "merge_origin": ""}}
    await bank.db[CUSTOMERS].update(this_time, reopened)
    await bank.db[MERGES].delete({"_id": merge_id(bank.id, loser), "state": PLANNED})


async def _keep_plan(bank: Bank, plan: MergeRow) -> None:
    row = cast("Doc", plan)
    merges = bank.db[MERGES]
    if await merges.insert_new([row]):
        fields = {name: value for name, value in row.items() if name != "_id"}
        await merges.update({"_id": plan["_id"], "state": PLANNED}, {"$set": fields})


async def _plan(bank: Bank, loser: CustomerRow, winner: CustomerRow) -> MergeRow:
    """What the merge carries."""
    plan_id = merge_id(bank.id, loser)
    known = open_customer(bank, winner)
    called = {"name": known.name, "phone": known.phone}
    return {
        "_id": plan_id,
        "nth": loser.get("merges", 0),
        "loser": loser["_id"],
        "winner": winner["_id"],
        "cids": cids_of(loser),
        "state": PLANNED,
        "at": bank.utc(),
        "merge_origin": loser.get("merge_origin", {}),
        "ids": await _moves_of(bank, identity_ids_of(bank, loser)),
        "fields": _lacking(known, open_customer(bank, loser)),
        "tags": _beyond(winner["tags"], loser["tags"]),
        "never_merge_with": _beyond(
            winner.get("never_merge_with", []), loser.get("never_merge_with", [])
        ),
        "relationships": await relationships.snapshots(bank, [loser["_id"], winner["_id"]]),
        "before": bank.vault.seal_json(MERGES, "before", plan_id, called),
    }


async def _moves_of(bank: Bank, wanted: Sequence[str]) -> list[tuple[str, int | None]]:
    """These rows of ids, as far as they are there, with the count of moves of each."""
    found = await bank.db[IDENTITIES].find({"_id": {"$in": list(wanted)}}, limit=None)
    moves = {row["_id"]: row.get("moves") for row in found}
    return [(row_id, moves[row_id]) for row_id in wanted if row_id in moves]


async def forget_phone(bank: Bank, cids: Sequence[str]) -> None:
    """The merges of these customers bring no phone back when they are undone."""
    theirs = {"$or": [{"winner": {"$in": list(cids)}}, {"loser": {"$in": list(cids)}}]}
    merges = bank.db[MERGES]
    for row in cast("list[MergeRow]", await merges.find(theirs, limit=None)):
        before: Any = bank.vault.open_json(MERGES, "before", row["_id"], row["before"])
        if before.get("phone"):
            sealed = bank.vault.seal_json(MERGES, "before", row["_id"], {**before, "phone": ""})
            await merges.update({"_id": row["_id"]}, {"$set": {"before": sealed}})


def _lacking(winner: Customer, loser: Customer) -> list[str]:
    """The fields that the loser has and the winner has not."""
    known = winner.by_field()
    return [name for name in loser.by_field() if name not in known]


def _beyond(known: Sequence[str], more: Sequence[str]) -> list[str]:
    return [one for one in more if one not in known]


def _winners_change(bank: Bank, loser: CustomerRow, winner: CustomerRow, plan: MergeRow) -> Doc:
    """The update that takes the loser into the winner's row."""
    his_ids = identity_ids_of(bank, loser)
    added = {
        "aliases": cids_of(loser),
        "tags": loser["tags"],
        "ids": his_ids,
        "never_merge_with": loser.get("never_merge_with", []),
        "shared_entitlements": loser.get("shared_entitlements", []),
    }
    change: Doc = {
        "$addToSet": {name: {"$each": values} for name, values in added.items()},
        "$pull": {"revoked_ids": {"$in": his_ids}},
    }
    if plan["fields"]:
        change["$set"] = _given(bank, loser, winner["_id"], plan["fields"])
    return change


def _given(bank: Bank, loser: CustomerRow, winner: str, wanted: Sequence[str]) -> Doc:
    """These fields of the loser's, sealed for the winner's row, with where each came from."""
    known = open_customer(bank, loser).by_field()
    fields = sealed_fields(bank, winner, {name: known[name] for name in wanted})
    for name in ("name", "phone"):
        if name in wanted:
            came = loser.get("provenance", {}).get(name, {})
            by = came.get("by") or next(iter(identity_ids_of(bank, loser)), "")
            fields[f"provenance.{name}"] = {**came, "by": by}
    return fields


def _fence(loser: CustomerRow, plan: MergeRow) -> Doc:
    """What the winner's row must still be like when the loser is written into it."""
    fence: Doc = {
        **unmerged(plan["winner"]),
        **{name: {"$exists": False} for name in plan["fields"]},
        "never_merge_with": {"$nin": cids_of(loser)},
        "aliases": {"$nin": loser.get("never_merge_with", [])},
    }
    if loser.get("number_index"):
        fence["number_index"] = {"$in": [None, loser["number_index"]]}
    return fence
