"""Corp tags by name: found at WeCom, made there when they are missing, remembered here."""

from __future__ import annotations

import asyncio

from customers.directory import Tenant, wecom_client
from services import grouped
from services.container import Services
from services.wechat.errors import BadRequest

TAKEN = 40071
UNKNOWN_TAG = 40068
OWN_GROUP = "银桥"


async def tag_id(services: Services, tenant: Tenant, name: str) -> str:
    """The id of the corp tag `group:tag` (a name without a group is in 银桥), made if needed; raises PlatformError."""
    known: dict[str, str] = services.cache.setdefault(f"tags:{tenant.id}", {})
    one_at_a_time: asyncio.Lock = services.cache.setdefault(f"tags.lock:{tenant.id}", asyncio.Lock())
    async with one_at_a_time:
        if name not in known:
            known.update(await _all(services, tenant))
        if name not in known:
            await _make(services, tenant, name)
            known.update(await _all(services, tenant))
    return known[name]


async def mark(
    services: Services, tenant: Tenant, userid: str, external_userid: str, add: list[str], remove: list[str]
) -> None:
    """Puts tags on a friendship and takes them off, by name; an id that WeCom has forgotten is looked up once more."""
    client = wecom_client(services, tenant)
    for last in (False, True):
        add_ids = [await tag_id(services, tenant, name) for name in add]
        remove_ids = [await tag_id(services, tenant, name) for name in remove]
        try:
            await client.mark_tag(userid, external_userid, add=add_ids, remove=remove_ids)
        except BadRequest as error:
            if error.errcode != UNKNOWN_TAG or last:
                raise
            services.cache.pop(f"tags:{tenant.id}", None)
        else:
            return


async def _make(services: Services, tenant: Tenant, name: str) -> None:
    group, _, tag = name.rpartition(":")
    try:
        await wecom_client(services, tenant).add_corp_tag([tag], group_name=group or OWN_GROUP)
    except BadRequest as error:
        if error.errcode != TAKEN:  # another process made it in this moment
            raise


async def _all(services: Services, tenant: Tenant) -> dict[str, str]:
    answer = await wecom_client(services, tenant).get_corp_tag_list()
    found: dict[str, str] = {}
    for group in answer.get("tag_group") or []:
        for tag in group.get("tag") or []:
            found[f"{group['group_name']}:{tag['name']}"] = tag["id"]
            if group["group_name"] == OWN_GROUP:
                found[tag["name"]] = tag["id"]
    return found


async def remember(services: Services, tenant: str, cid: str, add: list[str], remove: list[str]) -> None:
    """Keeps the customer's tags with him, for the side panel and for rules."""
    if add:
        await grouped.change(services, tenant, "customers", cid, {"$addToSet": {"tags": {"$each": add}}})
    if remove:
        await grouped.change(services, tenant, "customers", cid, {"$pull": {"tags": {"$in": remove}}})
