"""What happens at the bank by itself: so many events a minute, of its customers in the sandbox."""

from __future__ import annotations

from random import Random, SystemRandom

from sandbox.bank.customers import PRODUCTS, Core, tell_events
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person

MOST_AT_ONCE = 500
CHANCE = SystemRandom()
COFFEE = 1_800
MOST_USUAL = 500_000
"""fen"""


def run_due(box: Sandbox, seconds: float) -> None:
    """Lets happen what the rate makes due in so many seconds: logins mostly, payments of those who
    have money, accounts of those who have none. Of a bank without customers nothing is told."""
    bank = box.bank
    bank.owed += bank.rate * seconds / 60
    due, bank.owed = int(bank.owed), bank.owed % 1
    people = [one for one in map(box.state.people.get, box.state.bank) if one is not None]
    if not due or not people or box.world.bank_system is None:
        return
    chosen: dict[str, Core] = {}
    for _ in range(min(due, MOST_AT_ONCE)):
        person = CHANCE.choice(people)
        _live(chosen.setdefault(person.id, Core(box, person)))
    cores = list(chosen.values())
    tell_events(box, cores)
    for core in cores:
        core.happened = []
        core.tell()


def habits(person: Person) -> tuple[float, int]:
    """How often somebody pays when something happens, and how much he usually does, in fen: many pay
    little and seldom, and few pay much. It follows from who he is."""
    his = Random(f"{person.name}:{person.phone}:pays")  # noqa: S311
    return his.uniform(0.1, 0.6), min(MOST_USUAL, int(COFFEE * his.lognormvariate(0.5, 1.2)) + 1)


def _live(core: Core) -> None:
    """One event of his."""
    customer = core.customer
    often, usual = habits(core.person)
    amount = max(1, int(usual * CHANCE.uniform(0.5, 1.5)))
    if not customer.accounts:
        core.open_account(CHANCE.choice(PRODUCTS), CHANCE.randrange(1_000_000, 150_000_000))
    elif CHANCE.random() < often and any(one.balance >= amount for one in customer.accounts):
        core.pay(amount, "app")
    else:
        core.log_in()
