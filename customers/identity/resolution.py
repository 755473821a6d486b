"""Who is who: unionid, openids, external_userid and phone of one person lead to one customer.

Each known id is a row of `identities`, whose `_id` is the id's blind index: one id can point to one
customer only. The customer's own row keeps the ids sealed (customers/identity/sealing.py). When two
customers turn out to be one person, the younger is merged into the elder
(customers/identity/merging.py): its ids point to the elder from then on, its history stays where it
is and is read along (`aliases`). A phone alone never merges: two persons may share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

from customers.banks.bank import Bank
from customers.identity import awaited, merging, unmerging
from customers.identity.facts import (
    Customer,
    Facts,
    Origin,
    mask_id,
    mask_name,
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
    cids_of,
    claimant,
    owners_of,
    read_customers,
    read_identities,
    root,
    unmerged,
)
from customers.identity.sealing import (
    empty_customer,
    identities_of_facts,
    identity_id,
    identity_row,
    new_customer,
    open_customer,
    open_field,
    sealed_facts,
)
from services import ids
from services.errors import NotFound, Unavailable
from services.phones import mask_phone
from services.store.mongo import Doc

__all__ = [
    "Customer",
    "Facts",
    "Named",
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
    "named",
]


async def customer(bank: Bank, cid: str, *, follow: bool = True) -> Customer:
    """The customer (or whom he was merged into), ids opened; raises NotFound. For the product's own
    use: a person who asks goes through `access_customer` of customers/access/rm.py or his own
    session."""
    return open_customer(bank, await _row_of(bank, cid, follow=follow))


@dataclass(frozen=True, slots=True)
class Named:
    """What a customer is shown of himself: of his row no more is opened. `cids` are his own id and
    those of customers merged into him."""

    cids: list[str]
    name: str
    phone: str


async def named(bank: Bank, cid: str) -> Named:
    """The customer's name and phone; raises NotFound as `customer` does."""
    row = await _row_of(bank, cid)
    return Named(cids_of(row), open_field(bank, row, "name"), open_field(bank, row, "phone"))


async def _row_of(bank: Bank, cid: str, *, follow: bool = True) -> CustomerRow:
    for _ in range(HOPS):
        row = (await read_customers(bank, [cid])).get(cid)
        if row is None:
            raise NotFound("customer_unknown", "no such customer")
        if not follow or not row.get("merged_into"):
            return row
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "the customer was merged in a circle")


async def known_by_external_userid(bank: Bank, external_userids: Iterable[str]) -> dict[str, str]:
    """external_userid → cid, of those that are known; any number of them."""
    wanted = {identity_id(bank, "external_userid", one): one for one in external_userids}
    owners = await owners_of(bank, list(wanted))
    return {wanted[row_id]: cid for row_id, cid in owners.items()}


@dataclass(frozen=True)
class _Said:
    """What was said of somebody. `identities` are the rows of his ids, by `_id`: kind and value,
    strongest first."""

    facts: Facts
    origin: Origin
    identities: Mapping[str, tuple[str, str]]

    @property
    def ids(self) -> list[str]:
        return list(self.identities)

    @property
    def by(self) -> str:
        """The row of the id in whose company all else was said."""
        return next(iter(self.identities), "")

    def only(self, wanted: Set[str]) -> _Said:
        """The same without the ids whose rows are not `wanted`."""
        left = {one: told for one, told in self.identities.items() if one in wanted}
        facts = self.facts.with_ids_of({kind for kind, _ in left.values()})
        return _Said(facts, self.origin, left)


@dataclass
class _Telling:
    """What was said once, and what the rows of its ids said when they were read (`known`);
    `claimed` are those that we made ourselves."""

    said: _Said
    known: dict[str, IdentityRow] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)

    def by_subject(self) -> list[str]:
        """The rows by who the telling speaks of, when its ids do not agree: WeCom speaks of the
        external_userid, a login of the openid."""
        order = {"external_userid": 0, "unionid": 2, "pending": 3}
        identities = self.said.identities
        return sorted(identities, key=lambda one: order.get(identities[one][0], 1))

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
    telling = _Telling(_Said(facts, Origin(source, proof), identities))
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
    found = await _keep_facts(bank, telling.said, cid)
    if found is not None:
        await _point(bank, telling, owners, found)
    return found


async def _identify_one_of(bank: Bank, telling: _Telling, roots: Mapping[str, str]) -> str | None:
    """Of all whom the ids led to (owner → who he is now), the one of whom the telling speaks; he is
    told what belongs to him."""
    now = {one: roots[row["cid"]] for one, row in telling.known.items() if row["cid"] in roots}
    cid = next(now[one] for one in telling.by_subject() if one in now)
    his_ids = {one for one, owner in now.items() if owner == cid} | telling.claimed
    found = await _keep_facts(bank, telling.said.only(his_ids), cid)
    if found is not None:
        owners = {owner for owner, root_cid in roots.items() if root_cid == cid}
        await _point(bank, telling, owners, found)
    return found


