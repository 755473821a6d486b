"""The callback sender: signs, encrypts, posts, retries, and misbehaves on demand (contract/wechat
A7, C1-C3, F8)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from sandbox.core import ids
from sandbox.core.clock import Clock
from sandbox.core.crypto import BadCallback, Envelope, signature
from sandbox.core.events import Event, envelope_json, envelope_xml
from sandbox.core.faults import Fault, Faults
from sandbox.core.journal import Journal
from sandbox.core.options import Options
from sandbox.core.world import App, MiniProgram, World

TIMEOUT_SECONDS = 5.0
RETRIES = 3
STALE_SECONDS = 3600
ACCEPTED = frozenset({b"", b"success"})
CONTENT = {False: "text/xml", True: "application/json"}
TO_WECHAT = "transfer_customer_service"
"""The reply that gives a message to WeChat's own customer-service tool (A7)."""
_ELEMENT = re.compile(r"<(\w+)>(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))</\1>", re.DOTALL)


CUSTOMER_EVENTS = ("change_external_", "customer_acquisition")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events of one app or mini-program go, and how they are wrapped.

    `agent_id` is 0 for a mini-program; `owner` is the corp id or appid, which is also the receiveid
    of C2.
    """

    owner: str
    agent_id: int
    to_user: str
    url: str
    token: str
    envelope: Envelope
    json: bool = False

    def message(self, event: Event) -> bytes:
        return event.json(self.to_user) if self.json else event.xml(self.to_user)

    def wrap(self, encrypted: str) -> bytes:
        if self.json:
            return envelope_json(self.to_user, encrypted)
        return envelope_xml(self.to_user, str(self.agent_id or ""), encrypted)


@dataclass(frozen=True, slots=True)
class Post:
    """One signed request, ready to be sent (again)."""

    query: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one post came to: the HTTP status, None without an answer, and what was wrong."""

    status: int | None
    accepted: bool
    problem: str = ""
    event: str = ""
    """Under which id the receiver keeps the event, where it says so (`X-Event-Id`)."""
    reply: str = ""
    """What a mini-program's push was answered besides "taken": TO_WECHAT."""


@dataclass(slots=True)
class Delivery:
    """One event on its way to one receiver."""

    to: Receiver
    from_user: str
    message: bytes
    entry: dict[str, Any]
    fault: Fault | None
    first: asyncio.Future[bool] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def end_first_attempt(self, ok: bool) -> None:
        """Tell whoever waits how the first attempt ended."""
        if not self.first.done():
            self.first.set_result(ok)


