"""Live codes (contact ways, contract/wechat B5): those that campaigns want, made here and compared
with what WeCom has. Who is behind them is seen to by campaigns/channels/rosters.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from campaigns import live
from campaigns.channels import left_out, provisioning, rosters
from campaigns.channels.provisioning import PRESENT, WANTED_AGAIN
from campaigns.channels.rows import (
    CHANNELS,
    CODE,
    LiveCodeRow,
    channels,
    invalidate_channels,
    new_channel,
)
from campaigns.document.model import Campaign
from campaigns.document.states import states_of
from customers.banks import userids
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
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError
from services.wechat.core.lists import OF_ONE_MEMBER
from services.wechat.core.paging import pages
from services.wechat.wecom import WeComClient
from services.wechat.wecom.ways import WayFields

FIRST_LOOK_SECONDS = 60.0
_FIRST_WAYS = 1_625_875_200
"""10 July 2021, in seconds: WeCom lists no older live codes."""
_A_PAGE = 20


async def of_campaign(bank: Bank, campaign: str) -> list[dict[str, Any]]:
    """The campaign's live codes, for the console and the sandbox's visitor. One that WeCom has not
    made yet has nobody, no id and no picture."""
    rows = await _live_codes(bank, {"campaign": campaign})
    unmade: dict[str, Any] = {"config_id": "", "qr_code": "", "users": []}
    names = ("state", "branch", *unmade)
    return [{name: row.get(name) or unmade.get(name, "") for name in names} for row in rows]


async def _live_codes(bank: Bank, query: Mapping[str, Any]) -> list[LiveCodeRow]:
    return cast("list[LiveCodeRow]", await channels(bank, {**query, "kind": CODE}))


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the live codes that the campaign wants and WeCom does not have yet; returns what was
    done, as sentences.

    If an earlier try was cut short, WeCom is searched for a code with that state before another is
    made. Whom WeCom does not take is left out; a branch of which it takes nobody has no code until
    it does, and holds up no other branch. Raises PlatformError.
    """
    staff = await staff_of_branches(bank)
    done: list[str] = []
    for group, states in states_of(campaign.codes, bank.branches).items():
        for branch, state in states.items():
            users = rosters.first(campaign, group, branch, staff, bank.now())
            row = new_channel(bank, campaign, CODE, group, state, branch)
            if users:
                done += await _ensure_one(bank, campaign, row, users)
    invalidate_channels(bank)
    return done


async def _ensure_one(bank: Bank, campaign: Campaign, row: Doc, users: list[str]) -> list[str]:
    """What was done, as sentences."""
    code = campaign.codes[row["code"]]
    told: list[str] = []

    async def create(again: bool) -> Doc:
        making = _Making(bank.wecom, row["state"], code.skip_verify)
        if again:
            making.way = await _find(bank.wecom, row["state"])
        put = await left_out.put_members(bank, row, users, making.put)
        told.extend(_told(row["state"], put))
        return {
            "config_id": making.config_id,
            "qr_code": making.qr_code,
            **put,
            "skip_verify": code.skip_verify,
            "cap": code.daily_cap,
            **provisioning.first_look(bank.now() + FIRST_LOOK_SECONDS),
        }

    try:
        await provisioning.provision(bank, bank.db[CHANNELS], row, create)
    except PlatformError as error:
        if error.errcode not in OF_ONE_MEMBER:
            raise
        await left_out.nobody_taken(bank, row, users, error)
        return [
            f"live code {row['state']}: not made, WeCom takes nobody of the branch ({error.reason})"
        ]
    return told


def _told(state: str, put: Doc) -> list[str]:
    done = [f"live code {state}: made for {', '.join(put['users'])}"]
    if put["left_out"]:
        done.append(f"live code {state}: WeCom does not take {left_out.names(put['left_out'])}")
    return done


class _Making:
    """A live code that is made for the first members whom WeCom takes, and then has the others
    too."""

    def __init__(self, client: WeComClient, state: str, skip_verify: bool) -> None:
        self._client = client
        self._state = state
        self._skip_verify = skip_verify
        self.way: WayFields | None = None

    async def put(self, users: Sequence[str]) -> None:
        if self.way is not None:
            await self._client.ways.update(self.way["config_id"], userids=users)
        else:
            self.way = await _create(self._client, self._state, users, self._skip_verify)

    @property
    def config_id(self) -> str:
        return self.way["config_id"] if self.way else ""

    @property
    def qr_code(self) -> str:
        return self.way.get("qr_code", "") if self.way else ""


async def _create(
    client: WeComClient, state: str, users: Sequence[str], skip_verify: bool
) -> WayFields:
    way = await client.ways.create(
        users, state=state, remark=state, skip_verify=skip_verify, several=True
    )
    return {"config_id": way["config_id"], "qr_code": way.get("qr_code", "")}


async def _find(client: WeComClient, state: str) -> WayFields | None:
    """The live code of that state at WeCom, if an earlier try made it."""
    async for page in pages(lambda cursor: client.ways.list(cursor=cursor)):
        for entry in page.get("contact_way") or []:
            way = await _read(client, entry["config_id"])
            if way.get("state") == state:
                return way
    return None


