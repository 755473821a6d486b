"""What becomes of a physical reward: the customer gives an address, a batch goes to the shipper, the
parcel is on its way and arrives, or comes back.

    awaiting_address → ready → exported → shipped → delivered | returned
    awaiting_address, ready, exported → cancelled

Each step is one conditional write on the shipment's row, which also notes that it is to be told: in
the customer's timeline, and at the end in the ledger, as a line from `issued` to `delivered` or
`returned`. What came back is not for sale again until a person has looked at it and raises the
stock (decision 0050).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from customers import consent, timeline
from customers.access import withdrawal
from customers.actors import ClerkActor, CustomerActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.ledger import book
from rewards.ledger.entries import Entry
from rewards.ledger.lines import Leg
from rewards.rows import TRANSFERS, Grant, Reward
from rewards.shipping import addresses, rows
from rewards.shipping.rows import (
    AWAITING,
    CANCELLED,
    DELIVERED,
    ENDED,
    EXPORTED,
    OPEN,
    READY,
    RETURNED,
    SHIPMENTS,
    SHIPPED,
    Shipment,
)
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.store.mongo import Doc

KIND = "physical"
EXPORT = "shipments.export"
REVEAL = "shipments.reveal"
TELL_SECONDS = 5.0
"""After this a step whose process did not tell it is told by the sweep."""
STORIES: Mapping[str, str] = {
    AWAITING: "shipment.address_deleted",
    READY: "shipment.address_given",
    EXPORTED: "shipment.exported",
    SHIPPED: "shipment.shipped",
    DELIVERED: "shipment.delivered",
    RETURNED: "shipment.returned",
    CANCELLED: "shipment.cancelled",
}
"""What the customer's timeline says of a step, by the state that it led to."""
ACCOUNTS: Mapping[str, str] = {DELIVERED: "delivered", RETURNED: "returned", CANCELLED: "returned"}
"""Where the unit is in the ledger at the end; until then it is issued."""
UNTOLD: Doc = {"untold.0": {"$exists": True}}
ADDRESSED: Doc = {"state": {"$in": list(ENDED)}, "address": {"$exists": True}}
"""Parcels that are there, and whose addresses are not deleted yet."""
MARKS: Mapping[str, Sequence[str]] = {
    DELIVERED: (SHIPPED,),
    RETURNED: (SHIPPED, DELIVERED),
    CANCELLED: (AWAITING, READY, EXPORTED),
}
"""What a clerk may say of a parcel, and in which states."""


def step(bank: Bank, state: str, **fields: Any) -> Doc:
    """The change that leads a shipment to `state`, and is to be told."""
    return {
        "$set": {"state": state, **fields},
        "$push": {"untold": {"state": state, "at": bank.utc()}},
        "$inc": {"changes": 1},
    }


async def ensure(bank: Bank, reward: Reward, grants: Sequence[tuple[str, str, Any]]) -> None:
    """Makes the shipments of these grants (id, customer, when) of a physical reward; repeating it
    adds nothing."""
    fresh = [_fresh(reward, *grant) for grant in grants]
    await bank.db[SHIPMENTS].insert_new(cast("list[Doc]", fresh))


def _fresh(reward: Reward, grant: str, cid: str, at: Any) -> Shipment:
    return {
        "_id": grant,
        "order": order_of(grant),
        "reward": reward["reward"],
        "campaign": reward["campaign"],
        "title": reward["title"],
        "cid": cid,
        "at": at,
        "state": AWAITING,
        "batch": "",
        "untold": [],
        "changes": 0,
    }


def order_of(grant: str) -> str:
    """What a shipper's file calls the shipment of a grant."""
    digits = grant.rpartition(":")[2][:12].upper()
    return f"YQ-{digits[:4]}-{digits[4:8]}-{digits[8:]}"


async def claimed(bank: Bank, reward: str, grants: Sequence[tuple[str, str, Any]]) -> None:
    """A worker was told of these grants (id, customer, when): those of a physical reward get their
    shipments."""
    row = (await catalogue.all_rewards(bank)).get(reward)
    if row is not None and row["kind"] == KIND:
        await ensure(bank, row, grants)


async def of_grants(bank: Bank, grants: Sequence[Grant]) -> dict[str, Shipment]:
    """The shipments of those among these grants that are physical; made, where they are not yet."""
    known = await catalogue.all_rewards(bank)
    physical = [one for one in grants if known[one["reward"]]["kind"] == KIND]
    found = await rows.of_ids(bank, [one["_id"] for one in physical])
    for grant in physical:
        if grant["_id"] not in found:
            await ensure(bank, known[grant["reward"]], [(grant["_id"], grant["cid"], grant["at"])])
    missing = [one["_id"] for one in physical if one["_id"] not in found]
    return found | (await rows.of_ids(bank, missing) if missing else {})


