"""Who is who: unionid, openids, external_userid and phone of one person lead to one customer.

Each known id is a row of `identities`, whose `_id` is the id's blind index: one id can point to one
customer only. The customer's own row keeps the ids sealed (customers/identity/rows.py). When two
customers turn out to be one person, the younger is merged into the elder
(customers/identity/merging.py): its ids point to the elder from then on, its history stays where it
is and is read along (`aliases`). A phone alone never merges: two persons may share one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from customers.banks.bank import Bank
from customers.identity import merging, unmerging
from customers.identity.collections import CUSTOMERS, IDENTITIES
from customers.identity.rows import (
    HOPS,
    Customer,
    Facts,
    Origin,
    Shared,
    cids,
    claimant,
    customer,
    empty,
    fresh,
    id_row,
    mask_id,
    mask_name,
    mask_phone,
    news,
    only,
    opened,
    root,
    row_id,
    sealed,
    unmerged,
)
from services import ids
from services.errors import Unavailable
from services.store.mongo import Doc

__all__ = [
    "Customer",
    "Facts",
    "Origin",
    "Shared",
    "cids",
    "claimant",
    "customer",
    "identify",
    "mask_id",
    "mask_name",
    "mask_phone",
]


@dataclass
class _Telling:
    """What was said once, with the rows of its ids; `claimed` are those that we made ourselves."""

    tenant: str
    facts: Facts
    origin: Origin
    rows: dict[str, tuple[str, str]]
    claimed: set[str] = field(default_factory=set)

    def subject(self) -> list[str]:
        """The rows by who the telling speaks of, when its ids do not agree: WeCom speaks of the
        external_userid, a login of the openid."""
        order = {"external_userid": 0, "unionid": 2, "pending": 3}
        return sorted(self.rows, key=lambda doc_id: order.get(self.rows[doc_id][0], 1))


async def identify(bank: Bank, facts: Facts, *, source: str = "", proof: str = "") -> str:
    """The cid of the person that `facts` speak of, created, completed or merged as needed. Safe to
    repeat and to race.

    `source` and `proof` (an event's id, a call) are kept with what is new, for the day on which
    somebody asks why. Facts that would merge customers who were told apart merge nothing: they
    become a question for a clerk, and speak of the one whose external_userid (or openid) they
    carry.
    """
    rows = {row_id(bank, kind, value): (kind, value) for kind, value in facts.ids().items()}
    if not rows:
        raise ValueError("nobody can be identified by nothing")
    telling = _Telling(bank.id, facts, Origin(source, proof), rows)
    for _ in range(HOPS):
        cid = await _identify(bank, telling)
        if cid is not None:
            return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _identify(bank: Bank, telling: _Telling) -> str | None:
    """One try; None when somebody changed these customers meanwhile."""
    known = await _claim(bank, telling)
    owners = _owners(telling, known)
    if len(owners) == 1:
        (cid,) = owners
        found = await _keep_facts(bank, telling, cid, telling.facts)
    else:
        roots = await _unite(bank, telling, owners, known)
        if roots is None:
            return None
        lead = next(
            doc_id
            for doc_id in telling.subject()
            if doc_id in known and known[doc_id]["cid"] in roots
        )
        cid = roots[known[lead]["cid"]]
        his = [
            doc_id
            for doc_id, row in known.items()
            if roots.get(row["cid"]) == cid or doc_id in telling.claimed
        ]
        found = await _keep_facts(bank, telling, cid, only(bank, telling.facts, his))
        owners = {owner for owner in owners if roots[owner] == cid}
    if found is not None:
        await _point(bank, telling, known, owners, found)
    return found


async def _claim(bank: Bank, telling: _Telling) -> dict[str, Doc]:
    """The rows of all the telling's ids; those that nobody had are made for the customer whom the
    others lead to."""
    tenant = bank.id
    known = await bank.read(IDENTITIES, list(telling.rows))
    missing = [doc_id for doc_id in telling.rows if doc_id not in known]
    if not missing:
        return known
    lead = next((doc_id for doc_id in telling.subject() if doc_id in known), "")
    cid = (
        known[lead]["cid"] if lead else ids.tenant_id(tenant, "customer", next(iter(telling.rows)))
    )
    by = lead or next(iter(telling.rows))
    for doc_id in missing:
        kind, value = telling.rows[doc_id]
        row = id_row(bank, kind, value, cid, telling.origin, "" if doc_id == by else by)
        if await bank.insert(IDENTITIES, row):
            telling.claimed.add(doc_id)
            known[doc_id] = row
    if any(
        doc_id not in known for doc_id in missing
    ):  # somebody else was told of the same person in this moment
        known = await bank.read(IDENTITIES, list(telling.rows))
    return known


def _owners(telling: _Telling, known: dict[str, Doc]) -> set[str]:
    """Whom the ids lead to. An id that we claimed ourselves says nothing beside one that was
    known."""
    told = {row["cid"] for doc_id, row in known.items() if doc_id not in telling.claimed}
    return told or {row["cid"] for row in known.values()}


async def _keep_facts(bank: Bank, telling: _Telling, cid: str, facts: Facts) -> str | None:
    """Writes what is new of the person to his row, or to that of whom he was merged into; whose row
    it was. None when an id was taken from that customer by an undone merge: who has it now must be
    asked again."""
    rows = [row_id(bank, kind, value) for kind, value in facts.ids().items()]
    by = rows[0] if rows else ""
    for _ in range(HOPS):
        known = (await bank.read(CUSTOMERS, [cid])).get(cid)
        if known is None:
            made = fresh(bank, cid, facts, telling.origin, by)
            if await bank.insert(CUSTOMERS, made):
                return cid
        elif known.get("merged_into"):
            if known.get("carrying"):
                await merging.carry(bank, known)
            cid = (await root(bank, cid))["_id"]
        elif {*rows} & {*known.get("lost", [])}:
            if known.get("undoing"):
                await unmerging.finish(bank, known["undoing"])
            return None
        else:
            change = _change(bank, telling, known, facts, rows)
            fence = {**unmerged(cid), "lost": {"$nin": rows}}
            if not change or await bank.db[CUSTOMERS].update(fence, change):
                return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _change(bank: Bank, telling: _Telling, known: Doc, facts: Facts, rows: list[str]) -> Doc:
    """The update that tells a customer's row what it lacks; empty when nothing is new."""
    by = rows[0] if rows else ""
    new = news(opened(bank, known), facts)
    fields = sealed(bank, known["_id"], new, telling.origin, by)
    change: Doc = {"$set": fields} if fields else {}
    if any(doc_id not in known.get("ids", []) for doc_id in rows):
        change["$addToSet"] = {"ids": {"$each": rows}}
    return change


async def _unite(
    bank: Bank, telling: _Telling, owners: set[str], known: dict[str, Doc]
) -> dict[str, str] | None:
    """Merges the owners where nothing keeps them apart; owner → who he is now. None when a race
    left two who should be one."""
    customers = bank.db[CUSTOMERS]
    for (
        cid
    ) in owners:  # ids may have been claimed by somebody who did not live to write the customer
        await bank.insert(CUSTOMERS, empty(bank, cid))
    for row in await customers.find({"_id": {"$in": sorted(owners)}}):
        if row.get("carrying"):  # a merge that was cut short
            await merging.carry(bank, row)
    kinds = sorted({row["kind"] for row in known.values()})
    distinct = {row["_id"]: row for row in [await root(bank, cid) for cid in sorted(owners)]}
    by_age = sorted(distinct.values(), key=lambda row: (row["created_at"], row["_id"]))
    for number, row in enumerate(by_age[1:], 1):
        elder = next((one for one in by_age[:number] if not merging.why_apart(one, row)), by_age[0])
        await merging.merge(bank, elder, row, telling.origin, kinds)
    roots = {owner: await root(bank, owner) for owner in owners}
    left = {row["_id"]: row for row in roots.values()}
    if any(
        not merging.why_apart(a, b)
        for a in left.values()
        for b in left.values()
        if a["_id"] < b["_id"]
    ):
        return None
    return {owner: row["_id"] for owner, row in roots.items()}


async def _point(
    bank: Bank, telling: _Telling, known: dict[str, Doc], owners: set[str], found: str
) -> None:
    """Points the rows to who the customer is now, each only from where it was read to point."""
    ours = owners | {row["cid"] for doc_id, row in known.items() if doc_id in telling.claimed}
    strays = [row for row in known.values() if row["cid"] != found and row["cid"] in ours]
    moved = {"$set": {"cid": found}, "$inc": {"moves": 1}}
    changes = [
        ({"_id": row["_id"], "cid": row["cid"], "moves": row.get("moves")}, moved) for row in strays
    ]
    await bank.db[IDENTITIES].bulk_update(changes)
