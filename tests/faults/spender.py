"""A process that spends a budget and a customer's points until both are empty; it says each key that was posted.

python -m tests.faults.spender NAME
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from config.settings import load
from customers.banks.bank import Bank
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from rewards.ledger import book
from rewards.ledger.book import Entry, Leg
from services.container import open_services
from services.errors import Conflict, Unavailable

BUDGET, POINTS = "budget:camp", "points:demo:c1"
LEGS = {
    "budget": (Leg(BUDGET, "spent:camp", 1),),
    "points": (Leg(POINTS, "points_spent:main", 1),),
    "both": (Leg(BUDGET, "spent:camp", 1), Leg(POINTS, "points_spent:main", 1)),
}
AT_ONCE = 16


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def spend(bank: Bank, key: str, kind: str) -> bool:
    """Until it is known: False when there is nothing left."""
    while True:
        try:
            await book.post(bank, Entry(key, "spend", LEGS[kind]))
        except Conflict:
            return False
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            say(key)
            return True


async def main(name: str) -> None:
    services = await open_services(load(), COLLECTIONS, QUEUES)
    bank = Bank(services, "demo")
    numbers = itertools.count()

    async def client(kind: str) -> None:
        while await spend(bank, f"{kind}-{name}-{next(numbers)}", kind):
            pass

    try:
        kinds = [kind for _ in range(AT_ONCE) for kind in ("both", "budget", "points")]
        await asyncio.gather(*(client(kind) for kind in kinds))
    finally:
        await services.close()
    say("empty")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
