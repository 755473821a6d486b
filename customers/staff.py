"""The relationship manager's side: signing in through WeCom, his customers, and one customer's story."""

from __future__ import annotations

from typing import Any

from customers import follows, identity, timeline
from customers.actors import StaffActor
from customers.directory import get_tenant, staff_member, wecom_client
from services import grouped
from services.container import Services
from services.errors import NotFound, NotSignedIn, Unavailable
from services.wechat.errors import PlatformError, SubjectState


async def authorize_url(services: Services, tenant_id: str, redirect_uri: str, state: str) -> str:
    """WeCom's OAuth page for the RM (wechat-contract B1, snsapi_base)."""
    tenant = await get_tenant(services, tenant_id)
    return wecom_client(services, tenant).authorize_url(redirect_uri, state)


async def staff_login(services: Services, tenant_id: str, code: str) -> StaffActor:
    """The RM behind an OAuth code; raises NotSignedIn for a bad code or somebody who is not staff of this bank."""
    tenant = await get_tenant(services, tenant_id)
    try:
        answer = await wecom_client(services, tenant).get_user_info(code)
    except SubjectState as error:
        raise NotSignedIn("login_code_invalid", "the code is used, expired or unknown") from error
    except PlatformError as error:
        raise Unavailable("wecom_unavailable", "WeCom does not answer; try again", retry_after=2) from error
    userid = str(answer.get("userid", ""))
    if not userid:
        raise NotSignedIn("not_staff", "only staff of the bank may enter")
    try:
        await staff_member(services, tenant.id, userid)
    except NotFound as error:
        raise NotSignedIn("not_staff", "only staff of the bank may enter") from error
    return StaffActor(tenant.id, userid)


async def list_customers(services: Services, actor: StaffActor) -> list[dict[str, Any]]:
    """The RM's present friends, newest first, masked."""
    rows = await follows.of_staff(services, actor.tenant, actor.userid)
    found = await grouped.read(services, actor.tenant, "customers", [row["cid"] for row in rows])
    people = [await identity.customer(services, actor.tenant, row["cid"]) for row in rows if row["cid"] in found]
    since = {row["cid"]: row for row in rows}
    return [
        {
            "cid": person.cid,
            "name": identity.mask_name(person.name),
            "phone": identity.mask_phone(person.phone),
            "since": since[person.cid]["at"] if person.cid in since else None,
            "tags": list(person.tags),
        }
        for person in people
    ]


async def access_customer(services: Services, actor: StaffActor, cid: str) -> tuple[identity.Customer, dict[str, Any]]:
    """The customer and the friendship, if this RM follows him now; NotFound otherwise, also for another bank's customer."""
    person = await identity.customer(services, actor.tenant, cid)
    pair = await follows.pair(services, actor.tenant, actor.userid, person.cids)
    if pair is None:
        raise NotFound("customer_unknown", "no such customer")
    return person, pair


async def customer_card(services: Services, actor: StaffActor, cid: str) -> dict[str, Any]:
    """The side panel's view of one customer: masked, with his story, newest first."""
    person, pair = await access_customer(services, actor, cid)
    story = await timeline.story(services, actor.tenant, person.cid)
    return {
        "cid": person.cid,
        "name": identity.mask_name(person.name),
        "phone": identity.mask_phone(person.phone),
        "tags": list(person.tags),
        "follow": {"since": pair["at"], "state": pair.get("state") or "", "add_way": pair.get("add_way")},
        "timeline": [{"at": row["at"], "kind": row["kind"], "data": row["data"]} for row in story],
    }
