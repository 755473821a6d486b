"""Taking a wrong merge back: the loser is a customer again, with his ids, relationships, tags and
facts.

What goes back is what the merge carried, and what was told since in company of one of those ids
(`by` of an id's row). The winner's row then names these ids as `revoked_ids`, and takes no word
about them any more, however late. Both histories stay under the cid under which they happened; what
either was granted while they were one counts for both (`shared_entitlements`, rewards/claims.py).

Each step may be repeated: an undoing that was cut short is finished by the next who meets it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from customers import relationships
from customers.banks.bank import Bank
from customers.fields import parting as fields_parting
from customers.identity.facts import NUMBER, PENDING, field_of
from customers.identity.merging import ASKED, DONE, UNDOING, UNDONE
from customers.identity.rows import (
    CUSTOMERS,
    ENRICH,
    HOPS,
    IDENTITIES,
    MERGES,
    CustomerRow,
    IdentityRow,
    MergeRow,
    SharedEntitlements,
    cids_of,
    find_customer,
    find_merge,
    read_customers,
    read_identities,
    unmerged,
)
from customers.identity.sealing import (
    identity_id,
    identity_ids_of,
    open_customer,
    open_identity,
    sealed_fields,
)
from services import ids
from services.errors import Conflict, Unavailable
from services.queue import outbox
from services.store.mongo import Doc

log = logging.getLogger(__name__)
COVERED = "merge_covered"


@dataclass(frozen=True)
class _Parting:
    """What an undoing goes by: the merge, the winner's row as it was read, the rows of all his ids,
    and which of these go back to the loser."""

    merge: MergeRow
    winner: CustomerRow
    identities: Mapping[str, IdentityRow]
    returned: list[str]


async def finish(bank: Bank, merge_id: str) -> bool:
    """Does, or goes on with, what a merge in the state `undoing` asks for; False when the winner is
    another's by now (the merge is `done` again, and the later one must be undone first)."""
    merge = await find_merge(bank, merge_id)
    if merge is None or merge["state"] != UNDOING:
        return True
    returned = await _part(bank, merge)
    if returned is None:
        await _end(bank, merge, {"state": DONE})
        return False
    await _reopen(bank, merge, returned)
    await _point_back(bank, merge, returned)
    await fields_parting.give_back(bank, merge["winner"], merge["loser"], returned)
    await _give_relationships_back(bank, merge)
    await _ask_wecom(bank, merge)
    await _end_sessions(bank, merge)
    parted = {"_id": merge["winner"], "undoing": merge_id}
    await bank.db[CUSTOMERS].update(parted, {"$unset": {"undoing": ""}})
    await _end(bank, merge, {"state": UNDONE, "undone_at": bank.utc()})
    log.info("a merge was undone", extra={"fields": {"tenant": bank.id, "merge": merge_id}})
    return True


async def _end(bank: Bank, merge: MergeRow, fields: Doc) -> None:
    undoing = {"_id": merge["_id"], "state": UNDOING}
    await bank.db[MERGES].update(undoing, {"$set": fields})


async def _end_sessions(bank: Bank, merge: MergeRow) -> None:
    """Nobody can say whose a session of both is."""
    for cid in (merge["winner"], merge["loser"]):
        await bank.services.sessions.end_all("customer", session_subject(bank.id, cid))


def session_subject(tenant: str, cid: str) -> str:
    """What a customer's sessions are ended by."""
    return f"{tenant}|{cid}"


async def _part(bank: Bank, merge: MergeRow) -> list[str] | None:
    """Takes from the winner what is the loser's, after giving it to the loser's row; the ids' rows
    that go back. None when the winner is another's by now."""
    for _ in range(HOPS):
        winner = await bank.db[CUSTOMERS].find_one(unmerged(merge["winner"]))
        if winner is None:
            return None
        parting = await _parting(bank, merge, cast("CustomerRow", winner))
        if _is_done(parting):
            return parting.returned
        merge["returned_ids"] = parting.returned
        undoing = {"_id": merge["_id"], "state": UNDOING}
        await bank.db[MERGES].update(undoing, {"$set": {"returned_ids": parting.returned}})
        await _give_facts_back(bank, parting)
        await _take_out(bank, parting)
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _is_done(parting: _Parting) -> bool:
    """Whether the winner's row has nothing of the loser's any more."""
    apart = not {*parting.merge["cids"]} & {*parting.winner["aliases"]}
    return apart and {*parting.returned} <= {*parting.winner.get("revoked_ids", [])}


