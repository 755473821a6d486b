"""The bank's core system: signs what it tells the product, sends it until there is an answer, and
keeps what it sent.

Written from the words of the product's documentation for such systems (docs/integration.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from sandbox.core import sm2
from sandbox.core.errors import Impossible
from sandbox.core.world import BankSystem

TIMEOUT_SECONDS = 10.0
TRIES = 8
LONGEST_PAUSE = 8.0
"""Pauses between tries double up to so many times the first one."""
KEPT = 500
AGAIN = frozenset({429, 500, 502, 503, 504})
WRONG_SECRET = "nobody-ever-gave-this-secret-to-anybody"  # noqa: S105 -- of nothing
Answered = Callable[["Sent"], None]


@dataclass(frozen=True)
class Request:
    """What is to be sent, of which person (none: of several). `again` is the id of a request that
    this one repeats."""

    person: str
    method: str
    path: str
    body: Any
    forged: bool = False
    again: int = 0


def signed(system: BankSystem, request: Request, body: bytes) -> dict[str, str]:
    """The headers of one request, with a new nonce; a `forged` one is signed with another key."""
    moment, nonce = str(int(time.time())), secrets.token_hex(16)
    sm = system.algorithm == "sm2-sm3"
    digest = hashlib.new("sm3" if sm else "sha256", body).hexdigest()
    message = "\n".join((request.method, request.path, moment, nonce, digest)).encode()
    if sm:
        private = sm2.new_key() if request.forged else int(system.private_key, 16)
        signature = sm2.sign(private, message)
    else:
        key = WRONG_SECRET if request.forged else system.secret
        signature = hmac.new(key.encode(), message, hashlib.sha256).hexdigest()
    return {
        "Yinqiao-Partner": system.who,
        "Yinqiao-Timestamp": moment,
        "Yinqiao-Nonce": nonce,
        "Yinqiao-Signature": signature,
        "Content-Type": "application/json",
    }


@dataclass
class Sent:
    """A request on its way: every try, and the last answer. `state` is under way, answered, refused
    or unanswered."""

    id: int
    time: float
    request: Request
    attempts: list[dict[str, Any]] = field(default_factory=list)
    answer: Any = None
    state: str = "under way"
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        kept = ("id", "time", "attempts", "answer", "state")
        return {**vars(self.request), **{name: getattr(self, name) for name in kept}}

    @property
    def items(self) -> list[dict[str, Any]]:
        """The answer for each item; none without an answer to the whole."""
        told = self.answer if self.state == "answered" and isinstance(self.answer, dict) else {}
        items: list[dict[str, Any]] = told.get("items", [])
        return items


class BankSender:
    """Sends requests one after the other for each person, those of several at the same time."""

    def __init__(self, system: BankSystem | None, url: str, pause: float) -> None:
        self.system = system
        self.url = url
        self._pause = pause
        self._client = httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=TIMEOUT_SECONDS, follow_redirects=False
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, Sent] = {}
        self.begin()

    def begin(self) -> None:
        """Nothing was sent yet, and nothing happens by itself."""
        self.log: deque[Sent] = deque(maxlen=KEPT)
        self.rate = 0.0
        """Events a minute that happen by themselves."""
        self.owed = 0.0
        """What of them is due by now."""
        self._number = 0

    @property
    def under_way(self) -> int:
        return len(self._tasks)

    def find(self, number: int) -> Sent | None:
        return next((one for one in self.log if one.id == number), None)

    def send(self, request: Request, answered: Answered | None = None) -> Sent:
        """Puts a request on its way, behind what is under way for the same person; `answered` learns
        how it ended. Raises Impossible in a world without a core system."""
        if self.system is None:
            raise Impossible("the world has no bank_system")
        self._number += 1
        sent = Sent(self._number, time.time(), request)
        self.log.append(sent)
        before, self._latest[request.person] = self._latest.get(request.person), sent
        task = asyncio.create_task(self._after(before, self.system, sent, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return sent

    async def _after(
        self, before: Sent | None, system: BankSystem, sent: Sent, answered: Answered | None
    ) -> None:
        if before is not None:
            await before.ended.wait()
        try:
            await self._until_answered(system, sent)
        finally:
            sent.ended.set()
            if self._latest.get(sent.request.person) is sent:
                del self._latest[sent.request.person]
            if answered is not None:
                answered(sent)

    async def _until_answered(self, system: BankSystem, sent: Sent) -> None:
        """Every try of the same body is signed anew; a refusal is final."""
        body = json.dumps(sent.request.body, ensure_ascii=False).encode()
        pause = self._pause
        for number in range(TRIES):
            if number:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE * self._pause)
            sent.state = await self._try(system, sent, body)
            if sent.state != "under way":
                return
        sent.state = "unanswered"

    async def _try(self, system: BankSystem, sent: Sent, body: bytes) -> str:
        """The state after one more try."""
        began = time.monotonic()
        tried: dict[str, Any] = {"time": time.time(), "status": None, "problem": ""}
        sent.attempts.append(tried)
        request = sent.request
        headers = signed(system, request, body)
        try:
            answer = await self._client.request(
                request.method, request.path, content=body, headers=headers
            )
        except httpx.HTTPError as error:
            tried["problem"] = type(error).__name__
            return "under way"
        finally:
            tried["ms"] = round((time.monotonic() - began) * 1000)
        tried["status"] = answer.status_code
        sent.answer = _read(answer)
        if answer.status_code in AGAIN:
            return "under way"
        return "answered" if answer.status_code == httpx.codes.OK else "refused"

    async def abandon(self) -> None:
        """Ends whatever is under way."""
        tasks = list(self._tasks)
        self._latest.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.abandon()
        await self._client.aclose()


def _read(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text[:200]
