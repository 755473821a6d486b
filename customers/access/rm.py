"""The relationship manager's side: signing in through WeCom, his customers, one customer's timeline,
and what he notes of him."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from customers import relationships, timeline
from customers.access.origin import NOWHERE, Origin
from customers.actors import StaffActor
from customers.archive import consents
from customers.banks import staff
from customers.banks.bank import Bank
from customers.banks.staff import names_of
from customers.handover import departures
from customers.identity import resolution
from customers.identity.rows import read_customers
from customers.relationships import FollowInfo, Relationship
from customers.wecom_mirror import members, tags
from services.errors import InvalidInput, NotFound, NotSignedIn
from services.wechat.core.errors import PlatformError, SubjectState, to_whoever_waits

log = logging.getLogger("yinqiao.access")
SESSION = "staff"
REMARK_MOST, DESCRIPTION_MOST = 20, 150


async def authorize_url(bank: Bank, redirect_uri: str, state: str) -> str:
    """WeCom's OAuth page for the RM (contract/wechat B1, snsapi_base)."""
    return bank.wecom.authorize_url(redirect_uri, state)


async def staff_login(bank: Bank, code: str, origin: Origin = NOWHERE) -> StaffActor:
    """The RM behind an OAuth code; raises NotSignedIn for a bad code or somebody who is not staff
    of this bank, Unavailable when WeCom does not answer, PlatformRefused when it does and will
    not. Who came in, and who was turned away, is in the audit trail."""
    userid = await _userid(bank, code)
    try:
        known = await staff.staff_member(bank, userid)
    except NotFound as error:
        await bank.audit(userid, "staff.sign_in_refused", userid, **origin.told(bank))
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    if known.userid != userid:
        await staff.respell(bank, userid)
    await bank.audit(userid, "staff.signed_in", userid, **origin.told(bank))
    fields = {"tenant": bank.id, "staff": userid, "address": origin.masked, "device": origin.device}
    log.info("an RM signed in", extra={"fields": fields})
    return StaffActor(bank.id, userid)


async def open_session(bank: Bank, actor: StaffActor) -> str:
    """A session's token for an RM who has signed in; it ends with all his others when he leaves."""
    row = await staff.find(bank, actor.userid)
    epoch = row.get("epoch", 0) if row else 0
    session = {"tenant": bank.id, "userid": actor.userid, "epoch": epoch}
    subject = departures.subject(bank.id, actor.userid)
    return await bank.services.sessions.open(SESSION, session, subject=subject)


async def _userid(bank: Bank, code: str) -> str:
    try:
        answer = await bank.wecom.members.get_user_info(code)
    except SubjectState as error:
        raise NotSignedIn("login_code_invalid", "the code is used, expired or unknown") from error
    except PlatformError as error:
        raise to_whoever_waits("wecom", error) from error
    userid = str(answer.get("userid", ""))
    if not userid:
        raise NotSignedIn("not_staff", "only staff of the bank may enter")
    return userid


async def actor_of(bank: Bank, token: str) -> StaffActor:
    """The RM behind a session's token; raises NotSignedIn, also for one who is no longer staff of
    this bank, or was none for a while since he signed in."""
    session = await bank.services.sessions.read(SESSION, token) if token else None
    if session is None or session["tenant"] != bank.id:
        raise NotSignedIn("not_signed_in", "open the side panel from WeCom")
    try:
        member = await staff.staff_member(bank, session["userid"])
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    if member.epoch != session["epoch"]:
        raise NotSignedIn("not_signed_in", "open the side panel from WeCom")
    return StaffActor(bank.id, await members.spelling(bank, session["userid"]))


async def sign_out(bank: Bank, token: str, origin: Origin = NOWHERE) -> None:
    """Ends the RM's session, and says so in the audit trail."""
    try:
        actor = await actor_of(bank, token)
    except NotSignedIn:
        return
    await bank.audit(actor.userid, "staff.signed_out", actor.userid, **origin.told(bank))
    await bank.services.sessions.end(SESSION, token)


async def list_customers(bank: Bank, actor: StaffActor) -> list[dict[str, Any]]:
    """The RM's present friends, newest first, masked."""
    rows = await relationships.of_staff(bank, actor.userid)
    found = await read_customers(bank, [row["cid"] for row in rows])
    known = (row["cid"] for row in rows if row["cid"] in found)
    customers = await asyncio.gather(*(resolution.customer(bank, cid) for cid in known))
    since = {row["cid"]: row["at"] for row in rows}
    return [
        {
            "cid": one.cid,
            "name": resolution.mask_name(one.name),
            "phone": resolution.mask_phone(one.phone),
            "since": since.get(one.cid),
            "tags": list(one.tags),
        }
        for one in customers
    ]