async def _parting(bank: Bank, merge: MergeRow, winner: CustomerRow) -> _Parting:
    """The ids that go back were carried, or told since with one that goes back."""
    carried = [row_id for row_id, _ in merge["ids"]]
    returned = dict.fromkeys([*carried, *merge.get("returned_ids", [])])
    wanted = dict.fromkeys([*returned, *identity_ids_of(bank, winner)])
    identities = await read_identities(bank, list(wanted))
    while more := [
        row_id
        for row_id, row in identities.items()
        if row_id not in returned and row.get("by") in returned
    ]:
        returned |= dict.fromkeys(more)
    return _Parting(merge, winner, identities, list(returned))


def _losers_words(parting: _Parting) -> list[str]:
    """Which of name and phone the winner has from one of the ids that go back."""
    winner = cast("Doc", parting.winner)
    return [
        name
        for name, came in winner.get("provenance", {}).items()
        if came.get("by") in parting.returned and winner.get(name)
    ]


async def _give_facts_back(bank: Bank, parting: _Parting) -> None:
    """Writes into the closed loser's row what was told of him since the merge."""
    row = await find_customer(bank, parting.merge["loser"])
    if row is None:
        return
    known = open_customer(bank, parting.winner).by_field()
    words = _losers_words(parting)
    values = {name: known[name] for name in words} | _ids_given_back(bank, parting, row)
    fields = sealed_fields(bank, row["_id"], values)
    fields |= {f"provenance.{name}": parting.winner["provenance"][name] for name in words}
    change: Doc = {"$addToSet": {"ids": {"$each": parting.returned}}}
    if fields:
        change["$set"] = fields
    await bank.db[CUSTOMERS].update({"_id": row["_id"]}, change)


def _ids_given_back(bank: Bank, parting: _Parting, loser: CustomerRow) -> dict[str, str]:
    """field → id, of the ids that go back and that the loser's row lacks."""
    known = open_customer(bank, loser).by_field()
    given: dict[str, str] = {}
    for row_id in parting.returned:
        identity = parting.identities.get(row_id)
        if identity is None or identity["kind"] == PENDING:
            continue
        field = field_of(identity["kind"])
        if field not in known:
            given[field] = open_identity(bank, identity)
    return given


async def _take_out(bank: Bank, parting: _Parting) -> None:
    """Takes the loser out of the winner's row, if that still says what was read."""
    values = _values_left(bank, parting)
    as_read = {name: _value_at(parting.winner, name) for name in values}
    change = await _separation(bank, parting, values)
    await bank.db[CUSTOMERS].update({**unmerged(parting.winner["_id"]), **as_read}, change)


def _values_left(bank: Bank, parting: _Parting) -> dict[str, str]:
    """field → what the winner has without the loser, of the fields that change: the name and phone
    of before, and the newest id of a kind that stays, or an empty text."""
    merge = parting.merge
    before: Any = bank.vault.open_json(MERGES, "before", merge["_id"], merge["before"])
    values: dict[str, str] = {name: before[name] for name in _losers_words(parting)}
    for kind, value in open_customer(bank, parting.winner).ids().items():
        if identity_id(bank, kind, value) in parting.returned:
            values[field_of(kind)] = _newest_left(bank, parting, kind)
    return values


def _newest_left(bank: Bank, parting: _Parting, kind: str) -> str:
    """The newest id of that kind that stays with the winner, or an empty text."""
    left = [
        row
        for row_id, row in parting.identities.items()
        if row["kind"] == kind and row_id not in parting.returned
    ]
    newest = max(left, key=lambda row: (row["at"], row["_id"]), default=None)
    return open_identity(bank, newest) if newest else ""


async def _separation(bank: Bank, parting: _Parting, values: Mapping[str, str]) -> Doc:
    """The update that leaves the winner with `values` and without the loser."""
    merge, winner = parting.merge, parting.winner
    change: Doc = {
        "$set": {**sealed_fields(bank, winner["_id"], values), "undoing": merge["_id"]},
        "$pull": {
            "aliases": {"$in": merge["cids"]},
            "tags": {"$in": await _tags_given_back(bank, parting)},
            "ids": {"$in": parting.returned},
        },
        "$addToSet": {
            "never_merge_with": {"$each": merge["cids"]},
            "revoked_ids": {"$each": parting.returned},
        },
    }
    gone = _fields_gone(values)
    if gone:
        change["$unset"] = dict.fromkeys(gone, "")
    return change


