"""Channels: the ways through which a campaign's customers come, by the state that each carries.

A row of `channels` is of one `kind`: `code`, a live code (contact way, contract/wechat B5), made
and compared here and staffed by campaigns/channels/rosters.py; `link`, an acquisition link
(campaigns/channels/acquisition.py); `group`, a code into customer groups
(campaigns/channels/group_codes.py). campaigns/channels/reconcile.py looks after all of them.
"""

from __future__ import annotations

from typing import Any, cast

from campaigns import live
from campaigns.channels import provisioning, rosters
from campaigns.channels.provisioning import MADE, WANTED, looked_after
from campaigns.channels.rows import CHANNELS
from campaigns.document.model import Campaign
from campaigns.document.states import states_of
from customers.banks.bank import Bank
from customers.banks.staff import staff_of_branches
from customers.wecom_mirror.sync import (
    Batch,
    Difference,
    Job,
    Outcome,
    Part,
    Problem,
    code_of,
    note,
)
from services.cache import cached, invalidate
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError
from services.wechat.wecom import WeComClient

CODE, LINK, GROUP = "code", "link", "group"
CACHE_SECONDS = 1.0
FIRST_LOOK_SECONDS = 60.0
_FIRST_WAYS = 1_625_875_200
"""10 July 2021, in seconds: WeCom lists no older live codes."""
_A_PAGE = 20


async def by_state(bank: Bank, state: str) -> Doc | None:
    """The channel whose live code, link or group code carries `state`, or None."""

    async def load() -> dict[str, Doc]:
        rows = await bank.db[CHANNELS].find({}, limit=None)
        return {row["state"]: row for row in rows}

    return (await cached(bank.services, f"channels:{bank.id}", CACHE_SECONDS, load)).get(state)


async def of_campaign(bank: Bank, campaign: str) -> list[dict[str, Any]]:
    """The campaign's live codes, for the console and the sandbox's visitor."""
    query = {"campaign": campaign, "kind": CODE}
    rows = await bank.db[CHANNELS].find(query, sort=[("state", 1)])
    names = ("state", "branch", "config_id", "qr_code", "users")
    return [{name: row.get(name) for name in names} for row in rows]


def row_of(
    tenant: str, campaign: Campaign, kind: str, name: str, state: str, branch: str = ""
) -> Doc:
    """The row of a channel that the document wants, before it is made."""
    about = {"campaign": campaign.id, "kind": kind, "code": name, "branch": branch, "state": state}
    return {"_id": f"{tenant}:{state}", **about, "tz": campaign.window.tz}


async def look_again(bank: Bank, campaign: str, before: float) -> None:
    """Has the campaign's channels that were there `before` (seconds UTC) brought up to the version
    that was published since."""
    await provisioning.wake(bank, {"campaign": campaign, "since": {"$lt": before}})


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the live codes that the campaign wants and WeCom does not have yet; returns what was
    done, as sentences.

    If an earlier try was cut short, WeCom is searched for a code with that state before another is
    made. Raises PlatformError.
    """
    staff = await staff_of_branches(bank)
    done: list[str] = []
    for group, states in states_of(campaign.codes, bank.branches).items():
        for branch, state in states.items():
            users = rosters.first(campaign, group, branch, staff, bank.now())
            if users and await _ensure_one(bank, campaign, group, branch, state, users):
                done.append(f"live code {state}: made for {', '.join(users)}")
    invalidate(bank.services, f"channels:{bank.id}")
    return done


async def _ensure_one(
    bank: Bank,
    campaign: Campaign,
    group: str,
    branch: str,
    state: str,
    users: list[str],
) -> bool:
    client, code = bank.wecom, campaign.codes[group]

    async def make(again: bool) -> Doc:
        way = await _find(client, state) if again else None
        if way is None:
            skip = code.skip_verify
            way = dict(
                await client.ways.create(
                    users, state=state, remark=state, skip_verify=skip, several=True
                )
            )
        told = {"config_id": way["config_id"], "qr_code": way.get("qr_code", ""), "users": users}
        kept_settings = {"skip_verify": code.skip_verify, "cap": code.daily_cap}
        return told | kept_settings | looked_after(bank.now() + FIRST_LOOK_SECONDS)

    row = row_of(bank.id, campaign, CODE, group, state, branch)
    return await provisioning.once(bank, bank.db[CHANNELS], row, make)


async def _find(client: WeComClient, state: str) -> dict[str, Any] | None:
    """The live code of that state at WeCom, if an earlier try made it."""
    cursor = ""
    while True:
        page = await client.ways.list(cursor=cursor)
        for entry in page.get("contact_way") or []:
            way = cast(
                "dict[str, Any]",
                (await client.ways.get(entry["config_id"])).get("contact_way") or {},
            )
            if way.get("state") == state:
                return {**way, "config_id": entry["config_id"]}
        cursor = str(page.get("next_cursor") or "")
        if not cursor:
            return None


async def _told(job: Job, config_id: str) -> Doc:
    return dict((await job.client.ways.get(config_id)).get("contact_way") or {})


async def _read_page(job: Job, cursor: str) -> Batch:
    """A page of this app's live codes with their settings (92228)."""
    asked = job.bank.now()
    page = await job.client.ways.list(start_time=_FIRST_WAYS, cursor=cursor, limit=_A_PAGE)
    items: list[Doc] = []
    problems = []
    for entry in page.get("contact_way") or []:
        config_id = entry["config_id"]
        try:
            way = await _told(job, config_id)
        except PlatformError as error:
            if error.action != "give_up":
                raise
            problems.append(Problem(config_id, code_of(error)))
        else:
            items.append({**way, "config_id": config_id})
    return Batch(items, str(page.get("next_cursor") or ""), asked, problems=problems)


