"""The rows of identity: customers, their ids, merges, review tasks, and questions to WeCom.

An id's row in `identities` has the id's blind index as its `_id`, so an id leads to one customer
only. What is personal in these rows is sealed (customers/identity/sealing.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from customers.relationships import Snapshot
from services.errors import NotFound
from services.store.mongo import Doc
from services.store.rows import Rows

HOPS = 8
"""How many merges after each other are followed, and how often a lost race is tried again."""
ENRICH = "enrich"
"""The kind of effect that asks WeCom for his details (customers/wecom_mirror/details.py)."""


class Provenance(TypedDict, total=False):
    """Where something comes from: who said it, the proof (an event's id or a call), when, and `by`:
    the row of the id in whose company it was first told, which is what an undone merge goes by."""

    source: str
    proof: str
    at: datetime
    by: str


class MergeOrigin(TypedDict, total=False):
    """What led to a merge: who said it, the proof, when, and the kinds of ids (`ids`) that led to
    both customers."""

    source: str
    proof: str
    at: datetime
    ids: list[str]


class SharedEntitlements(TypedDict):
    """The time in which a customer was one with another, `cid`: what either was granted then counts
    for both."""

    cid: str
    since: datetime
    until: datetime


class CustomerRow(TypedDict):
    """One customer. `provenance` is of his name and phone; `ids` are the rows of his ids; `aliases`
    the customers who were merged into him.

    A closed customer names whom he was `merged_into`, and is `carrying` while his things go there.
    `merges` counts how often he was closed. `revoked_ids` are rows of ids that an undone merge took
    from him: he takes no word about them any more. `undoing` is the merge that is being undone.
    """

    _id: str
    created_at: datetime
    tags: list[str]
    aliases: list[str]
    openids: dict[str, bytes]
    provenance: dict[str, Provenance]
    ids: list[str]
    name: NotRequired[bytes]
    phone: NotRequired[bytes]
    phone_index: NotRequired[str]
    unionid: NotRequired[bytes]
    external_userid: NotRequired[bytes]
    number: NotRequired[bytes]
    number_index: NotRequired[str]
    never_merge_with: NotRequired[list[str]]
    shared_entitlements: NotRequired[list[SharedEntitlements]]
    revoked_ids: NotRequired[list[str]]
    merged_into: NotRequired[str]
    carrying: NotRequired[bool]
    merges: NotRequired[int]
    merge_origin: NotRequired[MergeOrigin]
    undoing: NotRequired[str]


class IdentityRow(TypedDict):
    """One id, sealed in `value`, and the customer whom it leads to. `moves` counts how often it was
    pointed to another; the rest says where it comes from."""

    _id: str
    tenant: str
    kind: str
    cid: str
    value: NotRequired[bytes]
    moves: NotRequired[int]
    source: NotRequired[str]
    proof: NotRequired[str]
    at: NotRequired[datetime]
    by: NotRequired[str]


class MergeRow(TypedDict):
    """Two customers who became one, with all that was carried over, written before it is carried.

    `nth` is the loser's count of merges, `cids` he and whom was merged into him. `ids` are rows of
    ids with the count of moves that each was read with; `fields`, `tags` and `never_merge_with` are
    what the winner lacked; `relationships` those of both as they were; `before` is the winner's
    name and phone, sealed. `returned_ids` are the rows of ids that an undoing gives back.
    """

    _id: str
    nth: int
    loser: str
    winner: str
    cids: list[str]
    state: str
    at: datetime
    merge_origin: MergeOrigin
    ids: list[tuple[str, int | None]]
    fields: list[str]
    tags: list[str]
    never_merge_with: list[str]
    relationships: list[Snapshot]
    before: bytes
    returned_ids: NotRequired[list[str]]
    asked_by: NotRequired[str]
    reason: NotRequired[str]
    undone_by: NotRequired[str]
    undone_at: NotRequired[datetime]


class ReviewTask(TypedDict):
    """A question about `cids`; `value` is what only an answer needs, sealed."""

    _id: str
    kind: str
    cids: list[str]
    state: str
    source: str
    proof: str
    at: datetime
    value: NotRequired[bytes]
    answer: NotRequired[str]
    reason: NotRequired[str]
    proposed_by: NotRequired[str]
    agreed_by: NotRequired[str]
    answered_at: NotRequired[datetime]


class Conversion(TypedDict):
    """WeCom was asked for the n-th time (`nth`) who a unionid is, and is not again `until` then, in
    seconds UTC."""

    _id: str
    nth: int
    until: float


CUSTOMERS = Rows(
    "customers",
    indexes=((("tenant", 1), ("phone_index", 1)), (("tenant", 1), ("_id", 1))),
    sealed=("name", "phone", "unionid", "external_userid", "number"),
)
"""One person: his facts, sealed, and his tags."""
IDENTITIES = Rows("identities", sealed=("value",))
"""An id of a person, and the customer that it leads to."""
MERGES = Rows(
    "merges",
    indexes=(
        (("tenant", 1), ("winner", 1)),
        (("tenant", 1), ("loser", 1)),
    ),
    sealed=("before",),
)
"""Two customers who became one, with what it takes to undo that."""
REVIEW_TASKS = Rows(
    "review_tasks",
    indexes=(
        (("tenant", 1), ("state", 1), ("at", -1)),
        (("tenant", 1), ("cids", 1)),
    ),
    sealed=("value",),
)
"""Questions of identity that two clerks decide."""
CONVERSIONS = Rows(
    "conversions",
)
"""Asking WeCom who a mini-program's customer is."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The time in which a customer was one with another, `cid`: what either was granted then counts
    for both."""

    cid: str
    since: datetime
    until: datetime


def cids_of(row: CustomerRow) -> list[str]:
    """The customer's own id and those of customers merged into him."""
    return [row["_id"], *row.get("aliases", [])]


def unmerged(cid: str) -> Doc:
    """A filter: that customer, while he is one of his own."""
    return {"_id": cid, "merged_into": {"$exists": False}}


async def find_customer(bank: Bank, cid: str) -> CustomerRow | None:
    """The customer's own row, read afresh."""
    return cast("CustomerRow | None", await bank.db[CUSTOMERS].find_one({"_id": cid}))


async def read_customers(bank: Bank, cids: Sequence[str]) -> dict[str, CustomerRow]:
    """The rows of these customers, read together with what others ask for now."""
    return cast("dict[str, CustomerRow]", await bank.read(CUSTOMERS, cids))


async def read_identities(bank: Bank, wanted: Sequence[str]) -> dict[str, IdentityRow]:
    """The rows of these ids, read together with what others ask for now."""
    return cast("dict[str, IdentityRow]", await bank.read(IDENTITIES, wanted))


async def find_merge(bank: Bank, merge_id: str) -> MergeRow | None:
    return cast("MergeRow | None", await bank.db[MERGES].find_one({"_id": merge_id}))


async def root(bank: Bank, cid: str) -> CustomerRow:
    """The row of whom the customer is now, read afresh; raises NotFound."""
    for _ in range(HOPS):
        row = await find_customer(bank, cid)
        if row is None:
            break
        if not row.get("merged_into"):
            return row
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "no such customer")


