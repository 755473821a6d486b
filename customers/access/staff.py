"""The relationship manager's side: signing in through WeCom, his customers, one customer's story,
and what he notes of him."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from customers import relationships, timeline
from customers.actors import StaffActor
from customers.archive import consents
from customers.banks.directory import get_tenant, staff_member, wecom_client
from customers.handover import departures
from customers.identity import resolution
from customers.wecom_mirror import tags
from services.container import Services
from services.errors import InvalidInput, NotFound, NotSignedIn, Unavailable
from services.store import batching
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError, SubjectState


async def authorize_url(services: Services, tenant_id: str, redirect_uri: str, state: str) -> str:
    """WeCom's OAuth page for the RM (contract/wechat B1, snsapi_base)."""
    tenant = await get_tenant(services, tenant_id)
    return wecom_client(services, tenant).authorize_url(redirect_uri, state)


async def staff_login(services: Services, tenant_id: str, code: str) -> StaffActor:
    """The RM behind an OAuth code; raises NotSignedIn for a bad code or somebody who is not staff
    of this bank."""
    tenant = await get_tenant(services, tenant_id)
    try:
        answer = await wecom_client(services, tenant).auth_getuserinfo(code)
    except SubjectState as error:
        raise NotSignedIn("login_code_invalid", "the code is used, expired or unknown") from error
    except PlatformError as error:
        raise Unavailable(
            "wecom_unavailable", "WeCom does not answer; try again", retry_after=2
        ) from error
    userid = str(answer.get("userid", ""))
    if not userid:
        raise NotSignedIn("not_staff", "only staff of the bank may enter")
    try:
        await staff_member(services, tenant.id, userid)
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    return StaffActor(tenant.id, userid)


async def open_session(services: Services, actor: StaffActor) -> str:
    """A session's token for an RM who has signed in; it ends with all his others when he leaves."""
    session = {"tenant": actor.tenant, "userid": actor.userid}
    return await services.sessions.open(
        "staff", session, subject=departures.subject(actor.tenant, actor.userid)
    )


async def actor_of(services: Services, tenant: str, token: str) -> StaffActor:
    """The RM behind a session's token; raises NotSignedIn, also for one who is no longer staff of
    this bank."""
    session = await services.sessions.read("staff", token) if token else None
    if session is None or session["tenant"] != tenant:
        raise NotSignedIn("not_signed_in", "open the side panel from WeCom")
    try:
        await staff_member(services, tenant, session["userid"])
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    return StaffActor(tenant, session["userid"])


async def list_customers(services: Services, actor: StaffActor) -> list[dict[str, Any]]:
    """The RM's present friends, newest first, masked."""
    rows = await relationships.of_staff(services, actor.tenant, actor.userid)
    found = await batching.read(services, actor.tenant, "customers", [row["cid"] for row in rows])
    known = (row["cid"] for row in rows if row["cid"] in found)
    people = await asyncio.gather(
        *(resolution.customer(services, actor.tenant, cid) for cid in known)
    )
    since = {row["cid"]: row for row in rows}
    return [
        {
            "cid": person.cid,
            "name": resolution.mask_name(person.name),
            "phone": resolution.mask_phone(person.phone),
            "since": since[person.cid]["at"] if person.cid in since else None,
            "tags": list(person.tags),
        }
        for person in people
    ]


async def access_customer(
    services: Services, actor: StaffActor, cid: str
) -> tuple[resolution.Customer, dict[str, Any]]:
    """The customer and the friendship, if this RM follows him now; NotFound otherwise, also for
    another bank's customer."""
    person = await resolution.customer(services, actor.tenant, cid)
    pair = await relationships.pair(services, actor.tenant, actor.userid, person.cids)
    if pair is None:
        raise NotFound("customer_unknown", "no such customer")
    return person, pair


