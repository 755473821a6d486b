"""The rows of one person: his ids, each a row of `identities`, and his own row of `customers`, both
sealed.

An id's row has the id's blind index as its `_id`, so an id leads to one customer only. It keeps
where it came from (`source`, `proof`, `at`), and `by`: the id in whose company it was first told,
which is what an undone merge goes by.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customers.banks.bank import Bank
from customers.identity.collections import CUSTOMERS, IDENTITIES
from services.clock import utc
from services.errors import NotFound
from services.store.mongo import Doc

HOPS = 8
TOLD = ("name", "phone", "unionid", "external_userid")
SEALED = (*TOLD, "number")
NUMBER, PENDING = "number", "pending"
ENRICH = "enrich"
"""The kind of effect that asks WeCom for his details (customers/wecom_mirror/details.py)."""


@dataclass(frozen=True)
class Facts:
    """What one source knows of a person; empty means unknown. `openids` by appid; `pending_id`
    stands for an external_userid that WeCom does not tell yet (contract/wechat B3 95926)."""

    external_userid: str = ""
    unionid: str = ""
    openids: Mapping[str, str] = field(default_factory=dict)
    phone: str = ""
    name: str = ""
    pending_id: str = ""

    def ids(self) -> dict[str, str]:
        """kind → value, strongest first."""
        known = {"unionid": self.unionid, "external_userid": self.external_userid}
        known |= {f"openid.{appid}": openid for appid, openid in self.openids.items()}
        return {
            kind: value for kind, value in (known | {PENDING: self.pending_id}).items() if value
        }


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said it (callback, details, login, phone, sync, bank, clerk, convert), and the proof: an
    event's id or a call."""

    source: str = ""
    proof: str = ""

    def doc(self, bank: Bank) -> Doc:
        return {"source": self.source, "proof": self.proof, "at": utc(bank.now())}


@dataclass(frozen=True)
class Customer:
    """A customer with his ids opened. `cids` are his own id and those of customers merged into him;
    `number` is the bank's."""

    cid: str
    tenant: str
    aliases: tuple[str, ...]
    name: str
    phone: str
    unionid: str
    external_userid: str
    number: str
    openids: Mapping[str, str]
    tags: tuple[str, ...]

    @property
    def cids(self) -> list[str]:
        return [self.cid, *self.aliases]

    def ids(self) -> dict[str, str]:
        """kind → value of every id that he has now, the bank's number among them."""
        facts = Facts(self.external_userid, self.unionid, self.openids)
        return facts.ids() | ({NUMBER: self.number} if self.number else {})


@dataclass(frozen=True, slots=True)
class Shared:
    """The time in which a customer was one with another, `cid`: what either was granted then counts
    for both."""

    cid: str
    since: datetime
    until: datetime


def row_id(bank: Bank, kind: str, value: str) -> str:
    """The `_id` of the row of one id."""
    return f"{bank.id}:{kind}:{bank.vault.blind(f'identities.{kind}', value)}"


def id_row(bank: Bank, kind: str, value: str, cid: str, origin: Origin, by: str = "") -> Doc:
    """The document of one id that leads to `cid`; `by` is the row of the id that it was told
    with."""
    doc_id = row_id(bank, kind, value)
    sealed_value = bank.vault.seal_text(IDENTITIES, "value", doc_id, value)
    told = origin.doc(bank)
    return {
        "_id": doc_id,
        "tenant": bank.id,
        "kind": kind,
        "cid": cid,
        "by": by,
        "value": sealed_value,
        "moves": 0,
    } | told


def open_id(bank: Bank, row: Doc) -> str:
    """The id that a row stands for."""
    return (
        bank.vault.open_text(IDENTITIES, "value", row["_id"], row["value"])
        if "value" in row
        else ""
    )


def seal(bank: Bank, cid: str, name: str, value: str) -> bytes:
    """`value` for the field `name` of that customer's row."""
    return bank.vault.seal_text(CUSTOMERS, name, cid, value)


def phone_index(bank: Bank, phone: str) -> str:
    """What a phone number is found by."""
    return bank.vault.blind("customers.phone", phone)


def number_index(bank: Bank, number: str) -> str:
    """What the bank's customer number is compared by."""
    return bank.vault.blind("customers.number", number)


def sealed(bank: Bank, cid: str, facts: Facts, origin: Origin = Origin(), by: str = "") -> Doc:
    """The fields of a customer's row that say `facts`, by dotted name."""
    fields: Doc = {
        name: seal(bank, cid, name, getattr(facts, name)) for name in TOLD if getattr(facts, name)
    }
    if facts.phone:
        fields["phone_index"] = phone_index(bank, facts.phone)
    for name in ("name", "phone"):
        if getattr(facts, name):
            fields[f"told.{name}"] = origin.doc(bank) | {"by": by}
    for appid, openid in facts.openids.items():
        fields[f"openids.{appid}"] = seal(bank, cid, f"openids.{appid}", openid)
    return fields