async def put_address(
    bank: Bank, actor: CustomerActor, redemption: str, fields: dict[str, str], version: str
) -> Shipment:
    """The customer says where his reward goes, or that it goes elsewhere, until it is exported.
    `version` is that of the consent text that he agreed to.

    Raises NotFound `shipment_unknown`, InvalidInput `address_invalid`, `consent_missing` or
    `consent_unknown`, Conflict `shipment_exported`, `shipment_ended` or `consent_withdrawn`.
    """
    row = await his(bank, actor, redemption)
    address = addresses.read(bank, fields)
    text = consent.text_of(addresses.PURPOSE, version)
    _expect_open(row)
    await consent.give(bank, actor.cid, addresses.PURPOSE, version, text, f"mp:{actor.appid}")
    kept = {"address": addresses.sealed(bank, row["_id"], address), "address_at": bank.utc()}
    change = step(bank, READY, **kept)
    if not await rows.change(bank, row["_id"], OPEN, change):
        _expect_open(await _present(bank, row["_id"]))
        raise Conflict("shipment_exported", "the reward is being sent")
    cids = await resolution.cids(bank, actor.cid)
    if (await consent.standing(bank, cids, addresses.PURPOSE)).withdrawn:
        await forget_of(bank, cids)
        raise Conflict("consent_withdrawn", "the consent was withdrawn meanwhile")
    return await tell(bank, await _present(bank, row["_id"]))


def _expect_open(row: Shipment) -> None:
    if row["state"] in ENDED:
        raise Conflict("shipment_ended", f"this is {row['state']}")
    if row["state"] not in OPEN:
        raise Conflict("shipment_exported", "the reward is being sent; its address stands")


async def his(bank: Bank, actor: CustomerActor, redemption: str) -> Shipment:
    """The shipment of a customer's own grant; raises NotFound `shipment_unknown` for anything
    else."""
    grant_id = f"{bank.id}:{redemption}"
    grant = await bank.db[TRANSFERS].find_one({"_id": grant_id, "kind": "grant"})
    cids = await resolution.cids(bank, actor.cid)
    if grant is None or grant["cid"] not in cids:
        raise NotFound("shipment_unknown", "nothing of this customer's is sent under this id")
    found = await of_grants(bank, [cast("Grant", grant)])
    if grant_id not in found:
        raise NotFound("shipment_unknown", "this reward is not sent anywhere")
    return found[grant_id]


async def _present(bank: Bank, shipment: str) -> Shipment:
    row = await rows.find(bank, shipment)
    if row is None:
        raise NotFound("shipment_unknown", "no such shipment")
    return row


async def tell(bank: Bank, row: Shipment) -> Shipment:
    """Tells what happened where it belongs, and notes that it was told; safe to repeat."""
    for said in row["untold"]:
        state, at = said["state"], said["at"]
        kind = STORIES.get(state, "shipment.exported")
        key = f"{row['_id']}|{at.isoformat()}"
        await timeline.record(bank, row["cid"], kind, key, at=at.timestamp(), reward=row["reward"])
        if state in ACCOUNTS:
            await _book(bank, row, state)
        done = {"$pull": {"untold": {"state": state, "at": at}}}
        await bank.db[SHIPMENTS].update({"_id": row["_id"]}, done)
    return row if not row["untold"] else await _present(bank, row["_id"])


async def _book(bank: Bank, row: Shipment, state: str) -> None:
    """The ledger's line of an end. What is returned after it was delivered goes on from there."""
    reward, target = row["reward"], ACCOUNTS[state]
    before = "delivered" if state == RETURNED and row.get("was_delivered") else "issued"
    leg = Leg(f"{before}:{reward}", f"{target}:{reward}", 1)
    about = {"shipment": row["_id"], "reward": reward, "cid": row["cid"]}
    key = f"shipment|{row['_id']}|{before}|{target}"
    await book.post(bank, Entry(key=key, kind="shipment", legs=[leg], about=about))


async def tell_untold(bank: Bank) -> None:
    """Tells the steps of processes that were cut short."""
    oldest = bank.utc() - timedelta(seconds=TELL_SECONDS)
    for row in await rows.shipments(bank, UNTOLD, limit=500):
        if row["untold"] and row["untold"][0]["at"] <= oldest:
            await tell(bank, row)


