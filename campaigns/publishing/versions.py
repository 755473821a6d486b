"""From a file or a form to a live campaign: versions, maker and checker, pause (promise P7,
contract/engine T13).

A version never changes once it is written, and customers/approvals decides on it: whoever
submitted it cannot approve it, and what is approved is the text that was submitted. The command
line publishes at once in development, so that a laptop needs no second person; in production it
submits, like the console.
"""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any, cast

from campaigns import live
from campaigns.channels import acquisition, group_codes, live_codes
from campaigns.channels.rows import by_state
from campaigns.community import greetings
from campaigns.document import reading, rows, states
from campaigns.document.model import Campaign, Reward
from campaigns.document.rows import CampaignRow, VersionRow
from campaigns.engine import pausing
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks.bank import Bank, open_bank
from rewards import catalogue
from services import ids
from services.container import Services
from services.documents.problems import Problem
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError

SUBMITTED, APPROVED, LIVE, REJECTED, REPLACED = (
    "submitted",
    "approved",
    "live",
    "rejected",
    "replaced",
)
PENDING = (SUBMITTED, APPROVED)
CAMPAIGN = approvals.Kind(
    name="campaign",
    submitted="campaign.submitted",
    approved="campaign.approved",
    rejected="campaign.rejected",
    refused="campaign.approval_refused",
    decided="version_decided",
    changed="version_changed",
    revocable=True,
    lapses=False,
)
_TRIES = 20
MOST_SHOWN = 100


async def validate_text(
    services: Services | None, tenant: str | None, text: str, source: str
) -> list[Problem]:
    """Every problem of the document; with a bank, its branches are checked too."""
    branches = None
    if services is not None and tenant is not None:
        branches = (await open_bank(services, tenant)).branches
    try:
        reading.read(text, source, branches)
    except reading.DocumentError as error:
        return error.problems
    return []


async def plan(bank: Bank, text: str, source: str) -> list[str]:
    """What `apply` would do, as sentences; changes nothing. Raises DocumentError."""
    document = reading.read(text, source, bank.branches)
    row = await rows.campaign(bank, document.id)
    if row is None:
        return [f"create campaign {document.id}", *await _plan_parts(bank, document)]
    live_version = row["live_version"]
    if _is_live(row, text):
        return [f"campaign {document.id}: nothing to do, version {live_version} is this document"]
    step = f"version {row['versions'] + 1} replaces {live_version or 'none'}"
    return [f"campaign {document.id}: {step}", *await _plan_parts(bank, document)]


def _is_live(row: CampaignRow | None, text: str) -> bool:
    """Whether this text is the campaign's live version."""
    return row is not None and row["live_sha256"] == ids.fingerprint(text.encode())


async def _plan_parts(bank: Bank, document: Campaign) -> list[str]:
    """What is there and what is to be made of all that the document wants."""
    steps: list[str] = []
    for what, wanted in states.wanted_states(document, bank.branches):
        for state in wanted:
            known = await by_state(bank, state)
            steps.append(f"{what} {state}: {'is there' if known else 'to be made at WeCom'}")
    for key, reward in document.rewards.items():
        steps.append(_stocked(document, key, reward))
    return steps


def _stocked(document: Campaign, key: str, reward: Reward) -> str:
    return f"reward {catalogue.reward_id(document.id, key)}: stock {reward.stock}"


async def apply(bank: Bank, text: str, source: str, author: str) -> list[str]:
    """The command line's way: publishes in development, submits for approval in production. Safe to
    run again."""
    document = reading.read(text, source, bank.branches)
    name = f"campaign {document.id}"
    row = await rows.campaign(bank, document.id)
    if row is not None and _is_live(row, text):
        said = f"{name}: version {row['live_version']} is this document already"
        return [said, *await _put_in_place(bank, document)]
    actor = ClerkActor(bank.id, author, author, frozenset({"campaigns.submit"}))
    version = int((await submit(bank, actor, text, source))["version"])
    if bank.services.settings.env == "production":
        return [f"{name}: version {version} is pending approval in the console"]
    done = await _publish_alone(bank, author, await _version(bank, document.id, version))
    return [f"{name}: version {version} is live", *done]