async def access_customer(
    bank: Bank, actor: StaffActor, cid: str
) -> tuple[resolution.Customer, Relationship]:
    """The customer and the relationship, if this RM follows him now; NotFound otherwise, also for
    another bank's customer."""
    customer = await resolution.customer(bank, cid)
    relationship = await relationships.between(bank, actor.userid, customer.cids)
    if relationship is None:
        raise NotFound("customer_unknown", "no such customer")
    return customer, relationship


async def ended_card(bank: Bank, actor: StaffActor, cid: str) -> dict[str, Any]:
    """What an RM may still see of somebody who is his friend no more: the masked name, since when
    and until when. Raises NotFound for a friend, a stranger, and one who went on to another RM."""
    customer = await resolution.customer(bank, cid)
    ended = await relationships.ended_between(bank, actor.userid, customer.cids)
    if ended is None:
        raise NotFound("customer_unknown", "no such customer")
    return {
        "cid": customer.cid,
        "name": resolution.mask_name(customer.name),
        "since": ended.get("since"),
        "ended_at": ended.get("ended_at", ended["at"]),
    }


async def customer_card(bank: Bank, actor: StaffActor, cid: str) -> dict[str, Any]:
    """The side panel's view of one customer: masked, with his story, newest first, and what this RM
    noted of him."""
    customer, relationship = await access_customer(bank, actor, cid)
    story = await timeline.story(bank, customer.cids)
    return {
        "cid": customer.cid,
        "name": resolution.mask_name(customer.name),
        "phone": resolution.mask_phone(customer.phone),
        "tags": list(customer.tags),
        "follow": {
            "since": relationship["at"],
            "state": relationship.get("state") or "",
            "add_way": relationship.get("add_way"),
        },
        "notes": relationships.open_notes(bank, relationship),
        "own_tags": list(relationship.get("tags") or []),
        "archive_consent": await consents.of_pair(bank, actor.userid, customer.external_userid),
        "people": await _names(bank, story),
        "timeline": [{"at": one["at"], "kind": one["kind"], "data": one["data"]} for one in story],
    }


async def _names(bank: Bank, story: Sequence[timeline.Entry]) -> dict[str, str]:
    """userid → name of the members whom a story speaks of."""
    named = {
        str(one["data"][field])
        for one in story
        for field in ("userid", "from", "to", "by")
        if one["data"].get(field)
    }
    return await names_of(bank, sorted(named))


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
    customer, relationship = await access_customer(bank, actor, cid)
    _check_lengths(remark, description)
    asked = bank.now()
    known = relationships.follow_info_of(bank, relationship)
    noted = replace(known, remark=remark, description=description)
    async with bank.audited(actor.userid, "customer.noted", customer.cid):
        await bank.wecom.customers.remark(
            actor.userid, customer.external_userid, remark=remark, description=description
        )
        await relationships.describe(bank, [(relationship["_id"], noted)], asked)


def _check_lengths(remark: str, description: str) -> None:
    fields = {}
    if len(remark) > REMARK_MOST:
        fields["remark"] = "too long"
    if len(description) > DESCRIPTION_MOST:
        fields["description"] = "too long"
    if fields:
        raise InvalidInput("note_too_long", "too long", fields=fields)


async def tag_customer(
    bank: Bank, actor: StaffActor, cid: str, *, add: str = "", remove: str = ""
) -> None:
    """Puts a corp tag (by id) on the RM's relationship or takes it off, at WeCom and here (92118).

    Raises NotFound for a customer who is not his, InvalidInput `tag_unknown`, PlatformError.
    """
    customer, relationship = await access_customer(bank, actor, cid)
    if (add or remove) not in await tags.known(bank):
        raise InvalidInput("tag_unknown", "no such tag")
    known = relationships.follow_info_of(bank, relationship)
    tagged = _with_tag(known, add) if add else _without_tag(known, remove)
    asked, told = bank.now(), {"add": add, "remove": remove}
    async with bank.audited(actor.userid, "customer.tagged", customer.cid, **told):
        await bank.wecom.tags.mark(
            actor.userid,
            customer.external_userid,
            add=[add] if add else [],
            remove=[] if add else [remove],
        )
        await relationships.describe(bank, [(relationship["_id"], tagged)], asked)
        await tags.carry(bank, customer.cid, actor.userid, known.tags, tagged.tags)


def _with_tag(info: FollowInfo, tag: str) -> FollowInfo:
    return replace(info, tags=tuple(sorted({*info.tags, tag})))


def _without_tag(info: FollowInfo, tag: str) -> FollowInfo:
    return replace(info, tags=tuple(sorted({*info.tags} - {tag})))
