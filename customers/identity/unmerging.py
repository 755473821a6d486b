"""Taking a wrong merge back: the loser is a customer again, with his ids, friendships, tags and
facts.

What goes back is what the merge carried, and what was told since in company of one of those ids
(`by` of an id's row). The winner's row then names these ids as `lost`, and takes no word about them
any more, however late. Both histories stay under the cid under which they happened; what either was
granted while they were one counts for both (`had`, rewards/claims.py).

Each step may be repeated: an undoing that was cut short is finished by the next who meets it.
"""

from __future__ import annotations

import logging
from typing import Any

from customers import relationships
from customers.banks.bank import Bank
from customers.identity.collections import CUSTOMERS, IDENTITIES, MERGES
from customers.identity.merging import DONE, UNDOING, UNDONE, indexes
from customers.identity.rows import (
    ENRICH,
    HOPS,
    Customer,
    cids_of,
    ids_of,
    open_id,
    opened,
    row_id,
    seal,
    unmerged,
)
from customers.relationships import RELATIONSHIPS
from services import ids
from services.clock import utc
from services.errors import Conflict, Unavailable
from services.queue import outbox
from services.store.mongo import Collection, Doc

log = logging.getLogger(__name__)
COVERED = "merge_covered"


async def finish(bank: Bank, merge_id: str) -> bool:
    """Does, or goes on with, what a merge in the state `undoing` asks for; False when the winner is
    another's by now (the merge is `done` again, and the later one must be undone first)."""
    db = bank.db
    merge = await db[MERGES].find_one({"_id": merge_id})
    if merge is None or merge["state"] != UNDOING:
        return True
    back = await _part(bank, merge)
    if back is None:
        await db[MERGES].update({"_id": merge_id, "state": UNDOING}, {"$set": {"state": DONE}})
        return False
    await _reopen(bank, merge, back)
    moved = {"$set": {"cid": merge["loser"]}, "$inc": {"moves": 1}}
    await db[IDENTITIES].update_many({"_id": {"$in": back}, "cid": {"$ne": merge["loser"]}}, moved)
    await _give_friends_back(bank, merge)
    await _ask_wecom(bank, merge)
    for cid in (merge["winner"], merge["loser"]):
        await bank.services.sessions.end_all("customer", session_subject(bank.id, cid))
    await db[CUSTOMERS].update(
        {"_id": merge["winner"], "undoing": merge_id}, {"$unset": {"undoing": ""}}
    )
    ended = {"state": UNDONE, "undone_at": utc(bank.now())}
    await db[MERGES].update({"_id": merge_id, "state": UNDOING}, {"$set": ended})
    log.info("a merge was undone", extra={"fields": {"tenant": bank.id, "merge": merge_id}})
    return True


def session_subject(tenant: str, cid: str) -> str:
    """What a customer's sessions are ended by."""
    return f"{tenant}|{cid}"


async def _part(bank: Bank, merge: Doc) -> list[str] | None:
    """Takes from the winner what is the loser's, after giving it to the loser's row; the ids' rows
    that go back."""
    db = bank.db
    for _ in range(HOPS):
        winner = await db[CUSTOMERS].find_one(unmerged(merge["winner"]))
        if winner is None:
            return None
        back, rows = await _his(bank, merge, winner)
        apart = not {*merge["cids"]} & {*winner["aliases"]}
        if apart and {*back} <= {*winner.get("lost", [])}:
            return back
        merge["back"] = back
        await db[MERGES].update({"_id": merge["_id"], "state": UNDOING}, {"$set": {"back": back}})
        await _give_facts_back(bank, merge, winner, rows, back)
        change, fence = await _taken(bank, merge, winner, rows, back)
        await db[CUSTOMERS].update({**unmerged(winner["_id"]), **fence}, change)
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _his(bank: Bank, merge: Doc, winner: Doc) -> tuple[list[str], dict[str, Doc]]:
    """The ids that go back: carried, or told since with one that goes back. With the rows of all
    the winner's ids."""
    carried = [doc_id for doc_id, _ in merge["ids"]]
    wanted = list(dict.fromkeys([*carried, *merge.get("back", []), *ids_of(bank, winner)]))
    rows = await bank.read(IDENTITIES, wanted)
    back = dict.fromkeys([*carried, *merge.get("back", [])])
    while found := [
        doc_id for doc_id, row in rows.items() if doc_id not in back and row.get("by") in back
    ]:
        back |= dict.fromkeys(found)
    return list(back), rows