async def _publish_alone(bank: Bank, author: str, row: VersionRow) -> list[str]:
    """Publishes without a second person, for development."""
    alone = ClerkActor(bank.id, f"{author} (development)", author, frozenset())
    return await _publish(bank, alone, row)


async def submit(bank: Bank, actor: ClerkActor, text: str, source: str = "campaign") -> Doc:
    """Stores a new version that waits for approval; {campaign, version, sha256}. Raises
    DocumentError."""
    document = reading.read(text, source, bank.branches)
    name = document.name.model_dump()
    await rows.add_campaign(bank, document.id, name)
    row = await _next_version(bank, actor, document, text)
    version = row["version"]
    await rows.count_version(bank, document.id, version)
    await rows.change_campaign(bank, document.id, {"name": name, "updated_at": bank.utc()})
    await _replace(bank, {"campaign": document.id, "version": {"$lt": version}})
    live.invalidate(bank)
    return {"campaign": document.id, "version": version, "sha256": row["sha256"]}


async def _next_version(bank: Bank, actor: ClerkActor, document: Campaign, text: str) -> VersionRow:
    """The row of the first version whose number is free. A number that was taken by somebody who
    did not live to write his version stays without one."""
    for _ in range(_TRIES):
        campaign = await rows.campaign(bank, document.id)
        version = campaign["versions"] + 1 if campaign else 1
        row = _version_row(bank, actor, document, version, text)
        if await _submitted(bank, actor, row):
            return row
        await rows.count_version(bank, document.id, version)
    raise Unavailable("busy", "somebody else is changing this campaign; try again")


async def _submitted(bank: Bank, actor: ClerkActor, row: VersionRow) -> bool:
    """False when somebody else has this version."""
    what = {"version": row["version"], "sha256": row["sha256"]}
    about = row["campaign"]
    if not await approvals.submit(
        bank, actor, CAMPAIGN, row["_id"], _content(row), about=about, **what
    ):
        return False
    return await rows.add_version(bank, row)


async def _replace(bank: Bank, earlier: Doc) -> None:
    """A newer version takes the place of those that wait."""
    waiting = await rows.versions(bank, {**earlier, "state": {"$in": PENDING}})
    wanted = [row["_id"] for row in waiting]
    await approvals.replace(bank, CAMPAIGN, wanted)
    replaced = {"_id": {"$in": wanted}, "state": {"$in": PENDING}}
    await rows.change_versions(bank, replaced, {"state": REPLACED})


def _version_row(
    bank: Bank, actor: ClerkActor, document: Campaign, version: int, text: str
) -> VersionRow:
    return {
        "_id": rows.version_id(bank.id, document.id, version),
        "campaign": document.id,
        "version": version,
        "text": text,
        "document": _dumped(document),
        "sha256": ids.fingerprint(text.encode()),
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "approved_by": None,
    }


def _dumped(document: Campaign) -> Doc:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _content(row: VersionRow) -> approvals.Content:
    """What is decided on. The parsed copy beside the text is no way around it."""
    return {
        "document": [
            row["campaign"],
            row["version"],
            row["text"],
            row["sha256"],
            row["document"],
        ]
    }


async def _version(bank: Bank, campaign: str, version: int) -> VersionRow:
    row = await rows.version(bank, campaign, version)
    if row is None:
        raise NotFound("version_unknown", f"{campaign} has no version {version}")
    return row


async def approve(bank: Bank, actor: ClerkActor, campaign: str, version: int) -> Doc:
    """Makes a submitted version live. Raises Forbidden `approver_is_author`, Conflict (with the
    newer version that took its place, if one did), and
    Unavailable when WeCom fails: the version is approved then and not live, and approving again
    goes on."""
    row = await _version(bank, campaign, version)
    await _expect_newest(bank, row)
    done = await _publish(bank, actor, row)
    return {"campaign": campaign, "version": version, "done": done}


