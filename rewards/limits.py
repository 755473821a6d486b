"""How much is given to whom: quotas, groups and the budget, as claims meet them.

A quota is a guarded account whose floor is minus what may be given: each grant takes one, or what it
costs, off the account that the quota's scope, the claim's place and the period name. The budget of a
campaign that could be overspent is such an account too. A group of claims reserves what it needs of
one account after the other, under the lease of its batch, before the grants are inserted; what a
later account refuses goes back when the leases are settled. Whether anything was given is decided by
the grants' rows alone (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from customers.banks.bank import Bank
from rewards.ledger import accounts
from rewards.ledger.chart import kind_of
from rewards.place import PLACED
from rewards.rows import Leg, Limits, Place, QuotaRow, Reward
from services.cache import Slot, TtlCache

UNKNOWN = "-"
"""Whose a claim is when nobody knows: such claims count together, like those of one more branch,
channel or RM."""
GONE = frozenset(
    {
        "sold_out",
        "budget",
        "quota_day",
        "quota_reward",
        "quota_campaign",
        "quota_channel",
        "quota_branch",
        "quota_staff",
    }
)
"""Refusals after which the fallback is given: there is none left. Who has had his own gets no
other."""
IN_DOUBT = "quota_in_doubt"
CHANGED = "reward_changed"
FULL_SECONDS = 0.5
_FULL: Slot[TtlCache[tuple[str, str, int, int], str]] = Slot("full", lambda: TtlCache(20_000))
"""Accounts (tenant, name) that refused an amount above a floor a moment ago, and why."""
_REASONS = {
    "customer": "quota_customer",
    "staff": "quota_staff",
    "branch": "quota_branch",
    "channel": "quota_channel",
    "campaign": "quota_campaign",
}
_JUDGED_BY = ("per_customer", "slots", "open_to", "limits", "guarded", "terms")
"""What of a reward's row a claim is judged by besides what the taking of its stock looks at."""
_ORDER = ("customer", "staff", "branch", "channel", "reward", "campaign")
"""What refuses few is asked before what refuses all."""


class Asks(Protocol):
    """A claim as limits see it: the customer's ids, his own first, and whose it is."""

    @property
    def cids(self) -> tuple[str, ...]: ...

    @property
    def place(self) -> Place: ...


@dataclass(frozen=True, slots=True)
class Bound:
    """What one grant takes: `amount` off `account`, whose balance never goes under `floor`, to
    `counter`; it is refused for `reason`. `others` are the accounts of ids that were merged into
    the customer's: what they have used counts as well."""

    account: str
    counter: str
    amount: int
    floor: int
    reason: str
    others: tuple[str, ...] = ()


