"""What RMs write of their customers' fields, where the bank's file lets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customers.access import rm
from customers.actors import StaffActor
from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry
from customers.fields import checks, values, viewing
from customers.fields.values import RM, Update
from customers.fields.viewing import FieldView
from services import ids
from services.errors import Conflict, Forbidden, InvalidInput


async def of_friend(bank: Bank, actor: StaffActor, cid: str) -> list[FieldView]:
    """The fields of a customer as his RM sees them: sealed ones are hidden. Raises NotFound for who
    is no friend of this RM's now."""
    customer, _ = await rm.access_customer(bank, actor, cid)
    return await viewing.views(bank, customer.cids)


async def history(bank: Bank, actor: StaffActor, cid: str, key: str) -> list[FieldView]:
    """What one field held, newest first. Raises as `of_friend`, and NotFound `field_unknown`."""
    customer, _ = await rm.access_customer(bank, actor, cid)
    declared = viewing.declared(bank, key)
    held = await values.history(bank, customer.cids, key)
    return [viewing.view(declared, one) for one in held]


def may_write(declared: FieldEntry) -> bool:
    """Whether RMs write this field; what they would not see again they do not write."""
    return "rm" in declared.written_by and not declared.sealed


def choices(field: FieldView) -> Mapping[str, Any]:
    """What a choice may be changed to, or stay, with what each is called."""
    declared = field.declared
    free = not declared.moves or field.value not in declared.values
    allowed = declared.values if free else [field.value, *declared.moves.get(field.value, [])]
    return {value: viewing.say(declared, value) for value in declared.values if value in allowed}


async def write(bank: Bank, actor: StaffActor, cid: str, key: str, said: str) -> None:
    """The RM writes what he knows of a friend; an empty text takes a value back.

    Raises NotFound (also `field_unknown`), Forbidden `field_writer`, InvalidInput `field_type` or
    `field_choice`, Conflict `field_move`.
    """
    customer, _ = await rm.access_customer(bank, actor, cid)
    declared = viewing.declared(bank, key)
    if not may_write(declared):
        raise Forbidden("field_writer", "this field is not written by RMs")
    told = {key: checks.parse(declared, said)}
    update = Update(customer.cid, told, bank.now(), RM, ids.token(), actor.userid)
    async with bank.audited(actor.userid, "field.written", customer.cid, field=key):
        (answer,) = await values.write_many(bank, [update])
        if answer.code == "field_move":
            raise Conflict("field_move", "the field does not change to this from what it is")
        if answer.code == "consent_withdrawn":
            raise Conflict("consent_withdrawn", "the customer withdrew the consent for this")
        if not answer.taken:
            raise InvalidInput("field_type", f"{key}: refused as {answer.code}")