async def customer_card(services: Services, actor: StaffActor, cid: str) -> dict[str, Any]:
    """The side panel's view of one customer: masked, with his story, newest first, and what this RM
    noted of him."""
    person, pair = await access_customer(services, actor, cid)
    story = await timeline.story(services, actor.tenant, person.cids)
    return {
        "cid": person.cid,
        "name": resolution.mask_name(person.name),
        "phone": resolution.mask_phone(person.phone),
        "tags": list(person.tags),
        "follow": {
            "since": pair["at"],
            "state": pair.get("state") or "",
            "add_way": pair.get("add_way"),
        },
        "notes": relationships.opened(services, actor.tenant, pair),
        "own_tags": list(pair.get("tags") or []),
        "archive_consent": await consents.of_pair(
            services, actor.tenant, actor.userid, person.external_userid
        ),
        "people": await _names(services, actor.tenant, story),
        "timeline": [{"at": row["at"], "kind": row["kind"], "data": row["data"]} for row in story],
    }


async def _names(
    services: Services, tenant: str, story: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """userid → name of the members whom a story speaks of."""
    told = {
        str(row["data"][name])
        for row in story
        for name in ("userid", "from", "to", "by")
        if row["data"].get(name)
    }
    rows = await batching.read(
        services, tenant, "staff", [f"{tenant}:{userid}" for userid in sorted(told)]
    )
    return {row["userid"]: row["name"] for row in rows.values()}


async def corp_tags(services: Services, actor: StaffActor) -> dict[str, str]:
    """id → name of the bank's corp tags."""
    return dict(sorted((await tags.known(services, actor.tenant)).items(), key=lambda tag: tag[1]))


async def note_customer(
    services: Services, actor: StaffActor, cid: str, remark: str, description: str
) -> None:
    """Writes the RM's remark (at most 20 characters) and description (150) at WeCom and here
    (contract/wechat B3 92115).

    Raises NotFound for a customer who is not his, InvalidInput `note_too_long`, PlatformError.
    """
    person, pair = await access_customer(services, actor, cid)
    long = [
        name
        for name, text, most in (("remark", remark, 20), ("description", description, 150))
        if len(text) > most
    ]
    if long:
        raise InvalidInput("note_too_long", "too long", fields=dict.fromkeys(long, "too long"))
    asked = services.clock()
    client = wecom_client(services, await get_tenant(services, actor.tenant))
    await client.externalcontact_remark(
        actor.userid, person.external_userid, remark=remark, description=description
    )
    relation = replace(_relation(services, actor, pair), remark=remark, description=description)
    await relationships.describe(services, actor.tenant, [(pair["_id"], relation)], asked)
    await services.audit.record(
        services.store.tenant(actor.tenant), actor.userid, "customer.noted", person.cid
    )


async def tag_customer(
    services: Services, actor: StaffActor, cid: str, *, add: str = "", remove: str = ""
) -> None:
    """Puts a corp tag (by id) on the RM's friendship or takes it off, at WeCom and here (92118).

    Raises NotFound for a customer who is not his, InvalidInput `tag_unknown`, PlatformError.
    """
    person, pair = await access_customer(services, actor, cid)
    before = set(pair.get("tags") or [])
    if (add or remove) not in await tags.known(services, actor.tenant):
        raise InvalidInput("tag_unknown", "no such tag")
    after = before | {add} if add else before - {remove}
    asked = services.clock()
    client = wecom_client(services, await get_tenant(services, actor.tenant))
    marked, unmarked = ([add], []) if add else ([], [remove])
    await client.mark_tag(actor.userid, person.external_userid, add=marked, remove=unmarked)
    relation = replace(_relation(services, actor, pair), tags=tuple(sorted(after)))
    await relationships.describe(services, actor.tenant, [(pair["_id"], relation)], asked)
    await tags.carry(services, actor.tenant, person.cid, actor.userid, before, after)
    db = services.store.tenant(actor.tenant)
    await services.audit.record(
        db, actor.userid, "customer.tagged", person.cid, add=add, remove=remove
    )


def _relation(services: Services, actor: StaffActor, pair: Doc) -> relationships.Relation:
    told = relationships.opened(services, actor.tenant, pair)
    return relationships.Relation(
        actor.userid,
        tags=tuple(pair.get("tags") or []),
        remark=told["remark"],
        description=told["description"],
    )
