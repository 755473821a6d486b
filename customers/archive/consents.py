"""Whether customers agreed that their messages with a member are archived (contract/wechat B10,
91782): told by WeCom's event, and asked for, a hundred pairs a call and a few calls a minute, since
refusals and withdrawals have no event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from customers import relationships
from customers.archive.messages import party_index
from customers.archive.rows import ARCHIVE_CONSENTS, PullRow
from customers.banks.bank import Bank
from customers.banks.files import Archive
from customers.identity import resolution
from services import ids
from services.cache import cached
from services.limiter import lane
from services.observe import trace
from services.queue.inbox import InboxRow
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import BadRequest, PlatformError, SubjectState
from services.wechat.wecom import WeComClient

AGREED, BY_DEFAULT, REFUSED, UNKNOWN = "agreed", "default", "refused", "unknown"
STATES = {"Agree": AGREED, "Default_Agree": BY_DEFAULT, "Disagree": REFUSED}
PAIRS, CALLS = 100, 5
"""At most so many pairs a call, and so many pages of them each time the archive is pulled."""
AGAIN_SECONDS = 6 * 3600.0
"""A pair is not asked for again before."""
PERMIT_SECONDS = 600.0
WALK_SECONDS = 30.0
"""For one part of the walk: mass work may have to wait long for its turn (services/limiter)."""
REFUSED_SECONDS = 600.0
NOT_AGREED = 41053
"""send_welcome_msg: the customer has not agreed to the archive."""
log = logging.getLogger(__name__)


async def consented(bank: Bank, row: InboxRow, event: events.ArchiveConsented) -> None:
    """The customer agreed."""
    await note_consent(
        bank,
        event.userid,
        event.external_userid,
        AGREED,
        events.happened(event, row),
        "event",
    )


async def note_consent(
    bank: Bank,
    userid: str,
    external_userid: str,
    state: str,
    at: float,
    source: str,
) -> None:
    """Keeps the state of a pair since `at` (seconds UTC); what is older than what is known changes
    nothing."""
    index = party_index(bank, external_userid)
    row_id = _row_id(bank.id, userid, index)
    told: Doc = {"state": state, "at": at, "source": source}
    asked = {"asked": bank.now()} if source == "asked" else {}
    rows = bank.db[ARCHIVE_CONSENTS]
    new = {"_id": row_id, "userid": userid, "index": index, "asked": 0.0, **told, **asked}
    if not await rows.insert_new([new]):
        return
    if asked:
        await rows.update({"_id": row_id}, {"$set": asked})
    older = {"$lte": at} if source == "asked" else {"$lt": at}  # of one second, the answer counts
    await rows.update({"_id": row_id, "at": older}, {"$set": told})


def _row_id(tenant: str, userid: str, index: str) -> str:
    return ids.tenant_id(tenant, "archive_consent", userid, index)


async def of_pair(bank: Bank, userid: str, external_userid: str) -> dict[str, Any] | None:
    """`state` (AGREED, BY_DEFAULT, REFUSED or UNKNOWN), `at` (seconds UTC, or None) and `source`;
    None at a bank without an archive."""
    if (await bank.current()).archive is None:
        return None
    row_id = _row_id(bank.id, userid, party_index(bank, external_userid))
    row = await bank.db[ARCHIVE_CONSENTS].find_one({"_id": row_id})
    if row is None or row["state"] == UNKNOWN:
        return {"state": UNKNOWN, "at": None, "source": ""}
    return {"state": row["state"], "at": row["at"], "source": row["source"]}


async def counts(bank: Bank) -> dict[str, int]:
    """How many pairs are in which state."""
    found = await bank.db[ARCHIVE_CONSENTS].aggregate(
        [{"$group": {"_id": "$state", "pairs": {"$sum": 1}}}]
    )
    return {row["_id"]: row["pairs"] for row in sorted(found, key=lambda row: str(row["_id"]))}


async def explain(bank: Bank, effect: Effect, error: PlatformError) -> None:
    """Notes in the effect's story what is known of the consent, when that is why WeCom refused its
    message."""
    if error.errcode != NOT_AGREED:
        return
    person = await resolution.customer(bank, effect.cid)
    known = await of_pair(bank, str(effect.args.get("userid", "")), person.external_userid)
    trace.note("welcome.archive", why=f"archive_{known['state'] if known else UNKNOWN}")


async def ask_some(bank: Bank, archive: Archive, pull: PullRow) -> Doc:
    """Asks for the next pairs, if it is time; where to go on and when, for the row of the pull."""
    now = bank.now()
    if pull["walk_due"] > now:
        return {}
    try:
        with lane("bulk"):
            async with asyncio.timeout(WALK_SECONDS):
                place = await _walk(bank, bank.archive_client(archive), pull["walk"])
    except TimeoutError:
        return {"walk_due": now + WALK_SECONDS}  # who was asked for is not asked for again
    except PlatformError as error:
        log.warning(
            "no consents were asked for", extra={"fields": {"tenant": bank.id, "why": error.code}}
        )
        return {"walk_due": now + max(REFUSED_SECONDS, float(error.retry_after))}
    return {"walk": place, "walk_due": now if place else now + AGAIN_SECONDS}


async def _walk(bank: Bank, client: WeComClient, place: Sequence[str]) -> list[str]:
    """Goes through the archived members' friendships from `place` (userid, cid), CALLS pages; the
    next place, or nothing."""
    userid, after = place or ("", "")
    left = CALLS
    for member in await _permitted(bank, client, userid):
        if member != userid:
            after = ""
        while page := await relationships.page_of_staff(bank, member, after, PAIRS):
            if not left:
                return [member, after]
            cids = [row["cid"] for row in page]
            await _ask_page(bank, client, member, cids)
            after = cids[-1]
            left -= 1
    return []


async def _permitted(bank: Bank, client: WeComClient, first: str) -> list[str]:
    """The members whose messages are archived, in order, from `first` on."""

    async def load() -> list[str]:
        return sorted((await client.archive.list_permitted_users()).get("ids") or [])

    userids = await cached(bank.services, f"archive_permit:{bank.id}", PERMIT_SECONDS, load)
    return [userid for userid in userids if userid >= first]


async def _ask_page(bank: Bank, client: WeComClient, userid: str, cids: Sequence[str]) -> None:
    people = await asyncio.gather(*(resolution.customer(bank, cid) for cid in cids))
    externals = {one.external_userid for one in people if one.external_userid}
    by_row = {_row_id(bank.id, userid, party_index(bank, one)): one for one in externals}
    lately: Doc = {
        "_id": {"$in": sorted(by_row)},
        "asked": {"$gt": bank.now() - AGAIN_SECONDS},
    }
    known = await bank.db[ARCHIVE_CONSENTS].find(lately, fields={"_id": 1}, limit=None)
    wanted = sorted(set(by_row.values()) - {by_row[row["_id"]] for row in known})
    await _ask(bank, client, userid, wanted)


async def _ask(bank: Bank, client: WeComClient, userid: str, externals: list[str]) -> None:
    """One call; where WeCom refuses it because of one pair, halves, down to that pair, which is
    then unknown."""
    if not externals:
        return
    try:
        answer = await client.archive.check_single_agree((userid, one) for one in externals)
    except (SubjectState, BadRequest):
        if len(externals) == 1:
            await note_consent(bank, userid, externals[0], UNKNOWN, 0.0, "asked")
            return
        half = len(externals) // 2
        await _ask(bank, client, userid, externals[:half])
        await _ask(bank, client, userid, externals[half:])
        return
    await _keep_answers(bank, userid, externals, answer.get("agreeinfo") or [])


async def _keep_answers(
    bank: Bank, userid: str, externals: Sequence[str], answers: Iterable[Any]
) -> None:
    told = {str(one.get("exteranalopenid")): one for one in answers}
    for external in externals:
        one = told.get(external, {})
        state = STATES.get(str(one.get("agree_status")), UNKNOWN)
        at = float(one.get("status_change_time") or 0.0)
        await note_consent(bank, userid, external, state, at, "asked")
