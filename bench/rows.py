"""The rows that compare: callback, home, claim, refuse. Product, naive and ceiling answer the same
requests in turn.

`home` is asked by HOMES customers in turn, so that hardly one comes again while his home is kept;
`home_again` by one customer a connection, over and over.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench import bank, callbacks, cpu, load
from bench.bank import APPID, GONE, HOT, TENANT, Person
from bench.stage import Stage
from customers.banks.bank import open_bank
from rewards import ledger
from rewards.rows import TRANSFERS
from services.queue.inbox import INBOX

SERVERS = ("product", "naive", "ceiling")
ENOUGH_WARMTH = 300
HOMES = 2_000


@dataclass(frozen=True)
class Row:
    """One comparison. `of_naive` and `of_ceiling` are the ratios of rates that are wanted at least,
    `times_ceiling` how many times the ceiling's processor time the server may spend.
    `requests(stage)` makes a round's requests; `counted` is the status that counts, `busy` those of
    the naive server that say "try again" and do not count; `check(stage, answers)` proves
    afterwards that all was right."""

    name: str
    unit: str
    of_naive: float
    of_ceiling: float
    times_ceiling: float
    requests: Callable[[Stage], Awaitable[list[bytes]]]
    prepare: Callable[[Stage], Awaitable[None]] | None = None
    check: Callable[[Stage, int], Awaitable[dict[str, Any]]] | None = None
    counted: int = 200
    busy: frozenset[int] = frozenset()


@dataclass
class Rates:
    """What each server reached, round by round, and the processor time of a request; `answers` is
    how many counted answers the product gave in all."""

    of: dict[str, list[float]] = field(default_factory=lambda: {server: [] for server in SERVERS})
    spent: dict[str, list[cpu.Spent]] = field(
        default_factory=lambda: {server: [] for server in SERVERS}
    )
    answers: int = 0


async def measure(stage: Stage, row: Row) -> dict[str, Any]:
    """The row's line: the median rate of each server, and the median of the product's ratios to the
    others, round by round."""
    if row.prepare is not None:
        await row.prepare(stage)
    rates = Rates()
    warming = (await row.requests(stage))[:ENOUGH_WARMTH]
    for server in SERVERS:
        _drive(stage, row, rates, server, warming)
    for _ in range(stage.scale.rounds):
        requests = await row.requests(stage)
        for server in SERVERS:
            before = cpu.spent(stage.pids)
            done = _drive(stage, row, rates, server, requests)
            spent = cpu.of_a_request(before, cpu.spent(stage.pids), done.statuses.total())
            rates.of[server].append(done.rate(_counted(row, server)))
            rates.spent[server].append(spent)
    line = _line(row, rates)
    if row.check is not None:
        line |= await row.check(stage, rates.answers)
    return line


def _line(row: Row, rates: Rates) -> dict[str, Any]:
    line: dict[str, Any] = {"bench": row.name, "unit": row.unit}
    line |= {server: round(median(each), 1) for server, each in rates.of.items()}
    line |= {f"of_{other}": _ratio(rates, other) for other in SERVERS[1:]}
    line |= {"at_least_of_naive": row.of_naive, "at_least_of_ceiling": row.of_ceiling}
    line |= cpu.told(rates.spent["product"], rates.spent["ceiling"])
    line["at_most_times_the_ceiling"] = row.times_ceiling
    line["rounds"] = {
        server: [round(rate, 1) for rate in each] for server, each in rates.of.items()
    }
    return line


def _ratio(rates: Rates, other: str) -> float:
    return round(
        median(mine / its for mine, its in zip(rates.of["product"], rates.of[other], strict=True)),
        3,
    )


def _counted(row: Row, server: str) -> int:
    """The status of an answer that counts."""
    return 200 if server == "ceiling" else row.counted


def _drive(
    stage: Stage, row: Row, rates: Rates, server: str, requests: list[bytes]
) -> load.Measured:
    """What one server made of `requests`."""
    counted = _counted(row, server)
    allowed = {counted} | (row.busy if server == "naive" else frozenset())
    scale = stage.scale
    done = load.drive(
        stage.ports[server],
        requests,
        connections=scale.connections,
        seconds=scale.seconds,
        allowed=allowed,
    )
    if server == "product":
        rates.answers += done.statuses[counted]
    return done


async def _callbacks(stage: Stage) -> list[bytes]:
    return [callbacks.added()[1] for _ in range(stage.scale.requests)]


async def _all_stored(stage: Stage, answers: int) -> dict[str, Any]:
    stored = await stage.services.store.tenant(TENANT)[INBOX].count({})
    if stored != answers:
        raise load.LoadError(f"{answers} callbacks were acknowledged, {stored} are stored")
    return {"stored": stored}


def _signed(person: Person, key: str = "") -> dict[str, str]:
    headers = {"Authorization": f"Bearer {person.token}"}
    return headers | {"Idempotency-Key": key} if key else headers


async def _prepare_many_homes(stage: Stage) -> None:
    await _prepare_homes(stage, min(HOMES, stage.scale.requests))


async def _prepare_few_homes(stage: Stage) -> None:
    await _prepare_homes(stage, stage.scale.connections)


async def _prepare_homes(stage: Stage, customers: int) -> None:
    people = await bank.sign_in(stage.services, customers)
    await bank.homes_of_the_naive(stage.services, stage.naive_db, people)
    stage.kept["homes"] = people


async def _homes(stage: Stage) -> list[bytes]:
    people = stage.kept["homes"]
    times = -(-stage.scale.requests // len(people))
    once = [load.request("GET", f"/mp/{APPID}/home", _signed(person)) for person in people]
    return (once * times)[: stage.scale.requests]


async def _prepare_stock(stage: Stage) -> None:
    left = [{"_id": HOT, "left": bank.PLENTY}, {"_id": GONE, "left": 0}]
    for row in left:
        await stage.naive_db.rewards.replace_one({"_id": row["_id"]}, row, upsert=True)


def _claim(person: Person, reward: str) -> bytes:
    path = f"/mp/{APPID}/rewards/{reward}/claim"
    return load.request("POST", path, _signed(person, secrets.token_hex(8)))


async def _claims(stage: Stage) -> list[bytes]:
    """One claim each of customers who have claimed nothing yet."""
    return [
        _claim(person, HOT) for person in await bank.sign_in(stage.services, stage.scale.requests)
    ]


async def _refusals(stage: Stage) -> list[bytes]:
    return [
        _claim(person, GONE) for person in await bank.sign_in(stage.services, stage.scale.requests)
    ]


async def _ledger_holds(stage: Stage, answers: int) -> dict[str, Any]:
    """Every answer is one grant, and the ledger is clean; the same of the naive server's stock."""
    grants = await stage.services.store.tenant(TENANT)[TRANSFERS].count(
        {"kind": "grant", "reward": HOT}
    )
    problems = await ledger.check(await open_bank(stage.services, TENANT))
    if grants != answers or problems:
        raise load.LoadError(
            f"{answers} claims were answered, {grants} granted; the ledger says {problems}"
        )
    left = (await stage.naive_db.rewards.find_one({"_id": HOT}))["left"]
    naive = await stage.naive_db.grants.count_documents({})
    if bank.PLENTY - left != naive:
        raise load.LoadError(f"the naive stock fell by {bank.PLENTY - left}, with {naive} grants")
    return {"grants": grants, "ledger": "clean"}


async def _nothing_granted(stage: Stage, answers: int) -> dict[str, Any]:
    grants = await stage.services.store.tenant(TENANT)[TRANSFERS].count(
        {"kind": "grant", "reward": GONE}
    )
    if grants:
        raise load.LoadError(f"{grants} grants of a sold-out reward")
    return {"refusals": answers}


ROWS = {
    row.name: row
    for row in (
        Row("callback", "callbacks/s", 2.0, 0.45, 2.0, _callbacks, check=_all_stored),
        Row("home", "homes/s", 1.5, 0.5, 2.5, _homes, prepare=_prepare_many_homes),
        Row("home_again", "homes/s", 1.5, 0.5, 2.5, _homes, prepare=_prepare_few_homes),
        Row(
            "claim",
            "claims/s",
            20.0,
            0.35,
            2.5,
            _claims,
            prepare=_prepare_stock,
            check=_ledger_holds,
            busy=frozenset({503}),
        ),
        Row(
            "refuse",
            "refusals/s",
            2.0,
            0.5,
            2.0,
            _refusals,
            prepare=_prepare_stock,
            check=_nothing_granted,
            counted=409,
        ),
    )
}
