"""From a file or a form to a live campaign: versions, maker and checker, pause (promise P7,
contract/engine T13).

A version never changes once it is written, and customers/approvals decides on it: whoever
submitted it cannot approve it, and what is approved is the text that was submitted. The command
line publishes at once in development, so that a laptop needs no second person; in production it
submits, like the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, cast

from campaigns import live
from campaigns.channels import acquisition, group_codes, live_codes
from campaigns.channels.rows import by_state
from campaigns.community import greetings
from campaigns.document import items, limits, reading, rows, states, stored
from campaigns.document.model import Campaign, Reward
from campaigns.document.reading import DocumentError, Reading
from campaigns.document.rows import CampaignRow, VersionRow
from campaigns.engine import pausing
from campaigns.engine import rows as runs
from campaigns.publishing import changes, notices
from campaigns.publishing.notices import OVERRULED
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks import clerks
from customers.banks.bank import Bank, open_bank
from rewards import budget, catalogue, disclosure
from rewards.item import Item
from rewards.items import live as items_live
from rewards.pools import taking as pools
from services import ids
from services.aside import aside
from services.container import Services
from services.documents.problems import Problem
from services.errors import Conflict, InvalidInput, NotFound, PlatformRefused, Unavailable
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError

SUBMITTED, APPROVED, LIVE, REJECTED, REPLACED = (
    "submitted",
    "approved",
    "live",
    "rejected",
    "replaced",
)
PENDING = rows.PENDING
CAMPAIGN = approvals.Kind(
    name="campaign",
    right="campaigns.submit",
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
    branches, catalogued = None, None
    if services is not None and tenant is not None:
        bank = await open_bank(services, tenant)
        branches, catalogued = bank.branches, _things(await items_live.listed(bank))
    try:
        reading.read(text, source, branches, catalogued)
    except DocumentError as error:
        return error.problems
    return []


async def plan(bank: Bank, text: str, source: str) -> list[str]:
    """What `apply` would do, as sentences; changes nothing. Raises DocumentError."""
    text = _tidy(text)
    document = (await _read(bank, text, source)).document
    row = await rows.campaign(bank, document.id)
    if row is None:
        return [f"create campaign {document.id}", *await _plan_parts(bank, document)]
    live_version = row["live_version"]
    if await _is_live(bank, row, text, document):
        return [f"campaign {document.id}: nothing to do, version {live_version} is this document"]
    step = f"version {row['versions'] + 1} replaces {live_version or 'none'}"
    return [f"campaign {document.id}: {step}", *await _plan_parts(bank, document)]


async def _is_live(bank: Bank, row: CampaignRow | None, text: str, document: Campaign) -> bool:
    """Whether this is the campaign's live version: the same text, with items that are worth what
    they were."""
    if row is None or row["live_sha256"] != ids.fingerprint(text.encode()):
        return False
    wanted = items.worths(document)
    if not wanted:
        return True
    version = await rows.version(bank, row["campaign"], row["live_version"] or 0)
    return version is not None and items.worths(_document(version)) == wanted


def _document(row: VersionRow) -> Campaign:
    return Campaign.model_validate(row["document"])


def _things(listed: Mapping[str, items_live.Listed]) -> dict[str, Item]:
    return {name: one.item for name, one in listed.items()}


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
    text = _tidy(text)
    document = (await _read(bank, text, source)).document
    name = f"campaign {document.id}"
    row = await rows.campaign(bank, document.id)
    if row is not None and await _is_live(bank, row, text, document):
        said = f"{name}: version {row['live_version']} is this document already"
        version_row = await _version(bank, document.id, row["live_version"] or 0)
        done = await _put_in_place(bank, document, version_row.get("items", {}))
        await _rewards_follow(bank, document.id)
        return [said, *done]
    version = await _submitted_before(bank, document, text)
    if version is None:
        actor = ClerkActor(bank.id, author, author, frozenset({"campaigns.submit"}))
        version = int((await submit(bank, actor, text, source))["version"])
    row_of = await _version(bank, document.id, version)
    warned = [f"{name}: {one.message}" for one in notices.opened(row_of.get("notices", ()))]
    if bank.services.settings.env == "production":
        waits = f"{name}: version {version} is pending approval in the console"
        return [*warned, waits]
    done = await _publish_alone(bank, author, row_of)
    return [*warned, f"{name}: version {version} is live", *done]


async def _submitted_before(bank: Bank, document: Campaign, text: str) -> int | None:
    """The version that waits with this very text, and with items that are worth the same."""
    wanted = {"campaign": document.id, "state": {"$in": PENDING}}
    waiting = await rows.versions(bank, wanted, limit=1)
    if not waiting or waiting[0]["sha256"] != ids.fingerprint(text.encode()):
        return None
    same = items.worths(_document(waiting[0])) == items.worths(document)
    return waiting[0]["version"] if same else None


def _tidy(text: str) -> str:
    """The text with plain ends: what only editors and forms add is no change."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).rstrip("\n") + "\n"