async def _expect_newest(bank: Bank, row: VersionRow) -> None:
    """Raises Conflict `version_superseded`, naming the version that waits in this one's place."""
    if row["state"] != REPLACED:
        return
    newer = {"campaign": row["campaign"], "version": {"$gt": row["version"]}}
    waiting = await rows.versions(bank, {**newer, "state": {"$in": PENDING}}, limit=1)
    if waiting:
        data = {"author": waiting[0]["author"], "version": str(waiting[0]["version"])}
        said = "{author} has submitted version {version}; review that one".format_map(data)
        raise Conflict("version_superseded", said, data=data)


async def _publish(bank: Bank, actor: ClerkActor, row: VersionRow) -> list[str]:
    """Decides first; then puts codes and rewards in place; then goes live. Killed in between, the
    version is approved and publishing it again goes on."""
    begun, campaign = bank.now(), row["campaign"]
    async with approvals.approve(bank, actor, CAMPAIGN, row["_id"], _content(row)) as approval:
        await _follow(bank, row, approval)
        document = Campaign.model_validate(row["document"])
        done = await _put_in_place(bank, document)
        await _go_live(bank, row, document)
        await live_codes.look_again(bank, campaign, begun)
        what = {"author": row["author"], "approved_by": approval.decided_by, **approval.data}
        await bank.audit(actor.login, "campaign.published", campaign, **what)
    return done


async def _follow(bank: Bank, row: VersionRow, approval: Approval) -> None:
    """The version's own row says what was decided."""
    decided = {
        "state": APPROVED,
        "approved_by": approval.decided_by,
        "approved_at": approval.decided_at,
    }
    await rows.change_versions(bank, {"_id": row["_id"], "state": SUBMITTED}, decided)


async def _go_live(bank: Bank, row: VersionRow, document: Campaign) -> None:
    """The campaign's row names the new version; a campaign that somebody paused stays paused."""
    campaign, now = document.id, bank.utc()
    live_version = {
        "live_version": row["version"],
        "live_sha256": row["sha256"],
        "name": document.name.model_dump(),
        "updated_at": now,
    }
    await rows.change_campaign(bank, campaign, live_version)
    await rows.change_campaign(bank, campaign, {"state": "live"}, state="draft")
    paused = (await _campaign(bank, campaign))["state"] == "paused"
    await catalogue.set_state(bank, campaign, "paused" if paused else "live")
    await _replace(bank, {"campaign": campaign, "version": {"$lt": row["version"]}})
    await _follow_published(bank, row, now)
    live.invalidate(bank)


async def _follow_published(bank: Bank, row: VersionRow, now: datetime) -> None:
    """The versions' own rows say that this one is live, in the place of whichever was."""
    others = {"campaign": row["campaign"], "version": {"$ne": row["version"]}}
    decided = {**others, "state": {"$in": [LIVE, APPROVED]}}
    await rows.change_versions(bank, decided, {"state": REPLACED})
    await rows.change_versions(bank, {"_id": row["_id"]}, {"state": LIVE, "published_at": now})


async def _put_in_place(bank: Bank, document: Campaign) -> list[str]:
    """The codes, links, greetings and rewards that the document wants. Each part is safe to
    repeat."""
    done = await _provision(bank, document)
    for key, reward in document.rewards.items():
        await catalogue.put(bank, document.id, _definition(document, key, reward))
        done.append(_stocked(document, key, reward))
    await catalogue.end_others(bank, document.id, list(document.rewards))
    return done


async def _provision(bank: Bank, document: Campaign) -> list[str]:
    """What is made at WeCom. Raises Unavailable when WeCom fails."""
    try:
        return [
            *await live_codes.ensure(bank, document),
            *await acquisition.ensure(bank, document),
            *await group_codes.ensure(bank, document),
            *await greetings.ensure(bank, document),
        ]
    except PlatformError as error:
        reason = f"WeCom did not make the codes ({error.message}); run it again"
        raise Unavailable("wecom_unavailable", reason, retry_after=5) from error


def _definition(document: Campaign, key: str, reward: Reward) -> catalogue.Definition:
    return catalogue.Definition(
        key=key,
        kind=reward.kind,
        title=reward.title.model_dump(),
        text=reward.text.model_dump(),
        cost=reward.cost,
        stock=reward.stock,
        per_customer=reward.per_customer,
        per_day=reward.per_day,
        open_to=reward.claim,
        starts=document.window.starts,
        ends=document.window.ends,
    )


