"""Many people become the bank's customers at once, each with a past: accounts, logins, payments and
balances of the last year. The core tells of them in requests of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

from sandbox.bank.customers import PRODUCTS, Core, tell_events, tell_fields
from sandbox.core.bank_records import By
from sandbox.core.bank_system import Sent
from sandbox.core.errors import Impossible
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person

AT_ONCE = 100
"""Customers of one request; what happened to them fits into one."""
BYS: tuple[By, ...] = ("external_userid", "external_userid", "unionid", "unionid", "number")
DAYS = 380
"""Further back nothing happened."""


def come(box: Sandbox, count: int, seed: int) -> Iterator[list[Sent]]:
    """So many people who have an RM and were no customers of the bank become some, those who were
    there first; each step is what was sent of a few of them. The same for the same seed."""
    people = list(islice(_strangers(box), count))
    for start in range(0, len(people), AT_ONCE):
        yield _tell(box, [_live(box, one, seed) for one in people[start : start + AT_ONCE]])


def _strangers(box: Sandbox) -> Iterator[Person]:
    for person in box.state.people.values():
        if person.friends and person.id not in box.state.bank:
            yield person


def _live(box: Sandbox, person: Person, seed: int) -> Core:
    chance = Random(f"{seed}:{person.unionid}")  # noqa: S311 -- lives, not secrets
    core = Core(box, person)
    core.become(chance.choice(BYS), f"K{len(box.state.bank):09d}")
    core.customer.crowd = True
    if chance.random() < 0.1:
        return core
    past = sorted((_moment(chance) for _ in range(chance.randint(1, 6))), reverse=True)
    core.at = past.pop()
    core.open_account(chance.choice(PRODUCTS), chance.randint(0, 150_000_000))
    while past:
        core.at = past.pop()
        _act(core, chance)
    return core


def _moment(chance: Random) -> str:
    """Some time of the last year, and often of the last weeks; never the present minute."""
    days = chance.choice([chance.uniform(0, DAYS), chance.uniform(0, 45), chance.uniform(25, 35)])
    return (datetime.now(UTC) - timedelta(days=days, minutes=1)).isoformat(timespec="seconds")


def _act(core: Core, chance: Random) -> None:
    lot = chance.random()
    if lot < 0.15:
        core.balance(chance.randint(0, 200_000_000))
    elif lot < 0.3 and core.customer.balance > 100_000:
        try:
            core.pay(chance.randint(100, 90_000), "app")
        except Impossible:
            core.log_in()
    else:
        core.log_in()


def _tell(box: Sandbox, cores: Sequence[Core]) -> list[Sent]:
    happened = [core for core in cores if core.happened]
    sent = [tell_events(box, happened)] if happened else []
    sent.append(tell_fields(box, cores))
    for core in cores:
        core.happened, core.fields = [], {}
    return sent