async def _read(bank: Bank, text: str, source: str) -> Reading:
    """The checked document, with all that a person must look at. Raises DocumentError."""
    branches, listed = bank.branches, await items_live.listed(bank)
    things = _things(listed)
    found = await aside(bank.services, lambda: reading.look(text, source, branches, things))
    seen = await notices.find(bank, found.document, found.notices)
    return Reading(found.document, seen, items.versions(found.document, listed))


class NoticesUnseen(Conflict):
    """Somebody must look at the notices first, and say that he did."""

    def __init__(self, found: list[Problem]) -> None:
        super().__init__("notices_unseen", "look at the notices, and confirm them")
        self.notices = found
        self.digest = notices.digest(found)


class EditedMeanwhile(Conflict):
    """A version came that the actor did not know when he began; `diff` is what his text makes
    otherwise than that one."""

    def __init__(self, author: str, version: int, diff: str) -> None:
        said = f"{author} submitted version {version} meanwhile; compare, and submit again"
        data = {"author": author, "version": str(version)}
        super().__init__("edited_meanwhile", said, data=data)
        self.version = version
        self.diff = diff


async def _publish_alone(bank: Bank, author: str, row: VersionRow) -> list[str]:
    """Publishes without a second person, for development."""
    alone = ClerkActor(bank.id, f"{author} (development)", author, frozenset())
    return await _publish(bank, alone, row)


async def submit(
    bank: Bank,
    actor: ClerkActor,
    text: str,
    source: str = "campaign",
    *,
    of: str | None = None,
    seen: str | None = None,
    base: int | None = None,
) -> Doc:
    """Stores a new version that waits for approval; {campaign, version, sha256}.

    `of` is the campaign that is edited, empty for a new one (None: either). `seen` is the digest of
    the notices that the actor was shown and let pass (None: nobody is asked). `base` is the newest
    version that he has seen (None: whatever there is); nothing is submitted over one that he has
    not. Raises DocumentError, Conflict `campaign_exists`, `campaign_renamed` or `version_unchanged`,
    NotFound `pool_unknown`, EditedMeanwhile, and NoticesUnseen.
    """
    text = _tidy(text)
    read = await _read(bank, text, source)
    document = read.document
    known = await rows.campaign(bank, document.id)
    _check_id(document.id, of, known)
    await _check_new(bank, document, text, known)
    await _check_pools(bank, document)
    await _expect_known(bank, document.id, text, base)
    if seen is not None and notices.digest(read.notices) not in ("", seen):
        raise NoticesUnseen(read.notices)
    name = document.name.model_dump()
    await rows.add_campaign(bank, document.id, name)
    row = await _next_version(bank, actor, await _first_row(bank, actor, read, text), base)
    version = row["version"]
    await rows.count_version(bank, document.id, version)
    await rows.change_campaign(bank, document.id, {"name": name, "updated_at": bank.utc()})
    await _replace(bank, {"campaign": document.id, "version": {"$lt": version}})
    live.invalidate(bank)
    return {"campaign": document.id, "version": version, "sha256": row["sha256"]}


