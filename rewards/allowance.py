"""What an RM may offer of his own accord: so many of a reward a month, by his role, as the campaign
allows it (`claim: staff`).

The row of the offer is the whole act. Its `_id` is the customer's and the reward's, so nobody is
offered the same twice; its `slot` is the n-th of the RM's month, under a unique index, so however
many clicks come at once, no more rows than slots can be. Nothing is counted beside it, and so
nothing is left behind by a process that dies (docs/invariants.md).

An offer is the right to claim. It costs the RM and his branch when the customer claims, and is
promised until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from customers import timeline
from customers.access.rm import access_customer
from customers.actors import StaffActor
from customers.banks import staff, userids
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue, offers, stock
from rewards.rows import OFFERS, TRANSFERS, Offer, Reward, grant_ids
from services import ids
from services.errors import Conflict, InvalidInput
from services.store.mongo import Doc

BY_STAFF = "staff"
"""`open_to` of a reward that RMs may offer."""
RM, HEAD = "rm", "head"


@dataclass(frozen=True)
class Offerable:
    """A reward that an RM may offer: `limit` a month, of which `used` are gone. `why` is the reason
    code for which he cannot offer it now, or empty."""

    reward: Reward
    limit: int
    used: int
    why: str

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class Given:
    """One offer of an RM: what it is and for whom, why, and what came of it. `cost` in fen is spent
    when `claimed_at` is there, else promised."""

    userid: str
    branch: str
    cid: str
    customer: str
    reward: Reward
    reason: str
    at: datetime
    claimed_at: datetime | None
    cost: int


@dataclass(frozen=True)
class Sum:
    """What the offers of one RM come to: how many, and fen that are spent and promised."""

    userid: str
    offers: int = 0
    claimed: int = 0
    spent: int = 0
    promised: int = 0

    def __add__(self, given: Given) -> Sum:
        claimed = given.claimed_at is not None
        return replace(
            self,
            offers=self.offers + 1,
            claimed=self.claimed + claimed,
            spent=self.spent + (given.cost if claimed else 0),
            promised=self.promised + (0 if claimed else given.cost),
        )


def month_of(bank: Bank) -> str:
    """The month in the bank's time, as slots name it."""
    return f"{bank.today():%Y%m}"


async def list_offerable(bank: Bank, actor: StaffActor) -> list[Offerable]:
    """What campaigns let this RM offer, with what he has left of the month, by id."""
    member = await staff.staff_member(bank, actor.userid)
    found = []
    for name, reward in sorted((await catalogue.all_rewards(bank)).items()):
        if reward["open_to"] == BY_STAFF and reward["state"] != "ended":
            limit, used = _limit(bank, member, reward), len(await _taken(bank, member, name))
            why = catalogue.why_closed(reward, bank.utc(), stock.today(bank))
            found.append(
                Offerable(reward, limit, used, why or ("" if used < limit else "allowance_used"))
            )
    return found


async def offer(
    bank: Bank, actor: StaffActor, cid: str, reward: str, reason: str, key: str
) -> None:
    """Offers `reward` to one of the RM's customers, for a reason, as one of the RM's month. The same
    `key` again is the same offer; a refusal is in the audit trail.

    Raises NotFound for a customer who is not his and for an unknown reward, InvalidInput
    `reason_missing`, Conflict `not_allowed` for a reward that RMs may not offer, `allowance_used`,
    `already_offered`, and why the reward gives nothing now (sold_out, not_started, ended, paused,
    quota_day).
    """
    customer, _ = await access_customer(bank, actor, cid)
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await catalogue.find(bank, reward)
    member = await staff.staff_member(bank, actor.userid)
    made = _row(bank, member, customer.cid, reward, reason.strip(), _hash(key))
    try:
        await _offer(bank, member, row, made, customer.cids)
    except Conflict as error:
        about = {"reward": reward, "why": error.code}
        await bank.audit(actor.userid, "reward.offer_refused", customer.cid, **about)
        raise


async def _offer(
    bank: Bank, member: staff.Staff, reward: Reward, made: Offer, cids: Sequence[str]
) -> None:
    name, cid = made["reward"], made["cid"]
    if reward["open_to"] != BY_STAFF:
        raise Conflict("not_allowed", "this reward is not for RMs to offer")
    if not await _offered_before(bank, name, cids, made["key"]):
        if why := catalogue.why_closed(reward, bank.utc(), stock.today(bank)):
            raise Conflict(why, f"the reward cannot be given: {why.replace('_', ' ')}")
        reason = bank.vault.open_text(OFFERS, "reason", made["_id"], made["reason"])
        about = {"reward": name, "reason": reason, "branch": member.branch}
        async with bank.audited(member.userid, "reward.offered", cid, **about):
            await _take_slot(bank, member, reward, made, cids)
    await timeline.record(bank, cid, "reward.offered", name, reward=name, userid=member.userid)


def _hash(key: str) -> str:
    return ids.fingerprint(key.encode())