async def reject(bank: Bank, actor: ClerkActor, campaign: str, version: int, reason: str) -> None:
    """Turns a submitted version down, with a reason; raises InvalidInput without one."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _version(bank, campaign, version)
    await _expect_newest(bank, row)
    if row["state"] not in PENDING:
        raise Conflict("version_decided", f"version {version} is {row['state']}")
    why = reason.strip()[:500]
    rejected = await approvals.reject(bank, actor, CAMPAIGN, row["_id"], why)
    decided = {"state": REJECTED, "rejected_by": rejected.decided_by, "reason": rejected.reason}
    waits = {"_id": row["_id"], "state": {"$in": PENDING}}
    await rows.change_versions(bank, waits, decided)


async def pause(bank: Bank, actor: ClerkActor, campaign: str) -> None:
    """Stops entries, sends and claims; timers and offers stay."""
    await _switch(bank, actor, campaign, "live", "paused")


async def resume(bank: Bank, actor: ClerkActor, campaign: str) -> None:
    """Goes on where the pause stopped; what is overdue is sent now (contract/engine T9,
    `send_now`)."""
    await _switch(bank, actor, campaign, "paused", "live")


async def _switch(bank: Bank, actor: ClerkActor, campaign: str, before: str, after: str) -> None:
    changed = {"state": after, "updated_at": bank.utc(), "resumed": after == "live"}
    switched = await rows.change_campaign(bank, campaign, changed, state=before)
    row = await _campaign(bank, campaign)
    if row["state"] == after:  # also when an earlier try was cut short before the rewards followed
        await catalogue.set_state(bank, campaign, after)
    live.invalidate(bank)
    if row["state"] == after == "live":
        await pausing.wake(bank, campaign)
    if not switched:
        raise Conflict("wrong_state", f"the campaign is not {before}")
    action = "campaign.paused" if after == "paused" else "campaign.resumed"
    await bank.audit(actor.login, action, campaign)


async def _campaign(bank: Bank, campaign: str) -> CampaignRow:
    row = await rows.campaign(bank, campaign)
    if row is None:
        raise NotFound("campaign_unknown", f"no campaign {campaign}")
    return row


async def list_campaigns(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Every campaign of the actor's bank, the last changed first."""
    known = (await rows.campaigns(bank)).values()
    waiting = await rows.versions(bank, {"state": {"$in": PENDING}})
    pending = {row["campaign"]: row for row in reversed(waiting)}
    newest = sorted(known, key=lambda row: row["updated_at"], reverse=True)
    return [_listed(row, pending.get(row["campaign"])) for row in newest]


def _listed(row: CampaignRow, pending: VersionRow | None) -> dict[str, Any]:
    return {
        "id": row["campaign"],
        "name": row["name"],
        "state": row["state"],
        "live_version": row["live_version"],
        "pending_version": pending["version"] if pending else None,
        "pending_author": pending["author"] if pending else None,
        "updated_at": row["updated_at"],
    }


async def get_campaign(bank: Bank, actor: ClerkActor, campaign: str) -> dict[str, Any]:
    """One campaign with its versions, live codes, and what a pending version would change; raises
    NotFound."""
    row = await _campaign(bank, campaign)
    versions = await rows.versions(bank, {"campaign": campaign}, limit=MOST_SHOWN)
    pending = next((one for one in versions if one["state"] in PENDING), None)
    current = next((one for one in versions if one["version"] == row["live_version"]), None)
    names = ("version", "state", "author", "at", "approved_by", "sha256")
    shown = cast("list[Doc]", versions)
    return {
        **_listed(row, pending),
        "text": versions[0]["text"] if versions else "",
        "diff": _diff(current, pending),
        "codes": await live_codes.of_campaign(bank, campaign),
        "versions": [{name: version.get(name) for name in names} for version in shown],
    }


def _diff(current: VersionRow | None, pending: VersionRow | None) -> str:
    if pending is None:
        return ""
    before = current["text"].splitlines() if current else []
    name = f"version {current['version']}" if current else "nothing"
    lines = difflib.unified_diff(
        before, pending["text"].splitlines(), name, f"version {pending['version']}", lineterm=""
    )
    return "\n".join(lines)