async def _claim(bank: Bank, telling: _Telling) -> None:
    """Reads the rows of all the telling's ids; those that nobody had are made for the customer whom
    the others lead to."""
    wanted = telling.said.ids
    telling.known = await read_identities(bank, wanted)
    missing = [one for one in wanted if one not in telling.known]
    if missing:
        await _make_identities(bank, telling, missing)
    if any(one not in telling.known for one in missing):
        # somebody else was told of the same person in this moment
        telling.known = await read_identities(bank, wanted)


async def _make_identities(bank: Bank, telling: _Telling, missing: Sequence[str]) -> None:
    known, said = telling.known, telling.said
    lead = next((one for one in telling.by_subject() if one in known), "")
    by = lead or said.by
    cid = known[lead]["cid"] if lead else ids.tenant_id(bank.id, "customer", by)
    for one in missing:
        kind, value = said.identities[one]
        row = identity_row(bank, kind, value, cid, said.origin, "" if one == by else by)
        if await bank.insert(IDENTITIES, cast("Doc", row)):
            telling.claimed.add(one)
            known[one] = row


async def _keep_facts(bank: Bank, said: _Said, cid: str) -> str | None:
    """Writes what is new of the person to his row, or to that of whom he was merged into; whose row
    it was. None when an id was taken from that customer by an undone merge: who has it now must be
    asked again."""
    for _ in range(HOPS):
        row = (await read_customers(bank, [cid])).get(cid)
        if row is not None and row.get("merged_into"):
            cid = await _winner_of(bank, row)
        elif row is not None and {*said.ids} & {*row.get("revoked_ids", [])}:
            if row.get("undoing"):
                await unmerging.finish(bank, row["undoing"])
            return None
        elif await _write_facts(bank, said, cid, row):
            return cid
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _winner_of(bank: Bank, row: CustomerRow) -> str:
    """Who a closed customer is now, after a merge that was cut short is completed."""
    if row.get("carrying"):
        await merging.carry(bank, row)
    return (await root(bank, row["_id"]))["_id"]


async def _write_facts(bank: Bank, said: _Said, cid: str, row: CustomerRow | None) -> bool:
    """Tells the customer's row what it lacks, or makes it; False when somebody changed it
    meanwhile."""
    if row is None:
        made = new_customer(bank, cid, said.facts, said.origin, said.by)
        written = await bank.insert(CUSTOMERS, cast("Doc", made))
    else:
        change = _change(bank, said, row)
        if not change:
            return True
        fence = {**unmerged(cid), "revoked_ids": {"$nin": said.ids}}
        written = await bank.db[CUSTOMERS].update(fence, change)
    if written:
        phone = said.facts.phone
        awaited.known(
            bank, [*said.ids, *([awaited.wait_id(bank, "phone", phone)] if phone else [])]
        )
    return written


def _change(bank: Bank, said: _Said, row: CustomerRow) -> Doc:
    """The update that tells a customer's row what it lacks; empty when nothing is new."""
    new = unknown_facts(open_customer(bank, row), said.facts)
    fields = sealed_facts(bank, row["_id"], new, said.origin, said.by)
    change: Doc = {"$set": fields} if fields else {}
    if not {*said.ids} <= {*row.get("ids", [])}:
        change["$addToSet"] = {"ids": {"$each": said.ids}}
    return change


async def _unite(bank: Bank, telling: _Telling, owners: set[str]) -> dict[str, str] | None:
    """Merges the owners where nothing keeps them apart; owner → who he is now. None when a race
    left two who should be one."""
    await _complete(bank, owners)
    await _merge_all(bank, telling, (await _roots(bank, owners)).values())
    roots = await _roots(bank, owners)
    left = {row["_id"]: row for row in roots.values()}
    if any(not merging.conflict_between(*two) for two in combinations(left.values(), 2)):
        return None
    return {owner: row["_id"] for owner, row in roots.items()}


async def _merge_all(bank: Bank, telling: _Telling, rows: Iterable[CustomerRow]) -> None:
    """Merges each into the eldest whom nothing keeps him apart from."""
    kinds = sorted({row["kind"] for row in telling.known.values()})
    distinct = {row["_id"]: row for row in rows}
    eldest_first = merging.by_age(distinct.values())
    for number, row in enumerate(eldest_first[1:], 1):
        elder = _eldest_without_conflict(eldest_first[:number], row)
        await merging.merge(bank, elder, row, telling.said.origin, kinds)


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
