"""The calls of one process to one API: who waits, in which order they go, and what is asked of
Redis for them."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import RedisError

from services.limiter.blocks import HIGHEST, HOLD_SECONDS, Block
from services.limiter.limits import LANES, Api
from services.limiter.meters import HEARD_SECONDS, POLL_SECONDS, Meter
from services.wechat.core.errors import SlowDown

if TYPE_CHECKING:
    from services.limiter import Limiter

BATCH = 32
FLUSH_SECONDS = 0.005
REDIS_SECONDS = 0.5
MARGIN_SECONDS = 5.0
"""A permit is out for the longest time its call may take and this; half of it may pass before the
call begins."""

LONGEST_PAUSE = 1.0
LISTED_SECONDS = 1800.0
"""How often Redis is told that the API is called at all, for whoever looks (view.py)."""

LOST_SECONDS = 3.0
"""A Redis that is killed, or gives way to its replica, may have lost what it answered in so many
seconds: its log is written behind a disk that is busy, for 2 s at most."""

Ending = Literal["done", "late", "unused"]


@dataclass(frozen=True, slots=True)
class Keys:
    """Where Redis keeps what is known of the API `name` of one corp or mini-program (`scope`),
    called from the address `source`."""

    family: str
    scope: str
    name: str
    source: str = ""

    @property
    def id(self) -> str:
        """How a person names it, and a row what it waits behind: `wecom:/cgi-bin/media/get`, of a
        mini-program with its appid in between."""
        whose = "" if self.family == "wecom" else f"{self.scope}:"
        return f"{self.family}:{whose}{self.name}"

    @property
    def counts(self) -> str:
        return f"limit:{self.family}:{self.scope}:{self.name}"

    @property
    def block(self) -> str:
        """That the platform closed it, and what was tried since."""
        return f"{self.counts}:block"

    @property
    def freed(self) -> str:
        """When a block last ended behind the address."""
        return f"limit:freed:{self.source}"

    @property
    def known(self) -> str:
        """The names of all its APIs that were called."""
        return f"limit:apis:{self.family}:{self.scope}"

    @property
    def blocked(self) -> str:
        """The names of those that are blocked."""
        return f"limit:blocked:{self.family}:{self.scope}"


@dataclass(slots=True, eq=False)
class Permit:
    """One call's right to be made, until the loop's time `use_by`; `shared` when Redis knows of
    it, `probe` when it is to find out whether a block is over."""

    id: str
    use_by: float
    shared: bool
    lane: int
    probe: bool = False

    @classmethod
    def none(cls, lane: int) -> Permit:
        """For a call that needed none."""
        return cls("", 0.0, False, lane)


@dataclass(slots=True, eq=False)
class _Waiter:
    turn: asyncio.Future[Permit]
    until: float
    waiting: bool = True


class Gate:
    """One API of one corp or mini-program. At most one question to Redis is under way, for all who
    wait together."""

    def __init__(
        self, limiter: Limiter, api: Api, path: str, keys: Keys, meters: tuple[Meter, ...]
    ) -> None:
        self._limiter = limiter
        self._api = api
        self._path = path
        self._keys = keys
        self._listed_until = 0.0
        self._meters = meters
        self._waiting: tuple[deque[_Waiter], ...] = (deque(), deque(), deque())
        self._live = [0, 0, 0]
        self._hints = [POLL_SECONDS] * 3
        self._refused_from = len(LANES)
        self._crowded = False
        self._flying: dict[str, Permit] = {}
        self._back: dict[Ending, list[str]] = {"done": [], "late": [], "unused": []}
        self._block: Block | None = None
        self._closed = False
        self._lease = 0.0
        self._asked = 0
        self._heard: deque[tuple[float, dict[str, Any]]] = deque()
        self._again = False
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._stirring: asyncio.TimerHandle | None = None

    async def enter(self, lane: int, seconds: float, patience: float) -> Permit:
        """A permit for a call of at most `seconds`; SlowDown when there is none within `patience`
        seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        self._lease = max(self._lease, seconds + MARGIN_SECONDS)
        while True:
            permit = await self._wait(_Waiter(loop.create_future(), until), lane)
            if loop.time() <= permit.use_by:
                return permit
            self.leave(permit, "unused")

    async def _wait(self, waiter: _Waiter, lane: int) -> Permit:
        self._waiting[lane].append(waiter)
        self._live[lane] += 1
        if self._pump is None or self._pump.done() or lane < self._refused_from:
            self._stir()
        try:
            async with asyncio.timeout_at(waiter.until):
                return await waiter.turn
        except BaseException as error:
            self._gone(waiter, lane)
            turn = waiter.turn
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(turn.result(), "unused")
            if isinstance(error, TimeoutError):
                raise self._refusal(lane) from None
            raise

    def leave(self, permit: Permit, ending: Ending) -> None:
        """Gives a permit back: its call was answered (`done`), may still arrive (`late`), or was
        never sent (`unused`)."""
        if self._flying.pop(permit.id, None) is None:
            return
        now = asyncio.get_running_loop().time()
        for meter in self._meters:
            meter.flying -= 1
            if ending != "unused":
                meter.ended(now, shared=permit.shared)
        if permit.shared:
            self._back[ending].append(permit.id)
        self._stir(0.0 if self._crowded else FLUSH_SECONDS)

    def _gone(self, waiter: _Waiter, lane: int) -> None:
        if waiter.waiting:
            waiter.waiting = False
            self._live[lane] -= 1

    def _refusal(self, lane: int) -> SlowDown:
        seconds = max(1, math.ceil(self._hints[lane]))
        self._limiter.count_refused(self._path, LANES[lane])
        error = SlowDown(
            None, f"the allowance is used up, lane {LANES[lane]}", self._path, retry_after=seconds
        )
        error.api = self._keys.id
        return error

    def _stir(self, delay: float = 0.0) -> None:
        """The pump looks again, in `delay` seconds at the latest."""
        if self._closed:
            return
        if delay:
            if self._stirring is None:
                self._stirring = asyncio.get_running_loop().call_later(delay, self._stir)
            return
        if self._stirring is not None:
            self._stirring.cancel()
            self._stirring = None
        self._wake.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Asks for those who wait and tells of those who are done, until there is neither."""
        loop = asyncio.get_running_loop()
        while any(self._live) or self._owes(loop.time()):
            self._wake.clear()
            waits = await self._ask(self._wants())
            self._refused_from = next(
                (lane for lane, wait in enumerate(waits) if wait >= 0), len(LANES)
            )
            self._reject(waits)
            refused = [wait for wait in waits if wait >= 0]
            self._crowded = bool(refused) and min(refused) <= POLL_SECONDS
            if refused and any(self._live) and not any(self._live[: self._refused_from]):
                await self._pause(min(*refused, LONGEST_PAUSE))
        self._refused_from, self._crowded = len(LANES), False

    def _owes(self, now: float) -> bool:
        """Whether there is something that Redis is to be told, and is there to hear it."""
        return (self._again or any(self._back.values())) and self._limiter.shared(now)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _wants(self) -> list[int]:
        """How many of each lane to ask for, the first lanes first."""
        left, wants = BATCH, []
        for live in self._live:
            wants.append(min(live, left))
            left -= wants[-1]
        return wants

    def _reject(self, waits: list[float]) -> None:
        """Tells those who would wait in vain at once."""
        now = asyncio.get_running_loop().time()
        for lane, wait in enumerate(waits):
            if wait < 0:
                continue
            self._hints[lane] = wait
            queue = self._waiting[lane]
            while (
                wait > POLL_SECONDS
                and queue
                and (not queue[0].waiting or queue[0].until < now + wait)
            ):
                waiter = queue.popleft()
                if waiter.waiting:
                    self._gone(waiter, lane)
                    if not waiter.turn.done():
                        waiter.turn.set_exception(self._refusal(lane))

    async def _ask(self, wants: list[int]) -> list[float]:
        """Hands out what there is for `wants`; for each lane the seconds until there may be more,
        -1 if it wants none."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._limiter.shared(now):
            return self._grant_alone(wants, now)
        question, told = self._question(wants, now)
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                answer = await self._limiter.ask(self._keys, self._meters, question)
        except (RedisError, OSError):
            self._unheard(question)
            self._limiter.lost(loop.time())
            return self._grant_alone(wants, loop.time())
        if len(answer) <= 2:
            self._unheard(question)
            if len(answer) == 1:
                self._limiter.forgotten(answer[0].decode(), now)
            else:
                self._tell_again(answer[1])
            return [-1.0] * len(LANES)
        self._limiter.epoch = answer[0].decode()
        self._told(question, told)
        granted, waits = answer[1:4], answer[4:7]
        first = question["first"]
        for lane, count in enumerate(granted):
            numbers = range(first, first + count)
            self._hand_out(lane, numbers, now, shared=True, probe=bool(answer[7]))
            first += count
        if any(granted):
            self._limiter.keep_alive()
            if not answer[7]:
                self._block = None
        return [wait / 1000 if wait >= 0 else -1.0 for wait in waits]

    def _question(self, wants: list[int], now: float) -> tuple[dict[str, Any], list[Permit]]:
        """The question for meters.ASK, and the permits that Redis is told of by it."""
        adopt = [permit for permit in self._flying.values() if not permit.shared]
        self._asked += 1
        question: dict[str, Any] = {
            "known": self._limiter.epoch,
            "fresh": secrets.token_hex(8),
            "process": self._limiter.process,
            "number": self._asked,
            "heard": self._last_heard(now),
            "again": self._again,
            "first": self._limiter.number(sum(wants)),
            "mine": len(self._flying),
            "lease": self._lease,
            "wants": wants,
            "at_once": self._api.at_once,
            **({} if now < self._listed_until else {"name": self._keys.name}),
            **{ending: list(ids) for ending, ids in self._back.items()},
            "adopt": [permit.id for permit in adopt],
            "meters": [meter.question(now) for meter in self._meters],
        }
        return question, adopt

    def _last_heard(self, now: float) -> int:
        """The number of the last question that Redis answered; 0 when it need not know any more."""
        if not self._heard or self._heard[-1][0] < now - HEARD_SECONDS / 2:
            return 0
        return int(self._heard[-1][1]["number"])

    def _told(self, question: dict[str, Any], adopted: list[Permit]) -> None:
        """Redis has heard the question."""
        now = asyncio.get_running_loop().time()
        self._again = False
        self._heard.append((now, question))
        while self._heard[0][0] < now - LOST_SECONDS:
            self._heard.popleft()
        if "name" in question:
            self._listed_until = now + LISTED_SECONDS
        for ending, ids in self._back.items():
            del ids[: len(question[ending])]
        for permit in adopted:
            permit.shared = True
            if permit.id not in self._flying:
                self._back["unused"].append(permit.id)

    def _unheard(self, question: dict[str, Any]) -> None:
        for meter, asked in zip(self._meters, question["meters"], strict=True):
            meter.unheard(asked)

    @property
    def flying(self) -> bool:
        """Whether Redis knows of calls that are under way."""
        return any(permit.shared for permit in self._flying.values())

    def forgotten(self) -> None:
        """Redis has lost its memory of all permits; what has ended is in the meters."""
        self._heard.clear()
        self._listed_until = 0.0
        for permit in self._flying.values():
            permit.shared = False
        for ids in self._back.values():
            ids.clear()

    def _tell_again(self, last: int) -> None:
        """Redis has lost what this gate told it after its question number `last`: the next question
        says that again, and that its permits out are those that are under way."""
        lost = [question for _, question in self._heard if question["number"] > last]
        for question in lost:
            self._unheard(question)
        unsaid = [self._back["done"], self._back["late"]]
        ended = sum(map(len, chain(unsaid, *([said["done"], said["late"]] for said in lost))))
        for meter in self._meters:
            meter.lost(ended)
        self.forgotten()
        self._again = True

    def _grant_alone(self, wants: list[int], now: float) -> list[float]:
        """Without Redis: out of this process's share of the allowance."""
        waits: list[float] = []
        for lane, want in enumerate(wants):
            unmet_before = any(earlier >= 0 for earlier in waits)
            got, wait = self._room_alone(lane, 0 if unmet_before else want, now)
            first = self._limiter.number(got)
            probe = bool(got) and self._block is not None
            if probe and self._block is not None:
                self._block.probing = now + HOLD_SECONDS
            numbers = range(first, first + got)
            self._hand_out(lane, numbers, now, shared=False, probe=probe)
            waits.append(max(wait, POLL_SECONDS) if got < want else -1.0)
        return waits

    def _room_alone(self, lane: int, want: int, now: float) -> tuple[int, float]:
        """How many of `want` calls this process may begin with its share, and after how many
        seconds there may be more."""
        share = self._limiter.share
        got, wait = want, 0.0
        if self._block is not None:
            wait = self._block.wait(lane, now)
            got = min(got, int(wait <= 0))
        for meter in self._meters:
            room, frees = meter.room(now, lane, share)
            if room < got:
                got, wait = room, max(wait, frees)
        if self._api.at_once:
            at_once = max(1, int(self._api.at_once * share))
            got = min(got, at_once - len(self._flying))
        return max(got, 0), wait

    def _hand_out(
        self, lane: int, numbers: Iterable[int], now: float, *, shared: bool, probe: bool
    ) -> None:
        """Hands a permit of each number to those who wait in the lane."""
        use_by = now + MARGIN_SECONDS / 2
        for number in numbers:
            name = f"{self._limiter.process}:{number}"
            self._hand(lane, Permit(name, use_by, shared, lane, probe))

    def _hand(self, lane: int, permit: Permit) -> None:
        """Gives the permit to the first who still waits, or back."""
        self._flying[permit.id] = permit
        for meter in self._meters:
            meter.flying += 1
        queue = self._waiting[lane]
        while queue:
            waiter = queue.popleft()
            if waiter.waiting and not waiter.turn.done():
                self._gone(waiter, lane)
                waiter.turn.set_result(permit)
                return
        self.leave(permit, "unused")

    async def drew(self, permit: Permit, error: SlowDown) -> None:
        """The platform said that we were too many: the API rests but for its probes, or fewer of
        its calls go at once (contract/wechat D1, D2). The error says then when it may be tried."""
        if error.errcode == 45033:
            await self._limiter.cut(self._meters[0], self._api.at_once)
            return
        error.api = self._keys.id
        now, base = asyncio.get_running_loop().time(), self._limiter.block_seconds
        if self._block is None or (not permit.probe and now >= self._block.over):
            self._block = Block(over=now + base, refused=now)
        elif permit.probe:
            self._block.refused_again(now, base, HIGHEST[self._keys.family], time.time())
        waits = await self._limiter.block(self._keys, error, probed=permit.probe)
        wait = self._block.wait(permit.lane, now) if waits is None else waits[permit.lane]
        error.retry_after = max(1, math.ceil(wait))

    async def answered(self, permit: Permit, *, passed: bool, answer: str) -> None:
        """The platform's answer was no refusal for the limit's sake; `passed` says that it shows
        there is none. Of calls that were under way before the block it shows nothing."""
        if not permit.probe:
            return
        if passed:
            self._block = None
        elif self._block is not None:
            self._block.refused, self._block.probing = asyncio.get_running_loop().time(), 0.0
        if permit.shared:
            await self._limiter.answered(self._keys, passed=passed, answer=answer)

    async def close(self) -> None:
        """Sends away those who wait, and tells Redis what has ended; what is still under way is
        over with its lease."""
        self._closed = True
        for lane, queue in enumerate(self._waiting):
            for waiter in queue:
                if waiter.waiting and not waiter.turn.done():
                    waiter.turn.set_exception(self._refusal(lane))
        if self._stirring is not None:
            self._stirring.cancel()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._owes(asyncio.get_running_loop().time()):
            await self._ask([0, 0, 0])
