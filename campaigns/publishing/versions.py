"""From a file or a form to a live campaign: versions, maker and checker, pause (promise P7,
contract/engine T13).

A version never changes once it is written, and customers/approvals decides on it: whoever submitted
it cannot approve it, and what is approved is the text that was submitted. The command line
publishes at once in development, so that a laptop needs no second person; in production it submits,
like the console.
"""

from __future__ import annotations

import difflib
from typing import Any

from campaigns import live
from campaigns.channels import acquisition, group_codes, live_codes
from campaigns.channels.rows import by_state
from campaigns.community import greetings
from campaigns.document import reading, states
from campaigns.document.model import Campaign, Reward
from campaigns.document.reading import Problem
from campaigns.document.rows import CAMPAIGN_VERSIONS, CAMPAIGNS, version_id
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks.bank import Bank, open_bank
from rewards import catalogue
from services import ids
from services.clock import utc
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.store.mongo import Doc, Duplicate
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
)
_TRIES = 20


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
    row = await _campaign(bank, document.id)
    named = f"campaign {document.id}"
    if row is None:
        steps = [f"create {named}"]
    elif _is_live(row, text):
        return [f"{named}: nothing to do, version {row['live_version']} is this document"]
    else:
        before = row["live_version"] or "none"
        steps = [f"{named}: version {row['versions'] + 1} replaces {before}"]
    return [*steps, *await _planned_codes(bank, document), *_stocks(document)]


async def _planned_codes(bank: Bank, document: Campaign) -> list[str]:
    steps = []
    for what, wanted in states.wanted_states(document, bank.branches):
        for state in wanted:
            known = await by_state(bank, state)
            steps.append(f"{what} {state}: {'is there' if known else 'to be made at WeCom'}")
    return steps


def _stocks(document: Campaign) -> list[str]:
    return [
        f"reward {catalogue.reward_id(document.id, key)}: stock {reward.stock}"
        for key, reward in document.rewards.items()
    ]


async def _campaign(bank: Bank, campaign: str) -> Doc | None:
    return await bank.db[CAMPAIGNS].find_one({"campaign": campaign})


def _is_live(row: Doc, text: str) -> bool:
    """Whether the live version has this text."""
    return bool(row.get("live_sha256") == ids.fingerprint(text.encode()))


async def apply(bank: Bank, text: str, source: str, author: str) -> list[str]:
    """The command line's way: publishes in development, submits for approval in production. Safe to
    run again."""
    document = reading.read(text, source, bank.branches)
    row = await _campaign(bank, document.id)
    named = f"campaign {document.id}"
    if row is not None and _is_live(row, text):
        done = await _put_in_place(bank, document)
        return [f"{named}: version {row['live_version']} is this document already", *done]
    actor = ClerkActor(bank.id, author, author, frozenset({"campaigns.submit"}))
    version = (await submit(bank, actor, text, source))["version"]
    if bank.services.settings.env == "production":
        waits = "waits for a second person's approval in the console"
        return [f"{named}: version {version} {waits}"]
    alone = ClerkActor(bank.id, f"{author} (development)", author, frozenset())
    done = await _publish(bank, alone, await _version(bank, document.id, version))
    return [f"{named}: version {version} is live", *done]


async def submit(bank: Bank, actor: ClerkActor, text: str, source: str = "campaign") -> Doc:
    """Stores a new version that waits for approval; {campaign, version, sha256}. Raises
    DocumentError."""
    document = reading.read(text, source, bank.branches)
    await _campaign_row(bank, document)
    row = await _next_version(bank, actor, document, text)
    version = row["version"]
    named = {"name": document.name.model_dump(), "updated_at": bank.utc()}
    await bank.db[CAMPAIGNS].update(
        {"campaign": document.id}, {"$max": {"versions": version}, "$set": named}
    )
    await _replace(bank, {"campaign": document.id, "version": {"$lt": version}})
    live.forget(bank)
    return {"campaign": document.id, "version": version, "sha256": row["sha256"]}


async def _next_version(bank: Bank, actor: ClerkActor, document: Campaign, text: str) -> Doc:
    """The row of the first version whose number is free. A number that was taken by somebody who
    did not live to write his version stays without one."""
    for _ in range(_TRIES):
        campaign = await bank.db[CAMPAIGNS].find_one({"campaign": document.id})
        version = int(campaign["versions"]) + 1 if campaign else 1
        row = _version_row(bank, actor, document, version, text)
        if await _submitted(bank, actor, row):
            return row
        passed = {"campaign": document.id, "versions": version - 1}
        await bank.db[CAMPAIGNS].update(passed, {"$set": {"versions": version}})
    raise Unavailable("busy", "somebody else is changing this campaign; try again")