async def _write_page(job: Job, batch: Batch) -> Outcome:
    """Live codes are compared with the channels that campaigns wanted. One that no campaign has is
    somebody's own: it is noted and let alone. At the end, a channel whose code WeCom no longer has
    is wanted again (operations/sync/run.py makes it)."""
    outcome = Outcome(done=len(batch.items), problems=list(batch.problems))
    ours = await job.db[CHANNELS].find({"made": MADE, "kind": CODE}, limit=None)
    rows = {row["config_id"]: row for row in ours}
    found = []
    for way in batch.items:
        there, users = rows.get(way["config_id"]), sorted(way.get("user") or [])
        if there is None:
            found.append(Difference("missing", way["config_id"], str(way.get("state") or "")))
            outcome.new += 1
        elif sorted(there.get("users") or []) != users or there["state"] != way.get("state"):
            found.append(Difference("changed", way["config_id"], there["state"]))
            outcome.changed += 1
    await note(job, found)
    seen = [way["config_id"] for way in batch.items] + [
        problem.object for problem in batch.problems
    ]
    for way in batch.items if job.mend else []:
        if way["config_id"] in rows:
            told = {"users": sorted(way.get("user") or []), "qr_code": way.get("qr_code") or ""}
            await job.db[CHANNELS].update({"_id": rows[way["config_id"]]["_id"]}, {"$set": told})
    await job.db[CHANNELS].update_many({"config_id": {"$in": seen}}, {"$set": {"seen": job.number}})
    if not batch.next:
        outcome.gone = await _lost(job)
    invalidate(job.bank.services, f"channels:{job.bank.id}")
    return outcome


async def _lost(job: Job) -> int:
    """Channels whose code this sync did not see at WeCom, made before it began."""
    query: Doc = {
        "made": MADE,
        "kind": CODE,
        "seen": {"$ne": job.number},
        "since": {"$lt": job.started},
    }
    gone = await job.db[CHANNELS].find(query, limit=None)
    await note(job, [Difference("gone", row["config_id"], row["state"]) for row in gone])
    if job.mend and gone:
        ids = [row["_id"] for row in gone]
        await job.db[CHANNELS].update_many(
            {"_id": {"$in": ids}}, {"$set": {"made": WANTED, "since": 0.0}}
        )
    return len(gone)


async def _again(job: Job, config_id: str) -> None:
    way = await _told(job, config_id)
    told = {"users": sorted(way.get("user") or []), "qr_code": way.get("qr_code") or ""}
    await job.db[CHANNELS].update({"config_id": config_id}, {"$set": told})


LIVE_CODES_PART = Part("live_codes", _read_page, _write_page, _again)


async def make_again(bank: Bank) -> None:
    """Live codes that WeCom no longer has are made anew, with the same state, if a published
    campaign wants them."""
    gone = {"made": WANTED, "kind": CODE, "since": 0.0}
    rows = await bank.db[CHANNELS].find(gone, fields={"campaign": 1}, limit=None)
    for name in sorted({row["campaign"] for row in rows}):
        campaign = await live.published(bank, name)
        if campaign is not None:
            await ensure(bank, campaign)
