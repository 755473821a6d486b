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
from customers.banks.bank import Bank
from customers.banks.rows import STAFF
from customers.banks.staff import staff_member
from customers.handover import departures
from customers.identity import resolution
from customers.identity.collections import CUSTOMERS
from customers.wecom_mirror import tags
from services.errors import InvalidInput, NotFound, NotSignedIn, Unavailable
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError, SubjectState


async def authorize_url(bank: Bank, redirect_uri: str, state: str) -> str:
    """WeCom's OAuth page for the RM (contract/wechat B1, snsapi_base)."""
    return bank.wecom.authorize_url(redirect_uri, state)


async def staff_login(bank: Bank, code: str) -> StaffActor:
    """The RM behind an OAuth code; raises NotSignedIn for a bad code or somebody who is not staff
    of this bank."""
    try:
        answer = await bank.wecom.auth_getuserinfo(code)
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
        await staff_member(bank, userid)
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    return StaffActor(bank.id, userid)


async def open_session(bank: Bank, actor: StaffActor) -> str:
    """A session's token for an RM who has signed in; it ends with all his others when he leaves."""
    session = {"tenant": bank.id, "userid": actor.userid}
    return await bank.services.sessions.open(
        STAFF, session, subject=departures.subject(bank.id, actor.userid)
    )


async def actor_of(bank: Bank, token: str) -> StaffActor:
    """The RM behind a session's token; raises NotSignedIn, also for one who is no longer staff of
    this bank."""
    session = await bank.services.sessions.read(STAFF, token) if token else None
    if session is None or session["tenant"] != bank.id:
        raise NotSignedIn("not_signed_in", "open the side panel from WeCom")
    try:
        await staff_member(bank, session["userid"])
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    return StaffActor(bank.id, session["userid"])


async def list_customers(bank: Bank, actor: StaffActor) -> list[dict[str, Any]]:
    """The RM's present friends, newest first, masked."""
    rows = await relationships.of_staff(bank, actor.userid)
    found = await bank.read(CUSTOMERS, [row["cid"] for row in rows])
    known = (row["cid"] for row in rows if row["cid"] in found)
    people = await asyncio.gather(*(resolution.customer(bank, cid) for cid in known))
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
    bank: Bank, actor: StaffActor, cid: str
) -> tuple[resolution.Customer, dict[str, Any]]:
    """The customer and the friendship, if this RM follows him now; NotFound otherwise, also for
    another bank's customer."""
    person = await resolution.customer(bank, cid)
    pair = await relationships.pair(bank, actor.userid, person.cids)
    if pair is None:
        raise NotFound("customer_unknown", "no such customer")
    return person, pair


async def customer_card(bank: Bank, actor: StaffActor, cid: str) -> dict[str, Any]:
    """The side panel's view of one customer: masked, with his story, newest first, and what this RM
    noted of him."""
    person, pair = await access_customer(bank, actor, cid)
    story = await timeline.story(bank, person.cids)
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
        "notes": relationships.opened(bank, pair),
        "own_tags": list(pair.get("tags") or []),
        "archive_consent": await consents.of_pair(bank, actor.userid, person.external_userid),
        "people": await _names(bank, story),
        "timeline": [{"at": row["at"], "kind": row["kind"], "data": row["data"]} for row in story],
    }


async def _names(bank: Bank, story: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """userid → name of the members whom a story speaks of."""
    told = {
        str(row["data"][name])
        for row in story
        for name in ("userid", "from", "to", "by")
        if row["data"].get(name)
    }
    rows = await bank.read(STAFF, [f"{bank.id}:{userid}" for userid in sorted(told)])
    return {row["userid"]: row["name"] for row in rows.values()}


async def corp_tags(bank: Bank, actor: StaffActor) -> dict[str, str]:
    """id → name of the bank's corp tags."""
    return dict(sorted((await tags.known(bank)).items(), key=lambda tag: tag[1]))


async def note_customer(
    bank: Bank, actor: StaffActor, cid: str, remark: str, description: str
) -> None:
    """Writes the RM's remark (at most 20 characters) and description (150) at WeCom and here
    (contract/wechat B3 92115).

    Raises NotFound for a customer who is not his, InvalidInput `note_too_long`, PlatformError.
    """
    person, pair = await access_customer(bank, actor, cid)
    long = [
        name
        for name, text, most in (("remark", remark, 20), ("description", description, 150))
        if len(text) > most
    ]
    if long:
        raise InvalidInput("note_too_long", "too long", fields=dict.fromkeys(long, "too long"))
    asked = bank.now()
    client = bank.wecom
    await client.externalcontact_remark(
        actor.userid, person.external_userid, remark=remark, description=description
    )
    relation = replace(_relation(bank, actor, pair), remark=remark, description=description)
    await relationships.describe(bank, [(pair["_id"], relation)], asked)
    await bank.services.audit.record(bank.db, actor.userid, "customer.noted", person.cid)


async def tag_customer(
    bank: Bank, actor: StaffActor, cid: str, *, add: str = "", remove: str = ""
) -> None:
    """Puts a corp tag (by id) on the RM's friendship or takes it off, at WeCom and here (92118).

    Raises NotFound for a customer who is not his, InvalidInput `tag_unknown`, PlatformError.
    """
    person, pair = await access_customer(bank, actor, cid)
    before = set(pair.get("tags") or [])
    if (add or remove) not in await tags.known(bank):
        raise InvalidInput("tag_unknown", "no such tag")
    after = before | {add} if add else before - {remove}
    asked = bank.now()
    client = bank.wecom
    marked, unmarked = ([add], []) if add else ([], [remove])
    await client.mark_tag(actor.userid, person.external_userid, add=marked, remove=unmarked)
    relation = replace(_relation(bank, actor, pair), tags=tuple(sorted(after)))
    await relationships.describe(bank, [(pair["_id"], relation)], asked)
    await tags.carry(bank, person.cid, actor.userid, before, after)
    await bank.audit(actor.userid, "customer.tagged", person.cid, add=add, remove=remove)


def _relation(bank: Bank, actor: StaffActor, pair: Doc) -> relationships.Relation:
    told = relationships.opened(bank, pair)
    return relationships.Relation(
        actor.userid,
        tags=tuple(pair.get("tags") or []),
        remark=told["remark"],
        description=told["description"],
    )