async def cids(bank: Bank, cid: str) -> list[str]:
    """The customer's own id and those merged into him, without opening anything; raises
    NotFound."""
    return cids_of(await _present(bank, cid))


async def claimant(bank: Bank, cid: str) -> tuple[list[str], list[Shared]]:
    """His ids as `cids` tells them, and the times that he shared with somebody who turned out to be
    another; raises NotFound."""
    row = await _present(bank, cid)
    shared = [
        Shared(one["cid"], one["since"], one["until"]) for one in row.get("shared_entitlements", [])
    ]
    return cids_of(row), shared


async def _present(bank: Bank, cid: str) -> CustomerRow:
    row = (await read_customers(bank, [cid])).get(cid)
    return await root(bank, cid) if row is None or row.get("merged_into") else row


async def cids_with_phone(
    bank: Bank, phone_index: str, limit: int, *, closed: bool = True
) -> list[str]:
    """The cids of at most `limit` customers with that phone; without the `closed`, of those who are
    of their own."""
    wanted: Doc = {"phone_index": phone_index} | ({} if closed else {"merged_into": None})
    found = await bank.db[CUSTOMERS].find(wanted, fields={"_id": 1}, limit=limit)
    return [row["_id"] for row in found]


async def identities_by_id(bank: Bank, wanted: Sequence[str]) -> dict[str, IdentityRow]:
    """The rows of these ids, by `_id`; any number of them."""
    return cast("dict[str, IdentityRow]", await bank.by_id(IDENTITIES, wanted))


async def owners_of(bank: Bank, wanted: Sequence[str]) -> dict[str, str]:
    """`_id` of an id's row → the cid that it leads to, of those that are known; any number of
    them."""
    rows = await bank.by_id(IDENTITIES, wanted, {"cid": 1})
    return {row_id: row["cid"] for row_id, row in rows.items()}


async def closed_among(bank: Bank, cids: Sequence[str]) -> dict[str, bool]:
    """Of those of these customers who have a row, whether each was merged into another."""
    rows = await bank.by_id(CUSTOMERS, cids, {"merged_into": 1})
    return {cid: bool(row.get("merged_into")) for cid, row in rows.items()}


