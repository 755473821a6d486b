"""Channels: the live codes at WeCom (contact ways) through which a campaign's customers come (wechat-contract B5)."""

from __future__ import annotations

from typing import Any, cast

from campaigns.document import Campaign
from campaigns.reading import states_of
from customers.directory import Tenant, staff_of_branches, wecom_client
from services.container import Services
from services.errors import Unavailable
from services.kept import forget, kept
from services.mongo import Collection, Doc
from services.wechat.errors import PlatformError
from services.wechat.wecom import WeComClient

CACHE_SECONDS = 1.0
MAKING_SECONDS = 10.0
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
    row: Doc = {"_id": f"{tenant.id}:{state}", "campaign": campaign.id, "code": group, "branch": branch, "state": state}
    first = not await rows.insert_new([{**row, "made": _WANTED, "since": services.clock()}])
    if not first and not await _take_over(services, rows, row["_id"]):
        return False
    client = wecom_client(services, tenant)
    try:
        way = None if first else await _find(client, state)
        if way is None:
            skip = campaign.codes[group].skip_verify
            way = await client.add_contact_way(users, state=state, remark=state, skip_verify=skip)
    except PlatformError:
        await rows.update({"_id": row["_id"], "made": _WANTED}, {"$set": {"since": 0.0}})  # the next may try at once
        raise
    made = {"made": _MADE, "config_id": way["config_id"], "qr_code": way.get("qr_code", ""), "users": users}
    await rows.update({"_id": row["_id"]}, {"$set": made})
    return True


async def _take_over(services: Services, rows: Collection, row_id: str) -> bool:
    """Whether a code that is not the first's to make is ours now: False when it is made. Raises Unavailable while somebody
    else is making it."""
    now = services.clock()
    stale = {"_id": row_id, "made": _WANTED, "since": {"$lt": now - MAKING_SECONDS}}
    if await rows.update(stale, {"$set": {"since": now}}):
        return True
    if await rows.find_one({"_id": row_id, "made": _MADE}, {"_id": 1}) is not None:
        return False
    raise Unavailable(
        "live_code_busy", "somebody else is making this live code; try again", retry_after=int(MAKING_SECONDS)
    )


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