def _check_id(campaign: str, of: str | None, known: CampaignRow | None) -> None:
    """What is edited keeps its id, and what is new has one of its own."""
    if of == "" and known is not None:
        raise Conflict("campaign_exists", f"there is a campaign {campaign}", data={"id": campaign})
    if of and of != campaign:
        raise Conflict("campaign_renamed", f"this is not the campaign {of}")


async def _check_new(bank: Bank, document: Campaign, text: str, known: CampaignRow | None) -> None:
    """The same text is no new version, unless an item that it names is worth something else."""
    same = await _submitted_before(bank, document, text)
    if same is None and await _is_live(bank, known, text, document):
        same = known["live_version"] if known else None
    if same is not None:
        why = f"version {same} is this text already"
        raise Conflict("version_unchanged", why, data={"version": str(same), "id": document.id})


async def _check_pools(bank: Bank, document: Campaign) -> None:
    """Raises NotFound `pool_unknown` for a reward whose codes come from a pool that is not there."""
    for pool in dict.fromkeys(one.pool for one in document.rewards.values() if one.pool):
        await pools.find(bank, pool)


async def _expect_known(bank: Bank, campaign: str, text: str, base: int | None) -> None:
    """Raises EditedMeanwhile when there is a newer version than `base`."""
    if base is None:
        return
    newest = await rows.versions(bank, {"campaign": campaign, "version": {"$gt": base}}, limit=1)
    if not newest:
        return
    author, version = newest[0]["author"], newest[0]["version"]
    theirs, mine = f"version {version}", "this text"
    diff = await aside(bank.services, lambda: changes.diff(newest[0]["text"], text, theirs, mine))
    raise EditedMeanwhile((await _names(bank)).get(author, author), version, diff)


async def _next_version(
    bank: Bank, actor: ClerkActor, row: VersionRow, base: int | None
) -> VersionRow:
    """The row under the first number that is free. A number that was taken by somebody who did not
    live to write his version stays without one.

    With a `base` the number is read before the newest version is looked for, and only that number
    will do: of two who began with the same version one alone has it.
    """
    for _ in range(_TRIES if base is None else 1):
        campaign = await rows.campaign(bank, row["campaign"])
        row["version"] = campaign["versions"] + 1 if campaign else 1
        row["_id"] = rows.version_id(bank.id, row["campaign"], row["version"])
        await _expect_known(bank, row["campaign"], row["text"], base)
        if await _submitted(bank, actor, row):
            return row
        await rows.count_version(bank, row["campaign"], row["version"])
        await _expect_known(bank, row["campaign"], row["text"], base)
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


async def _first_row(bank: Bank, actor: ClerkActor, read: Reading, text: str) -> VersionRow:
    """The row of a version that has no number yet, with what it changes."""
    document = read.document
    known = await rows.campaign(bank, document.id)
    base = known["live_version"] if known else None
    current = await rows.version(bank, document.id, base) if base else None
    row: VersionRow = {
        "_id": "",
        "campaign": document.id,
        "version": 0,
        "text": text,
        "document": _dumped(document),
        "sha256": ids.fingerprint(text.encode()),
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "approved_by": None,
        "diff": await _diff(bank, current, text),
        "diff_base": base,
    }
    if read.notices:
        row["notices"] = notices.stored(read.notices)
    if read.items:
        row["items"] = dict(read.items)
    return row


async def _diff(bank: Bank, current: VersionRow | None, text: str) -> str:
    before = current["text"] if current else ""
    name = f"version {current['version']}" if current else "nothing"
    return await aside(bank.services, lambda: changes.diff(before, text, name, "this version"))


def _dumped(document: Campaign) -> Doc:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _content(row: VersionRow) -> approvals.Content:
    """What is decided on. The parsed copy beside the text is no way around it."""
    content = [row["campaign"], row["version"], row["text"], row["sha256"], row["document"]]
    if row.get("notices"):
        content.append(row["notices"])
    if row.get("items"):
        content.append(row["items"])
    return {"document": content}


