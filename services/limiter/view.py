"""What all processes together know of the platforms' limits, for whoever looks: how much of each
allowance is used, what is blocked, and the lifting of a block by a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.clock import utc
from services.errors import Unavailable
from services.limiter import Limiter
from services.limiter.gate import Keys
from services.limiter.meters import BUCKETS


@dataclass(frozen=True, slots=True)
class Used:
    """How many calls were made in the last `seconds`, of at most `most`."""

    seconds: float
    used: int
    most: int


@dataclass(frozen=True, slots=True)
class Blocked:
    """That the platform closed an API: since when, until when its rules say, with which answer,
    how often it refused since, and what the last probe came to (an errcode, or the name of an
    error; empty when there was none)."""

    since: datetime
    until: datetime
    errcode: int
    errmsg: str
    refusals: int
    probed: datetime | None
    answer: str


@dataclass(frozen=True, slots=True)
class ApiState:
    """One API of a corp or mini-program, named as its limit is; `under_way` calls are out."""

    family: str
    scope: str
    name: str
    windows: tuple[Used, ...]
    under_way: int
    block: Blocked | None


Scope = tuple[str, str]
"""A family and whose calls are counted together: a corp, or a mini-program."""


async def blocked(limiter: Limiter, scopes: Iterable[Scope]) -> dict[Keys, Blocked]:
    """The APIs that are blocked now; raises Unavailable without Redis."""
    asked = list(scopes)
    names = await _asked(limiter, [("smembers", Keys(*scope, "").blocked) for scope in asked])
    keys = [
        Keys(family, scope, name.decode(), limiter.source)
        for (family, scope), found in zip(asked, names, strict=True)
        for name in sorted(found)
    ]
    rows = await _asked(limiter, [("hgetall", key.block) for key in keys])
    return {key: _block(row) for key, row in zip(keys, rows, strict=True) if row}


async def states(limiter: Limiter, family: str, scope: str) -> list[ApiState]:
    """Every API that was called for this corp or mini-program, by name, and whatever is closed;
    raises Unavailable without Redis."""
    scoped = Keys(family, scope, "")
    ((seconds, micros), names) = await _asked(
        limiter, [("time",), ("sunion", scoped.known, scoped.blocked)]
    )
    now = seconds + micros / 1_000_000
    keys = [Keys(family, scope, name.decode(), limiter.source) for name in sorted(names)]
    asked: list[tuple[str, ...]] = []
    for key in keys:
        asked += [
            ("hgetall", key.counts),
            ("zcard", f"{key.counts}:out"),
            ("hgetall", key.block),
        ]
    rows = await _asked(limiter, asked)
    return [
        ApiState(
            family,
            scope,
            key.name,
            tuple(_used(limiter, key, counts, now)),
            int(out),
            _block(block) if block else None,
        )
        for key, counts, out, block in zip(keys, rows[::3], rows[1::3], rows[2::3], strict=True)
    ]


async def lift(limiter: Limiter, family: str, scope: str, name: str) -> bool:
    """Ends the block of an API for every process, as if a call had passed; False when there was
    none. Raises Unavailable without Redis."""
    keys = Keys(family, scope, name, limiter.source)
    gone, _ = await _asked(limiter, [("delete", keys.block), ("srem", keys.blocked, name)])
    return bool(gone)


def _used(limiter: Limiter, keys: Keys, counts: dict[bytes, bytes], now: float) -> list[Used]:
    """What is used of each window that the platform has; those that only pace us are left out."""
    return [
        Used(seconds, _count(counts, seconds, now), most)
        for seconds, most in limiter.published(keys.family, keys.name)
    ]


def _count(counts: dict[bytes, bytes], seconds: float, now: float) -> int:
    width, prefix = seconds / BUCKETS, f"{seconds:g}:".encode()
    oldest = int((now - seconds) // width)
    return sum(
        int(count)
        for field, count in counts.items()
        if field.startswith(prefix)
        and field[len(prefix) :].isdigit()
        and int(field[len(prefix) :]) >= oldest
    )


def _block(row: dict[bytes, bytes]) -> Blocked:
    told = {name.decode(): value.decode("utf-8", "replace") for name, value in row.items()}
    probed = told.get("probed")
    return Blocked(
        since=utc(float(told["since"])),
        until=utc(float(told["over"])),
        errcode=int(told["errcode"]),
        errmsg=told["errmsg"],
        refusals=int(told["refusals"]),
        probed=utc(float(probed)) if probed else None,
        answer=told.get("answer", ""),
    )


async def _asked(limiter: Limiter, commands: list[tuple[str, ...]]) -> list[Any]:
    """Redis's answers, in one round trip."""
    if not commands:
        return []
    redis: Redis | None = limiter.redis
    if redis is None:
        raise Unavailable("limits_unknown", "Redis does not answer, which keeps the limits")
    pipe: Any = redis.pipeline(transaction=False)
    for name, *arguments in commands:
        getattr(pipe, name)(*arguments)
    try:
        answers: list[Any] = await pipe.execute()
    except (RedisError, OSError) as error:
        raise Unavailable(
            "limits_unknown", "Redis does not answer, which keeps the limits"
        ) from error
    return answers