def _his_words(winner: Doc, back: list[str]) -> list[str]:
    """The names of the facts (name, phone) that the winner has from one of the ids that go back."""
    return [
        name
        for name, told in winner.get("told", {}).items()
        if told.get("by") in back and winner.get(name)
    ]


async def _give_facts_back(
    bank: Bank, merge: Doc, winner: Doc, rows: dict[str, Doc], back: list[str]
) -> None:
    """Writes into the closed loser's row what was told of him since the merge."""
    row = await bank.db[CUSTOMERS].find_one({"_id": merge["loser"]})
    if row is None:
        return
    loser, known = opened(bank, row), opened(bank, winner)
    values = {name: getattr(known, name) for name in _his_words(winner, back)}
    fields: Doc = {f"told.{name}": winner["told"][name] for name in values}
    for doc_id in back:
        kind = rows[doc_id]["kind"] if doc_id in rows else ""
        field = kind.replace("openid.", "openids.", 1)
        if _field(loser, kind) == "" and field != "pending":
            values[field] = open_id(bank, rows[doc_id])
    fields |= {name: seal(bank, loser.cid, name, value) for name, value in values.items() if value}
    fields |= indexes(bank, values)
    await bank.db[CUSTOMERS].update(
        {"_id": loser.cid},
        {"$addToSet": {"ids": {"$each": back}}, **({"$set": fields} if fields else {})},
    )


def _field(person: Customer, kind: str) -> str | None:
    """The id of that kind that the customer has; None for a kind that his row does not keep."""
    if kind.startswith("openid."):
        return person.openids.get(kind.removeprefix("openid."), "")
    return {
        "unionid": person.unionid,
        "external_userid": person.external_userid,
        "number": person.number,
    }.get(kind)


async def _taken(
    bank: Bank, merge: Doc, winner: Doc, rows: dict[str, Doc], back: list[str]
) -> tuple[Doc, Doc]:
    """The change that takes the loser out of the winner's row, and what that row must still hold
    for it."""
    known, cid = opened(bank, winner), winner["_id"]
    before: Any = bank.vault.open_json(MERGES, "before", merge["_id"], merge["before"])
    values: dict[str, str] = {name: before[name] for name in _his_words(winner, back)}
    for kind, value in known.ids().items():
        if row_id(bank, kind, value) in back:
            values[kind.replace("openid.", "openids.", 1)] = _left(bank, rows, back, kind)
    fields: Doc = {name: seal(bank, cid, name, value) for name, value in values.items() if value}
    fields |= indexes(bank, values)
    gone = {name for name, value in values.items() if not value}
    gone |= {f"{name}_index" for name in ("phone", "number") if name in gone}
    gone |= {f"told.{name}" for name in ("name", "phone") if name in values}
    others = await bank.read(CUSTOMERS, [a for a in winner["aliases"] if a not in merge["cids"]])
    kept = {tag for row in others.values() for tag in row["tags"]}
    change: Doc = {
        "$set": {**fields, "undoing": merge["_id"]},
        "$pull": {
            "aliases": {"$in": merge["cids"]},
            "tags": {"$in": [tag for tag in merge["tags"] if tag not in kept]},
            "ids": {"$in": back},
        },
        "$addToSet": {"apart": {"$each": merge["cids"]}, "lost": {"$each": back}},
    }
    if gone:
        change["$unset"] = dict.fromkeys(gone, "")
    return change, {name: _at(winner, name) for name in values}


def _left(bank: Bank, rows: dict[str, Doc], back: list[str], kind: str) -> str:
    """The newest id of that kind that stays with the winner, or an empty text."""
    left = [row for doc_id, row in rows.items() if row["kind"] == kind and doc_id not in back]
    newest = max(left, key=lambda row: (row["at"], row["_id"]), default=None)
    return open_id(bank, newest) if newest else ""