async def _version(bank: Bank, campaign: str, version: int) -> VersionRow:
    row = await rows.version(bank, campaign, version)
    if row is None:
        raise NotFound("version_unknown", f"{campaign} has no version {version}")
    return row


async def approve(
    bank: Bank, actor: ClerkActor, campaign: str, version: int, reason: str = ""
) -> Doc:
    """Makes a submitted version live; `reason` says why notices about wording may pass. Raises
    Forbidden `approver_is_author`, InvalidInput `overrule_reason_missing`, Conflict, also
    `version_unreadable` for what an earlier release took and this one does not, and Unavailable
    when WeCom fails: the version is approved then and not live, and approving again goes on."""
    row = await _version(bank, campaign, version)
    await _expect_newest(bank, row)
    overruled = [one for one in notices.opened(row.get("notices", ())) if one.code in OVERRULED]
    if overruled and not reason.strip() and row["author"] != actor.login:
        raise InvalidInput(
            "overrule_reason_missing", "say why the wording may pass", fields={"reason": "required"}
        )
    if row["author"] != actor.login:
        await live.program(bank, campaign, version)  # an earlier release may have taken it
        await _expect_items(bank, row)
    why = {"overruled": [one.message for one in overruled], "reason": reason.strip()[:500]}
    done = await _publish(bank, actor, row, why if overruled else {})
    return {"campaign": campaign, "version": version, "done": done}


async def _expect_items(bank: Bank, row: VersionRow) -> None:
    """Raises Conflict `item_moved` when an item of a version that waits is worth something else by
    now, or is in the live catalogue no more: what the checker has read is not what would be
    given. What was agreed to goes on as it was agreed to."""
    if row["state"] != SUBMITTED or not row.get("items"):
        return
    listed = await items_live.listed(bank)
    for name, worth in items.worths(_document(row)).values():
        known = listed.get(name)
        if known is None or items_live.worth(known.item) != worth:
            said = f"the catalogue's item {name} was changed since; submit this anew"
            raise Conflict("item_moved", said, data={"id": name})


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


async def _publish(
    bank: Bank, actor: ClerkActor, row: VersionRow, why: Mapping[str, Any] = MappingProxyType({})
) -> list[str]:
    """Decides first; then puts codes and rewards in place; then goes live. Killed in between, the
    version is approved and publishing it again goes on."""
    begun, campaign = bank.now(), row["campaign"]
    async with approvals.approve(bank, actor, CAMPAIGN, row["_id"], _content(row)) as approval:
        await _follow(bank, row, approval)
        document = _document(row)
        done = await _put_in_place(bank, document, row.get("items", {}))
        what = {"author": row["author"], "approved_by": approval.decided_by, **approval.data, **why}
        async with bank.audited(actor.login, "campaign.published", campaign, **what):
            await _go_live(bank, row, document)
            await live_codes.look_again(bank, campaign, begun)
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
    await _rewards_follow(bank, campaign)
    await _replace(bank, {"campaign": campaign, "version": {"$lt": row["version"]}})
    await _follow_published(bank, row, now)
    live.invalidate(bank)


async def _rewards_follow(bank: Bank, campaign: str) -> str:
    """Opens the campaign's rewards or closes them as it is itself; its state. Whoever writes looks
    once more afterwards, so that a pause and a publishing at the same moment end alike."""
    state = (await _campaign(bank, campaign))["state"]
    while True:
        await catalogue.set_state(bank, campaign, "paused" if state == "paused" else "live")
        now = (await _campaign(bank, campaign))["state"]
        if now == state:
            return state
        state = now


async def _follow_published(bank: Bank, row: VersionRow, now: datetime) -> None:
    """The versions' own rows say that this one is live, in the place of whichever was."""
    others = {"campaign": row["campaign"], "version": {"$ne": row["version"]}}
    decided = {**others, "state": {"$in": [LIVE, APPROVED]}}
    await rows.change_versions(bank, decided, {"state": REPLACED})
    await rows.change_versions(bank, {"_id": row["_id"]}, {"state": LIVE, "published_at": now})