def _limit(bank: Bank, member: staff.Staff, reward: Reward) -> int:
    """How many a month the campaign allows this RM: a branch's head may have a number of his own."""
    allowed = reward.get("allowance", {})
    head = bank.heads.get(member.branch, "")
    is_head = bool(head) and userids.key(head) == userids.key(member.userid)
    return allowed.get(HEAD, allowed.get(RM, 0)) if is_head else allowed.get(RM, 0)


def _slots(bank: Bank, userid: str, month: str = "") -> str:
    """What the slots of an RM's month begin with; the userid as WeCom compares them."""
    whose = ids.fingerprint(userids.key(userid).encode())[:16]
    return f"{month or month_of(bank)}:{whose}:"


def _slot(bank: Bank, userid: str, reward: str, number: int) -> str:
    return f"{_slots(bank, userid)}{reward}:{number:04d}"


def _row(bank: Bank, member: staff.Staff, cid: str, reward: str, reason: str, key: str) -> Offer:
    row_id = offers.offer_id(bank.id, reward, cid)
    return {
        "_id": row_id,
        "cid": cid,
        "reward": reward,
        "run": "",
        "at": bank.utc(),
        "place": {"branch": member.branch, "staff": member.userid},
        "key": key,
        "reason": bank.vault.seal_text(OFFERS, "reason", row_id, reason),
    }


async def _offered_before(bank: Bank, reward: str, cids: Sequence[str], key: str) -> bool:
    """True when this very key made the offer; raises Conflict when something else did."""
    found = await bank.read(OFFERS, [offers.offer_id(bank.id, reward, cid) for cid in cids])
    for row in found.values():
        if row.get("key") == key:
            return True
        raise Conflict("already_offered", "this customer was offered it already")
    return False


async def _taken(bank: Bank, member: staff.Staff, reward: str) -> set[str]:
    """The slots of this month that are gone."""
    begin = f"{_slots(bank, member.userid)}{reward}:"
    rows = await bank.db[OFFERS].find(_beginning(begin), fields={"slot": 1}, limit=None)
    return {row["slot"] for row in rows}


def _beginning(text: str) -> Doc:
    """Rows whose slot begins so, by the index of slots."""
    return {"slot": {"$gte": text, "$lt": text[:-1] + chr(ord(text[-1]) + 1)}}


async def _take_slot(
    bank: Bank, member: staff.Staff, reward: Reward, made: Offer, cids: Sequence[str]
) -> None:
    """Writes the offer into the first slot of the month that nobody takes meanwhile."""
    name = reward["reward"]
    taken = await _taken(bank, member, name)
    numbers = range(_limit(bank, member, reward))
    for slot in (_slot(bank, member.userid, name, number) for number in numbers):
        if slot in taken:
            continue
        if await _insert(bank, {**made, "slot": slot}):
            return
        if await _offered_before(bank, name, cids, made["key"]):
            return
    raise Conflict("allowance_used", "the month's allowance is used up")


async def _insert(bank: Bank, made: Offer) -> bool:
    """False when the customer has that offer, or the slot is gone."""
    return await bank.insert(OFFERS, cast("Doc", made))


async def list_given(bank: Bank, members: Sequence[str], month: str = "") -> list[Given]:
    """What these RMs offered in a month (this one), newest first, with what came of it."""
    wanted = [_beginning(_slots(bank, userid, month)) for userid in members]
    rows = await bank.db[OFFERS].find({"$or": wanted}, limit=None) if wanted else []
    rewards = await catalogue.all_rewards(bank)
    known = [cast("Offer", row) for row in rows if row["reward"] in rewards]
    given = await asyncio.gather(*(_given(bank, row, rewards[row["reward"]]) for row in known))
    return sorted(given, key=lambda one: one.at, reverse=True)


async def _given(bank: Bank, row: Offer, reward: Reward) -> Given:
    person = await resolution.customer(bank, row["cid"])
    found = await bank.read(TRANSFERS, grant_ids(bank.id, reward, person.cids))
    grants = [one for one in found.values() if one["kind"] == "grant" and one["at"] >= row["at"]]
    place, sealed = row.get("place", {}), row.get("reason")
    return Given(
        userid=place.get("staff", ""),
        branch=place.get("branch", ""),
        cid=person.cid,
        customer=resolution.mask_name(person.name),
        reward=reward,
        reason=bank.vault.open_text(OFFERS, "reason", row["_id"], sealed) if sealed else "",
        at=row["at"],
        claimed_at=min((one["at"] for one in grants), default=None),
        cost=sum(one["cost"] for one in grants) or reward["cost"],
    )


def sums(given: Sequence[Given], members: Sequence[str]) -> list[Sum]:
    """What the offers come to, for each of the RMs."""
    by_userid = {userid: Sum(userid) for userid in members}
    for one in given:
        by_userid[one.userid] = by_userid.get(one.userid, Sum(one.userid)) + one
    return list(by_userid.values())


async def colleagues(bank: Bank, actor: StaffActor) -> list[str]:
    """Whose offers this RM may look at: the head of a branch all of his branch, others their own."""
    member = await staff.staff_member(bank, actor.userid)
    head = bank.heads.get(member.branch, "")
    if not head or userids.key(head) != userids.key(member.userid):
        return [member.userid]
    return (await staff.staff_of_branches(bank)).get(member.branch, [member.userid])
