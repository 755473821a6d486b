"""The platforms' frequency limits, kept by all processes together (promise P10, contract/wechat
D1).

Every call passes `Limiter.passing`, which waits for a permit. A permit is out from before the call
is sent until its answer is here; then the call is counted, in Redis, at that moment. A permit is
granted only while, for each window of W seconds,

    permits that are out + calls counted in the last W seconds < limit.

No window of the platform can then hold more than the limit, wherever it begins. Take any W seconds
of the platform's, and of the calls that it places there the one that was granted last, at g. The
platform places each call between its permit and its answer. So each of the others was granted
before g, and was answered after the window began, which is later than g - W: at g it was either out
or counted in the last W seconds. All of them together were fewer than the limit when the last was
granted. This holds for fixed windows of any phase, for sliding ones, and for a token bucket that
holds `limit` and refills with limit/W (in T seconds we make at most limit * (T/W + 1) calls); not
for a bucket that holds less than the limit. Counts are kept in parts of W/200, so at most 0.5 % and
one round trip are lost of each window. Redis's clock is the only one that counts.

A permit whose process died is over after its call's own time-out and a margin, and is counted then;
where permits of an API are few, it is over as soon as the process has not been heard of for 4 s.
Lanes: welcome goes before normal before bulk, in a process and among processes, and each lane
leaves a little to those before it (limits.py). Processes that wait for the same API share its
concurrency evenly.

Without Redis a process goes on with its share of the allowance (`YINQIAO_PLATFORM_SHARE`) and tells
Redis afterwards. When Redis comes back without its memory, every process tells it what it remembers
before it is granted anything; when it comes back without the last of it, whoever told it that tells
it again. At the moment in which Redis is lost, too many calls are possible; the platform's 45009
then blocks the API for everybody.

A block is no sentence: one call at a time probes it, and the first that passes ends it (blocks.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import PlatformLimits
from services.limiter.blocks import HIGHEST
from services.limiter.gate import REDIS_SECONDS, Ending, Gate, Keys, Permit
from services.limiter.limits import LANES, Api, Limits
from services.limiter.meters import ALIVE, ALIVE_SECONDS, ANSWERED, ASK, BLOCK, CUT, Meter
from services.observe import trace
from services.observe.metrics import Metrics
from services.wechat.core.errors import (
    NotSent,
    PlatformError,
    SlowDown,
    TokenRejected,
    Transient,
    UnknownOutcome,
)

AWAY_SECONDS = 2.0
BEAT_SECONDS = 1.0
OVERRUN, CROWDED = 45009, 45033
EPOCH = "limit:epoch"

Lane = Literal["welcome", "normal", "bulk"]

log = logging.getLogger(__name__)
_lane: ContextVar[Lane] = ContextVar("lane", default="normal")


@contextmanager
def lane(name: Lane) -> Iterator[None]:
    """Calls inside, and those of tasks created inside, wait in this lane: welcome goes before
    normal before bulk."""
    before = _lane.set(name)
    try:
        yield
    finally:
        _lane.reset(before)


def lane_now() -> Lane:
    """The lane in which a call made here would wait."""
    return _lane.get()


class Limiter:
    """One process's part of the shared limits, for one event loop.

    `source` names the address behind which this process calls, `share` is what it takes of every
    allowance when Redis is away, `patience` and `bulk_patience` are the seconds that a call may
    wait.
    """

    def __init__(
        self,
        redis: Redis | None,
        own: PlatformLimits,
        metrics: Metrics | None = None,
        *,
        source: str = "",
        share: float = 0.125,
        patience: float = 5.0,
        bulk_patience: float = 120.0,
    ) -> None:
        self.redis = redis
        self._limits = Limits(own)
        self.block_seconds = own.block_seconds
        self._metrics = metrics
        self.source = source
        self._patience = {"welcome": patience, "normal": patience, "bulk": bulk_patience}
        self._gates: dict[tuple[str, str, str], Gate | None] = {}
        self._meters: dict[str, Meter] = {}
        self._away_until = 0.0
        self._numbers = 1
        self._beating: asyncio.Task[None] | None = None
        self.share = share
        self.process = secrets.token_hex(6)
        self.epoch = ""
        self._scripts = (
            {}
            if redis is None
            else {text: redis.register_script(text) for text in (ASK, BLOCK, CUT, ANSWERED)}
        )

    @asynccontextmanager
    async def passing(
        self, family: str, scope: str, path: str, seconds: float
    ) -> AsyncIterator[None]:
        """Around one call of at most `seconds` to `path` for the corp or mini-program `scope`.

        Raises SlowDown without errcode when no permit can be had in time; its `retry_after` says
        when one may be.
        """
        gate = self._gate(family, scope, path)
        if gate is None:
            async with self._free(family, scope, path):
                yield
            return
        name = _lane.get()
        try:
            permit = await gate.enter(LANES.index(name), seconds, self._patience[name])
        except SlowDown as error:
            trace.note("limiter.refused", path=path, lane=name, retry_after=error.retry_after)
            raise
        ending: Ending = "late"
        try:
            yield
            ending = "done"
        except PlatformError as error:
            ending = _ending(error)
            await self._heard(gate, path, permit, error)
            raise
        except Exception:
            ending = "done"
            raise
        else:
            await gate.answered(permit, passed=True, answer="0")
        finally:
            gate.leave(permit, ending)

    @asynccontextmanager
    async def _free(self, family: str, scope: str, path: str) -> AsyncIterator[None]:
        """Around a call of an API without a known limit: should the platform close it after all,
        it has a gate from then on."""
        try:
            yield
        except SlowDown as error:
            if _is_overrun(error):
                gate = self._open(family, scope, path, Api(path, (), 0))
                self._gates[family, scope, path] = gate
                await self._drew(gate, path, Permit.none(LANES.index(_lane.get())), error)
            raise

    async def _heard(self, gate: Gate, path: str, permit: Permit, error: PlatformError) -> None:
        """What an answer that is no success says of the API's limits."""
        if isinstance(error, SlowDown) and (_is_overrun(error) or error.errcode == CROWDED):
            await self._drew(gate, path, permit, error)
            return
        passed = not isinstance(
            error, (SlowDown, TokenRejected, Transient, UnknownOutcome, NotSent)
        )
        answer = error.name if error.errcode is None else str(error.errcode)
        await gate.answered(permit, passed=passed, answer=answer)

    def published(self, family: str, name: str) -> list[tuple[float, int]]:
        """The windows of an API as the platform counts them: seconds and calls. `name` is as its
        limit is named."""
        return self._limits.published(family, name)

    async def close(self) -> None:
        """Tells Redis what has ended."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        for gate in {gate for gate in self._gates.values() if gate is not None}:
            await gate.close()

    def _gate(self, family: str, scope: str, path: str) -> Gate | None:
        key = (family, scope, path)
        if key not in self._gates:
            api = self._limits.api(family, path)
            self._gates[key] = None if api is None else self._open(family, scope, path, api)
        return self._gates[key]

    def _open(self, family: str, scope: str, path: str, api: Api) -> Gate:
        """The gate of an API, one for all paths that share its allowance."""
        shared = (family, scope, api.name)
        gate = self._gates.get(shared)
        if gate is None:
            keys = Keys(family, scope, api.name, self.source)
            meters = [self._meter(keys.counts, api.rules)]
            if rules := self._limits.address(family):
                meters.append(self._meter(f"limit:{family}:from:{self.source}", rules))
            gate = self._gates[shared] = Gate(self, api, path, keys, tuple(meters))
        return gate

    def _meter(self, key: str, rules: Any) -> Meter:
        if key not in self._meters:
            self._meters[key] = Meter(key, rules)
        return self._meters[key]

    async def _drew(self, gate: Gate, path: str, permit: Permit, error: SlowDown) -> None:
        log.warning("the platform's limit was met: %s", error)
        if self._metrics:
            self._metrics.platform_overruns.labels(path, str(error.errcode or 429)).inc()
        await gate.drew(permit, error)

    def shared(self, now: float) -> bool:
        """Whether Redis is there, as far as is known."""
        return self.redis is not None and now >= self._away_until

    def lost(self, now: float) -> None:
        """Redis did not answer: nobody of this process asks it for a while."""
        self._away_until = now + AWAY_SECONDS
        log.warning("the limiter goes on without Redis")
        if self._metrics:
            self._metrics.redis_missed.labels("limiter").inc()

    def forgotten(self, epoch: str, now: float) -> None:
        """Redis has lost its memory since this process last asked."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        for gate in self._gates.values():
            if gate is not None:
                gate.forgotten()
        for meter in self._meters.values():
            meter.forgotten(now)

    def keep_alive(self) -> None:
        """Tells Redis each second that this process lives, while it has calls under way."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while any(gate is not None and gate.flying for gate in self._gates.values()):
            await asyncio.sleep(BEAT_SECONDS)
            if self.redis is None or not self.shared(asyncio.get_running_loop().time()):
                continue
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    await self.redis.set(ALIVE + self.process, 1, px=int(ALIVE_SECONDS * 1000))
            except (RedisError, OSError):
                self.lost(asyncio.get_running_loop().time())

    def number(self, count: int) -> int:
        """The first of `count` numbers that this process has not used yet."""
        first, self._numbers = self._numbers, self._numbers + count
        return first

    def count_refused(self, path: str, lane_name: str) -> None:
        if self._metrics:
            self._metrics.platform_refused.labels(path, lane_name).inc()

    async def ask(
        self, keys: Keys, meters: tuple[Meter, ...], question: dict[str, Any]
    ) -> list[Any]:
        """The answer of meters.ASK; raises RedisError or OSError."""
        named = [EPOCH, f"{keys.counts}:who", keys.block, keys.freed, keys.known]
        for meter in meters:
            named += [meter.key, f"{meter.key}:out"]
        answer: list[Any] = await self._run(ASK, named, orjson.dumps(question))
        return answer

    async def block(self, keys: Keys, error: SlowDown, *, probed: bool) -> list[float] | None:
        """Blocks the API for every process; for each lane the seconds until a call of it may be
        tried, None without Redis."""
        errcode = OVERRUN if error.errcode is None else error.errcode
        given = [int(probed), self.block_seconds, HIGHEST[keys.family], errcode, error.errmsg[:200]]
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                waits = await self._run(BLOCK, [keys.block, keys.blocked], keys.name, *given)
        except (RedisError, OSError):
            self.lost(asyncio.get_running_loop().time())
            return None
        return [float(wait) / 1000 for wait in waits]

    async def answered(self, keys: Keys, *, passed: bool, answer: str) -> None:
        """Tells every process what a probe came to that was not refused."""
        named = [keys.block, keys.blocked, keys.freed]
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._run(ANSWERED, named, keys.name, int(passed), answer)
        except (RedisError, OSError):
            self.lost(asyncio.get_running_loop().time())

    async def cut(self, meter: Meter, at_once: int) -> None:
        """Halves how many calls of the API may be under way, for every process and a while."""
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._run(CUT, [meter.key], at_once)
        except (RedisError, OSError):
            self.lost(asyncio.get_running_loop().time())

    async def _run(self, script: str, keys: list[str], *arguments: Any) -> Any:
        if self.redis is None:
            raise ConnectionError("there is no Redis")
        return await self._scripts[script](keys=keys, args=arguments)


def _is_overrun(error: SlowDown) -> bool:
    """Whether the platform closes the API to us: 45009, or HTTP 429."""
    return error.errcode in (None, OVERRUN)


def _ending(error: PlatformError) -> Ending:
    """What became of a call that ended so, for whoever counts calls."""
    if isinstance(error, NotSent):
        return "unused"
    return "late" if isinstance(error, UnknownOutcome) else "done"