async def _submitted(bank: Bank, actor: ClerkActor, row: Doc) -> bool:
    """False when somebody else has this version."""
    what = {"version": row["version"], "sha256": row["sha256"]}
    about = row["campaign"]
    if not await approvals.submit(
        bank, actor, CAMPAIGN, row["_id"], _content(row), about=about, **what
    ):
        return False
    try:
        await bank.db[CAMPAIGN_VERSIONS].insert(row)
    except Duplicate:
        return False
    return True


async def _replace(bank: Bank, earlier: Doc) -> None:
    """A newer version takes the place of those that wait."""
    waiting = {**earlier, "state": {"$in": PENDING}}
    rows = await bank.db[CAMPAIGN_VERSIONS].find(waiting, fields={"_id": 1}, limit=None)
    versions = [row["_id"] for row in rows]
    await approvals.replace(bank, CAMPAIGN, versions)
    replaced = {"_id": {"$in": versions}, "state": {"$in": PENDING}}
    await bank.db[CAMPAIGN_VERSIONS].update_many(replaced, {"$set": {"state": REPLACED}})


async def _campaign_row(bank: Bank, document: Campaign) -> None:
    row: Doc = {
        "_id": f"{bank.db.tenant}:{document.id}",
        "campaign": document.id,
        "name": document.name.model_dump(),
        "state": "draft",
        "live_version": None,
        "live_sha256": None,
        "versions": 0,
        "updated_at": utc(bank.now()),
    }
    await bank.db[CAMPAIGNS].insert_new([row])


def _version_row(bank: Bank, actor: ClerkActor, document: Campaign, version: int, text: str) -> Doc:
    return {
        "_id": version_id(bank.id, document.id, version),
        "campaign": document.id,
        "version": version,
        "text": text,
        "document": _dumped(document),
        "sha256": ids.fingerprint(text.encode()),
        "state": SUBMITTED,
        "author": actor.login,
        "at": utc(bank.now()),
        "approved_by": None,
    }


def _dumped(document: Campaign) -> Doc:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _content(row: Doc) -> approvals.Content:
    """What is decided on. The parsed copy beside the text is no way around it."""
    names = ("campaign", "version", "text", "sha256", "document")
    return {"document": [row[name] for name in names]}


async def _version(bank: Bank, campaign: str, version: int) -> Doc:
    row = await bank.db[CAMPAIGN_VERSIONS].find_one({"campaign": campaign, "version": version})
    if row is None:
        raise NotFound("version_unknown", f"{campaign} has no version {version}")
    return row


async def approve(bank: Bank, actor: ClerkActor, campaign: str, version: int) -> Doc:
    """Makes a submitted version live. Raises Forbidden `approver_is_author`, Conflict, and
    Unavailable when WeCom fails: the version is approved then and not live, and approving again
    goes on."""
    done = await _publish(bank, actor, await _version(bank, campaign, version))
    return {"campaign": campaign, "version": version, "done": done}


async def _publish(bank: Bank, actor: ClerkActor, row: Doc) -> list[str]:
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


async def _follow(bank: Bank, row: Doc, approval: Approval) -> None:
    """The version's own row says what was decided."""
    decided = {
        "state": APPROVED,
        "approved_by": approval.decided_by,
        "approved_at": approval.decided_at,
    }
    waits = {"_id": row["_id"], "state": SUBMITTED}
    await bank.db[CAMPAIGN_VERSIONS].update(waits, {"$set": decided})


async def _go_live(bank: Bank, row: Doc, document: Campaign) -> None:
    """The campaign's row names the new version; a campaign that somebody paused stays paused."""
    campaign, now = {"campaign": document.id}, bank.utc()
    fields = {
        "live_version": row["version"],
        "live_sha256": row["sha256"],
        "name": document.name.model_dump(),
        "updated_at": now,
    }
    campaigns = bank.db[CAMPAIGNS]
    await campaigns.update(campaign, {"$set": fields})
    await campaigns.update({**campaign, "state": "draft"}, {"$set": {"state": "live"}})
    paused = await campaigns.find_one({**campaign, "state": "paused"})
    await catalogue.set_state(bank, document.id, "paused" if paused else "live")
    await _replace(bank, {**campaign, "version": {"$lt": row["version"]}})
    await _end_others(bank, row)
    published = {"state": LIVE, "published_at": now}
    await bank.db[CAMPAIGN_VERSIONS].update({"_id": row["_id"]}, {"$set": published})
    live.forget(bank)


