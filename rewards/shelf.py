"""What is left of the bank's rewards: every stock at a glance, one with all that moved it, and the
alarm of one that runs short."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.banks.bank import Bank
from rewards import catalogue, stock
from rewards.rows import REWARDS, TRANSFERS, Reward, doc_id, stock_line_id
from services import ids
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc

LOW = "reward.low"
"""The alarm of a reward whose stock runs short."""
TENTH = 10
"""Where nobody said below how many somebody is told, it is a tenth of the declared stock."""
DAYS = 30
"""Days of which a page says how many were taken."""
MOST_LOW = 10_000_000
WATCHED: Doc = {"$or": [{"state": "live"}, {"low_said": True}]}
"""Rewards that may run short, or of which it was said."""


def low_of(row: Mapping[str, Any]) -> int:
    """Below how many left somebody is told; 0: never."""
    said = row.get("low")
    return row["declared"] // TENTH if said is None else int(said)


def is_low(row: Mapping[str, Any]) -> bool:
    """Whether a reward that may be claimed has fewer left than that."""
    return bool(row["state"] == "live" and row["available"] < low_of(row))


async def watch(bank: Bank) -> None:
    """Raises the alarm of each reward that runs short, once each time, and ends it when there are
    enough again or it is over. Safe to repeat, and for two at once."""
    for row, short in await _changed(bank):
        await _say(bank, row, short=short)


async def is_to_be_told(bank: Bank) -> bool:
    """Whether a reward has run short, or has enough again, and nobody was told."""
    return bool(await _changed(bank))


async def _changed(bank: Bank) -> list[tuple[Doc, bool]]:
    now = bank.utc()
    rows = await bank.db[REWARDS].find(WATCHED, fields={"leases": 0}, limit=None)
    looked = [(row, is_low(row) and row["ends"] > now) for row in rows]
    return [(row, short) for row, short in looked if short != bool(row.get("low_said"))]


async def _say(bank: Bank, row: Doc, *, short: bool) -> None:
    """The alarm is named by how often the reward has run short, so telling it twice is once."""
    dips = int(row.get("low_dips", 0))
    key = f"{row['reward']}:{dips}"
    if short:
        left = {"left": row["available"], "low": low_of(row)}
        await alarms.raise_alarm(
            bank, LOW, key, gathers=row["reward"], reward=row["reward"], **left
        )
        change: Doc = {"$set": {"low_said": True}}
    else:
        raised = ids.tenant_id(bank.id, "alarm", LOW, key)
        await alarms.handle(bank, [raised], "rewards", "restocked", f"restocked:{key}")
        change = {"$set": {"low_said": False}, "$inc": {"low_dips": 1}}
    same = {"low_said": True} if not short else {"low_said": {"$ne": True}}
    dipped = {"low_dips": dips} if dips else {"low_dips": {"$in": [None, 0]}}
    await bank.db[REWARDS].update({"_id": row["_id"], **same, **dipped}, change)


async def set_low(bank: Bank, actor: ClerkActor, reward: str, low: int) -> None:
    """Changes below how many left somebody is told (0: never). Raises NotFound, InvalidInput
    `low_invalid`."""
    if not 0 <= low <= MOST_LOW:
        raise InvalidInput("low_invalid", f"0 to {MOST_LOW}", fields={"low": "low_invalid"})
    row = await _row(bank, reward)
    said: Doc = {"before": low_of(row), "low": low}
    async with bank.audited(actor.login, "reward.low_changed", reward, **said) as act:
        act.done = low_of(row) != low
        await bank.db[REWARDS].update({"_id": row["_id"]}, {"$set": {"low": low}})
    catalogue.drop_cached(bank)


async def _row(bank: Bank, reward: str) -> Doc:
    row = await bank.db[REWARDS].find_one({"_id": doc_id(bank.id, reward)}, {"leases": 0})
    if row is None:
        raise NotFound("reward_unknown", f"no reward {reward}")
    return row


async def overview(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Every reward of the bank: those that may be claimed first, then by campaign."""
    rows = await bank.db[REWARDS].find({}, fields={"leases": 0}, limit=None)
    ranks = {"live": 0, "paused": 1, "ended": 2}
    rows.sort(key=lambda row: (ranks.get(row["state"], 3), row["campaign"], row["reward"]))
    return [_shown(bank, row) for row in rows]


def _shown(bank: Bank, row: Doc) -> dict[str, Any]:
    reason = catalogue.why_closed(cast("Reward", row), bank.utc(), stock.today(bank))
    return {
        **row,
        "today": row["days"].get(stock.today(bank), 0),
        "why": reason,
        "low_at": low_of(row),
        "short": is_low(row),
    }


async def get(bank: Bank, actor: ClerkActor, reward: str) -> dict[str, Any]:
    """One reward with the units taken on each of the last DAYS days, and every change of its stock,
    newest first. Raises NotFound `reward_unknown`."""
    row = await _row(bank, reward)
    today = bank.today()
    days = [today - timedelta(days=ago) for ago in range(DAYS)]
    taken = [(one, row["days"].get(f"{one:%Y%m%d}", 0)) for one in days]
    return {
        **_shown(bank, row),
        "by_day": [(one.isoformat(), n) for one, n in taken if n],
        "most": max((n for _, n in taken), default=0),
        "stock_lines": await _lines(bank, row),
    }


async def _lines(bank: Bank, row: Doc) -> list[dict[str, Any]]:
    """The ledger's lines of the reward's stock: their ids are known."""
    wanted = [
        stock_line_id(bank.id, row["reward"], {"n": n + 1, "difference": 0})
        for n in range(row["moves"])
    ]
    found = await bank.by_id(TRANSFERS, wanted[-200:])
    lines = [found[one] for one in reversed(wanted) if one in found]
    return [{"at": one["at"], "kind": one["kind"], "amount": one["amount"]} for one in lines]
