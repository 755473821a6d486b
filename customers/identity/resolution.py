"""Who is who: unionid, openids, external_userid and phone of one person lead to one customer.

Each known id is a row of `identities`, whose `_id` is the id's blind index: one id can point to one
customer only. The customer's own row keeps the ids sealed (customers/identity/sealing.py). When two
customers turn out to be one person, the younger is merged into the elder
(customers/identity/merging.py): its ids point to the elder from then on, its history stays where it
is and is read along (`aliases`). A phone alone never merges: two persons may share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

from customers.banks.bank import Bank
from customers.identity import merging, unmerging
from customers.identity.facts import (
    Customer,
    Facts,
    Origin,
    mask_id,
    mask_name,
    mask_phone,
    unknown_facts,
)
from customers.identity.rows import (
    CUSTOMERS,
    HOPS,
    IDENTITIES,
    CustomerRow,
    IdentityRow,
    Shared,
    cids,
    claimant,
    owners_of,
    read_customers,
    read_identities,
    root,
    unmerged,
)
from customers.identity.sealing import (
    empty_customer,
    facts_with_ids,
    identities_of_facts,
    identity_id,
    identity_row,
    new_customer,
    open_customer,
    sealed_facts,
)
from services import ids
from services.errors import NotFound, Unavailable
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
    "known_by_external_userid",
    "mask_id",
    "mask_name",
    "mask_phone",
]


async def customer(bank: Bank, cid: str, *, follow: bool = True) -> Customer:
    """The customer (or whom he was merged into), ids opened; raises NotFound. For the product's own
    use: a person who asks goes through `access_customer` of customers/access/rm.py or his own
    session."""
    for _ in range(HOPS):
        row = (await read_customers(bank, [cid])).get(cid)
        if row is None:
            raise NotFound("customer_unknown", "no such customer")
        if not follow or not row.get("merged_into"):
            return open_customer(bank, row)
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "the customer was merged in a circle")


async def known_by_external_userid(bank: Bank, external_userids: Iterable[str]) -> dict[str, str]:
    """external_userid → cid, of those that are known; any number of them."""
    wanted = {identity_id(bank, "external_userid", one): one for one in external_userids}
    owners = await owners_of(bank, list(wanted))
    return {wanted[row_id]: cid for row_id, cid in owners.items()}


@dataclass
class _Telling:
    """What was said once. `identities` are the rows of its ids, by `_id`: kind and value, strongest
    first; `known` is what they said when they were read, `claimed` those that we made ourselves."""

    facts: Facts
    origin: Origin
    identities: Mapping[str, tuple[str, str]]
    known: dict[str, IdentityRow] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)

    def by_subject(self) -> list[str]:
        """The rows by who the telling speaks of, when its ids do not agree: WeCom speaks of the
        external_userid, a login of the openid."""
        order = {"external_userid": 0, "unionid": 2, "pending": 3}
        return sorted(self.identities, key=lambda one: order.get(self.identities[one][0], 1))

    def owners(self) -> set[str]:
        """Whom the ids lead to. An id that we claimed ourselves says nothing beside one that was
        known."""
        told = {row["cid"] for one, row in self.known.items() if one not in self.claimed}
        return told or {row["cid"] for row in self.known.values()}


async def identify(bank: Bank, facts: Facts, *, source: str = "", proof: str = "") -> str:
    """The cid of the person that `facts` speak of, created, completed or merged as needed. Safe to
    repeat and to race.

    `source` and `proof` (an event's id, a call) are kept with what is new, for the day on which
    somebody asks why. Facts that would merge customers who were told apart merge nothing: they
    become a question for a clerk, and speak of the one whose external_userid (or openid) they
    carry.
    """
    identities = identities_of_facts(bank, facts)
    if not identities:
        raise ValueError("nobody can be identified by nothing")
    telling = _Telling(facts, Origin(source, proof), identities)
    for _ in range(HOPS):
        cid = await _identify(bank, telling)
        if cid is not None:
            return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _identify(bank: Bank, telling: _Telling) -> str | None:
    """One try; None when somebody changed these customers meanwhile."""
    await _claim(bank, telling)
    owners = telling.owners()
    if len(owners) > 1:
        roots = await _unite(bank, telling, owners)
        return None if roots is None else await _identify_one_of(bank, telling, roots)
    (cid,) = owners
    found = await _keep_facts(bank, telling, cid, telling.facts)
    if found is not None:
        await _point(bank, telling, owners, found)
    return found


async def _identify_one_of(bank: Bank, telling: _Telling, roots: Mapping[str, str]) -> str | None:
    """Of all whom the ids led to (owner → who he is now), the one of whom the telling speaks; he is
    told what belongs to him."""
    known = telling.known
    lead = next(one for one in telling.by_subject() if one in known and known[one]["cid"] in roots)
    cid = roots[known[lead]["cid"]]
    his_ids = [
        one for one, row in known.items() if roots.get(row["cid"]) == cid or one in telling.claimed
    ]
    found = await _keep_facts(bank, telling, cid, facts_with_ids(bank, telling.facts, his_ids))
    if found is not None:
        owners = {owner for owner, now in roots.items() if now == cid}
        await _point(bank, telling, owners, found)
    return found


async def _claim(bank: Bank, telling: _Telling) -> None:
    """Reads the rows of all the telling's ids; those that nobody had are made for the customer whom
    the others lead to."""
    wanted = list(telling.identities)
    telling.known = await read_identities(bank, wanted)
    missing = [one for one in wanted if one not in telling.known]
    if not missing:
        return
    lead = next((one for one in telling.by_subject() if one in telling.known), "")
    by = lead or wanted[0]
    cid = telling.known[lead]["cid"] if lead else ids.tenant_id(bank.id, "customer", by)
    for one in missing:
        kind, value = telling.identities[one]
        row = identity_row(bank, kind, value, cid, telling.origin, "" if one == by else by)
        if await bank.insert(IDENTITIES, cast("Doc", row)):
            telling.claimed.add(one)
            telling.known[one] = row
    if any(one not in telling.known for one in missing):
        # somebody else was told of the same person in this moment
        telling.known = await read_identities(bank, wanted)


async def _keep_facts(bank: Bank, telling: _Telling, cid: str, facts: Facts) -> str | None:
    """Writes what is new of the person to his row, or to that of whom he was merged into; whose row
    it was. None when an id was taken from that customer by an undone merge: who has it now must be
    asked again."""
    his_ids = list(identities_of_facts(bank, facts))
    by = his_ids[0] if his_ids else ""
    for _ in range(HOPS):
        row = (await read_customers(bank, [cid])).get(cid)
        if row is None:
            made = new_customer(bank, cid, facts, telling.origin, by)
            if await bank.insert(CUSTOMERS, cast("Doc", made)):
                return cid
        elif row.get("merged_into"):
            if row.get("carrying"):
                await merging.carry(bank, row)
            cid = (await root(bank, cid))["_id"]
        elif {*his_ids} & {*row.get("revoked_ids", [])}:
            if row.get("undoing"):
                await unmerging.finish(bank, row["undoing"])
            return None
        else:
            change = _change(bank, telling.origin, row, facts)
            fence = {**unmerged(cid), "revoked_ids": {"$nin": his_ids}}
            if not change or await bank.db[CUSTOMERS].update(fence, change):
                return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


def _change(bank: Bank, origin: Origin, row: CustomerRow, facts: Facts) -> Doc:
    """The update that tells a customer's row what it lacks; empty when nothing is new."""
    his_ids = list(identities_of_facts(bank, facts))
    by = his_ids[0] if his_ids else ""
    new = unknown_facts(open_customer(bank, row), facts)
    fields = sealed_facts(bank, row["_id"], new, origin, by)
    change: Doc = {"$set": fields} if fields else {}
    if not {*his_ids} <= {*row.get("ids", [])}:
        change["$addToSet"] = {"ids": {"$each": his_ids}}
    return change


async def _unite(bank: Bank, telling: _Telling, owners: set[str]) -> dict[str, str] | None:
    """Merges the owners where nothing keeps them apart; owner → who he is now. None when a race
    left two who should be one."""
    await _complete(bank, owners)
    kinds = sorted({row["kind"] for row in telling.known.values()})
    distinct = {row["_id"]: row for row in (await _roots(bank, owners)).values()}
    rows = merging.by_age(distinct.values())
    for number, row in enumerate(rows[1:], 1):
        elder = _eldest_without_conflict(rows[:number], row)
        await merging.merge(bank, elder, row, telling.origin, kinds)
    roots = await _roots(bank, owners)
    left = {row["_id"]: row for row in roots.values()}
    if any(not merging.conflict_between(*two) for two in combinations(left.values(), 2)):
        return None
    return {owner: row["_id"] for owner, row in roots.items()}


async def _complete(bank: Bank, owners: set[str]) -> None:
    """Who was killed before him may have left an id without its customer, or a merge cut short."""
    customers = bank.db[CUSTOMERS]
    for cid in owners:
        await bank.insert(CUSTOMERS, cast("Doc", empty_customer(bank, cid)))
    for row in await customers.find({"_id": {"$in": sorted(owners)}}):
        if row.get("carrying"):
            await merging.carry(bank, cast("CustomerRow", row))


async def _roots(bank: Bank, owners: set[str]) -> dict[str, CustomerRow]:
    return {owner: await root(bank, owner) for owner in sorted(owners)}


def _eldest_without_conflict(elders: Sequence[CustomerRow], row: CustomerRow) -> CustomerRow:
    """Whom he may be merged into; the eldest of all when he may not, who is then asked about."""
    free = (one for one in elders if not merging.conflict_between(one, row))
    return next(free, elders[0])


async def _point(bank: Bank, telling: _Telling, owners: set[str], cid: str) -> None:
    """Points the rows to who the customer is now, each only from where it was read to point."""
    claimed_for = {telling.known[one]["cid"] for one in telling.claimed if one in telling.known}
    ours = owners | claimed_for
    moved = {"$set": {"cid": cid}, "$inc": {"moves": 1}}
    changes = [
        ({"_id": row["_id"], "cid": row["cid"], "moves": row.get("moves")}, moved)
        for row in telling.known.values()
        if row["cid"] != cid and row["cid"] in ours
    ]
    await bank.db[IDENTITIES].bulk_update(changes)