async def _put_in_place(
    bank: Bank, document: Campaign, item_versions: Mapping[str, int]
) -> list[str]:
    """The codes, links, greetings and rewards that the document wants; what is new of the rewards is
    opened by `_rewards_follow`. Each part is safe to repeat."""
    await _check_pools(bank, document)
    done = await _provision(bank, document)
    await _put_rewards(bank, document, item_versions)
    done += [_stocked(document, key, reward) for key, reward in document.rewards.items()]
    await catalogue.end_others(bank, document.id, list(document.rewards))
    return done


async def _put_rewards(bank: Bank, document: Campaign, item_versions: Mapping[str, int]) -> None:
    """The rewards as the document has them, in the words that their items have now. Whoever changes
    an item's words writes them into the rewards after it is live, and here it is looked at once
    more after the rewards were written: so both end with the same words."""
    await disclosure.publish(bank, document.id, _terms(document))
    guarded = await _put_budget(bank, document)
    listed = await items_live.listed(bank)
    while True:
        for key, reward in document.rewards.items():
            item = items.with_live_words(reward, listed)
            made = replace(_definition(bank, document, key, reward), guarded=guarded)
            version = item_versions.get(reward.item or "", 0)
            made = replace(made, item=item, of_item=reward.item or "", item_version=version)
            await catalogue.put(bank, document.id, made)
        now = await items_live.listed(bank)
        if not item_versions or all(now.get(one) == listed.get(one) for one in item_versions):
            return
        listed = now


async def _put_budget(bank: Bank, document: Campaign) -> bool:
    """Whether grants must draw on the campaign's budget; without money there are no rewards."""
    if document.money is None:
        return False
    wanted = [_definition(bank, document, *named) for named in document.rewards.items()]
    return await budget.put(bank, document.id, document.money.budget, wanted)


async def _provision(bank: Bank, document: Campaign) -> list[str]:
    """What is made at WeCom. Raises Unavailable when WeCom fails, PlatformRefused `publish_refused`
    when it has answered for good."""
    try:
        return [
            *await live_codes.ensure(bank, document),
            *await acquisition.ensure(bank, document),
            *await group_codes.ensure(bank, document),
            *await greetings.ensure(bank, document),
        ]
    except PlatformError as error:
        if error.is_final:
            reason = f"WeCom refuses what the campaign needs ({error.message}); change that first"
            why = {"why": error.reason}
            raise PlatformRefused("publish_refused", reason, data=why) from error
        reason = f"WeCom did not make the codes ({error.message}); run it again"
        raise Unavailable("wecom_unavailable", reason, retry_after=5) from error


def _definition(bank: Bank, document: Campaign, key: str, reward: Reward) -> catalogue.Definition:
    return catalogue.Definition(
        key=key,
        item=reward.thing,
        stock=reward.stock,
        per_customer=reward.per_customer,
        per_day=reward.per_day,
        open_to=reward.claim,
        starts=document.window.starts,
        ends=_claims_end(bank, document, reward.thing),
        terms=_terms(document),
        limits=limits.row_of(document, key, bank.branches),
        allowance=_allowance(reward),
    )


def _allowance(reward: Reward) -> Mapping[str, int]:
    """How many a month an RM may offer, by role."""
    allowed = reward.allowance
    if allowed is None:
        return {}
    return {"rm": allowed.rm, "head": allowed.rm if allowed.head is None else allowed.head}


def _claims_end(bank: Bank, document: Campaign, item: Item) -> datetime:
    """The end of the last day to claim that customers were promised, in the bank's time; of what is
    good for nothing after an earlier day, the end of that."""
    said = document.disclosure
    ends = document.window.ends if said is None else _end_of(bank, said.claim_by)
    return ends if item.valid_until is None else min(ends, _end_of(bank, item.valid_until))


