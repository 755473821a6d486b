"""How a campaign's budget burns: what is spent, by day and by reward, what is left, and until when it
lasts at the present pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

from customers.banks.bank import Bank
from rewards import budget
from rewards.ledger import accounts
from rewards.rows import REWARDS, RewardRow

PACE_DAYS = 7
"""The present pace is that of so many days."""
MOST_DAYS = 60
"""of the curve"""


@dataclass(frozen=True)
class Day:
    """What was spent on one of the bank's days, and since the beginning (fen); `share` is the day's
    height beside the highest, in percent."""

    day: date
    spent: int
    total: int
    share: int


@dataclass(frozen=True)
class OfReward:
    """What one reward spent (fen), and its units: given, left, and whether it gives any more."""

    reward: str
    title: dict[str, str]
    cost: int
    granted: int
    left: int
    spent: int
    state: str


@dataclass(frozen=True)
class Burn:
    """A campaign's budget (fen). `held` is for claims under way, `left` what may still be spent;
    `whole_stock` is what all that is left in stock would cost. `pace` is a day's spending of late;
    `out` the day on which the money is gone at that pace, None when nothing is spent now; `ends` the
    last day to claim. `guarded`: each grant draws on the budget, since the stock is worth more."""

    campaign: str
    budget: int
    spent: int
    held: int
    left: int
    whole_stock: int
    pace: int
    out: date | None
    ends: date | None
    guarded: bool
    days: Sequence[Day]
    rewards: Sequence[OfReward]

    @property
    def burnt(self) -> int:
        """The share that is spent, in percent."""
        return min(100, self.spent * 100 // self.budget) if self.budget else 0

    @property
    def lasts(self) -> bool:
        """Whether the money lasts to the last day at the present pace."""
        return self.out is None or (self.ends is not None and self.out > self.ends)


async def of_campaign(bank: Bank, campaign: str) -> Burn | None:
    """How the campaign's budget burns; None for one without rewards so far."""
    found = await bank.db[REWARDS].find({"campaign": campaign}, sort=[("reward", 1)], limit=None)
    rewards = [cast("RewardRow", row) for row in found]
    return await _burn(bank, campaign, rewards) if rewards else None


async def of_bank(bank: Bank) -> list[Burn]:
    """The same of every campaign of the bank that gives or gave rewards, by id."""
    by_campaign: dict[str, list[RewardRow]] = {}
    for row in await bank.db[REWARDS].find({}, sort=[("reward", 1)], limit=None):
        by_campaign.setdefault(row["campaign"], []).append(cast("RewardRow", row))
    return [await _burn(bank, *one) for one in sorted(by_campaign.items())]


async def _burn(bank: Bank, campaign: str, rewards: Sequence[RewardRow]) -> Burn:
    known = await budget.find(bank, campaign)
    declared = known["declared"] if known is not None else 0
    by_day = sum((spent_by_day(row) for row in rewards), Counter[str]())
    spent, held = sum(by_day.values()), sum(map(_held, rewards))
    left = declared - spent - held
    if known is not None and known["guarded"]:
        account = await accounts.balance(bank, f"budget:{campaign}")
        held, left = account.held, account.available
        spent = declared - held - left
    days = _days(bank.today(), by_day)
    pace = _pace(bank.today(), by_day)
    return Burn(
        campaign=campaign,
        budget=declared,
        spent=spent,
        held=held,
        left=left,
        whole_stock=sum(row["available"] * row["cost"] for row in rewards if _is_open(row)),
        pace=pace,
        out=_runs_out(bank.today(), left, pace),
        ends=_last_day(bank, rewards),
        guarded=known is not None and known["guarded"],
        days=days,
        rewards=[_of_reward(row) for row in rewards],
    )


def spent_by_day(row: RewardRow) -> Counter[str]:
    """What the reward's grants cost on each of the bank's days; of days before their cost was
    counted, what the units cost now."""
    known = row.get("spent", {})
    return Counter({day: known.get(day, units * row["cost"]) for day, units in row["days"].items()})


def _held(row: RewardRow) -> int:
    return sum(lease["n"] * lease.get("cost", row["cost"]) for lease in row["leases"].values())


def _is_open(row: RewardRow) -> bool:
    return row["state"] != "ended"


def _of_reward(row: RewardRow) -> OfReward:
    return OfReward(
        reward=row["reward"],
        title=row["title"],
        cost=row["cost"],
        granted=row["granted"],
        left=row["available"] if _is_open(row) else 0,
        spent=spent_by_day(row).total(),
        state=row["state"],
    )


def _days(today: date, by_day: Counter[str]) -> list[Day]:
    """Every day since the first on which something was spent, the last MOST_DAYS of them."""
    spent = {date.fromisoformat(day): fen for day, fen in by_day.items() if fen}
    if not spent:
        return []
    first, highest = min(spent), max(spent.values())
    begin = max(first, today - timedelta(days=MOST_DAYS - 1))
    total = sum(fen for day, fen in spent.items() if day < begin)
    days: list[Day] = []
    for day in _each(begin, today):
        fen = spent.get(day, 0)
        total += fen
        days.append(Day(day, fen, total, fen * 100 // highest))
    return days


def _each(begin: date, end: date) -> Iterable[date]:
    return (begin + timedelta(days=n) for n in range((end - begin).days + 1))


def _pace(today: date, by_day: Counter[str]) -> int:
    """What was spent a day over the last PACE_DAYS, today with them; over fewer where it began
    later."""
    first = min((day for day, fen in by_day.items() if fen), default="")
    if not first:
        return 0
    since = (today - date.fromisoformat(first)).days + 1
    days = max(1, min(PACE_DAYS, since))
    late = [f"{today - timedelta(days=n):%Y%m%d}" for n in range(days)]
    return sum(by_day[day] for day in late) // days


def _runs_out(today: date, left: int, pace: int) -> date | None:
    """The day on which the money is gone; None when nothing is spent, or it lasts for years."""
    if left <= 0:
        return today
    days = left // pace if pace else None
    return today + timedelta(days=days) if days is not None and days < 3_650 else None


def _last_day(bank: Bank, rewards: Iterable[RewardRow]) -> date | None:
    ends = [row["ends"] for row in rewards if _is_open(row)]
    last = max(ends, default=None)
    return (last - timedelta(seconds=1)).astimezone(bank.tz).date() if last is not None else None
