"""A flood of callbacks: repeated, reordered, forged in part, while server and worker are killed;
each genuine one counts once.

Whatever is not acknowledged is delivered again, as WeCom does. The limits on calls are the real
ones.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from bench import callbacks, differences, load
from bench.bank import STAFF, TENANT
from bench.forgeries import FORGERIES
from bench.load import LoadError
from bench.stories import Crowd, Friend, Teller, Truth
from bench.sync import SyncStage, open_stage
from services.queue.inbox import INBOX
from services.queue.outbox import OUTBOX

CALLBACKS, FEW = 100_000, 700
FORGED = 0.02
COPIES = (1, 2, 3)
CONNECTIONS = 32
SAME_SECONDS = 240.0
"""So long after the first delivery a repeat may still be the very same request, timestamp and
nonce."""
HANDLING_SECONDS = 3600.0
LOOK_SECONDS = 0.5
COUNTED_A_SECOND = 5_000
"""Counting keeps the store from its work, so it is done more seldom the more there is."""
ANSWER_SECONDS = 20.0
GROUP_SIZE = 12


@dataclass(frozen=True)
class Delivery:
    """A genuine message, or a forgery by its name."""

    message: bytes = b""
    forgery: str = ""


@dataclass
class Sent:
    """What became of the deliveries so far."""

    acknowledged: set[bytes] = field(default_factory=set)
    nonces: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    """Of the last that were acknowledged."""
    answers: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """How many had no answer, or were asked to come again, and were delivered again."""
    wrong: list[str] = field(default_factory=list)


class Sender:
    """Delivers over several connections at once until everything is answered."""

    def __init__(self, port: int, deliveries: list[Delivery], chance: Random) -> None:
        self.sent = Sent()
        self._port = port
        self._waiting = deque(deliveries)
        self._chance = chance
        self._first: dict[bytes, tuple[float, str, bytes]] = {}
        self._marks: list[tuple[int, asyncio.Event]] = []

    def after(self, answers: int) -> asyncio.Event:
        """What is set once there are so many answers."""
        mark = asyncio.Event()
        self._marks.append((answers, mark))
        return mark

    async def send_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self._waiting:
            delivery = self._waiting.popleft()
            nonce, request = self._request(delivery)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    wire = wire or await asyncio.open_connection(load.HOST, self._port)
                    status, body = await load.exchange(wire, request)
            except (OSError, EOFError, TimeoutError):
                if wire is not None:
                    wire[1].close()
                wire = None
                status, body = 0, b""
            if status in (0, 503):
                self.sent.again += 1
                self._waiting.append(delivery)
                await asyncio.sleep(LOOK_SECONDS)
            else:
                self.answered(delivery, nonce, status, body)
        if wire is not None:
            wire[1].close()

    def _request(self, delivery: Delivery) -> tuple[str, bytes]:
        """The nonce and the request: of a repeat sometimes the very same again, else sealed
        anew."""
        if delivery.forgery:
            used = self._chance.choice(self.sent.nonces) if self.sent.nonces else ""
            return "", FORGERIES[delivery.forgery].make(used)
        at, nonce, request = self._first.get(delivery.message, (0.0, "", b""))
        if time.monotonic() - at < SAME_SECONDS and nonce and self._chance.random() < 0.5:
            return nonce, request
        nonce = f"{self._chance.getrandbits(64):016x}"
        request = callbacks.post(delivery.message, nonce=nonce)
        self._first.setdefault(delivery.message, (time.monotonic(), nonce, request))
        return nonce, request

    def answered(self, delivery: Delivery, nonce: str, status: int, body: bytes) -> None:
        """Counts an answer, and notes one that must not be."""
        sent = self.sent
        sent.answers += 1
        for count, mark in self._marks:
            if sent.answers >= count:
                mark.set()
        if not delivery.forgery:
            if status == 200:
                sent.acknowledged.add(delivery.message)
                sent.nonces.append(nonce)
            else:
                sent.wrong.append(f"a genuine callback was answered {status} {body[:200]!r}")
            return
        wanted = FORGERIES[delivery.forgery]
        code = orjson.loads(body)["error"]["code"] if status >= 400 else ""
        braked = status == 429 and code == "too_many_requests"
        if not braked and (status != wanted.status or code not in wanted.codes):
            sent.wrong.append(f"{delivery.forgery} was answered {status} {code}")
        sent.refused[delivery.forgery] += 1


async def people(stage: SyncStage, count: int, seed: int) -> Crowd:
    """The sandbox gets people, friendships and groups for `count` genuine messages, and tells
    nobody of them."""
    control = stage.sandbox
    for path, body in (
        ("faults", {"target": "callback", "kind": "drop"}),
        ("people/bulk", {"count": max(GROUP_SIZE, count // 5), "seed": seed, "userids": STAFF}),
    ):
        (await control.post(f"/control/{path}", json=body)).raise_for_status()
    everybody = (
        (await control.get("/control/people?limit=500000")).raise_for_status().json()["people"]
    )
    friends = [friend for userid in STAFF for friend in await _friends(stage, userid)]
    known = {friend.external_userid for friend in friends}
    members = [one["id"] for one in everybody if one["external_userid"] in known]
    chance, groups = Random(seed), {}
    for _ in range(max(2, count // 200)):
        some = {
            "owner": chance.choice(STAFF),
            "name": "理财沙龙",
            "people": chance.sample(members, GROUP_SIZE),
        }
        group = (await control.post("/control/groups", json=some)).raise_for_status().json()
        outside = {one["userid"]: one["join_time"] for one in group["members"] if one["type"] == 2}
        groups[group["chat_id"]] = outside
    strangers = []
    for number in range(max(2, count // 20)):
        stranger = await control.post("/control/people", json={"name": f"过客{number}"})
        strangers.append(stranger.raise_for_status().json()["external_userid"])
    names = {one["external_userid"]: one["name"] for one in everybody}
    return Crowd(tuple(STAFF), tuple(friends), tuple(strangers), names, groups)


async def _friends(stage: SyncStage, userid: str) -> list[Friend]:
    found: list[Friend] = []
    after: int | None = 0
    while after is not None:
        path = f"/control/truth?userid={userid}&limit=5000&after={after}"
        page = (await stage.sandbox.get(path)).raise_for_status().json()
        found += [
            Friend(userid, one["external_userid"], one["createtime"]) for one in page["customers"]
        ]
        after = page["after"]
    return found


def deliveries(truth: Truth, forged: int, chance: Random) -> list[Delivery]:
    """Each genuine message up to 3 times, and forgeries of every kind, in no order. Forgeries that
    need a genuine one before them are in the later half."""
    genuine = [
        Delivery(message) for message in truth.messages for _ in range(chance.choice(COPIES))
    ]
    kinds = list(FORGERIES)
    false = [Delivery(forgery=kinds[number % len(kinds)]) for number in range(forged)]
    early = [one for one in false if not FORGERIES[one.forgery].replays]
    late = [one for one in false if FORGERIES[one.forgery].replays]
    mixed = [*genuine, *early]
    chance.shuffle(mixed)
    second = mixed[len(mixed) // 2 :] + late
    chance.shuffle(second)
    return mixed[: len(mixed) // 2] + second


async def flooded(
    stage: SyncStage, count: int, seed: int = 1
) -> tuple[dict[str, Any], Truth, list[str]]:
    """Sends about `count` callbacks, kills server and worker on the way, and waits until all is
    handled. The figures, the truth, and everything that is not as it must be. Server, worker and
    scheduler run already."""
    chance, forged = Random(seed), round(count * FORGED)
    genuine = round((count - forged) * len(COPIES) / sum(COPIES))
    truth = Teller(await people(stage, genuine, seed), seed).tell(genuine)
    todo = deliveries(truth, forged, chance)
    sender = Sender(stage.services.settings.port, todo, chance)
    began, count = time.monotonic(), len(todo)
    async with asyncio.TaskGroup() as group:
        group.create_task(_kill(stage, "worker", sender.after(count // 3)))
        group.create_task(_kill(stage, "server", sender.after(count * 2 // 3)))
        await sender.send_all()
        received = time.monotonic() - began
    kills = 2 + await _handled(stage, len(truth.messages))
    handled, sent = time.monotonic() - began, sender.sent
    wrong = sent.wrong[:5] + await differences.found(stage.services, truth)
    if lacking := set(truth.messages) - sent.acknowledged:
        wrong.append(f"{len(lacking)} genuine callbacks were never acknowledged")
    figures = {
        "callbacks": count,
        "genuine": len(truth.messages),
        "forged": sum(sent.refused.values()),
        "forgeries": dict(sent.refused),
        "delivered_again": sent.again,
        "kills": kills,
        "received_s": round(received, 1),
        "received_per_s": round(count / received, 1),
        "handled_s": round(handled, 1),
        "handled_per_s": round(len(truth.messages) / handled, 1),
    }
    return figures, truth, wrong


async def _kill(stage: SyncStage, name: str, when: asyncio.Event) -> None:
    await when.wait()
    stage.parts.kill9(name)
    await asyncio.to_thread(stage.parts.start, name)


async def _handled(stage: SyncStage, count: int) -> int:
    """Returns when nothing waits any more. If more than half of the events still wait, the worker
    is killed once more when half of them are handled; how often it was."""
    kills = 0
    if not await _at_most(stage, count // 2):
        await _until(
            stage,
            lambda: _at_most(stage, count // 2),
            every=max(LOOK_SECONDS, count / COUNTED_A_SECOND),
        )
        stage.parts.kill9("worker")
        await asyncio.to_thread(stage.parts.start, "worker")
        kills = 1
    await _until(stage, lambda: _nothing_waits(stage))
    return kills


async def _until(
    stage: SyncStage, holds: Callable[[], Awaitable[bool]], every: float = LOOK_SECONDS
) -> None:
    deadline = time.monotonic() + HANDLING_SECONDS
    while not await holds():
        if time.monotonic() > deadline:
            raise LoadError(
                f"not handled after {HANDLING_SECONDS:g} s:\n{stage.parts.log('worker')[-2000:]}"
            )
        await asyncio.sleep(every)


async def _at_most(stage: SyncStage, waiting: int) -> bool:
    return await stage.services.store.tenant(TENANT)[INBOX].count({"open": True}) <= waiting


async def _nothing_waits(stage: SyncStage) -> bool:
    """No event, and no details that are asked for again; alarms to members may still be on their
    way."""
    db = stage.services.store.tenant(TENANT)
    if await db[INBOX].find({"open": True}, limit=1, fields={"_id": 1}):
        return False
    return not await db[OUTBOX].find({"open": True, "kind": "enrich"}, limit=1, fields={"_id": 1})


async def measure(count: int) -> tuple[dict[str, Any], str]:
    """The row's line, and Redis's version. Raises LoadError unless each genuine callback counted
    once and no forged one did."""
    async with open_stage() as stage:
        await asyncio.to_thread(stage.parts.start, "server")
        figures, _, wrong = await flooded(stage, count)
        if wrong:
            raise LoadError("\n".join(wrong))
        redis_version = str((await stage.services.redis.info("server"))["redis_version"])
        return {
            "bench": "flood",
            "unit": "callbacks/s",
            "product": figures["received_per_s"],
            **figures,
        }, redis_version
