"""Two customers who turn out to be one person, and the way back.

The younger (the loser) is closed and what leads to him is carried to the elder (the winner): ids,
friendships, tags, and facts that the winner lacks. History stays where it is and is read along
(`aliases`, docs/decisions/0015). What is carried is written into a row of `merges` first, so that a
merge that was cut short goes on with the same plan, and one that was wrong can be undone.

Who was told apart stays apart: `apart` of either row names the other, and the write that takes a
loser in asks for it, so no race of two merges brings such a pair together. An id that is carried
counts its `moves`, and each move names the count that it saw: who acts on what he read before a
merge or before its undoing changes nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from customers import relationships
from customers.banks.bank import Bank
from customers.identity import review_tasks
from customers.identity.collections import CUSTOMERS, IDENTITIES, MERGES
from customers.identity.rows import (
    HOPS,
    SEALED,
    Origin,
    cids_of,
    ids_of,
    number_index,
    opened,
    phone_index,
    root,
    seal,
    unmerged,
)
from customers.relationships import RELATIONSHIPS
from services import ids
from services.clock import utc
from services.errors import Unavailable
from services.store.mongo import Doc

PLANNED, DONE, ASKED, UNDOING, UNDONE = "planned", "done", "asked", "undoing", "undone"
log = logging.getLogger(__name__)


def merge_id(tenant: str, row: Doc) -> str:
    """The id of a closed customer's merge; he may be merged, told apart and merged again."""
    return ids.tenant_id(tenant, "merge", row["_id"], row.get("merges", 0))


def why_apart(one: Doc, other: Doc) -> str:
    """The kind of question that keeps two customers from being merged, or an empty text."""
    if {*one.get("apart", [])} & {*cids_of(other)} or {*other.get("apart", [])} & {*cids_of(one)}:
        return "kept_apart"
    numbers = {row["number_index"] for row in (one, other) if row.get("number_index")}
    return "numbers_differ" if len(numbers) > 1 else ""


async def merge(bank: Bank, one: Doc, other: Doc, origin: Origin, because: list[str]) -> None:
    """Merges the younger of two customers, given by their rows, into the elder; `because` are the
    kinds of ids that led here.

    Everybody sees the same order, so two merges at once never go round in a circle. Who must stay
    apart is asked about instead.
    """
    winner, loser = sorted((one, other), key=lambda row: (row["created_at"], row["_id"]))
    kind = why_apart(winner, loser)
    if kind:
        await _ask(bank, kind, winner, loser, origin)
        return
    closing = {
        "merged_into": winner["_id"],
        "carrying": True,
        "because": {**origin.doc(bank), "ids": because},
    }
    fence = {**unmerged(loser["_id"]), "apart": {"$nin": cids_of(winner)}}
    customers = bank.db[CUSTOMERS]
    closed = await customers.update_and_get(fence, {"$set": closing, "$inc": {"merges": 1}})
    if closed is not None:
        await carry(bank, closed)


async def _ask(bank: Bank, kind: str, winner: Doc, loser: Doc, origin: Origin) -> None:
    pair = sorted((winner["_id"], loser["_id"]))
    await review_tasks.ask(bank, kind, pair, source=origin.source, proof=origin.proof)


async def carry(bank: Bank, row: Doc) -> None:
    """Gives what leads to a closed customer, and what only he knew, to whom he was merged into;
    safe to repeat."""
    db = bank.db
    taken = await _take_in(bank, row)
    if taken is None:
        return
    winner, plan = taken
    await relationships.move(bank, row["_id"], winner)
    moved = {"$set": {"cid": winner}, "$inc": {"moves": 1}}
    await db[IDENTITIES].bulk_update(
        [({"_id": doc_id, "moves": moves}, moved) for doc_id, moves in plan["ids"]]
    )
    await db[MERGES].update({"_id": plan["_id"], "state": PLANNED}, {"$set": {"state": DONE}})
    ended = {"_id": row["_id"], "merges": row.get("merges", 0)}
    await db[CUSTOMERS].update(ended, {"$unset": {"carrying": "", "because": ""}})
    log.info(
        "customers merged",
        extra={"fields": {"tenant": bank.id, "winner": winner, "loser": row["_id"]}},
    )


async def _take_in(bank: Bank, row: Doc) -> tuple[str, Doc] | None:
    """Writes the plan, and the loser into the winner's row; None when the two turn out to be apart,
    and the loser is his own again."""
    db = bank.db
    for _ in range(HOPS):
        winner = await root(bank, row["merged_into"])
        if row["_id"] in winner["aliases"]:  # somebody did so before
            plan = await db[MERGES].find_one({"_id": merge_id(bank.id, row)})
            return None if plan is None else (winner["_id"], plan)
        kind = why_apart(winner, row)
        if kind or winner["_id"] == row["_id"]:
            again = {"_id": row["_id"], "merges": row.get("merges", 0), "carrying": True}
            gone = {"merged_into": "", "carrying": "", "because": ""}
            await db[CUSTOMERS].update(again, {"$unset": gone})
            await db[MERGES].delete({"_id": merge_id(bank.id, row), "state": PLANNED})
            if kind:
                await _ask(bank, kind, winner, row, Origin(**_origin(row)))
            return None
        plan, change, fence = await _planned(bank, row, winner)
        await _keep_plan(bank, plan)
        if await db[CUSTOMERS].update({**unmerged(winner["_id"]), **fence}, change):
            return winner["_id"], plan
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _origin(row: Doc) -> dict[str, str]:
    because = row.get("because") or {}
    return {"source": because.get("source", ""), "proof": because.get("proof", "")}