class Sender:
    """Delivers events to the apps and mini-programs that get them."""

    def __init__(
        self,
        world: World,
        options: Options,
        clock: Clock,
        faults: Faults,
        journal: Journal,
    ) -> None:
        self._apps = _app_receivers(world, options.callback_url)
        self._pushes = _push_receivers(world, options.push_url)
        self._clock = clock
        self._faults = faults
        self._journal = journal
        self._retry_delay = options.retry_delay
        self._client = httpx.AsyncClient(
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_keepalive_connections=50),
        )
        self._running: set[asyncio.Task[None]] = set()
        self._held: list[Delivery] = []

    async def send(self, event: Event) -> bool:
        """Deliver one WeCom event; returns after each app's first attempt whether all took it.

        A dropped or held event returns False at once; retries and copies go on in the background.
        """
        return await self._deliver_to([r for a, r in self._apps.values() if _gets(a, event)], event)

    async def send_all(self, events: Iterable[Event]) -> bool:
        """`send` one after the other; whether every app took every one."""
        return all([await self.send(event) for event in events])

    async def push(self, appid: str, event: Event) -> bool:
        """Deliver one event or message of a mini-program (A7) to its push address; False when it
        has none."""
        receiver = self._pushes.get(appid)
        return await self._deliver_to([receiver] if receiver else [], event)

    def send_in_background(self, event: Event) -> None:
        """Deliver one WeCom event in the background."""
        self._spawn(self._without_result(self.send(event)))

    def push_in_background(self, appid: str, event: Event) -> None:
        """Deliver one event of a mini-program in the background."""
        self._spawn(self._without_result(self.push(appid, event)))

    async def _without_result(self, delivery: Coroutine[Any, Any, bool]) -> None:
        await delivery

    async def _deliver_to(self, receivers: list[Receiver], event: Event) -> bool:
        if not receivers:
            return False
        fault = self._faults.callback()
        deliveries = [self._delivery(receiver, event, fault) for receiver in receivers]
        for delivery in deliveries:
            self._start(delivery)
        if fault and fault.kind == "reorder" and fault.times == 1:
            self.release()
        done, _ = await asyncio.wait([d.first for d in deliveries], timeout=TIMEOUT_SECONDS)
        return len(done) == len(deliveries) and all(d.result() for d in done)

    def release(self) -> None:
        """Send the held events, latest first."""
        held = self._held
        self._held = []
        if held:
            self._spawn(self._in_order(held[::-1]))

    async def check_urls(self) -> list[dict[str, Any]]:
        """The checks made when settings are saved: of each app (C1), and of each mini-program with
        a push address (A7)."""
        apps = [
            {"agent_id": app.agent_id, **await self._check_app(to)}
            for app, to in self._apps.values()
        ]
        return apps + [
            {"appid": appid, **await self._check_push(to)} for appid, to in self._pushes.items()
        ]

    async def _check_app(self, to: Receiver) -> dict[str, Any]:
        echo = ids.nonce()
        encrypted = to.envelope.encrypt(echo.encode(), to.owner)
        return await self._check(
            to.url, self._signed(to, encrypted, None) | {"echostr": encrypted}, echo
        )

    async def _check_push(self, to: Receiver) -> dict[str, Any]:
        echo = ids.nonce()
        timestamp = str(int(time.time()))
        nonce = ids.nonce()
        signed = signature(to.token, timestamp, nonce)
        query = {"signature": signed, "timestamp": timestamp, "nonce": nonce, "echostr": echo}
        return await self._check(to.url, query, echo)

    async def _check(self, url: str, query: dict[str, str], echo: str) -> dict[str, Any]:
        try:
            answer = await self._client.get(url, params=query, timeout=1.0)
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

    def _delivery(self, to: Receiver, event: Event, fault: Fault | None) -> Delivery:
        entry: dict[str, Any] = {
            "time": self._clock.now(),
            "to": str(to.agent_id or to.owner),
            "url": to.url,
            "event": event.shown(),
            "fault": fault.kind if fault else "",
            "delivered": False,
            "attempts": [],
        }
        self._journal.deliveries.append(entry)
        return Delivery(to, event.from_user, to.message(event), entry, fault)

    def _start(self, delivery: Delivery) -> None:
        kind = delivery.fault.kind if delivery.fault else ""
        if kind == "drop":
            delivery.end_first_attempt(False)
        elif kind == "reorder":
            delivery.end_first_attempt(False)
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
            delivery.end_first_attempt(False)

    async def _deliver_or_retry(self, delivery: Delivery) -> None:
        fault = delivery.fault
        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        last = await self._until_accepted(delivery)
        if fault and fault.kind == "replay":
            copies = [last] * fault.copies
        elif fault and fault.kind == "duplicate":
            copies = [self._post(delivery) for _ in range(fault.copies)]
        else:
            return
        await asyncio.gather(*(self._attempt(delivery, copy) for copy in copies))

    async def _until_accepted(self, delivery: Delivery) -> Post:
        """Post it until it is accepted, four times at most, signed anew each time. Returns the last
        post."""
        post = self._post(delivery)
        for left in reversed(range(1 + RETRIES)):
            accepted = await self._attempt(delivery, post)
            delivery.end_first_attempt(accepted)
            if accepted:
                delivery.entry["delivered"] = True
                break
            if left:
                await asyncio.sleep(self._retry_delay)
                post = self._post(delivery)
        return post

    def _post(self, delivery: Delivery) -> Post:
        """Encrypt and sign anew; the message inside stays the same (C3)."""
        to = delivery.to
        kind = delivery.fault.kind if delivery.fault else ""
        encrypted = to.envelope.encrypt(
            delivery.message, "ww" + "f" * 16 if kind == "wrong_receiveid" else to.owner
        )
        query = self._signed(to, encrypted, delivery.fault)
        if not to.agent_id:
            plain = signature(to.token, query["timestamp"], query["nonce"])
            query = {
                "signature": plain,
                "openid": delivery.from_user,
                "encrypt_type": "aes",
                **query,
            }
        return Post(query, to.wrap(encrypted))

    def _signed(self, to: Receiver, encrypted: str, fault: Fault | None) -> dict[str, str]:
        """The query of a post. Its timestamp is the wall clock's: the receiver does not share the
        sandbox's clock."""
        now = time.time()
        if fault and fault.kind == "stale_timestamp":
            now -= fault.seconds or STALE_SECONDS
        timestamp = str(int(now))
        nonce = ids.nonce()
        signed = to.envelope.sign(timestamp, nonce, encrypted)
        if fault and fault.kind == "wrong_signature":
            signed = signed[::-1]
        return {"msg_signature": signed, "timestamp": timestamp, "nonce": nonce}

    async def _attempt(self, delivery: Delivery, post: Post) -> bool:
        """Post it once and note how that went; whether it was accepted."""
        started = time.perf_counter()
        outcome = await self._outcome(delivery.to, post)
        took = round((time.perf_counter() - started) * 1000, 1)
        delivery.entry["attempts"].append({**asdict(outcome), "ms": took})
        return outcome.accepted

    async def _outcome(self, to: Receiver, post: Post) -> Outcome:
        headers = {"Content-Type": CONTENT[to.json]}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._client.post(
                    to.url, params=post.query, content=post.body, headers=headers
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return Outcome(None, False, type(error).__name__)
        problem, reply = answer.text[:200], ""
        if answer.status_code == 200 and answer.content in ACCEPTED:
            problem = ""
        elif answer.status_code == 200 and not to.agent_id:
            problem, reply = _reply(to, answer.text)
        if problem or answer.status_code != 200:
            return Outcome(answer.status_code, False, problem)
        event = answer.headers.get("X-Event-Id", "")[:200]
        return Outcome(answer.status_code, True, event=event, reply=reply)


def _reply(to: Receiver, text: str) -> tuple[str, str]:
    """What is wrong with a reply to a mini-program's push, or what it asks for: sealed and signed in
    the push's own form, it may ask for TO_WECHAT alone (A7)."""
    try:
        sealed = _fields(text, json_wanted=to.json)
        plain = to.envelope.open(
            sealed["Encrypt"],
            timestamp=sealed["TimeStamp"],
            nonce=sealed["Nonce"],
            msg_signature=sealed["MsgSignature"],
        )
        inner = _fields(plain.message.decode(), json_wanted=to.json)
    except (BadCallback, KeyError, ValueError, AttributeError) as error:
        return f"the reply cannot be read: {error} {text}"[:200], ""
    if plain.receiveid != to.owner:
        return "the reply is sealed for somebody else", ""
    if inner.get("MsgType") != TO_WECHAT:
        return f"the reply asks for {inner.get('MsgType')!r}"[:200], ""
    return "", TO_WECHAT


def _fields(text: str, *, json_wanted: bool) -> dict[str, str]:
    """The fields of a reply, in JSON or XML; raises ValueError when it is in the other."""
    if json_wanted:
        return {name: str(value) for name, value in json.loads(text).items()}
    if not text.startswith("<xml>"):
        raise ValueError("no XML")
    inside = text.removeprefix("<xml>").removesuffix("</xml>")
    return {name: cdata or plain for name, cdata, plain in _ELEMENT.findall(inside)}


def _app_receivers(world: World, url: str | None) -> dict[int, tuple[App, Receiver]]:
    """By agent id every app with where its events go."""
    corp_id = world.corp.corp_id
    receivers = {}
    for app in world.corp.apps:
        receivers[app.agent_id] = (app, _app_receiver(corp_id, app, url or app.callback_url))
    return receivers


def _push_receivers(world: World, push_url: str | None) -> dict[str, Receiver]:
    """By appid where the events of each mini-program with a push address go."""
    receivers = {}
    for mini_program in world.mini_programs:
        receiver = _push_receiver(mini_program, push_url)
        if receiver:
            receivers[mini_program.appid] = receiver
    return receivers


def _app_receiver(corp_id: str, app: App, url: str) -> Receiver:
    return Receiver(
        corp_id, app.agent_id, corp_id, url, app.token, Envelope(app.token, app.encoding_aes_key)
    )


def _push_receiver(mini: MiniProgram, push_url: str | None) -> Receiver | None:
    """The push address of a mini-program, if it has one; its `ToUserName` is an original id, not
    the appid."""
    url = push_url.replace("{appid}", mini.appid) if push_url else mini.callback_url
    if not url or not mini.token:
        return None
    envelope = Envelope(mini.token, mini.encoding_aes_key)
    return Receiver(
        mini.appid,
        0,
        f"gh_{mini.appid[-12:]}",
        url,
        mini.token,
        envelope,
        mini.push_format == "json",
    )


def _gets(app: App, event: Event) -> bool:
    """Whether WeCom tells this app (C3): its own events, customer contact, the archive, or the
    contacts."""
    if event.agent_id is not None:
        return app.agent_id == event.agent_id
    if event.name.startswith(CUSTOMER_EVENTS):
        return app.customer_contact
    if event.name == "msgaudit_notify":
        return app.archive
    return not app.archive and not app.builtin