@dataclass
class Reserved:
    """What a batch has under its leases: the ids that are `kept`, in order, with the `legs` of each;
    why the others were `refused`; and the ids for which a lease lies on each account."""

    kept: list[str]
    legs: dict[str, list[Leg]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    leased: dict[str, Sequence[str]] = field(default_factory=dict)


def changed(judged: Reward, taken: Reward) -> bool:
    """Whether claims that were judged by the one row of a reward must be judged again by the other,
    or its budget is just being opened."""
    said = [tuple(one.get(name) for name in _JUDGED_BY) for one in (judged, taken)]
    return said[0] != said[1] or taken.get("opening", False)


def bounds(bank: Bank, reward: Reward, asks: Asks) -> list[Bound]:
    """The accounts that a grant of the reward draws on, in the order in which they are asked: the
    same number for every claim on it."""
    limits = reward.get("limits") or Limits()
    found = [_stack(limits, asks)] if "stack" in limits else []
    quotas = sorted(limits.get("quotas", ()), key=lambda one: _ORDER.index(one["per"]))
    found += [_quota(bank, reward, quota, asks) for quota in quotas]
    if reward.get("guarded"):
        found.append(_budget(reward))
    return [bound for bound in found if bound.amount]


def _stack(limits: Limits, asks: Asks) -> Bound:
    reason = "exclusive" if limits["most"] == 1 else "stack"
    scope = f"{limits['stack']}@stack"  # no reward and no campaign is called so
    first, *others = (f"quota:{scope}:customer:{cid}:ever" for cid in asks.cids)
    return Bound(first, f"quota_used:{scope}", 1, -limits["most"], reason, tuple(others))


def _quota(bank: Bank, reward: Reward, quota: QuotaRow, asks: Asks) -> Bound:
    over, per = quota["over"], quota["per"]
    kind, amount = ("quota_cost", reward["cost"]) if quota["unit"] == "cost" else ("quota", 1)
    owners = asks.cids if per == "customer" else (_owner(per, asks.place),)
    when = _when(bank, quota["period"])
    first, *others = (f"{kind}:{over}:{per}:{owner}:{when}" for owner in owners)
    counter = f"{kind}_used:{over}"
    return Bound(first, counter, amount, -quota["most"], reason_of(quota), tuple(others))


def _owner(per: str, place: Place) -> str:
    """Whose share a claim takes, of a quota that counts for each of `per`."""
    return str(place.get(per, UNKNOWN)) if per in PLACED else "all"


def _when(bank: Bank, period: str) -> str:
    """The name of the present period."""
    if period == "ever":
        return period
    return f"{bank.today():%Y%m%d}" if period == "day" else f"{bank.today():%Y%m}"


def reason_of(quota: QuotaRow) -> str:
    """The code of the refusal when the quota is used up."""
    if quota["per"] == "reward" and quota["period"] == "day":
        return "quota_day"
    return _REASONS.get(quota["per"], "quota_reward")


def _budget(reward: Reward) -> Bound:
    campaign = reward["campaign"]
    return Bound(f"budget:{campaign}", f"spent:{campaign}", reward["cost"], 0, "budget")


def known_full(bank: Bank, reward: Reward, asks: Asks) -> str:
    """Why an account that the claim draws on refused a moment ago; empty when none did."""
    full, now = bank.services.cache.of(_FULL), bank.now()
    reasons = (full.get(_full_key(bank, bound), now) for bound in bounds(bank, reward, asks))
    return next((why for why in reasons if why), "")


def _full_key(bank: Bank, bound: Bound) -> tuple[str, str, int, int]:
    return bank.id, bound.account, bound.amount, bound.floor


async def reserve(bank: Bank, reward: Reward, batch: str, wanted: Mapping[str, Asks]) -> Reserved:
    """Leases to `batch` what the grants of the ids `wanted` need besides stock, as far as the
    accounts go; `reward` is its row as the stock was taken. Cut short anywhere, the leases are
    settled by the sweep."""
    reserved = Reserved(list(wanted))
    needs = {grant_id: bounds(bank, reward, asks) for grant_id, asks in wanted.items()}
    for depth in range(len(next(iter(needs.values()), ()))):
        await _reserve_next(
            bank, batch, reserved, {one: needs[one][depth] for one in reserved.kept}
        )
    unguarded = _unguarded(reward)
    reserved.legs = {
        grant_id: [*(_leg(bound) for bound in needs[grant_id]), *unguarded]
        for grant_id in reserved.kept
    }
    return reserved


def _unguarded(reward: Reward) -> list[Leg]:
    """What a grant costs a campaign whose budget its rewards cannot overspend: nothing guards it
    but their stock."""
    if reward.get("guarded") or not reward["cost"]:
        return []
    funds, spent = f"funds:{reward['campaign']}", f"spent:{reward['campaign']}"
    return [{"debit": funds, "credit": spent, "amount": reward["cost"], "currency": "fen"}]


def _leg(bound: Bound) -> Leg:
    currency = kind_of(bound.account).currency
    return {
        "debit": bound.account,
        "credit": bound.counter,
        "amount": bound.amount,
        "currency": currency,
    }


async def _reserve_next(
    bank: Bank, batch: str, reserved: Reserved, needs: Mapping[str, Bound]
) -> None:
    """Asks one account for each of the grants that are kept so far; those on the same account
    together."""
    by_account: dict[str, tuple[Bound, list[str]]] = {}
    for grant_id, bound in needs.items():
        known, ids = by_account.get(bound.account, (bound, []))
        # whom a customer was merged with, only the later of two claims may know
        both = tuple(dict.fromkeys((*known.others, *bound.others)))
        by_account[bound.account] = replace(known, others=both), [*ids, grant_id]
    asked = list(by_account.values())
    taken = await asyncio.gather(*(_take(bank, batch, bound, ids) for bound, ids in asked))
    for (bound, ids), n in zip(asked, taken, strict=True):
        if n:
            reserved.leased[bound.account] = ids[:n]
        if n < len(ids):
            reserved.refused |= dict.fromkeys(ids[n:], await _why(bank, bound, n))
    reserved.kept = [one for one in reserved.kept if one not in reserved.refused]


async def _take(bank: Bank, batch: str, bound: Bound, ids: Sequence[str]) -> int:
    """How many of the grants the account has room for. What ids that were merged into the customer's
    have used narrows it."""
    floor = bound.floor
    for other in bound.others:
        floor -= min(0, (await accounts.balance(bank, other)).available)
    if floor > 0:
        return 0
    return await accounts.take(bank, bound.account, batch, ids, bound.amount, floor=floor)


async def _why(bank: Bank, bound: Bound, ours: int) -> str:
    """Why the account has no room: IN_DOUBT while others than we, who have `ours`, hold some of it
    that may come back. Whoever comes within the next moment is told the same."""
    held = (await accounts.balance(bank, bound.account)).held
    why = IN_DOUBT if held > ours * bound.amount else bound.reason
    until = bank.now() + FULL_SECONDS
    bank.services.cache.of(_FULL).put(_full_key(bank, bound), why, until)
    return why


async def settle(bank: Bank, reserved: Reserved, batch: str, arrived: Sequence[str]) -> None:
    """Ends the batch's leases: what the grants that `arrived` took is posted, the rest goes back."""
    there = frozenset(arrived)
    ends = [
        accounts.settle(bank, account, batch, len(there.intersection(ids)))
        for account, ids in reserved.leased.items()
    ]
    await asyncio.gather(*ends)