async def _read(client: WeComClient, config_id: str) -> WayFields:
    """A live code as WeCom has it."""
    way = (await client.ways.get(config_id)).get("contact_way") or {}
    return {**way, "config_id": config_id}


async def look_again(bank: Bank, campaign: str, before: float) -> None:
    """Has the campaign's channels that were there `before` (seconds UTC) brought up to the version
    that was published since."""
    await provisioning.wake(bank, {"campaign": campaign, "since": {"$lt": before}})


async def make_again(bank: Bank) -> None:
    """Live codes that WeCom no longer has are made anew, with the same state, if a published
    campaign wants them."""
    gone = await _live_codes(bank, WANTED_AGAIN)
    for name in sorted({row["campaign"] for row in gone}):
        campaign = await live.published(bank, name)
        if campaign is not None:
            await ensure(bank, campaign)


async def _read_page(job: Job, cursor: str) -> Batch:
    """A page of this app's live codes with their settings (92228)."""
    asked = job.bank.now()
    page = await job.client.ways.list(start_time=_FIRST_WAYS, cursor=cursor, limit=_A_PAGE)
    items: list[WayFields] = []
    problems: list[Problem] = []
    for entry in page.get("contact_way") or []:
        config_id = entry["config_id"]
        try:
            items.append(await _read(job.client, config_id))
        except PlatformError as error:
            if error.action != "give_up":
                raise
            problems.append(Problem(config_id, code_of(error)))
    return Batch(items, page.get("next_cursor") or "", asked, problems=problems)


async def _write_page(job: Job, batch: Batch) -> Outcome:
    """Live codes are compared with the channels that campaigns wanted. One that no campaign has is
    somebody's own: it is noted and let alone. At the end, a channel whose code WeCom no longer has
    is wanted again (`make_again`)."""
    present = await _live_codes(job.bank, {"at_wecom": PRESENT})
    rows = {row["config_id"]: row for row in present}
    differences = _compare(rows, batch.items)
    await note(job, differences)
    if job.mend:
        await _mend(job, rows, batch.items)
    await _mark_seen(job, batch)
    gone = 0 if batch.next else await _want_unseen(job)
    invalidate_channels(job.bank)
    kinds = Counter(one.kind for one in differences)
    problems = list(batch.problems)
    return Outcome(len(batch.items), kinds["missing"], kinds["changed"], gone, problems)


def _compare(rows: Mapping[str, LiveCodeRow], ways: Iterable[WayFields]) -> list[Difference]:
    """What differs between our rows, by config_id, and what WeCom told."""
    found: list[Difference] = []
    for way in ways:
        row = rows.get(way["config_id"])
        if row is None:
            found.append(Difference("missing", way["config_id"], str(way.get("state") or "")))
        elif not _same(row["users"], way.get("user")) or row["state"] != way.get("state"):
            found.append(Difference("changed", way["config_id"], row["state"]))
    return found


def _users(told: Sequence[str] | None) -> list[str]:
    return sorted(told or [])


def _same(ours: Sequence[str], theirs: Sequence[str] | None) -> bool:
    return {userids.key(one) for one in ours} == {userids.key(one) for one in theirs or []}


async def _mend(job: Job, rows: Mapping[str, LiveCodeRow], ways: Iterable[WayFields]) -> None:
    """Our rows, by config_id, say what WeCom told."""
    ours = [way for way in ways if way["config_id"] in rows]
    changes = [({"_id": rows[way["config_id"]]["_id"]}, _mended(way)) for way in ours]
    await job.db[CHANNELS].bulk_update(changes)


def _mended(way: WayFields) -> Doc:
    """The change after which a channel says what WeCom told of its code."""
    return {"$set": {"users": _users(way.get("user")), "qr_code": way.get("qr_code") or ""}}


async def _mark_seen(job: Job, batch: Batch) -> None:
    """The codes of this page are there, also those that could not be read."""
    told = [way["config_id"] for way in batch.items]
    untold = [problem.object for problem in batch.problems]
    seen = {"config_id": {"$in": [*told, *untold]}}
    await job.db[CHANNELS].update_many(seen, {"$set": {"seen": job.number}})


async def _want_unseen(job: Job) -> int:
    """Channels whose code this sync did not see at WeCom, made before it began, are wanted again;
    how many."""
    unseen = {"seen": {"$ne": job.number}, "since": {"$lt": job.started}}
    gone = await _live_codes(job.bank, {"at_wecom": PRESENT, **unseen})
    await note(job, [Difference("gone", row["config_id"], row["state"]) for row in gone])
    if job.mend and gone:
        wanted = {"_id": {"$in": [row["_id"] for row in gone]}}
        await job.db[CHANNELS].update_many(wanted, {"$set": WANTED_AGAIN})
    return len(gone)


async def _again(job: Job, config_id: str) -> None:
    way = await _read(job.client, config_id)
    await job.db[CHANNELS].update({"config_id": config_id}, _mended(way))


LIVE_CODES_PART = Part("live_codes", _read_page, _write_page, _again)