def _at(row: Doc, name: str) -> Any:
    part, _, inner = name.partition(".")
    return row.get(part, {}).get(inner) if inner else row.get(name)


async def _reopen(bank: Bank, merge: Doc, back: list[str]) -> None:
    """The loser is a customer of his own again, and apart from who the winner is and was."""
    customers = bank.db[CUSTOMERS]
    winner = await customers.find_one({"_id": merge["winner"]}, {"aliases": 1}) or {
        "_id": merge["winner"]
    }
    had = {"cid": merge["winner"], "since": merge["at"], "until": utc(bank.now())}
    closed = {"_id": merge["loser"], "merged_into": {"$exists": True}, "merges": merge["nth"]}
    change = {
        "$unset": {"merged_into": "", "carrying": "", "because": ""},
        "$addToSet": {"apart": {"$each": cids_of(winner)}, "had": had},
        "$pull": {"lost": {"$in": back}},
    }
    await customers.update(closed, change)


async def _give_friends_back(bank: Bank, merge: Doc) -> None:
    """The loser's friendships as they are now; of an RM who followed both, each gets his own back
    as it was."""
    rows = bank.db[RELATIONSHIPS]
    theirs = {row["userid"]: row for row in merge["follows"] if row["cid"] == merge["winner"]}
    for row in merge["follows"]:
        userid = row["userid"]
        if row["cid"] == merge["winner"]:
            continue
        own = theirs.get(userid)
        row_id = relationships.follow_id(bank.id, userid, merge["winner"])
        if own is not None:
            fields = {
                name: row[name]
                for name in ("state", "add_way", "since")
                if row.get(name) is not None
            }
            await relationships.changed(
                bank,
                userid,
                merge["loser"],
                at=row["at"],
                active=row["active"],
                **fields,
            )
            brought = {"_id": row_id, "at": row["at"], "active": row["active"]}
            await rows.update(brought, {"$set": {name: own[name] for name in own if name != "cid"}})
        elif (found := await rows.find_one({"_id": row_id})) is not None:
            await _give(bank, rows, found, merge["loser"])


async def _give(bank: Bank, rows: Collection, row: Doc, to: str) -> None:
    told = {name: row[name] for name in ("state", "add_way", "since") if name in row}
    await relationships.changed(bank, row["userid"], to, at=row["at"], active=row["active"], **told)
    if row.get("told") is not None:
        texts = relationships.opened(bank, row)
        notes = relationships.Relation(
            row["userid"],
            tags=tuple(row["tags"]),
            remark=texts["remark"],
            description=texts["description"],
        )
        await relationships.describe(
            bank,
            [(relationships.follow_id(bank.id, row["userid"], to), notes)],
            row["told"],
        )
    await rows.delete({"_id": row["_id"]})


async def _ask_wecom(bank: Bank, merge: Doc) -> None:
    """WeCom is asked anew about both: what came while they were one may be either's."""
    for cid in (merge["winner"], merge["loser"]):
        row = await bank.db[CUSTOMERS].find_one({"_id": cid})
        external_userid = opened(bank, row).external_userid if row else ""
        if external_userid:
            effect = outbox.Effect(
                id=ids.tenant_id(bank.id, "enrich", merge["_id"], cid),
                tenant=bank.id,
                kind=ENRICH,
                cid=cid,
                args={"external_userid": external_userid},
            )
            await outbox.put(bank.services, effect, due=bank.now())


async def begin(bank: Bank, merge: Doc, by: str) -> None:
    """Undoes a merge that `by` agreed to undo. Raises Conflict `merge_covered` when the winner was
    merged on."""
    db = bank.db
    asked = {"_id": merge["_id"], "state": merge["state"]}
    if not await db[MERGES].update(asked, {"$set": {"state": UNDOING, "undone_by": by}}):
        raise Conflict("merge_decided", "somebody else decided on this merge")
    if not await finish(bank, merge["_id"]):
        raise Conflict(COVERED, "the customer was merged again since; undo the later merge first")