def _end_of(bank: Bank, day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), bank.tz).astimezone(UTC)


def _terms(document: Campaign) -> Mapping[str, str]:
    """What was published about the promotion, for those who may claim."""
    said = document.disclosure
    if said is None:
        return {}
    terms = {
        "rules": said.rules_zh,
        "quantity": said.odds_or_quantity,
        "claim_by": said.claim_by.isoformat(),
        "host": said.host,
        "contact": said.contact,
        "price": said.price,
        "draw_at": said.draw_at,
        "delivery": said.delivery,
        "abandon": said.abandon,
    }
    return {name: text for name, text in terms.items() if text}


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


async def pause(bank: Bank, actor: ClerkActor, campaign: str, greet: str = "none") -> None:
    """Stops entries, sends and claims; timers and offers stay. Its codes go on adding friends:
    `greet` says whether those get a plain welcome (`plain`) or nothing (`none`)."""
    if greet not in ("plain", "none"):
        raise InvalidInput(
            "invalid_body", "greet is plain or none", fields={"greet": "plain, none"}
        )
    await _switch(bank, actor, campaign, "live", "paused", greet=greet)


async def resume(bank: Bank, actor: ClerkActor, campaign: str) -> None:
    """Goes on where the pause stopped; what is overdue is sent now (contract/engine T9,
    `send_now`)."""
    await _switch(bank, actor, campaign, "paused", "live")


async def _switch(
    bank: Bank, actor: ClerkActor, campaign: str, before: str, after: str, **how: str
) -> None:
    action = "campaign.paused" if after == "paused" else "campaign.resumed"
    resumed = after == "live"
    async with bank.audited(actor.login, action, campaign, **how):
        changed = {"state": after, "updated_at": bank.utc(), "resumed": resumed, **how}
        switched = await rows.change_campaign(bank, campaign, changed, state=before)
        state = (await _campaign(bank, campaign))["state"]
        if state == after:  # also when an earlier try was cut short before the rewards
            state = await _rewards_follow(bank, campaign)
        live.invalidate(bank)
        if state == after == "live":
            await pausing.wake(bank, campaign)
        if not switched:
            raise Conflict("wrong_state", f"the campaign is not {before}")


async def reach(bank: Bank, actor: ClerkActor, campaign: str) -> dict[str, Any]:
    """Whom pausing or resuming concerns: customers under way, steps that are overdue, codes that
    add friends, rewards that are open."""
    row = await _campaign(bank, campaign)
    document = await live.published(bank, campaign)
    codes = states.wanted_states(document, bank.branches) if document else []
    return {
        "id": campaign,
        "name": row["name"],
        "state": row["state"],
        "under_way": await runs.under_way(bank, campaign),
        "overdue": await runs.under_way(bank, campaign, due=bank.now()),
        "codes": sum(len(wanted) for _, wanted in codes),
        "rewards": len(document.rewards) if document else 0,
        "greet": row.get("greet", "none"),
    }


async def _campaign(bank: Bank, campaign: str) -> CampaignRow:
    row = await rows.campaign(bank, campaign)
    if row is None:
        raise NotFound("campaign_unknown", f"no campaign {campaign}")
    return row