def empty(bank: Bank, cid: str) -> Doc:
    """A customer of whom nothing is known."""
    shape: Doc = {"tags": [], "aliases": [], "openids": {}, "told": {}, "ids": []}
    return {"_id": cid, "created_at": utc(bank.now()), **shape}


def fresh(bank: Bank, cid: str, facts: Facts, origin: Origin = Origin(), by: str = "") -> Doc:
    """The whole document of a new customer of whom `facts` are known."""
    row = empty(bank, cid)
    for name, value in sealed(bank, cid, facts, origin, by).items():
        part, _, inner = name.partition(".")
        if inner:
            row[part][inner] = value
        else:
            row[name] = value
    row["ids"] = [row_id(bank, kind, value) for kind, value in facts.ids().items()]
    return row


def opened(bank: Bank, row: Doc) -> Customer:
    """The customer of a row."""
    cid = row["_id"]

    def text(name: str, value: bytes | None) -> str:
        return bank.vault.open_text(CUSTOMERS, name, cid, value) if value else ""

    return Customer(
        cid=cid,
        tenant=bank.id,
        aliases=tuple(row.get("aliases", [])),
        openids={
            appid: text(f"openids.{appid}", value)
            for appid, value in row.get("openids", {}).items()
        },
        tags=tuple(row["tags"]),
        **{name: text(name, row.get(name)) for name in SEALED},
    )


def ids_of(bank: Bank, row: Doc) -> list[str]:
    """The rows of every id that leads, or led, to the customer of `row`."""
    present = opened(bank, row).ids()
    return list(
        dict.fromkeys([*row.get("ids", []), *(row_id(bank, k, v) for k, v in present.items())])
    )


def cids_of(row: Doc) -> list[str]:
    return [row["_id"], *row.get("aliases", [])]


def unmerged(cid: str) -> Doc:
    """A filter: that customer, while he is one of his own."""
    return {"_id": cid, "merged_into": {"$exists": False}}


async def root(bank: Bank, cid: str) -> Doc:
    """The row of whom the customer is now, read afresh; raises NotFound."""
    for _ in range(HOPS):
        row = await bank.db[CUSTOMERS].find_one({"_id": cid})
        if row is None:
            break
        if not row.get("merged_into"):
            return row
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "no such customer")


async def customer(bank: Bank, cid: str, *, follow: bool = True) -> Customer:
    """The customer (or whom he was merged into), ids opened; raises NotFound. For the product's own
    use: a person who asks goes through `access_customer` of customers/access/rm.py or his own
    session."""
    for _ in range(HOPS):
        row = (await bank.read(CUSTOMERS, [cid])).get(cid)
        if row is None:
            raise NotFound("customer_unknown", "no such customer")
        if not follow or not row.get("merged_into"):
            return opened(bank, row)
        cid = row["merged_into"]
    raise NotFound("customer_unknown", "the customer was merged in a circle")


async def cids(bank: Bank, cid: str) -> list[str]:
    """The customer's own id and those merged into him, without opening anything; raises
    NotFound."""
    return (await claimant(bank, cid))[0]


async def claimant(bank: Bank, cid: str) -> tuple[list[str], list[Shared]]:
    """His ids as `cids` tells them, and the times that he shared with somebody who turned out to be
    another; raises NotFound."""
    row = (await bank.read(CUSTOMERS, [cid])).get(cid)
    if row is None or row.get("merged_into"):
        row = await root(bank, cid)
    shared = [Shared(had["cid"], had["since"], had["until"]) for had in row.get("had", [])]
    return cids_of(row), shared


def news(person: Customer, facts: Facts) -> Facts:
    """What `facts` say that is not known of the person yet."""
    other: dict[str, Any] = {
        name: "" if getattr(facts, name) == getattr(person, name) else getattr(facts, name)
        for name in TOLD
    }
    openids = {
        appid: openid
        for appid, openid in facts.openids.items()
        if person.openids.get(appid) != openid
    }
    return Facts(openids=openids, **other)


def only(bank: Bank, facts: Facts, rows: Collection[str]) -> Facts:
    """`facts` without the ids whose rows are not among `rows`."""

    def kept(kind: str, value: str) -> str:
        return value if value and row_id(bank, kind, value) in rows else ""

    return Facts(
        external_userid=kept("external_userid", facts.external_userid),
        unionid=kept("unionid", facts.unionid),
        openids={
            appid: openid
            for appid, openid in facts.openids.items()
            if kept(f"openid.{appid}", openid)
        },
        phone=facts.phone,
        name=facts.name,
        pending_id=kept(PENDING, facts.pending_id),
    )


def mask_phone(phone: str) -> str:
    """138****8000; shorter numbers show their last two digits."""
    if len(phone) >= 7:
        return f"{phone[:3]}****{phone[-4:]}"
    return f"****{phone[-2:]}" if phone else ""


def mask_name(name: str) -> str:
    """The family name and a star for every other character."""
    return name[:1] + "*" * (len(name) - 1)


def mask_id(value: str) -> str:
    """The first two and the last four characters; of a short id the last two."""
    return f"{value[:2]}…{value[-4:]}" if len(value) >= 10 else f"…{value[-2:]}" if value else ""
