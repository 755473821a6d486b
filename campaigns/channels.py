"""Channels: the live codes at WeCom (contact ways) through which a campaign's customers come (wechat-contract B5)."""

from __future__ import annotations

from typing import Any, cast

from campaigns.document import Campaign
from campaigns.reading import states_of
from customers.directory import Tenant, staff_of_branches, wecom_client
from services.clock import utc
from services.container import Services
from services.kept import forget, kept
from services.mongo import Doc, Duplicate
from services.wechat.wecom import WeComClient

CACHE_SECONDS = 1.0
_WANTED, _MADE = "wanted", "made"


async def by_state(services: Services, tenant: str, state: str) -> Doc | None:
    """The channel whose live code carries `state`, or None."""

    async def load() -> dict[str, Doc]:
        rows = await services.store.tenant(tenant)["channels"].find({}, limit=None)
        return {row["state"]: row for row in rows}

    return (await kept(services, f"channels:{tenant}", CACHE_SECONDS, load)).get(state)


async def of_campaign(services: Services, tenant: str, campaign: str) -> list[dict[str, Any]]:
    """The campaign's live codes, for the console and the sandbox's visitor."""
    rows = await services.store.tenant(tenant)["channels"].find({"campaign": campaign}, sort=[("state", 1)])
    names = ("state", "branch", "config_id", "qr_code", "users")
    return [{name: row.get(name) for name in names} for row in rows]


async def ensure(services: Services, tenant: Tenant, campaign: Campaign) -> list[str]:
    """Makes the live codes that the campaign wants and WeCom does not have yet; returns what was done, as sentences.

    Each is written down as wanted before WeCom is asked, and as made with its `config_id` after. If we were killed in between,
    WeCom is searched for a code with that state before another is made. Raises PlatformError.
    """
    staff = await staff_of_branches(services, tenant.id)
    done: list[str] = []
    for group, states in states_of(campaign.codes, tenant.branches).items():
        for branch, state in states.items():
            users = staff.get(branch, [])
            if users and await _ensure_one(services, tenant, campaign, group, branch, state, users):
                done.append(f"live code {state}: made for {', '.join(users)}")
    forget(services, f"channels:{tenant.id}")
    return done


async def _ensure_one(
    services: Services, tenant: Tenant, campaign: Campaign, group: str, branch: str, state: str, users: list[str]
) -> bool:
    rows = services.store.tenant(tenant.id)["channels"]
    row_id = f"{tenant.id}:{state}"
    row: Doc = {"_id": row_id, "campaign": campaign.id, "code": group, "branch": branch, "state": state, "users": users}
    try:
        await rows.insert({**row, "made": _WANTED, "at": utc(services.clock())})
        tried_before = False
    except Duplicate:
        present = await rows.find_one({"_id": row_id})
        if present is not None and present["made"] == _MADE:
            return False
        tried_before = True
    client = wecom_client(services, tenant)
    way = await _find(client, state) if tried_before else None
    if way is None:
        way = await client.add_contact_way(
            users, state=state, remark=state, skip_verify=campaign.codes[group].skip_verify
        )
    fields = {"made": _MADE, "config_id": way["config_id"], "qr_code": way.get("qr_code", ""), "users": users}
    await rows.update({"_id": row_id}, {"$set": fields})
    return True


async def _find(client: WeComClient, state: str) -> dict[str, Any] | None:
    """The live code of that state at WeCom, if an earlier try made it."""
    cursor = ""
    while True:
        page = await client.list_contact_way(cursor=cursor)
        for entry in page.get("contact_way") or []:
            way = cast("dict[str, Any]", (await client.get_contact_way(entry["config_id"])).get("contact_way") or {})
            if way.get("state") == state:
                return {**way, "config_id": entry["config_id"]}
        cursor = str(page.get("next_cursor") or "")
        if not cursor:
            return None
