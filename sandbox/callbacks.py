"""The callback sender: signs, encrypts, posts, retries, and misbehaves on demand (wechat-contract C1-C3, F8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from sandbox import ids
from sandbox.clock import Clock
from sandbox.crypto import Envelope
from sandbox.events import ContactEvent, envelope_xml
from sandbox.faults import Fault, Faults
from sandbox.journal import Journal
from sandbox.world import App, World

TIMEOUT_SECONDS = 5.0
RETRIES = 3
STALE_SECONDS = 3600
ACCEPTED = frozenset({b"", b"success"})


@dataclass(frozen=True, slots=True)
class Post:
    """One signed request, ready to be sent (again)."""

    query: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Delivery:
    """One event on its way to one app."""

    app: App
    url: str
    message: bytes
    entry: dict[str, Any]
    fault: Fault | None
    first: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, ok: bool) -> None:
        """Tell whoever waits how the first attempt ended."""
        if not self.first.done():
            self.first.set_result(ok)


class Sender:
    """Delivers events to every app that may call the customer-contact API."""

    def __init__(
        self, world: World, clock: Clock, faults: Faults, journal: Journal, *, url: str | None, retry_delay: float
    ) -> None:
        self._corp_id = world.corp.corp_id
        self._apps = [a for a in world.corp.apps if a.customer_contact]
        self._envelopes = {a.agent_id: Envelope(a.token, a.encoding_aes_key) for a in self._apps}
        self._url = url
        self._clock = clock
        self._faults = faults
        self._journal = journal
        self._retry_delay = retry_delay
        self._client = httpx.AsyncClient(
            trust_env=False, timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_keepalive_connections=50)
        )
        self._running: set[asyncio.Task[None]] = set()
        self._held: list[Delivery] = []

    async def send(self, event: ContactEvent) -> bool:
        """Deliver one event; returns after each app's first attempt whether all took it.

        A dropped or held event returns False at once; retries and copies go on in the background.
        """
        fault = self._faults.callback()
        deliveries = [self._delivery(app, event, fault) for app in self._apps]
        for delivery in deliveries:
            self._start(delivery)
        if fault and fault.kind == "reorder" and fault.times == 1:
            self.release()
        if not deliveries:
            return False
        done, _ = await asyncio.wait([d.first for d in deliveries], timeout=TIMEOUT_SECONDS)
        return len(done) == len(deliveries) and all(d.result() for d in done)

    def release(self) -> None:
        """Send the held events, latest first."""
        held, self._held = self._held, []
        if held:
            self._spawn(self._in_order(held[::-1]))

    async def check_url(self, app: App) -> dict[str, Any]:
        """The check that WeCom makes when an admin saves the callback settings (C1)."""
        echo = ids.nonce()
        encrypted = self._envelopes[app.agent_id].encrypt(echo.encode(), self._corp_id)
        query = self._signed(app, encrypted, None) | {"echostr": encrypted}
        try:
            answer = await self._client.get(self._url or app.callback_url, params=query, timeout=1.0)
        except httpx.HTTPError as error:
            return {"ok": False, "status": None, "answer": type(error).__name__}
        ok = answer.status_code == 200 and answer.content == echo.encode()
        return {"ok": ok, "status": answer.status_code, "answer": answer.text[:200]}

    async def idle(self) -> None:
        """Wait until no delivery is under way; held events do not count."""
        while self._running:
            await asyncio.wait(self._running)

    async def abandon(self) -> None:
        """Forget held events and stop every delivery that is under way."""
        self._held.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """Stop what is under way and close the connections."""
        await self.abandon()
        await self._client.aclose()

    def _delivery(self, app: App, event: ContactEvent, fault: Fault | None) -> Delivery:
        url = self._url or app.callback_url
        entry: dict[str, Any] = {
            "time": self._clock.now(),
            "agent_id": app.agent_id,
            "url": url,
            "event": asdict(event),
            "fault": fault.kind if fault else "",
            "delivered": False,
            "attempts": [],
        }
        self._journal.deliveries.append(entry)
        return Delivery(app, url, event.xml(self._corp_id), entry, fault)

    def _start(self, delivery: Delivery) -> None:
        kind = delivery.fault.kind if delivery.fault else ""
        if kind == "drop":
            delivery.settle(False)
        elif kind == "reorder":
            delivery.settle(False)
            self._held.append(delivery)
        else:
            self._spawn(self._deliver(delivery))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _in_order(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._deliver_or_retry(delivery)
        finally:
            delivery.settle(False)

    async def _deliver_or_retry(self, delivery: Delivery) -> None:
        fault = delivery.fault
        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        for attempt in range(1 + RETRIES):
            if attempt:
                await asyncio.sleep(self._retry_delay)
            post = self._post(delivery)
            accepted = await self._attempt(delivery, post)
            delivery.settle(accepted)
            if accepted:
                delivery.entry["delivered"] = True
                break
        if fault and fault.kind in {"duplicate", "replay"}:
            again = [post if fault.kind == "replay" else self._post(delivery) for _ in range(fault.copies)]
            await asyncio.gather(*(self._attempt(delivery, copy) for copy in again))

    def _post(self, delivery: Delivery) -> Post:
        """Encrypt and sign anew; the message inside stays the same (C3)."""
        kind = delivery.fault.kind if delivery.fault else ""
        receiver = "ww" + "f" * 16 if kind == "wrong_receiveid" else self._corp_id
        encrypted = self._envelopes[delivery.app.agent_id].encrypt(delivery.message, receiver)
        query = self._signed(delivery.app, encrypted, delivery.fault)
        return Post(query, envelope_xml(self._corp_id, delivery.app.agent_id, encrypted))

    def _signed(self, app: App, encrypted: str, fault: Fault | None) -> dict[str, str]:
        """The query of a post. Its timestamp is the wall clock's: the receiver does not share the sandbox's clock."""
        now = time.time()
        if fault and fault.kind == "stale_timestamp":
            now -= fault.seconds or STALE_SECONDS
        timestamp, nonce = str(int(now)), ids.nonce()
        signed = self._envelopes[app.agent_id].sign(timestamp, nonce, encrypted)
        if fault and fault.kind == "wrong_signature":
            signed = signed[::-1]
        return {"msg_signature": signed, "timestamp": timestamp, "nonce": nonce}

    async def _attempt(self, delivery: Delivery, post: Post) -> bool:
        started = time.perf_counter()
        status, problem, accepted = None, "", False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._client.post(
                    delivery.url, params=post.query, content=post.body, headers={"Content-Type": "text/xml"}
                )
            status = answer.status_code
            accepted = status == 200 and answer.content in ACCEPTED
            if not accepted:
                problem = answer.text[:200]
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        took = round((time.perf_counter() - started) * 1000, 1)
        delivery.entry["attempts"].append({"status": status, "accepted": accepted, "problem": problem, "ms": took})
        return accepted