async def list_campaigns(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Every campaign of the actor's bank, the last changed first."""
    known = (await rows.campaigns(bank)).values()
    open_ones = await rows.versions(bank, {"state": {"$in": [*PENDING, REJECTED]}})
    newest: dict[str, VersionRow] = {}
    for one in open_ones:
        newest.setdefault(one["campaign"], one)
    names = await _names(bank)
    ordered = sorted(known, key=lambda row: row["updated_at"], reverse=True)
    broken = await live.unreadable(bank)
    return [_listed(row, newest.get(row["campaign"]), names, broken) for row in ordered]


async def _names(bank: Bank) -> dict[str, str]:
    """login → what the clerk is called."""
    return {row["login"]: row["name"] for row in await clerks.everybody(bank)}


def _listed(
    row: CampaignRow,
    newest: VersionRow | None,
    names: Mapping[str, str],
    broken: Mapping[str, live.VersionUnreadable],
) -> dict[str, Any]:
    unreadable = broken.get(row["campaign"])
    pending = newest if newest is not None and newest["state"] in PENDING else None
    return {
        "id": row["campaign"],
        "name": row["name"],
        "state": row["state"],
        "live_version": row["live_version"],
        "pending_version": pending["version"] if pending else None,
        "pending_author": pending["author"] if pending else None,
        "pending_author_name": names.get(pending["author"], pending["author"]) if pending else "",
        "rejected": _rejected(row, newest, names),
        "unreadable": [] if unreadable is None else unreadable.problems,
        "updated_at": row["updated_at"],
    }


def _rejected(
    row: CampaignRow, newest: VersionRow | None, names: Mapping[str, str]
) -> dict[str, Any] | None:
    """Who turned the last version down, and why; None when it was not, or another came after."""
    if newest is None or newest["state"] != REJECTED or newest["version"] < row["versions"]:
        return None
    by = newest.get("rejected_by", "")
    return {
        "version": newest["version"],
        "author": newest["author"],
        "by": names.get(by, by),
        "reason": newest.get("reason", ""),
    }


async def get_campaign(bank: Bank, actor: ClerkActor, campaign: str) -> dict[str, Any]:
    """One campaign with its versions, live codes, and what a pending version would change; raises
    NotFound."""
    row = await _campaign(bank, campaign)
    versions = await rows.versions(bank, {"campaign": campaign}, limit=MOST_SHOWN)
    pending = next((one for one in versions if one["state"] in PENDING), None)
    names = await _names(bank)
    newest = pending or (versions[0] if versions else None)
    return {
        **_listed(row, newest, names, await live.unreadable(bank)),
        "text": versions[0]["text"] if versions else "",
        "diff": await _shown_diff(bank, row, pending),
        "notices": (shown := await _shown_notices(bank, pending)),
        "overrule": any(one.code in OVERRULED for one in shown),
        "greet": row.get("greet", "none"),
        "about": await _about(bank, campaign),
        "rewards": await catalogue.of_campaign(bank, campaign),
        "codes": await live_codes.of_campaign(bank, campaign),
        "versions": [_shown(one, names) for one in versions],
    }


def _shown(version: VersionRow, names: Mapping[str, str]) -> dict[str, Any]:
    shown = ("version", "state", "author", "at", "approved_by", "sha256", "reason")
    row = cast("Doc", version)
    author, approver = row["author"], row.get("approved_by") or row.get("rejected_by") or ""
    called = {
        "author_name": names.get(author, author),
        "decider": approver,
    }
    return {**{name: row.get(name) for name in shown}, **called}


async def _shown_diff(bank: Bank, row: CampaignRow, pending: VersionRow | None) -> str:
    """What the pending version changes, as it was found when it was submitted; anew for one of
    another time, or when another version went live since."""
    if pending is None:
        return ""
    if "diff" in pending and pending.get("diff_base") == row["live_version"]:
        return pending["diff"]
    base = row["live_version"]
    current = await rows.version(bank, row["campaign"], base) if base else None
    return await _diff(bank, current, pending["text"])


async def _shown_notices(bank: Bank, pending: VersionRow | None) -> list[Problem]:
    """What the checker must look at: what the texts said when they were read, and the days and
    other campaigns as they are now."""
    if pending is None:
        return []
    texts = [one for one in notices.opened(pending.get("notices", ())) if one.code in OVERRULED]
    document, _ = stored.read(pending, bank.branches)
    if document is None:
        return texts
    return await notices.find(bank, document, texts)


async def _about(bank: Bank, campaign: str) -> dict[str, Any]:
    """What the document says for people."""
    document = await live.published(bank, campaign)
    if document is None:
        return {}
    return {
        "owner": document.owner,
        "labels": document.labels,
        "cost_center": document.money.cost_center if document.money else "",
        "category": document.limits.category,
        "subject": document.subject,
    }
