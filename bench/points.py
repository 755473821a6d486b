"""Points earned and spent: on one hot customer, and on thousands of cold ones.

Product: the book, asked by so many callers at once. Naive: a transaction for each, as a careful
engineer writes it first: the balance by one conditional update, the line by one insert. Ceiling: the
lines alone, inserted in groups. All three in this process, on the same stores, in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pymongo.errors import DuplicateKeyError, PyMongoError

from bench.load import LoadError
from bench.stage import FULL as FULL_STAGE
from bench.stage import TINY as TINY_STAGE
from bench.stage import open_stage
from customers.banks.bank import Bank
from rewards import ledger
from rewards.ledger import accounts, book
from rewards.ledger.book import Entry, Leg
from rewards.rows import TRANSFERS

AT_LEAST_OF_NAIVE, AT_LEAST_OF_CEILING = 3.0, 0.03
EARNED, SPENT = 10, 4
GROUP = 128


@dataclass(frozen=True)
class Scale:
    """`callers` at once, for `seconds` at most in each of `rounds`, on `customers`."""

    callers: int
    seconds: float
    rounds: int
    customers: int


FULL = Scale(callers=64, seconds=5.0, rounds=3, customers=10_000)
TINY = Scale(callers=8, seconds=0.5, rounds=1, customers=200)
Post = Callable[[str, int], Awaitable[None]]


async def measure(tiny: bool) -> tuple[dict[str, Any], str]:
    """The row's line: transfers a second on the hot customer, and under `cold` on the others."""
    scale = TINY if tiny else FULL
    async with open_stage(TINY_STAGE if tiny else FULL_STAGE, frozenset()) as stage:
        bank = Bank(stage.services, "points")
        naive = stage.naive_db
        servers = {"product": _product(bank), "naive": _naive(naive), "ceiling": _ceiling(bank)}
        hot, cold = ["hot"], [f"c{n}" for n in range(scale.customers)]
        line: dict[str, Any] = {"bench": "points", "unit": "transfers/s"}
        line |= await _rates(scale, servers, hot)
        line["cold"] = await _rates(scale, servers, cold)
        line |= {"at_least_of_naive": AT_LEAST_OF_NAIVE, "at_least_of_ceiling": AT_LEAST_OF_CEILING}
        line |= await _holds(bank)
        version = str((await stage.services.redis.info("server"))["redis_version"])
        return line, version


async def _rates(scale: Scale, servers: dict[str, Post], customers: list[str]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(scale.rounds):
        for name, post in servers.items():
            rates[name].append(await _drive(scale, post, customers))
    found: dict[str, Any] = {name: round(median(each), 1) for name, each in rates.items()}
    for other in ("naive", "ceiling"):
        pairs = zip(rates["product"], rates[other], strict=True)
        found[f"of_{other}"] = round(median(mine / its for mine, its in pairs), 3)
    return found


async def _drive(scale: Scale, post: Post, customers: list[str]) -> float:
    """Transfers a second: each caller earns for a customer and spends for him, then for another."""
    began, done = time.perf_counter(), 0
    order = itertools.cycle(random.sample(customers, len(customers)))

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - began < scale.seconds:
            customer = next(order)
            for amount in (EARNED, -SPENT):
                await post(customer, amount)
                done += 1

    await asyncio.gather(*(caller() for _ in range(scale.callers)))
    return done / (time.perf_counter() - began)


_NUMBERS = itertools.count()


def _product(bank: Bank) -> Post:
    async def post(customer: str, amount: int) -> None:
        account, key = f"points:{customer}", f"k{next(_NUMBERS)}"
        legs = (
            [Leg("points_issued:main", account, amount)]
            if amount > 0
            else [Leg(account, "points_spent:main", -amount)]
        )
        await book.post(bank, Entry(key, "bench", legs))

    return post


def _naive(db: Any) -> Post:
    async def once(customer: str, amount: int, key: str) -> None:
        async with await db.client.start_session() as session, session.start_transaction():
            enough = {} if amount > 0 else {"points": {"$gte": -amount}}
            changed = await db.points.update_one(
                {"_id": customer, **enough},
                {"$inc": {"points": amount}},
                upsert=amount > 0,
                session=session,
            )
            if not (changed.modified_count or changed.upserted_id):
                raise LoadError("there was not enough to spend")
            line = {"_id": key, "customer": customer, "amount": amount, "at": datetime.now(UTC)}
            await db.points_lines.insert_one(line, session=session)

    async def post(customer: str, amount: int) -> None:
        key = f"k{next(_NUMBERS)}"
        while True:
            try:
                await once(customer, amount, key)
            except DuplicateKeyError:  # two who make the same customer's row
                await asyncio.sleep(random.random() * 0.05)
            except PyMongoError as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
                await asyncio.sleep(random.random() * 0.05)
            else:
                return

    return post


def _ceiling(bank: Bank) -> Post:
    async def flush(rows: list[dict[str, Any]]) -> list[None]:
        await bank.services.store.insert_new_across("bench_lines", rows)
        return [None] * len(rows)

    async def post(customer: str, amount: int) -> None:
        row = {
            "_id": f"k{next(_NUMBERS)}",
            "tenant": bank.id,
            "kind": "bench",
            "debit": "points_issued:main",
            "credit": f"points:{customer}",
            "amount": amount,
            "currency": "points",
            "at": bank.utc(),
            "about": {},
        }
        await bank.services.groups.get("bench_lines", flush, limit=GROUP).submit(row)

    return post


async def _holds(bank: Bank) -> dict[str, Any]:
    """Nothing is under way, nothing below nothing, and the ledger is clean."""
    for _ in range(200):
        if not await bank.db["ledger_batches"].find({}, limit=1):
            break
        await asyncio.sleep(0.1)
    problems = await ledger.check(bank)
    (hot,) = (await accounts.read(bank, ["points:hot"])).values()
    if problems or hot["posted"] < 0:
        raise LoadError(f"the ledger says {problems}")
    return {"transfers": await bank.db[TRANSFERS].count(), "ledger": "clean"}