async def _end_others(bank: Bank, row: Doc) -> None:
    """No other version is live, or about to be."""
    others = {"campaign": row["campaign"], "version": {"$ne": row["version"]}}
    going = {**others, "state": {"$in": [LIVE, APPROVED]}}
    await bank.db[CAMPAIGN_VERSIONS].update_many(going, {"$set": {"state": REPLACED}})


async def _put_in_place(bank: Bank, document: Campaign) -> list[str]:
    """The codes, links, greetings and rewards that the document wants. Each part is safe to
    repeat."""
    try:
        done = await live_codes.ensure(bank, document)
        done += await acquisition.ensure(bank, document)
        done += await group_codes.ensure(bank, document)
        done += await greetings.ensure(bank, document)
    except PlatformError as error:
        reason = f"WeCom did not make the codes ({error.message}); run it again"
        raise Unavailable("wecom_unavailable", reason, retry_after=5) from error
    for key, reward in document.rewards.items():
        await catalogue.put(bank, document.id, _definition(document, key, reward))
    await catalogue.end_others(bank, document.id, list(document.rewards))
    return done + _stocks(document)


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
    if row["state"] not in PENDING:
        raise Conflict("version_decided", f"version {version} is {row['state']}")
    why = reason.strip()[:500]
    rejected = await approvals.reject(bank, actor, CAMPAIGN, row["_id"], why)
    decided = {"state": REJECTED, "rejected_by": rejected.decided_by, "reason": rejected.reason}
    waits = {"_id": row["_id"], "state": {"$in": PENDING}}
    await bank.db[CAMPAIGN_VERSIONS].update(waits, {"$set": decided})


async def pause(bank: Bank, actor: ClerkActor, campaign: str) -> None:
    """Stops entries, sends and claims; timers and offers stay."""
    await _switch(bank, actor, campaign, "live", "paused")


async def resume(bank: Bank, actor: ClerkActor, campaign: str) -> None:
    """Goes on where the pause stopped; what is overdue is sent now (contract/engine T9, `send_now`)."""
    await _switch(bank, actor, campaign, "paused", "live")


async def _switch(bank: Bank, actor: ClerkActor, campaign: str, before: str, after: str) -> None:
    db = bank.db
    changed = {"state": after, "updated_at": utc(bank.now())}
    switched = await db[CAMPAIGNS].update(
        {"campaign": campaign, "state": before}, {"$set": changed}
    )
    row = await db[CAMPAIGNS].find_one({"campaign": campaign})
    if row is None:
        raise NotFound("campaign_unknown", f"no campaign {campaign}")
    if row["state"] == after:  # also when an earlier try was cut short before the rewards followed
        await catalogue.set_state(bank, campaign, after)
    live.forget(bank)
    if not switched:
        raise Conflict("wrong_state", f"the campaign is not {before}")
    action = "campaign.paused" if after == "paused" else "campaign.resumed"
    await bank.audit(actor.login, action, campaign)


async def list_campaigns(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Every campaign of the actor's bank, the last changed first."""
    db = bank.db
    rows = await db[CAMPAIGNS].find({}, sort=[("updated_at", -1)])
    pending = {
        row["campaign"]: row
        for row in await db[CAMPAIGN_VERSIONS].find({"state": {"$in": PENDING}}, fields={"text": 0})
    }
    return [_listed(row, pending.get(row["campaign"])) for row in rows]


def _listed(row: Doc, pending: Doc | None) -> dict[str, Any]:
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
    db = bank.db
    row = await db[CAMPAIGNS].find_one({"campaign": campaign})
    if row is None:
        raise NotFound("campaign_unknown", f"no campaign {campaign}")
    versions = await db[CAMPAIGN_VERSIONS].find(
        {"campaign": campaign}, sort=[("version", -1)], limit=100
    )
    pending = next((version for version in versions if version["state"] in PENDING), None)
    current = next(
        (version for version in versions if version["version"] == row["live_version"]), None
    )
    names = ("version", "state", "author", "at", "approved_by", "sha256")
    return {
        **_listed(row, pending),
        "text": versions[0]["text"] if versions else "",
        "diff": _diff(current, pending),
        "codes": await live_codes.of_campaign(bank, campaign),
        "versions": [{name: version.get(name) for name in names} for version in versions],
    }


def _diff(current: Doc | None, pending: Doc | None) -> str:
    if pending is None:
        return ""
    before = current["text"].splitlines() if current else []
    name = f"version {current['version']}" if current else "nothing"
    lines = difflib.unified_diff(
        before, pending["text"].splitlines(), name, f"version {pending['version']}", lineterm=""
    )
    return "\n".join(lines)
