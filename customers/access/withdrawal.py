"""A customer withdraws what he agreed to (PIPL art. 15 and 47): by himself in a mini-program, or by
a clerk or his own RM to whom he said so.

The consent for the phone covers that the bank keeps his number, knows him by it, and contacts him.
When it is withdrawn the number and its blind index are deleted, also from what an undone merge
would bring back, nobody is found by it any more, no clerk is asked any more whose it is, and what
the bank sends by itself is not sent, also when it was queued before. Fields that the bank's file
declares to be kept under it are deleted with their history. What he was granted stays his,
and his friendships are his own: he ends those in WeChat. He may agree again at any time.

The consent for addresses covers that the bank sends him what he was granted: those of rewards that
are not under way are deleted, the others when they have arrived (rewards/shipping/shipments.py).

The row of the withdrawal is written first and everybody asks it: who binds a phone or sends a
message meanwhile looks after his write, or before his call, and lets go. Whoever is killed in
between is completed by withdrawing again.
"""

from __future__ import annotations

from typing import Any

from customers import consent, timeline
from customers.access import rm
from customers.actors import ClerkActor, CustomerActor, StaffActor
from customers.banks.bank import Bank
from customers.banks.tasks import SEND_EFFECTS
from customers.fields import parting
from customers.identity import resolution, review
from customers.identity.rows import cids_of, drop_phone, root
from services import ids
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.queue import outbox
from services.queue.outbox import Effect

PHONE, ADDRESS = "phone", "address"
FORGET_ADDRESS = "address_forget"
"""The kind of effect that deletes the addresses of a customer who withdrew that consent
(rewards/shipping/shipments.py)."""
WITHDRAW = "consents.withdraw"
PURPOSES = tuple(sorted({purpose for purpose, _ in consent.TEXTS}))


async def list_consents(bank: Bank, cid: str) -> list[dict[str, Any]]:
    """What the customer was ever asked for: `purpose`, whether he `agrees` now, and since when and
    to which version; `withdrawn` when he took it back."""
    cids = await resolution.cids(bank, cid)
    found = [await consent.standing(bank, cids, purpose) for purpose in PURPOSES]
    return [
        {
            "purpose": one.purpose,
            "agrees": one.agrees,
            "withdrawn": one.withdrawn,
            "version": one.version,
            "at": one.at,
        }
        for one in found
        if one.at is not None
    ]


async def withdraw(bank: Bank, actor: CustomerActor, purpose: str) -> None:
    """The customer takes back what he agreed to. Safe to repeat and to race.

    Raises NotFound `consent_purpose_unknown`, Conflict `consent_not_given`.
    """
    await _withdraw(bank, actor.cid, purpose, f"mp:{actor.appid}", f"customer:{actor.cid}")


async def withdraw_for(bank: Bank, actor: ClerkActor, cid: str, purpose: str, reason: str) -> None:
    """A clerk notes that the customer takes it back; `reason` says how he told the bank.

    Raises Forbidden, InvalidInput `reason_missing`, NotFound, Conflict `consent_not_given`.
    """
    if WITHDRAW not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {WITHDRAW}")
    await _withdraw(bank, cid, purpose, "console", actor.login, reason=_reason(reason))


async def withdraw_of_friend(
    bank: Bank, actor: StaffActor, cid: str, purpose: str, reason: str
) -> None:
    """His RM notes the same.

    Raises NotFound, also for who is no friend of this RM's now, InvalidInput `reason_missing`,
    Conflict `consent_not_given`.
    """
    customer, _ = await rm.access_customer(bank, actor, cid)
    why = _reason(reason)
    await _withdraw(bank, customer.cid, purpose, "side_panel", actor.userid, reason=why)


def _reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    return reason.strip()


async def _withdraw(bank: Bank, cid: str, purpose: str, channel: str, by: str, **more: str) -> None:
    if purpose not in PURPOSES:
        raise NotFound("consent_purpose_unknown", "there is no such consent")
    row = await root(bank, cid)
    cids = cids_of(row)
    now = await consent.standing(bank, cids, purpose)
    covered = purpose == PHONE and bool(row.get("phone"))
    if not now.agrees and not now.withdrawn and not covered:
        raise Conflict("consent_not_given", "there is nothing to withdraw")
    if now.agrees or covered:
        about = {"purpose": purpose, "channel": channel, **more}
        async with bank.audited(by, "consent.withdrawn", row["_id"], **about):
            proof = await _end(bank, row["_id"], cids, purpose, channel)
            await _stop(bank, cids, purpose)
            await timeline.record(bank, row["_id"], "consent.withdrawn", proof, purpose=purpose)
    else:
        await _stop(bank, cids, purpose)  # an earlier try may have been cut short


async def _end(bank: Bank, cid: str, cids: list[str], purpose: str, channel: str) -> str:
    """The row of the withdrawal. Each who was merged into him and had agreed by himself has one too:
    should the merge be undone, he is not contacted either."""
    others = [
        await consent.withdraw(bank, other, purpose, channel)
        for other in cids
        if other != cid and (await consent.standing(bank, [other], purpose)).agrees
    ]
    own = await consent.withdraw(bank, cid, purpose, channel)
    return others[0] if others else own  # his own may be of an earlier time


async def _stop(bank: Bank, cids: list[str], purpose: str = PHONE) -> None:
    """What the consent covered is deleted."""
    if purpose == ADDRESS:
        await _forget_address(bank, cids)
        return
    await drop_phone(bank, cids)
    await review.forget_phone(bank, cids)
    await parting.erase_under(bank, cids, purpose)


async def _forget_address(bank: Bank, cids: list[str]) -> None:
    """Asks for the addresses to be deleted, once for each withdrawal."""
    at = (await consent.standing(bank, cids, ADDRESS)).at
    effect = Effect(
        id=ids.tenant_id(bank.id, FORGET_ADDRESS, cids[0], at),
        tenant=bank.id,
        kind=FORGET_ADDRESS,
        cid=cids[0],
        args={},
    )
    if await outbox.put(bank.services, effect, due=bank.now()):
        bank.signal(SEND_EFFECTS)


async def was_withdrawn(bank: Bank, cid: str) -> bool:
    """Whether the consent for the phone does not stand; what it covered is deleted then. To be
    asked after a phone was written."""
    cids = await resolution.cids(bank, cid)
    withdrawn = (await consent.standing(bank, cids, PHONE)).withdrawn
    if withdrawn:
        await _stop(bank, cids)
    return withdrawn


async def check_may_contact(bank: Bank, cid: str) -> None:
    """Raises Conflict `consent_withdrawn` when the customer does not want to be contacted; to be
    asked right before a message that the bank sends by itself."""
    cids = await resolution.cids(bank, cid)
    if (await consent.standing(bank, cids, PHONE)).withdrawn:
        raise Conflict("consent_withdrawn", "the customer withdrew his consent to be contacted")
