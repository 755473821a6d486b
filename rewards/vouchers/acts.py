"""What the bank does with vouchers at its desk, where one clerk asks and another agrees (promise P7):
take a write-off back after the ten minutes, recall a voucher or all unused ones of a campaign,
refund one, and make one good by another.

Money follows: what is recalled or refunded goes back to its campaign's budget, and what is made good
is taken from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, time, timedelta
from typing import Any, Literal, cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.banks.bank import Bank
from rewards import catalogue
from rewards.pools.codes import codes_of
from rewards.rows import Grant, Reward
from rewards.vouchers import codes, issuing, life, money, pooled, redeem
from rewards.vouchers.rows import (
    ACTIVE,
    GRANTED,
    OPEN,
    RECALLED,
    REFUNDED,
    VOUCHER_ACTS,
    VOUCHERS,
    Voucher,
    VoucherAct,
    find_use,
    find_voucher,
)
from services import ids
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

Act = Literal["undo", "recall", "refund", "make_good", "recall_campaign"]
ACTS: tuple[Act, ...] = ("undo", "recall", "refund", "make_good", "recall_campaign")
TASK = "rewards.recall_vouchers"
COMPLETE = "rewards.complete_voucher_acts"
LEASE_SECONDS = 20.0
RETRY = Retry(12, first=1.0, then=FAIL)
AT_ONCE = 200
MADE_GOOD_DAYS = 30
"""So long at least a voucher is good that takes the place of another."""
SUBMITTED, APPROVED, REJECTED, DONE, FAILED = "submitted", "approved", "rejected", "done", "failed"

KIND = approvals.Kind(
    name="voucher",
    right="vouchers.recall",
    submitted="voucher.act_submitted",
    approved="voucher.act_approved",
    rejected="voucher.act_rejected",
    refused="voucher.approval_refused",
    decided="voucher_act_decided",
)


async def ask(bank: Bank, actor: ClerkActor, act: Act, subject: str, reason: str) -> str:
    """Asks another clerk to agree to this; the request's id. `subject` is a voucher's id, a use's for
    `undo`, a campaign's for `recall_campaign`. The same clerk's same request is one.

    Raises InvalidInput `reason_missing`, NotFound `voucher_unknown`, `use_unknown` or
    `campaign_without_vouchers`, and the Conflict with which it would be refused: `act_waits`,
    `voucher_used`, `voucher_not_over` and so on.
    """
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "say why"})
    voucher, campaign = await _about(bank, act, subject)
    asked = {"act": act, "subject": subject}
    number = await bank.db[VOUCHER_ACTS].count({"subject": subject, "act": act})
    if await bank.db[VOUCHER_ACTS].count({**asked, "state": {"$in": [SUBMITTED, APPROVED]}}):
        raise Conflict("act_waits", "the same is asked for already, and not decided or done yet")
    row: VoucherAct = {
        "_id": ids.tenant_id(bank.id, "voucher_act", act, subject, number),
        "act": act,
        "subject": subject,
        "voucher": voucher,
        "campaign": campaign,
        "reason": reason.strip(),
        "author": actor.login,
        "state": "submitted",
        "why": "",
        "at": bank.utc(),
        "open": False,
        "due": 0.0,
        "owner": None,
        "attempts": 0,
        "total": 0,
        "done": 0,
    }
    if not await bank.insert(VOUCHER_ACTS, cast("Doc", row)):
        raise Conflict("act_waits", "the same is asked for already, and not decided or done yet")
    await _submit(bank, actor, row)
    return row["_id"]


async def _submit(bank: Bank, actor: ClerkActor, row: VoucherAct) -> None:
    facts = {name: cast("Doc", row)[name] for name in ("act", "voucher", "campaign", "reason")}
    about = row["subject"]
    await approvals.submit(bank, actor, KIND, row["_id"], _content(row), about=about, **facts)


def _content(row: VoucherAct) -> approvals.Content:
    return {"act": [row["act"], row["subject"], row["reason"], row["author"]]}


async def _about(bank: Bank, act: Act, subject: str) -> tuple[str, str]:
    """The voucher and the campaign that are meant; raises what speaks against the act now."""
    if act == "recall_campaign":
        if not await bank.db[VOUCHERS].count({"campaign": subject, "state": {"$in": list(OPEN)}}):
            raise NotFound("campaign_without_vouchers", "it has no unused vouchers")
        return "", subject
    if act == "undo":
        use = await find_use(bank, subject)
        if use is None or use["state"] not in ("done", "undone"):
            raise NotFound("use_unknown", "no such write-off")
        if use["state"] == "undone":
            raise redeem.undone()
        return use["voucher"], use["campaign"]
    row = await find_voucher(bank, subject)
    if row is None:
        raise NotFound("voucher_unknown", "no such voucher")
    checks: dict[str, Callable[[Bank, Voucher], Doc]] = {
        "recall": _recalling,
        "refund": _refunding,
        "make_good": _making_good,
    }
    checks[act](bank, row)
    return row["_id"], row["campaign"]


async def _find(bank: Bank, act: str) -> VoucherAct:
    row = await bank.db[VOUCHER_ACTS].find_one({"_id": act})
    if row is None:
        raise NotFound("voucher_act_unknown", "no such request")
    return cast("VoucherAct", row)


async def _asked(bank: Bank, act: str) -> VoucherAct:
    """What is decided on; submitted now, if its author was cut short before he had."""
    row = await _find(bank, act)
    if row["state"] == SUBMITTED and await approvals.find(bank, KIND, act) is None:
        author = ClerkActor(bank.id, row["author"], row["author"], frozenset())
        await _submit(bank, author, row)
    return row


async def approve(bank: Bank, actor: ClerkActor, act: str) -> None:
    """Agrees to what another clerk asked for, and does it; a campaign's recall is begun. Raises
    Forbidden `approver_is_author`, NotFound `voucher_act_unknown`, Conflict `voucher_act_decided`,
    and the Conflict that speaks against it by now."""
    row = await _asked(bank, act)
    async with approvals.approve(bank, actor, KIND, act, _content(row)) as approval:
        await _carry_out(bank, row, approval.decided_by)
    bank.signal(TASK)


async def reject(bank: Bank, actor: ClerkActor, act: str, reason: str) -> None:
    """Turns down what another clerk asked for. Raises InvalidInput `reason_missing`, NotFound
    `voucher_act_unknown`, Conflict `voucher_act_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "say why"})
    await _asked(bank, act)
    rejected = await approvals.reject(bank, actor, KIND, act, reason.strip())
    await _end(bank, act, REJECTED, rejected.decided_by, reason.strip())


async def complete(bank: Bank) -> None:
    """Does what was agreed to by a clerk who was cut short."""
    for approval in await approvals.left_over(bank, KIND):
        # another worker does it, it cannot be done any more, or not yet
        with suppress(Conflict, Unavailable):
            async with approvals.finish(bank, KIND, approval) as taken:
                await _carry_out(bank, await _find(bank, taken.subject), taken.decided_by)


async def _carry_out(bank: Bank, row: VoucherAct, by: str) -> None:
    """Does what was agreed to; safe to repeat."""
    done: dict[str, Callable[[Bank, VoucherAct], Awaitable[object]]] = {
        "undo": _undo,
        "recall": _recall,
        "refund": _refund,
        "make_good": _make_good,
    }
    if row["act"] == "recall_campaign":
        await _begin_recall(bank, row, by)
        return
    try:
        await done[row["act"]](bank, row)
    except Conflict as error:
        await _end(bank, row["_id"], FAILED, by, error.code)
        raise
    await _end(bank, row["_id"], DONE, by)


async def _end(bank: Bank, act: str, state: str, by: str, why: str = "") -> None:
    ended = {"state": state, "why": why, "decided_by": by, "decided_at": bank.utc()}
    waits = {"_id": act, "state": {"$in": [SUBMITTED, APPROVED]}}
    await bank.db[VOUCHER_ACTS].update(waits, {"$set": ended})


async def _undo(bank: Bank, row: VoucherAct) -> None:
    use = await find_use(bank, row["subject"])
    if use is None:
        raise NotFound("use_unknown", "no such write-off")
    voucher = await find_voucher(bank, use["voucher"])
    if voucher is not None and use["_id"] in voucher["undone"]:
        return  # by an earlier try
    await redeem.take_back(bank, use, row["author"], row["reason"])


def _recalling(bank: Bank, row: Voucher) -> Doc:
    """The change by which a voucher is recalled; nothing when it was."""
    if row["state"] == RECALLED:
        return {}
    refusal = redeem.over(bank, row)
    if refusal is not None:
        raise refusal
    now = bank.utc()
    return {**life.happened(row, "voucher.recalled", now, state=RECALLED), "gift": None}


async def _recall(bank: Bank, row: VoucherAct) -> None:
    await life.change(bank, row["voucher"], lambda one: _recalling(bank, one))


def _refunding(bank: Bank, row: Voucher) -> Doc:
    if row["state"] == REFUNDED:
        return {}
    if row["state"] == RECALLED:
        raise redeem.taken_away(row)
    if redeem.is_replaced(row):
        raise redeem.replaced()
    now = bank.utc()
    return {**life.happened(row, "voucher.refunded", now, state=REFUNDED), "gift": None}


async def _refund(bank: Bank, row: VoucherAct) -> None:
    await life.change(bank, row["voucher"], lambda one: _refunding(bank, one))


def _making_good(bank: Bank, row: Voucher) -> Doc:
    """The change of a voucher for which there is another; nothing when there is."""
    if row.get("made_good"):
        return {}
    if row["state"] == REFUNDED:
        raise redeem.taken_away(row)
    if redeem.over(bank, row) is None:
        raise Conflict("voucher_not_over", "the customer can still use this voucher")
    new = ids.tenant_id(bank.id, "voucher", row["_id"], "made_good")
    fields = {"made_good": new}
    return life.happened(row, "voucher.made_good", bank.utc(), fields=fields)


def _about_to_make_good(bank: Bank, row: Voucher) -> Doc:
    """The change before anything is paid: from then on no use of the old voucher is taken back."""
    return {"making_good": True} if _making_good(bank, row) else {}


def _not_made_good(row: Voucher) -> Doc:
    return {} if row.get("made_good") else {"making_good": False}


async def _make_good(bank: Bank, row: VoucherAct) -> None:
    old = await life.change(bank, row["voucher"], lambda one: _about_to_make_good(bank, one))
    new = ids.tenant_id(bank.id, "voucher", old["_id"], "made_good")
    reward = await catalogue.find(bank, old["reward"])
    try:
        reserved = await _reserve(bank, reward, old, new)
        paid_by = await _pay(bank, reward, reserved, old, new)
    except Conflict:
        await life.change(bank, old["_id"], _not_made_good)
        raise
    code = await pooled.decide(bank, reward, reserved, old, new)
    old = await life.change(bank, old["_id"], lambda one: _making_good(bank, one))
    made = await _instead(bank, reward, old, new, paid_by)
    if code is not None:
        issuing.show(made, issuing.item_of(reward), code)
        shown = await codes_of(bank, cast("list[Grant]", [made]))
        made["indexes"].append(codes.pool_index_of(bank.vault, shown[new]))
    await life.tell(bank, list((await issuing.add(bank, [made])).values()))


async def _reserve(bank: Bank, reward: Reward, old: Voucher, new: str) -> pooled.Reserved | None:
    """As `pooled.reserve`; but what is paid for already, by a try that was cut short, waits until
    its pool is filled."""
    try:
        return await pooled.reserve(bank, reward, new)
    except Conflict as empty:
        if await money.is_paid(bank, old, new):
            raise Unavailable(empty.code, empty.message) from empty
        raise


async def _pay(
    bank: Bank, reward: Reward, reserved: pooled.Reserved | None, old: Voucher, new: str
) -> str:
    """As `money.pay`; what cannot be paid leaves its code to others."""
    try:
        return await money.pay(bank, old, new)
    except Conflict:
        await pooled.put_back(bank, reward, reserved)
        raise


async def _instead(bank: Bank, reward: Reward, old: Voucher, new: str, paid_by: str) -> Voucher:
    """The voucher that takes the old one's place: its unit is beyond the stock, and it is good for
    30 days at least."""
    at = bank.utc()
    row = issuing.fresh(bank, reward, new, old["cid"], at)
    if row["kind"] not in issuing.KINDS:  # its campaign gives something else by now
        row["kind"] = old["kind"]
    last = bank.today() + timedelta(days=MADE_GOOD_DAYS + 1)
    soonest = datetime.combine(last, time(), bank.tz).astimezone(at.tzinfo)
    issuing.end(row, issuing.item_of(reward), max(row["expires"] or soonest, soonest))
    row["instead_of"], row["paid_by"] = old["_id"], paid_by
    row["cost"] = old["cost"]
    changed = life.happened(row, "voucher.granted", at)
    changed["steps"][0] |= {
        "debit": f"{life.MADE_GOOD}:{old['reward']}",
        "credit": life.account(GRANTED, old["reward"]),
    }
    return cast("Voucher", {**row, **changed})


async def _begin_recall(bank: Bank, row: VoucherAct, by: str) -> None:
    total = await bank.db[VOUCHERS].count(_unused(row))
    begun = {"state": APPROVED, "open": True, "due": bank.now(), "total": total}
    begun |= {"decided_by": by, "decided_at": bank.utc()}
    submitted = {"_id": row["_id"], "state": SUBMITTED}
    await bank.db[VOUCHER_ACTS].update(submitted, {"$set": begun})


def _unused(row: VoucherAct) -> Doc:
    """The campaign's vouchers that were granted before its recall was asked for, and not used."""
    return {
        "campaign": row["campaign"],
        "state": {"$in": [GRANTED, ACTIVE]},
        "at": {"$lte": row["at"]},
        "used": 0,
    }


async def recall_all(bank: Bank, owner: str, row: VoucherAct) -> None:
    """Recalls the next of a campaign's unused vouchers, until there are none: killed anywhere, the
    next goes on with those that are left."""
    found = await bank.db[VOUCHERS].find(_unused(row), limit=AT_ONCE)
    some = cast("list[Voucher]", found)
    now = bank.utc()
    changes: list[tuple[Doc, Any]] = []
    for one in some:
        what = {**life.happened(one, "voucher.recalled", now, state=RECALLED), "gift": None}
        changes.append((life.fence(one), {"$set": what, "$inc": {"version": 1}}))
    await bank.db[VOUCHERS].bulk_update(changes)
    after = await bank.by_id(VOUCHERS, [one["_id"] for one in some])
    recalled = [cast("Voucher", one) for one in after.values() if one["state"] == RECALLED]
    await life.tell(bank, recalled)
    done = row["done"] + len(recalled)
    acts = bank.db[VOUCHER_ACTS]
    if some:
        said = {"done": done, "total": max(done, row["total"]), "attempts": 0}
        await leases.put_back(acts, owner, [row["_id"]], bank.now(), **said)
    else:
        await leases.close(acts, owner, [row["_id"]], state=DONE)


async def of_voucher(bank: Bank, voucher: str) -> list[VoucherAct]:
    """What clerks asked for about a voucher, newest first."""
    newest_first = [("at", -1)]
    found = await bank.db[VOUCHER_ACTS].find({"voucher": voucher}, sort=newest_first, limit=50)
    return cast("list[VoucherAct]", found)


async def waiting(bank: Bank) -> Sequence[VoucherAct]:
    """What waits for another clerk, and what is under way, oldest first."""
    open_acts = {"state": {"$in": [SUBMITTED, APPROVED]}}
    found = await bank.db[VOUCHER_ACTS].find(open_acts, sort=[("at", 1)], limit=100)
    return cast("list[VoucherAct]", found)


def may(bank: Bank, row: Voucher) -> list[Act]:
    """The acts that nothing speaks against at this moment."""
    checks: dict[Act, Callable[[Bank, Voucher], Doc]] = {
        "recall": _recalling,
        "refund": _refunding,
        "make_good": _making_good,
    }
    return [act for act, check in checks.items() if _fits(check, bank, row)]


def _fits(check: Callable[[Bank, Voucher], Doc], bank: Bank, row: Voucher) -> bool:
    try:
        return bool(check(bank, row))
    except Conflict:
        return False
