"""How a customer's facts and ids lie in their rows: sealed, and found by blind indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from customers.banks.bank import Bank
from customers.identity.facts import NUMBER, Customer, Facts, Origin
from customers.identity.rows import CUSTOMERS, IDENTITIES, CustomerRow, IdentityRow, Provenance
from services import phones
from services.store.mongo import Doc


def provenance(bank: Bank, origin: Origin, by: str = "") -> Provenance:
    """Where something comes from that `origin` says now; `by` is the row of the id that it was told
    with."""
    return {"source": origin.source, "proof": origin.proof, "at": bank.utc(), "by": by}


def identity_id(bank: Bank, kind: str, value: str) -> str:
    """The `_id` of the row of one id."""
    return f"{bank.id}:{kind}:{bank.vault.blind(f'identities.{kind}', value)}"


def identities_of_facts(bank: Bank, facts: Facts) -> dict[str, tuple[str, str]]:
    """The rows that the facts' ids have: `_id` → kind and value, strongest first."""
    return {identity_id(bank, kind, value): (kind, value) for kind, value in facts.ids().items()}


def identity_row(
    bank: Bank, kind: str, value: str, cid: str, origin: Origin, by: str = ""
) -> IdentityRow:
    """The row of one id that leads to `cid`; `by` is the row of the id that it was told with."""
    row_id = identity_id(bank, kind, value)
    came = provenance(bank, origin, by)
    return {
        "_id": row_id,
        "tenant": bank.id,
        "kind": kind,
        "cid": cid,
        "value": bank.vault.seal_text(IDENTITIES, "value", row_id, value),
        "moves": 0,
        "source": came["source"],
        "proof": came["proof"],
        "at": came["at"],
        "by": by,
    }


def open_identity(bank: Bank, row: IdentityRow) -> str:
    """The id that a row stands for."""
    if "value" not in row:
        return ""
    return bank.vault.open_text(IDENTITIES, "value", row["_id"], row["value"])


def identity_ids_of(bank: Bank, row: CustomerRow) -> list[str]:
    """The rows of every id that leads, or led, to the customer of `row`."""
    present = open_customer(bank, row).ids()
    wanted = [identity_id(bank, kind, value) for kind, value in present.items()]
    return list(dict.fromkeys([*row.get("ids", []), *wanted]))


def phone_index(bank: Bank, phone: str) -> str:
    """What a phone number is found by: its blind index. Raises ValueError for what is not in E.164,
    which would be found by nobody, or by the owner of another country's number."""
    if not phones.is_phone(phone):
        raise ValueError("a phone is kept and looked for in E.164")
    return bank.vault.blind("customers.phone", phone)


def number_index(bank: Bank, number: str) -> str:
    """What the bank's customer number is compared by."""
    return bank.vault.blind("customers.number", number)


def sealed_fields(bank: Bank, cid: str, values: Mapping[str, str]) -> Doc:
    """`values` for these fields of that customer's row, with the blind indexes that go with a phone
    and a number. Empty values have none."""
    known = {name: value for name, value in values.items() if value}
    fields: Doc = {
        name: bank.vault.seal_text(CUSTOMERS, name, cid, value) for name, value in known.items()
    }
    if "phone" in known:
        fields["phone_index"] = phone_index(bank, known["phone"])
    if NUMBER in known:
        fields["number_index"] = number_index(bank, known[NUMBER])
    return fields


def sealed_facts(bank: Bank, cid: str, facts: Facts, origin: Origin, by: str = "") -> Doc:
    """The fields of a customer's row that say `facts`, by dotted name."""
    fields = sealed_fields(bank, cid, facts.by_field())
    for name in ("name", "phone"):
        if name in fields:
            fields[f"provenance.{name}"] = provenance(bank, origin, by)
    return fields


def empty_customer(bank: Bank, cid: str) -> CustomerRow:
    """A customer of whom nothing is known."""
    return {
        "_id": cid,
        "created_at": bank.utc(),
        "tags": [],
        "aliases": [],
        "openids": {},
        "provenance": {},
        "ids": [],
    }


def new_customer(bank: Bank, cid: str, facts: Facts, origin: Origin, by: str = "") -> CustomerRow:
    """The whole row of a new customer of whom `facts` are known."""
    row = cast("Doc", empty_customer(bank, cid))
    for name, value in sealed_facts(bank, cid, facts, origin, by).items():
        part, _, inner = name.partition(".")
        if inner:
            row[part][inner] = value
        else:
            row[name] = value
    row["ids"] = list(identities_of_facts(bank, facts))
    return cast("CustomerRow", row)


def open_field(
    bank: Bank,
    row: CustomerRow,
    name: Literal["name", "phone", "unionid", "external_userid", "number"],
) -> str:
    """One sealed field of a customer's row; empty where it has none."""
    value = row.get(name)
    return bank.vault.open_text(CUSTOMERS, name, row["_id"], value) if value else ""


def open_customer(bank: Bank, row: CustomerRow) -> Customer:
    """The customer of a row."""
    cid = row["_id"]

    def text(name: str, value: bytes) -> str:
        return bank.vault.open_text(CUSTOMERS, name, cid, value) if value else ""

    openids = row.get("openids", {})
    return Customer(
        cid=cid,
        tenant=bank.id,
        aliases=tuple(row.get("aliases", [])),
        name=open_field(bank, row, "name"),
        phone=open_field(bank, row, "phone"),
        unionid=open_field(bank, row, "unionid"),
        external_userid=open_field(bank, row, "external_userid"),
        number=open_field(bank, row, "number"),
        openids={appid: text(f"openids.{appid}", value) for appid, value in openids.items()},
        tags=tuple(row["tags"]),
    )