def _fields_gone(values: Mapping[str, str]) -> list[str]:
    emptied = [name for name, value in values.items() if not value]
    indexes = [f"{name}_index" for name in ("phone", NUMBER) if name in emptied]
    return [*emptied, *indexes, *(f"provenance.{n}" for n in ("name", "phone") if n in values)]


async def _tags_given_back(bank: Bank, parting: _Parting) -> list[str]:
    """The tags that the merge carried, without those of others who were merged into the winner."""
    merge = parting.merge
    others = [cid for cid in parting.winner["aliases"] if cid not in merge["cids"]]
    rows = await read_customers(bank, others)
    kept = {tag for row in rows.values() for tag in row["tags"]}
    return [tag for tag in merge["tags"] if tag not in kept]


def _value_at(row: CustomerRow, name: str) -> Any:
    """What the row holds under a dotted name."""
    fields = cast("Doc", row)
    part, _, inner = name.partition(".")
    return fields.get(part, {}).get(inner) if inner else fields.get(name)


async def _reopen(bank: Bank, merge: MergeRow, returned: list[str]) -> None:
    """The loser is a customer of his own again, and apart from who the winner is and was."""
    winner = await find_customer(bank, merge["winner"])
    cids = cids_of(winner) if winner else [merge["winner"]]
    shared: SharedEntitlements = {
        "cid": merge["winner"],
        "since": merge["at"],
        "until": bank.utc(),
    }
    closed = {"_id": merge["loser"], "merged_into": {"$exists": True}, "merges": merge["nth"]}
    change = {
        "$unset": {"merged_into": "", "carrying": "", "merge_origin": ""},
        "$addToSet": {"never_merge_with": {"$each": cids}, "shared_entitlements": shared},
        "$pull": {"revoked_ids": {"$in": returned}},
    }
    await bank.db[CUSTOMERS].update(closed, change)


async def _point_back(bank: Bank, merge: MergeRow, returned: list[str]) -> None:
    """The ids lead to the loser again."""
    moved = {"$set": {"cid": merge["loser"]}, "$inc": {"moves": 1}}
    strays = {"_id": {"$in": returned}, "cid": {"$ne": merge["loser"]}}
    await bank.db[IDENTITIES].update_many(strays, moved)


async def _give_relationships_back(bank: Bank, merge: MergeRow) -> None:
    """The loser's relationships as they are now; of an RM who followed both, each gets his own back
    as it was."""
    before = merge["relationships"]
    of_winner = {one["userid"]: one for one in before if one["cid"] == merge["winner"]}
    for given in before:
        if given["cid"] == merge["winner"]:
            continue
        kept = of_winner.get(given["userid"])
        if kept is not None:
            await relationships.split(bank, given, kept)
        else:
            await relationships.hand_on(bank, given["userid"], merge["winner"], merge["loser"])


async def _ask_wecom(bank: Bank, merge: MergeRow) -> None:
    """WeCom is asked anew about both: what came while they were one may be either's."""
    for cid in (merge["winner"], merge["loser"]):
        row = await find_customer(bank, cid)
        external_userid = open_customer(bank, row).external_userid if row else ""
        if external_userid:
            effect = outbox.Effect(
                id=ids.tenant_id(bank.id, "enrich", merge["_id"], cid),
                tenant=bank.id,
                kind=ENRICH,
                cid=cid,
                args={"external_userid": external_userid},
            )
            await outbox.put(bank.services, effect, due=bank.now())


async def begin(bank: Bank, merge: MergeRow, by: str) -> None:
    """Undoes a merge that `by` agreed to undo; safe to repeat. Raises Conflict `merge_covered` when
    the winner was merged on."""
    asked = {"_id": merge["_id"], "state": {"$in": [DONE, ASKED, UNDOING]}}
    undoing = {"$set": {"state": UNDOING, "undone_by": by}}
    await bank.db[MERGES].update(asked, undoing)
    if not await finish(bank, merge["_id"]):
        raise Conflict(COVERED, "the customer was merged again since; undo the later merge first")
