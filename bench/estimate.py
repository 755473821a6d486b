"""How many customers meet a rule: counted in the columnar mirror, against the database's filter of
the same rule.

The mirror is made by the product's command in a process of its own, and kept by the product while
it is asked. What the filter finds for one rule is compared with what the mirror says.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from bench.bank import TENANT
from bench.load import LoadError
from bench.stage import FULL, TINY, Stage, open_stage
from customers.banks.bank import Bank, open_bank
from customers.columnar import reading
from customers.rules import days
from customers.rules.filters import to_filter
from customers.rules.reading import read_rule
from customers.rules.tree import Tree
from customers.rules.vocabulary import CHINA, Kind, Name, Vocabulary
from customers.segments import estimate
from deploy.parts import environment
from deploy.processes import ROOT
from operations import columnar
from services import ids
from services.store.mongo import Doc

AT_MOST = {"at_most_ms": 1_000.0, "at_most_seconds": 120.0, "at_most_mb": 400.0}
MANY, FEW = 1_000_000, 400
PEOPLE = 2_000
"""So many different customers there are, but for their ids, a number and a text."""
AT_ONCE = 2_000
FIELDS: tuple[tuple[Kind, int], ...] = (
    ("choice", 12), ("number", 10), ("money", 5), ("date", 5), ("bool", 5), ("text", 3),
)  # fmt: skip
RULES = (
    "customer.choice1 in ['A', 'B'] and customer.number1 >= 300 and customer.bool1"
    " and not tag('staff') and count(event('app.login'), 30d) >= 3",
    "customer.choice2 == 'C' and customer.number0 between 1000 and 250000",
    "customer.text0 contains '777' or customer.text1 == 'text 7'",
    "anniversary(customer.date1) in next 30d and customer.money1 > 100000",
    "customer.date2 older than 3y and (tag('vip') or tag('gold')) and branch('b7')",
    "count(event('card.used')) >= 5 and not campaign('acq', 90d)",
    "last(event('app.login')) older than 30d and customer.money2 between 1000 and 5000000",
    "reward('coffee') and not segment('wealthy') and customer.choice3 not in ['A', 'D']",
    "known(customer.text2) and customer.number2 < 20 or rm('rm7')",
    "not (customer.bool2 and customer.bool3) and rm.since newer than 1y and customer.bound",
)


@dataclass(frozen=True)
class Asked:
    """What came of the product: milliseconds of each question, and the count of the first rule."""

    times: list[float]
    count: int


async def measure(tiny: bool) -> tuple[dict[str, Any], str]:
    """The row's line: the 50th and 95th of a hundred questions in milliseconds, the filter's time for
    the first rule, and what making the mirror took."""
    async with open_stage(TINY if tiny else FULL, frozenset()) as stage:
        version = str((await stage.services.redis.info("server"))["redis_version"])
        return await _measure(stage, FEW if tiny else MANY), version


async def _measure(stage: Stage, customers: int) -> dict[str, Any]:
    rows = stage.naive_db.client[stage.settings.mongodb_database]["profiles"]
    for some in _profiles(customers):
        await rows.insert_many(some, ordered=False)
    made = await asyncio.to_thread(_rebuild, environment(stage.settings))
    bank = await open_bank(stage.services, TENANT)
    trees = [read_rule(rule, _vocabulary()) for rule in RULES]
    async with _kept(bank, trees[0]):
        asked = await _ask(bank, trees, 10)
    wanted = {"tenant": TENANT, **to_filter(trees[0], days.number_of(bank.today()))}
    begun = time.monotonic()
    found = await rows.count_documents(wanted)
    naive = (time.monotonic() - begun) * 1000
    if found != asked.count:
        raise LoadError(f"the mirror counts {asked.count}, the database {found}")
    line = {"bench": "estimate", "unit": "ms", "customers": customers, "naive_ms": round(naive, 1)}
    return {**line, **_percentiles(asked.times), **made, **AT_MOST}


def _percentiles(times: list[float]) -> dict[str, float]:
    p95 = quantiles(times, n=20)[-1]
    told = {"p50_ms": median(times), "p95_ms": p95, "max_ms": max(times)}
    return {name: round(figure, 1) for name, figure in told.items()}


def _rebuild(environ: dict[str, str]) -> dict[str, float]:
    """Runs the command; its seconds, those in which its process computed, and the most memory of
    that in MB."""
    command = [sys.executable, str(ROOT / "manage.py"), "profiles", "mirror", "rebuild"]
    begun = time.monotonic()
    pid = os.posix_spawn(sys.executable, [*command, "--tenant", TENANT], environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise LoadError("the mirror could not be made")
    computed = used.ru_utime + used.ru_stime
    told = {"rebuild_seconds": time.monotonic() - begun, "rebuild_computed_seconds": computed}
    told["rebuild_mb"] = used.ru_maxrss / 1024
    return {name: round(figure, 1) for name, figure in told.items()}


@asynccontextmanager
async def _kept(bank: Bank, tree: Tree) -> AsyncIterator[None]:
    """While the product keeps the mirror; it goes on from the place at which the command began."""
    stop = asyncio.Event()
    keeping = asyncio.create_task(columnar.run(bank.services, stop))
    try:
        for _ in range(600):
            if await reading.count(bank, tree, 0) is not None:
                break
            await asyncio.sleep(0.1)
        yield
    finally:
        stop.set()
        await keeping


async def _ask(bank: Bank, trees: list[Tree], rounds: int) -> Asked:
    times, counts = list[float](), list[int]()
    for _ in range(rounds):
        for tree in trees:
            begun = time.monotonic()
            found = await estimate.estimate(bank, tree)
            times.append((time.monotonic() - begun) * 1000)
            counts.append(found.count)
            if found.mirror_age is None:
                raise LoadError("the mirror was not asked")
    return Asked(times, counts[0])


def _vocabulary() -> Vocabulary:
    fields = [
        Name(name=f"customer.{kind}{n}", kind=kind, path=("fields", f"{kind}{n}"),
             choices=dict.fromkeys("ABCDE", {}) if kind == "choice" else {})
        for kind, many in FIELDS for n in range(many)
    ]  # fmt: skip
    others = [
        Name(name="customer.bound", kind="bool", path=("bound",)),
        Name(name="rm.since", kind="moment", path=("rms", "since"), earliest=True),
    ]
    functions: Any = ("tag", "segment", "list", "rm", "branch", "event", "campaign", "reward")
    return Vocabulary(
        names={name.name: name for name in (*fields, *others)}, known=dict.fromkeys(functions)
    )


# customers


def _profiles(customers: int) -> Iterator[list[Doc]]:
    """Profiles of 40 fields each, in parts."""
    chance = random.Random(40)
    people = [_person(chance) for _ in range(min(PEOPLE, customers))]
    for first in range(0, customers, AT_ONCE):
        some = range(first, min(customers, first + AT_ONCE))
        yield [_profile(number, people[number % len(people)]) for number in some]


def _profile(number: int, person: Doc) -> Doc:
    own = {"number0": number, "text0": f"text {number}"}
    cid = ids.tenant_id(TENANT, "customer", number)
    return {"_id": cid, **person, "fields": {**person["fields"], **own}}


def _person(chance: random.Random) -> Doc:
    today, now = days.day_at(time.time(), CHINA), time.time()
    fields = {
        f"{kind}{n}": _value(kind, chance, today) for kind, many in FIELDS for n in range(many)
    }
    friends = [
        {"userid": f"rm{n}", "branch": f"b{n % 50}", "since": now - chance.random() * 5e7}
        for n in chance.sample(range(500), chance.choice([0, 1, 1, 1, 2]))
    ]
    return {
        "tenant": TENANT, "seq": 1, "fields": fields, "blind": {}, "rms": friends,
        "tags": chance.sample(["vip", "gold", "staff", "wealth", "new"], chance.randint(0, 3)),
        "events": {event: _tally(chance, today, now) for event in ("app/login", "card/used")},
        "campaigns": {"acq": now - chance.random() * 2e7}, "lists": [],
        "rewards": {"coffee": {"n": chance.randint(0, 2), "last": now}},
        "segments": chance.sample(["wealthy", "young"], chance.randint(0, 2)),
        "bound": chance.random() < 0.5, "created_at": now - chance.random() * 1e8,
    }  # fmt: skip


def _value(kind: Kind, chance: random.Random, today: int) -> Any:
    match kind:
        case "choice":
            return chance.choice("ABCDE")
        case "number":
            return chance.randint(0, 1_000)
        case "money":
            return chance.randint(0, 10**7)
        case "date":
            return days.iso(today - chance.randint(0, 25_000))
        case "bool":
            return chance.random() < 0.5
    return f"text {chance.randint(0, 20_000)}"


def _tally(chance: random.Random, today: int, now: float) -> Doc:
    counts = {str(today - back): chance.randint(1, 3) for back in chance.sample(range(400), 8)}
    since = now - chance.random() * 3e7
    return {"n": sum(counts.values()), "first": since, "last": since, "days": counts}
