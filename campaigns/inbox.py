"""Callbacks in, effects out: receiving a platform's message, and handling it once it is stored."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.parsers import expat

import orjson

from campaigns import engine, reactions, stories
from customers import identity, timeline
from customers.directory import Tenant, get_tenant, tenant_of_appid
from services import grouped, inbox, leases, trace
from services.container import Services
from services.errors import Conflict, NotFound, Unavailable, YinqiaoError
from services.inbox import Arrival
from services.mongo import Doc
from services.trace import Story
from services.wechat import crypto, events
from services.wechat.errors import EventUnreadable, PlatformError, no_turn

LEASE_SECONDS = 6.0
MOST_TRIES = 12
MOST_NAMES = 50
"""Of this many kinds of unknown events each is counted by its name, the others together."""
WECOM, WECHAT = "wecom", "wechat"
DEAD = "dead"
_WORD = re.compile(r"[A-Za-z0-9_.-]{0,64}")
log = logging.getLogger(__name__)


async def receive_wecom(services: Services, tenant_id: str, query: Mapping[str, str], body: bytes) -> str:
    """Verifies, decrypts and stores a WeCom callback, durably: "stored" or "duplicate" (wechat-contract C3).

    Raises the callback_* refusals of services/wechat/crypto.py, `callback_replayed` for a seen nonce with another message, and
    Unavailable when it could not be stored: WeCom delivers it again then.
    """
    with _counted(services, tenant_id) as count:
        app = (await get_tenant(services, tenant_id)).wecom
        credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
        opened = crypto.verify_and_decrypt(credentials, query, body, **_limits(services))
        urgent = _Glance(opened.message).urgent
        return await _store(services, Arrival(tenant_id, WECOM, opened.message, opened.nonce, urgent), count)


async def receive_wechat(services: Services, appid: str, query: Mapping[str, str], body: bytes) -> str:
    """The same for a mini-program's message push in safe mode (wechat-contract A7)."""
    with _counted(services, appid) as count:
        tenant = await tenant_of_appid(services, appid)
        opened = crypto.verify_push(_push_credentials(services, tenant, appid), query, body, **_limits(services))
        return await _store(services, Arrival(tenant.id, f"{WECHAT}:{appid}", opened.message, opened.nonce), count)


Count = Callable[[str], None]


@contextmanager
def _counted(services: Services, whose: str) -> Iterator[Count]:
    """Counts what becomes of a callback, refusals by their code. An address that no bank has is counted as nobody's."""

    def count(outcome: str) -> None:
        services.metrics.callbacks.labels(whose, outcome).inc()

    try:
        yield count
    except NotFound as error:
        services.metrics.callbacks.labels("nobody", error.code).inc()
        raise
    except YinqiaoError as error:
        count(error.code)
        raise


def _limits(services: Services) -> dict[str, Any]:
    return {"now": services.clock(), "window": services.settings.callback_window}


def _push_credentials(services: Services, tenant: Tenant, appid: str) -> crypto.Credentials:
    program = tenant.miniprograms[appid]
    if not program.aes_key or not program.token:
        raise NotFound("push_not_configured", "this mini-program has no message push")
    return services.platform.credentials(program.token, program.aes_key, appid)


async def _store(services: Services, arrival: Arrival, count: Count) -> str:
    outcome = await inbox.receive(services, arrival)
    count(outcome)
    if outcome == inbox.STORED:
        services.bells.ring("campaigns.handle_inbox", arrival.tenant)
    return outcome


