"""What the bank's systems send, through HTTP: requests of EVENTS signed events each, stored durably,
against one request and one insert an event, and against a server that does nothing with the same
bodies. Rates are in events."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import orjson

from bench import cpu, load
from bench.bank import SYSTEM, SYSTEM_SECRET, TENANT
from bench.stage import Stage
from customers.intake.rows import INTAKE

SERVERS = ("product", "naive", "ceiling")
EVENTS = 100
REQUESTS = 3_000
OF_NAIVE, OF_CEILING = 10.0, 0.35
PATH = "/open/v1/events"
NAMES = ("app.login", "payment.made")


def event(number: int) -> dict[str, Any]:
    """One of many events of many customers."""
    name = NAMES[number % 2]
    at = datetime.now(UTC) - timedelta(seconds=60 + number % 80_000)
    return {
        "id": f"ev-{secrets.token_hex(8)}",
        "name": name,
        "at": at.isoformat(timespec="seconds"),
        "customer": {"number": f"C{number % 50_000:08d}"},
        "data": {"amount": 12_50, "channel": "app"} if name == "payment.made" else {},
    }


def request(events: Sequence[dict[str, Any]]) -> bytes:
    """A signed request of these events, as it goes over the wire."""
    headers, body = signed(events)
    return load.request("POST", PATH, headers, body)


def signed(events: Sequence[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request of these events."""
    body = orjson.dumps({"events": events})
    at, nonce = str(int(time.time())), secrets.token_hex(12)
    digest = hashlib.sha256(body).hexdigest()
    message = "\n".join(("POST", PATH, at, nonce, digest)).encode()
    headers = {
        "Content-Type": "application/json",
        "Yinqiao-Partner": f"{TENANT}/{SYSTEM}",
        "Yinqiao-Timestamp": at,
        "Yinqiao-Nonce": nonce,
        "Yinqiao-Signature": hmac.new(SYSTEM_SECRET.encode(), message, hashlib.sha256).hexdigest(),
    }
    return headers, body


@dataclass
class Rounds:
    """What each server reached, round by round: events a second, and the processor time of a
    request."""

    rates: dict[str, list[float]]
    spent: dict[str, list[cpu.Spent]]
    accepted: int = 0


async def measure(stage: Stage) -> dict[str, Any]:
    """The row's line: medians of the rounds. Raises LoadError unless all that was accepted is
    stored."""
    rounds = Rounds({server: [] for server in SERVERS}, {server: [] for server in SERVERS})
    _drive(stage, "ceiling", _many(200))
    for round_ in range(stage.scale.rounds + 1):  # the first warms
        _round(stage, rounds, counts=round_ > 0)
    rates, spent = rounds.rates, rounds.spent
    line: dict[str, Any] = {"bench": "intake", "unit": "events/s"}
    line |= {server: round(median(each), 1) for server, each in rates.items()}
    for other, least in (("naive", OF_NAIVE), ("ceiling", OF_CEILING)):
        line[f"of_{other}"] = _ratio(rates["product"], rates[other])
        line[f"at_least_of_{other}"] = least
    line |= cpu.told(spent["product"], spent["ceiling"])
    return line | await _all_stored(stage, rounds.accepted)


def _round(stage: Stage, rounds: Rounds, *, counts: bool) -> None:
    many, single = _many(min(REQUESTS, stage.scale.requests)), _single(stage.scale.requests)
    for server, requests, each in (
        ("product", many, EVENTS),
        ("naive", single, 1),
        ("ceiling", many, EVENTS),
    ):
        before = cpu.spent(stage.pids)
        done = _drive(stage, server, requests)
        after, answers = cpu.spent(stage.pids), done.statuses[200]
        if server == "product":
            rounds.accepted += answers * EVENTS
        if counts:
            rounds.rates[server].append(done.rate(200) * each)
            rounds.spent[server].append(cpu.of_a_request(before, after, answers))


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    both = zip(these, those, strict=True)
    return round(median(one / other for one, other in both), 3)


def _many(count: int) -> list[bytes]:
    return [request([event(one * EVENTS + n) for n in range(EVENTS)]) for one in range(count)]


def _single(count: int) -> list[bytes]:
    return [request([event(one)]) for one in range(count)]


def _drive(stage: Stage, server: str, requests: Sequence[bytes]) -> load.Measured:
    scale = stage.scale
    return load.drive(
        stage.ports[server],
        requests,
        connections=scale.connections,
        seconds=scale.seconds,
        allowed={200},
    )


async def _all_stored(stage: Stage, accepted: int) -> dict[str, Any]:
    stored = 0
    async for row in stage.services.store.tenant(TENANT)[INTAKE].scan({}, {"accepted": 1}):
        stored += row["accepted"]
    if stored != accepted:
        raise load.LoadError(f"{accepted} events were accepted, {stored} are stored")
    return {"stored": stored}
