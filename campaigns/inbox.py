"""Callbacks in, effects out: receiving a platform's message, and handling it once it is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.parsers import expat

import orjson

from campaigns import channels, engine, live
from customers import details, follows, identity, timeline
from customers.details import Details
from customers.directory import Tenant, get_tenant, tenant_of_appid
from services import grouped, ids, inbox, leases, outbox
from services.container import Services
from services.errors import NotFound, Unavailable, YinqiaoError
from services.inbox import Arrival
from services.mongo import Doc
from services.wechat import crypto, events
from services.wechat.errors import EventUnreadable, PlatformError

DETAILS_SECONDS = 3.0
LEASE_SECONDS = 6.0
MOST_TRIES = 12
WECOM, WECHAT = "wecom", "wechat"
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
        _check_readable(opened.message)
        return await _store(services, Arrival(tenant_id, WECOM, opened.message, opened.nonce), count)


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


def _check_readable(message: bytes) -> None:
    """Refuses what is no XML or declares a document type. No tree is built; that is the worker's."""

    def refuse(*_: object) -> None:
        raise EventUnreadable("event_dtd", "a message has no document type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(message, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise EventUnreadable("event_not_xml", "the message is not XML") from error


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
    return await leases.pump(services.clock, rows, handle, seconds=LEASE_SECONDS, until=until)


async def _handle(services: Services, owner: str, row: Doc) -> None:
    tenant, row_id = row["tenant"], row["_id"]
    try:
        message = services.vault.open(tenant, "inbox", "body", row_id, bytes(row["body"]))
        if row["source"] == inbox.REWARDS:
            state = await _reward_event(services, tenant, message)
        elif row["source"] == WECOM:
            state = await _platform_event(services, tenant, row, events.parse_event(message))
        else:
            state = "unknown"
        await grouped.close(services, tenant, "inbox", owner, row_id, state=state)
    except Unavailable:
        raise
    except Exception as error:
        await _not_handled(services, owner, row, error)


async def _not_handled(services: Services, owner: str, row: Doc, error: Exception) -> None:
    """A later try, or after MOST_TRIES the quarantine: the row stays, with its reason, for a person."""
    rows = services.store.tenant(row["tenant"])["inbox"]
    fields = {"event": row["_id"], "attempts": row["attempts"], "error": type(error).__name__}
    reason = error.code if isinstance(error, YinqiaoError) else type(error).__name__
    if row["attempts"] >= MOST_TRIES or isinstance(error, EventUnreadable):
        log.error("an event was set aside", extra={"fields": fields})
        await leases.close(rows, owner, [row["_id"]], state="dead", reason=reason)
        return
    log.warning("an event failed; it will be tried again", extra={"fields": fields}, exc_info=error)
    due = services.clock() + leases.backoff(row["attempts"], first=0.5)
    await leases.put_back(rows, owner, [row["_id"]], due, reason=reason)


async def _reward_event(services: Services, tenant: str, message: bytes) -> str:
    """A batch of grants, as rewards/claims.py tells it: into the customers' stories, and to the runs that wait for it."""
    event = orjson.loads(message)
    data = {"reward": event["reward"]}
    stories = [
        timeline.entry(services, tenant, cid, "reward.claimed", grant, data, at) for grant, cid, at in event["grants"]
    ]
    await services.store.tenant(tenant)["timeline"].insert_new(stories)
    if event["offered"]:
        for _, cid, _ in event["grants"]:
            person = await identity.customer(services, tenant, cid)
            await engine.on_event(services, tenant, person.cids, "reward.claimed")
    return "handled"


async def _platform_event(services: Services, tenant: str, row: Doc, event: events.Event) -> str:
    match event:
        case events.ExternalContactAdded():
            await _added(services, tenant, row, event)
        case events.ExternalContactEdited():
            await details.fetch(services, tenant, event.external_userid)
        case events.FollowUserDeleted():
            await _ended(services, tenant, row, event, "customer.deleted_rm")
        case events.ExternalContactDeleted():
            await _ended(services, tenant, row, event, "rm.deleted_customer")
        case _:
            return "unknown"
    return "handled"


def _happened(services: Services, event: events.Event) -> float:
    return event.create_time.timestamp() if event.create_time is not None else services.clock()


async def _added(services: Services, tenant: str, row: Doc, event: events.ExternalContactAdded) -> None:
    """A new friend: who he is, the friendship, and the campaigns that his code leads to. When WeCom cannot say who he is in
    time, the welcome does not wait: the details come later."""
    try:
        async with asyncio.timeout(DETAILS_SECONDS):
            known: Details | None = await details.fetch(services, tenant, event.external_userid)
    except (PlatformError, TimeoutError) as error:
        log.warning("details come later", extra={"fields": {"event": row["_id"], "why": str(error)[:200]}})
        known = None
    cid = (
        known.cid
        if known
        else await identity.identify(services, tenant, identity.Facts(external_userid=event.external_userid))
    )
    if known is None:
        await _enrich_later(services, tenant, cid, row, event)
    follow = known.follow_users.get(event.userid, {}) if known else {}
    state = event.state or ""
    at = _happened(services, event)
    if float(follow.get("createtime") or 0.0) < at:  # else the details have told of this friendship already
        add_way = follow.get("add_way")
        await follows.changed(services, tenant, event.userid, cid, at=at, active=True, state=state, add_way=add_way)
    await asyncio.gather(
        timeline.record(services, tenant, cid, "customer.added", row["_id"], at=at, userid=event.userid, state=state),
        _enter_campaigns(services, tenant, cid, row, event, follow),
    )
    cids = await identity.cids(services, tenant, cid)
    if await follows.pair(services, tenant, event.userid, cids) is None:  # his going was delivered before his coming
        await engine.on_event(services, tenant, cids, "customer.blocked")


async def _enter_campaigns(
    services: Services, tenant: str, cid: str, row: Doc, event: events.ExternalContactAdded, follow: Mapping[str, Any]
) -> None:
    channel = await channels.by_state(services, tenant, event.state or "")
    person = await identity.customer(services, tenant, cid)
    facts = {
        "channel.code": event.state,
        "channel.branch": channel["branch"] if channel else None,
        "follow.userid": event.userid,
        "follow.add_way": follow.get("add_way"),
        "customer.id": cid,
        "customer.name": person.name,
        "customer.bound": bool(person.phone),
    }
    context = {
        "tenant": tenant,
        "userid": event.userid,
        "welcome_code": event.welcome_code,
        "received_at": row["at"].timestamp(),
    }
    for program in await live.live_programs(services, tenant):
        await engine.enter(services, program, cid, facts, context, row["owner"])


async def _enrich_later(
    services: Services, tenant: str, cid: str, row: Doc, event: events.ExternalContactAdded
) -> None:
    effect = outbox.Effect(
        id=ids.tenant_id(tenant, "enrich", row["_id"]),
        tenant=tenant,
        kind="enrich",
        cid=cid,
        args={"external_userid": event.external_userid},
    )
    due = services.clock() + 2.0
    await grouped.insert(services, tenant, "outbox", outbox.row_of(services, effect, due=due, owner=None))


async def _ended(services: Services, tenant: str, row: Doc, event: events.ContactEvent, kind: str) -> None:
    cid = await identity.identify(services, tenant, identity.Facts(external_userid=event.external_userid))
    at = _happened(services, event)
    await follows.changed(services, tenant, event.userid, cid, at=at, active=False)
    await timeline.record(services, tenant, cid, kind, row["_id"], at=at, userid=event.userid)
    if kind == "customer.deleted_rm":
        person = await identity.customer(services, tenant, cid)
        await engine.on_event(services, tenant, person.cids, "customer.blocked")