class _Glance:
    """What the handling must know before it is stored: no tree is built, that is the worker's."""

    def __init__(self, message: bytes) -> None:
        """Raises EventUnreadable: `event_not_xml`, or `event_dtd` when a document type is declared."""
        self.names: set[str] = set()
        self._event: list[str] = []
        self._inside = ""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._begin
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(message, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise EventUnreadable("event_not_xml", "the message is not XML") from error

    @property
    def urgent(self) -> bool:
        """True for what cannot wait behind a storm of others: a welcome code, and a change of staff."""
        return "WelcomeCode" in self.names or "".join(self._event).strip() == "change_contact"

    def _refuse(self, *_: object) -> None:
        raise EventUnreadable("event_dtd", "a message has no document type")

    def _begin(self, name: str, _: object) -> None:
        self.names.add(name)
        self._inside = name

    def _text(self, text: str) -> None:
        if self._inside == "Event":
            self._event.append(text)


async def check_wecom_url(services: Services, tenant_id: str, query: Mapping[str, str]) -> str:
    """The plaintext of `echostr` (wechat-contract C1); raises the callback_* refusals."""
    app = (await get_tenant(services, tenant_id)).wecom
    credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
    return crypto.verify_url(credentials, query, **_limits(services)).decode()


async def check_wechat_url(services: Services, appid: str, query: Mapping[str, str]) -> str:
    """The raw `echostr` (wechat-contract A7)."""
    credentials = _push_credentials(services, await tenant_of_appid(services, appid), appid)
    return crypto.verify_push_url(credentials, query, **_limits(services)).decode()


async def handle_inbox(services: Services, tenant: str, until: float | None = None) -> int:
    """Handles what is due in the bank's inbox; how many rows."""

    async def handle(owner: str, row: Doc) -> None:
        await _handle(services, owner, row)

    rows = services.store.tenant(tenant)["inbox"]
    horizon = services.cache.setdefault(f"horizon:inbox:{tenant}", leases.Horizon())
    return await leases.pump(services.clock, rows, handle, seconds=LEASE_SECONDS, until=until, horizon=horizon)


async def _handle(services: Services, owner: str, row: Doc) -> None:
    with trace.collect() as story:
        try:
            message = services.vault.open(row["tenant"], "inbox", "body", row["_id"], bytes(row["body"]))
            ended = await _act(services, row, message)
            own = {"story": stories.told(story)}
            await grouped.close_each(services, row["tenant"], "inbox", owner, row["_id"], own, **ended)
        except Unavailable:
            raise
        except Exception as error:
            await _not_handled(services, owner, row, error, story)


async def _act(services: Services, row: Doc, message: bytes) -> Doc:
    """Does what a message asks for; the `state` and `type` with which its row ends."""
    if row["source"] == inbox.REWARDS:
        await _reward_event(services, row["tenant"], message)
        return {"state": reactions.HANDLED, "type": "reward_claimed"}
    ended: Doc = {"state": reactions.NOTED, "type": "empty"}
    for event in read(row["source"], message):  # several of one kind, if any
        state = await reactions.react(services, row["tenant"], row, event)
        name = await _unknown(services, row, event) if isinstance(event, events.Unknown) else events.kind(event)
        ended = {"state": state, "type": name}
    return ended


def read(source: str, message: bytes) -> tuple[events.Event, ...]:
    """The events in a platform's message; raises EventUnreadable."""
    if source == WECOM:
        return (events.parse_event(message),)
    return events.parse_push(source.removeprefix(f"{WECHAT}:"), message)


async def _unknown(services: Services, row: Doc, event: events.Unknown) -> str:
    """Counts an event that nobody knows and puts it on the list of what is set aside; its name there."""
    names: set[str] = services.cache.setdefault("events.unknown", set())
    event_name, change = plain(event.event), plain(event.change_type)
    name = f"{event_name}/{change}" if change else event_name
    if name in names or len(names) < MOST_NAMES:
        names.add(name)
        services.metrics.events_unknown.labels(event_name, change).inc()
    else:
        services.metrics.events_unknown.labels("other", "other").inc()
    await _set_aside(services, row, reactions.UNKNOWN, name=name)
    return name


def plain(name: str) -> str:
    """A platform's name as a label: what is no word of a platform could be anything, and is shown to nobody."""
    return name if _WORD.fullmatch(name) else "unreadable"


async def _set_aside(services: Services, row: Doc, state: str, **fields: str) -> None:
    aside = {"_id": row["_id"], "state": state, "at": row["at"], "name": "", "reason": "", **fields}
    await grouped.insert(services, row["tenant"], "set_aside", aside)


async def _not_handled(services: Services, owner: str, row: Doc, error: Exception, story: Story) -> None:
    """A later try, or after MOST_TRIES the quarantine: the row stays, with its reasons, for a person."""
    rows = services.store.tenant(row["tenant"])["inbox"]
    fields = {"event": row["_id"], "attempts": row["attempts"], "error": type(error).__name__}
    reason = error.code if isinstance(error, YinqiaoError) else type(error).__name__
    tries = stories.tried(row, services.clock(), reason, story)
    if (row["attempts"] >= MOST_TRIES and not no_turn(error)) or isinstance(error, EventUnreadable):
        log.error("an event was set aside", extra={"fields": fields})
        await _set_aside(services, row, DEAD, reason=reason)
        await leases.close(rows, owner, [row["_id"]], state=DEAD, reason=reason, tries=tries)
        return
    log.warning("an event failed; it will be tried again", extra={"fields": fields}, exc_info=error)
    wait = leases.backoff(row["attempts"], first=0.5)
    if isinstance(error, PlatformError) and error.action == "defer":
        wait = max(wait, float(error.retry_after))
    attempts = row["attempts"] - no_turn(error)
    await leases.put_back(
        rows, owner, [row["_id"]], services.clock() + wait, reason=reason, tries=tries, attempts=attempts
    )


async def _reward_event(services: Services, tenant: str, message: bytes) -> None:
    """A batch of grants, as rewards/claims.py tells it: into the customers' stories, and to the runs that wait for it."""
    event = orjson.loads(message)
    data = {"reward": event["reward"]}
    entries = [
        timeline.entry(services, tenant, cid, "reward.claimed", grant, data, at) for grant, cid, at in event["grants"]
    ]
    await services.store.tenant(tenant)["timeline"].insert_new(entries)
    if event["offered"]:
        for _, cid, _ in event["grants"]:
            person = await identity.customer(services, tenant, cid)
            await engine.on_event(services, tenant, person.cids, "reward.claimed")


async def retry(services: Services, tenant: str, actor: str, event: str) -> None:
    """Makes an event due again that was set aside, that nobody knew, or that needed no reaction then.

    Raises NotFound `event_unknown`, or Conflict `event_not_set_aside`.
    """
    db = services.store.tenant(tenant)
    again = {"open": True, "due": services.clock(), "attempts": 0, "state": None, "reason": ""}
    ended = {"_id": event, "open": False, "state": {"$in": [DEAD, reactions.UNKNOWN, reactions.NOTED]}}
    if not await db["inbox"].update(ended, {"$set": again}):
        if await db["inbox"].find_one({"_id": event}, {"_id": 1}) is None:
            raise NotFound("event_unknown", "no such event")
        raise Conflict("event_not_set_aside", "this event waits already, or was handled")
    await db["set_aside"].delete({"_id": event})
    await services.audit.record(db, actor, "event.retried", event)
    services.bells.ring("campaigns.handle_inbox", tenant)
