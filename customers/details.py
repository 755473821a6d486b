"""A customer's details as WeCom tells them (wechat-contract B3 92114), written into identity and follow relations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from customers import follows, identity
from customers.directory import get_tenant, wecom_client
from services.container import Services


@dataclass(frozen=True)
class Details:
    """The person and what WeCom says of each RM who follows him."""

    cid: str
    name: str
    follow_users: dict[str, dict[str, Any]]


async def fetch(services: Services, tenant_id: str, external_userid: str) -> Details:
    """Asks WeCom, and brings our identity and follow rows up to what it says; raises PlatformError."""
    tenant = await get_tenant(services, tenant_id)
    answer = await wecom_client(services, tenant).get_external_contact(external_userid)
    contact = answer.get("external_contact") or {}
    name = str(contact.get("name") or "")
    facts = identity.Facts(external_userid=external_userid, unionid=str(contact.get("unionid") or ""), name=name)
    cid = await identity.identify(services, tenant_id, facts)
    followers = {str(user.get("userid")): user for user in answer.get("follow_user") or [] if user.get("userid")}
    for userid, user in followers.items():
        since = float(user.get("createtime") or 0.0)  # unknown: the event's own time counts
        state = str(user.get("state") or "")
        await follows.changed(
            services, tenant_id, userid, cid, at=since, active=True, state=state, add_way=user.get("add_way")
        )
    return Details(cid, name, followers)