async def _keep_plan(bank: Bank, plan: Doc) -> None:
    merges = bank.db[MERGES]
    if await merges.insert_new([plan]):
        fields = {name: value for name, value in plan.items() if name != "_id"}
        await merges.update({"_id": plan["_id"], "state": PLANNED}, {"$set": fields})


async def _planned(bank: Bank, row: Doc, winner: Doc) -> tuple[Doc, Doc, Doc]:
    """What the merge carries, the change of the winner's row, and what that row must still be like
    for it."""
    db = bank.db
    loser, known = opened(bank, row), opened(bank, winner)
    wanted = ids_of(bank, row)
    rows = {
        doc["_id"]: doc for doc in await db[IDENTITIES].find({"_id": {"$in": wanted}}, limit=None)
    }
    lacking = [name for name in SEALED if getattr(loser, name) and not getattr(known, name)]
    programs = [appid for appid in loser.openids if appid not in known.openids]
    fields = _given(bank, row, winner, lacking, programs)
    plan: Doc = {
        "_id": merge_id(bank.id, row),
        "nth": row.get("merges", 0),
        "loser": row["_id"],
        "winner": winner["_id"],
        "cids": cids_of(row),
        "state": PLANNED,
        "at": utc(bank.now()),
        "because": row.get("because", {}),
        "ids": [[doc_id, rows[doc_id].get("moves")] for doc_id in wanted if doc_id in rows],
        "fields": [*lacking, *(f"openids.{appid}" for appid in programs)],
        "tags": [tag for tag in row["tags"] if tag not in winner["tags"]],
        "apart": [cid for cid in row.get("apart", []) if cid not in winner.get("apart", [])],
        "follows": await _snapshots(bank, [row["_id"], winner["_id"]]),
        "before": _before(bank, merge_id(bank.id, row), known),
    }
    added: Doc = {
        "aliases": {"$each": cids_of(row)},
        "tags": {"$each": row["tags"]},
        "ids": {"$each": wanted},
        "apart": {"$each": row.get("apart", [])},
        "had": {"$each": row.get("had", [])},
    }
    change: Doc = {"$addToSet": added, "$pull": {"lost": {"$in": wanted}}}
    if fields:
        change["$set"] = fields
    fence: Doc = {name: {"$exists": False} for name in plan["fields"]}
    fence["apart"] = {"$nin": cids_of(row)}
    fence["aliases"] = {"$nin": row.get("apart", [])}
    if row.get("number_index"):
        fence["number_index"] = {"$in": [None, row["number_index"]]}
    return plan, change, fence


def _before(bank: Bank, plan_id: str, known: Any) -> bytes:
    """What the winner was called before, sealed."""
    return bank.vault.seal_json(
        MERGES, "before", plan_id, {"name": known.name, "phone": known.phone}
    )


def _given(bank: Bank, row: Doc, winner: Doc, lacking: list[str], programs: list[str]) -> Doc:
    """The fields that the winner lacks, sealed for his row, with where each came from."""
    loser, cid = opened(bank, row), winner["_id"]
    fields: Doc = {name: seal(bank, cid, name, getattr(loser, name)) for name in lacking}
    fields |= indexes(bank, {name: getattr(loser, name) for name in lacking})
    for name in {"name", "phone"} & {*lacking}:
        told = dict(row.get("told", {}).get(name, {}))
        told["by"] = told.get("by") or next(iter(ids_of(bank, row)), "")
        fields[f"told.{name}"] = told
    for appid in programs:
        fields[f"openids.{appid}"] = seal(bank, cid, f"openids.{appid}", loser.openids[appid])
    return fields


def indexes(bank: Bank, values: dict[str, str]) -> Doc:
    """The blind indexes that go with a phone and a number."""
    found: Doc = {}
    if values.get("phone"):
        found["phone_index"] = phone_index(bank, values["phone"])
    if values.get("number"):
        found["number_index"] = number_index(bank, values["number"])
    return found


_FOLLOW = ("userid", "cid", "active", "at", "since", "state", "add_way")


async def _snapshots(bank: Bank, cids: list[str]) -> list[Doc]:
    """Who follows the two, and who did, before the merge."""
    rows = bank.db[RELATIONSHIPS]
    found = [
        row
        for active in (True, False)
        for row in await rows.find({"active": active, "cid": {"$in": cids}}, limit=None)
    ]
    return [{name: row.get(name) for name in _FOLLOW} for row in found]