async def mark(bank: Bank, actor: ClerkActor, shipment: str, state: str, reason: str = "") -> None:
    """A clerk says that a parcel arrived, came back, or will not be sent; the last two with a
    reason. Raises Conflict `shipment_state` where it cannot be, InvalidInput `reason_missing`,
    NotFound."""
    _expect_right(actor, EXPORT)
    if state not in MARKS:
        raise InvalidInput("shipment_state", "delivered, returned or cancelled")
    if state != DELIVERED and not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _present(bank, shipment)
    fields: Doc = {"ended_at": bank.utc(), "reason": reason.strip()}
    if row["state"] == DELIVERED:
        fields["was_delivered"] = True
    if row["state"] in OPEN:
        fields["batch"] = ""
    said: Doc = {"state": state, "before": row["state"], "reason": reason.strip()}
    if row["state"] not in MARKS[state]:
        raise Conflict("shipment_state", f"this is {row['state']}")
    async with bank.audited(actor.login, "shipment.marked", row["order"], **said) as act:
        act.done = await rows.change(bank, shipment, [row["state"]], step(bank, state, **fields))
    if not act.done:
        raise Conflict("shipment_state", "somebody else just changed it")
    await tell(bank, await _present(bank, shipment))
    if row.get("forget") or state == CANCELLED:
        await _drop_addresses(bank, [shipment])


async def reveal(bank: Bank, actor: ClerkActor, shipment: str, reason: str) -> addresses.Address:
    """The address in clear, for a reason that the audit trail keeps. Raises InvalidInput
    `reason_missing`, NotFound `shipment_unknown` or `address_gone`."""
    _expect_right(actor, REVEAL)
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _present(bank, shipment)
    address = addresses.opened(bank, row)
    if address is None:
        raise NotFound("address_gone", "there is no address, or none any more")
    await bank.audit(actor.login, "shipment.address_shown", row["order"], reason=reason.strip())
    return address


def _expect_right(actor: ClerkActor, permission: str) -> None:
    if permission not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {permission}")


async def forget_of(bank: Bank, cids: Sequence[str]) -> None:
    """The customer withdrew his consent: what was not exported waits for an address again; what is
    on its way arrives, and its address goes then; what has ended has none any more."""
    waits = {"cid": {"$in": list(cids)}, "state": READY}
    for row in await rows.shipments(bank, waits):
        gone = step(bank, AWAITING, batch="")
        gone["$unset"] = {"address": "", "address_at": ""}
        if await rows.change(bank, row["_id"], [READY], gone):
            await tell(bank, await _present(bank, row["_id"]))
    out = {"cid": {"$in": list(cids)}, "state": {"$in": [EXPORTED, SHIPPED]}}
    await bank.db[SHIPMENTS].update_many(out, {"$set": {"forget": True}})
    over = {"cid": {"$in": list(cids)}, "state": {"$in": list(ENDED)}}
    await _drop_addresses(bank, [row["_id"] for row in await rows.shipments(bank, over)])


async def forget_old(bank: Bank) -> int:
    """Deletes the addresses of what ended long ago (`address_days`); how many."""
    oldest = bank.utc() - timedelta(days=bank.services.settings.address_days)
    over = {**ADDRESSED, "$or": [{"ended_at": {"$lte": oldest}}, {"forget": True}]}
    found = [row["_id"] for row in await rows.shipments(bank, over, limit=1_000)]
    await _drop_addresses(bank, found)
    if found:
        await bank.audit("retention", "shipment.addresses_deleted", bank.id, count=len(found))
    return len(found)


async def _drop_addresses(bank: Bank, shipments: Sequence[str]) -> None:
    ended = {"_id": {"$in": list(shipments)}, "state": {"$in": list(ENDED)}}
    await bank.db[SHIPMENTS].update_many(ended, {"$unset": {"address": "", "address_at": ""}})


async def withdrawn(bank: Bank, effect: Effect) -> None:
    """Carries out what the withdrawal of the consent for addresses means."""
    await forget_of(bank, await resolution.cids(bank, effect.cid))


FORGET: EffectKind[Bank] = EffectKind(name=withdrawal.FORGET_ADDRESS, execute=withdrawn)
"""The addresses of a customer who withdrew his consent."""


def view(bank: Bank, row: Shipment) -> dict[str, Any]:
    """What its customer sees."""
    shown = addresses.masked(bank, row)
    return {
        "state": row["state"],
        "address": None
        if shown is None
        else {"name": shown.name, "phone": shown.phone, "region": shown.region},
        "may_change": row["state"] in OPEN,
        "carrier": row.get("carrier", ""),
        "number": row.get("number", ""),
    }