async def cids_by_phone(bank: Bank, indexes: Sequence[str]) -> dict[str, list[str]]:
    """Whose these phones are, by blind index, of customers of their own; any number of phones."""
    holders: dict[str, list[str]] = {}
    for start in range(0, len(indexes), IDS_AT_ONCE):
        some = {"phone_index": {"$in": list(indexes[start : start + IDS_AT_ONCE])}}
        fields = {"phone_index": 1, "merged_into": 1}
        for row in await bank.db[CUSTOMERS].find(some, fields=fields, limit=None):
            if not row.get("merged_into"):
                holders.setdefault(row["phone_index"], []).append(row["_id"])
    return holders


async def customers_by_id(bank: Bank, wanted: Sequence[str]) -> dict[str, CustomerRow]:
    """The customers' own rows, by cid; any number of them."""
    return cast("dict[str, CustomerRow]", await bank.by_id(CUSTOMERS, wanted))


async def customers_between(bank: Bank, low: str, high: str) -> list[CustomerRow]:
    """The rows of all customers whose cids are from `low` up to, but not including, `high`."""
    found = await bank.db[CUSTOMERS].find({"_id": {"$gte": low, "$lt": high}}, limit=None)
    return cast("list[CustomerRow]", found)


async def count_customers(bank: Bank) -> int:
    """How many rows of customers there are, closed ones among them."""
    return await bank.db[CUSTOMERS].count()


async def aliases_of(bank: Bank, wanted: Sequence[str]) -> dict[str, list[str]]:
    """The cids of whoever was merged into each of these customers; any number of them."""
    rows = await bank.by_id(CUSTOMERS, wanted, {"aliases": 1})
    return {cid: row.get("aliases", []) for cid, row in rows.items()}


async def insert_identities(bank: Bank, rows: Sequence[IdentityRow]) -> set[int]:
    """Inserts rows of ids; the positions of those that were there."""
    return await bank.db[IDENTITIES].insert_new(cast("Sequence[Doc]", rows))


async def insert_customers(bank: Bank, rows: Sequence[CustomerRow]) -> set[int]:
    """Inserts customers; the positions of those that were there."""
    return await bank.db[CUSTOMERS].insert_new(cast("Sequence[Doc]", rows))


async def drop_phone(bank: Bank, cids: Sequence[str]) -> None:
    """These customers' rows have no phone any more, and nobody finds them by one."""
    gone = {"phone": "", "phone_index": "", "provenance.phone": ""}
    await bank.db[CUSTOMERS].update_many({"_id": {"$in": list(cids)}}, {"$unset": gone})


async def add_tags(bank: Bank, cid: str, names: Iterable[str]) -> None:
    """Gives the customer these tags."""
    await bank.change(CUSTOMERS, cid, {"$addToSet": {"tags": {"$each": list(names)}}})


async def remove_tags(bank: Bank, cid: str, names: Iterable[str]) -> None:
    """Takes these tags from the customer."""
    await bank.change(CUSTOMERS, cid, {"$pull": {"tags": {"$in": list(names)}}})


async def rename_tag(bank: Bank, old: str, new: str) -> None:
    """Whoever has the tag `old` has `new` instead; safe to repeat."""
    customers = bank.db[CUSTOMERS]
    await customers.update_many({"tags": old}, {"$addToSet": {"tags": new}})
    await drop_tag(bank, old)


async def rename_tags(
    bank: Bank, names: Mapping[str, str], after: str, limit: int
) -> tuple[str, int]:
    """Of the next `limit` customers after the `_id` `after`: whoever has a tag of `names` has it by
    its new name instead. The last of them, empty when there are none, and how many; safe to
    repeat."""
    customers = bank.db[CUSTOMERS]
    wanted = {"_id": {"$gt": after}, "tags": {"$in": list(names)}}
    found = await customers.find(wanted, fields={"tags": 1}, sort=[("_id", 1)], limit=limit)
    for old, new in names.items():
        cids = [row["_id"] for row in found if old in row["tags"]]
        if cids:
            await customers.update_many({"_id": {"$in": cids}}, {"$addToSet": {"tags": new}})
            await customers.update_many({"_id": {"$in": cids}}, {"$pull": {"tags": old}})
    return (found[-1]["_id"] if found else "", len(found))


async def count_tagged(bank: Bank, names: Collection[str]) -> int:
    """How many customers have one of these tags."""
    return await bank.db[CUSTOMERS].count({"tags": {"$in": list(names)}})


async def count_tags(bank: Bank) -> dict[str, int]:
    """How many customers have each tag, by its name."""
    each: Doc = {"$group": {"_id": "$tags", "customers": {"$sum": 1}}}
    pipeline: list[Doc] = [{"$project": {"tags": 1}}, {"$unwind": "$tags"}, each]
    counted = await bank.db[CUSTOMERS].aggregate(pipeline)
    return {row["_id"]: int(row["customers"]) for row in counted}


async def drop_tag(bank: Bank, name: str) -> None:
    """Nobody has the tag any more."""
    await bank.db[CUSTOMERS].update_many({"tags": name}, {"$pull": {"tags": name}})
