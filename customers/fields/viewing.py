"""Fields as people see them: what a customer's hold, said in words, with the sealed ones hidden until
somebody asks for one with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry
from customers.fields import values
from customers.fields.rows import count_holding
from customers.fields.values import Held
from customers.identity import review
from customers.identity.rows import cids_of, root
from services.cache import cached
from services.errors import Forbidden, InvalidInput, NotFound, Unavailable

READ, REVEAL = "fields.read", "fields.reveal"
HIDDEN = "••••"
COUNT_SECONDS = 60.0
Language = Literal["zh", "en"]


@dataclass(frozen=True)
class FieldView:
    """A field of a customer: what it holds, `said` in both languages, since when and by whom;
    `hidden` when it is sealed and was not asked for. One that holds nothing has no `value`."""

    key: str
    name: dict[str, str]
    declared: FieldEntry
    value: Any
    said: dict[str, str]
    hidden: bool
    since: float
    source: str
    by: str


def say(declared: FieldEntry, value: Any) -> dict[str, str]:
    """A value in the words of both languages; empty texts for none."""
    return {"zh": _say(declared, value, "zh"), "en": _say(declared, value, "en")}


def _say(declared: FieldEntry, value: Any, language: Language) -> str:
    if value is None:
        return ""
    if declared.type == "choice":
        return declared.label_of(value, language)
    if declared.type == "bool":
        words = {"zh": ("否", "是"), "en": ("no", "yes")}
        return words[language][bool(value)]
    if declared.type == "money":
        return f"¥{value / 100:,.2f}"
    if declared.type == "number":
        return f"{value:,}"
    return str(value)


def view(declared: FieldEntry, held: Held | None, *, open_sealed: bool = False) -> FieldView:
    """How one field is shown."""
    value = None if held is None else held.value
    hidden = declared.sealed and value is not None and not open_sealed
    return FieldView(
        key=declared.key,
        name={"zh": declared.name.zh, "en": declared.name.en},
        declared=declared,
        value=None if hidden else value,
        said={"zh": HIDDEN, "en": HIDDEN} if hidden else say(declared, value),
        hidden=hidden,
        since=0.0 if held is None else held.since,
        source="" if held is None else held.source,
        by="" if held is None else held.by,
    )


async def views(bank: Bank, cids: Sequence[str]) -> list[FieldView]:
    """All declared fields of the customer of these `cids`, in the order of the bank's file."""
    held = {one.key: one for one in (await values.read(bank, {"one": cids}))["one"]}
    return [view(one, held.get(one.key)) for one in bank.fields.values()]


async def held_by(bank: Bank, wanted: str) -> list[FieldView]:
    """What the fields of the customer with this id, phone or number hold, for whoever operates the
    process; sealed ones are hidden. Raises NotFound, Conflict."""
    found = await views(bank, cids_of(await review.the_one(bank, wanted)))
    return [one for one in found if one.said["zh"]]


async def history_of(bank: Bank, wanted: str, key: str) -> list[FieldView]:
    """The same of what one field held, newest first."""
    field = declared(bank, key)
    cids = cids_of(await review.the_one(bank, wanted))
    return [view(field, one) for one in await values.history(bank, cids, key)]


async def of_customer(bank: Bank, actor: ClerkActor, cid: str) -> list[FieldView]:
    """The fields of a customer on the console. Raises Forbidden `not_permitted`, NotFound."""
    _check(actor, READ)
    return await views(bank, cids_of(await root(bank, cid)))


async def history(bank: Bank, actor: ClerkActor, cid: str, key: str) -> list[FieldView]:
    """What one field of a customer held, newest first. Raises as `of_customer`, and NotFound
    `field_unknown`."""
    _check(actor, READ)
    field = declared(bank, key)
    cids = cids_of(await root(bank, cid))
    return [view(field, one) for one in await values.history(bank, cids, key)]


async def reveal(bank: Bank, actor: ClerkActor, cid: str, key: str, reason: str) -> FieldView:
    """What a sealed field of a customer holds; the trail says who saw it and why. Raises Forbidden
    `not_permitted`, InvalidInput `reason_missing`, NotFound."""
    _check(actor, REVEAL)
    field = declared(bank, key)
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await root(bank, cid)
    about = {"field": key, "reason": reason.strip()}
    async with bank.audited(actor.login, "field.revealed", row["_id"], **about):
        held = (await values.read(bank, {"one": cids_of(row)}))["one"]
        one = next((one for one in held if one.key == key), None)
    return view(field, one, open_sealed=True)


async def counts(bank: Bank) -> dict[str, int]:
    """How many customers' rows hold a value of each field, as of COUNT_SECONDS ago at most; nothing
    where the store does not count so many in time."""

    async def count() -> dict[str, int]:
        return await count_holding(bank, bank.fields.values())

    try:
        return await cached(bank.services, f"field-counts:{bank.id}", COUNT_SECONDS, count)
    except Unavailable:
        return {}


def declared(bank: Bank, key: str) -> FieldEntry:
    """The field of that key; raises NotFound `field_unknown`."""
    if key not in bank.fields:
        raise NotFound("field_unknown", "the bank declares no such field")
    return bank.fields[key]


def _check(actor: ClerkActor, permission: str) -> None:
    if permission not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {permission}")
