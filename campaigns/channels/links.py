"""Customer acquisition links as WeCom has them (contract/wechat B6): a mirror, brought up by the
sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from campaigns.channels.rows import ACQUISITION_LINKS, CHANNELS
from customers.banks.bank import Bank
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

A_PAGE = 20


def row_of(tenant: str, link_id: str, answer: Mapping[str, Any]) -> Doc:
    """The mirror's row of a link as WeCom told it."""
    link, whom = answer.get("link") or {}, answer.get("range") or {}
    return {
        "_id": f"{tenant}:{link_id}",
        "link_id": link_id,
        "name": str(link.get("link_name") or ""),
        "url": str(link.get("url") or ""),
        "skip_verify": bool(link.get("skip_verify", True)),
        "users": sorted(whom.get("user_list") or []),
        "departments": sorted(whom.get("department_list") or []),
        "active": True,
    }


async def _read(job: Job, cursor: str) -> Batch:
    asked = job.bank.now()
    page = await job.client.customer_acquisition_list_link(cursor=cursor, limit=A_PAGE)
    items: list[Doc] = []
    problems = []
    for link_id in page.get("link_id_list") or []:
        try:
            items.append(
                row_of(job.bank.id, link_id, await job.client.customer_acquisition_get(link_id))
            )
        except PlatformError as error:
            if error.action != "give_up":
                raise
            problems.append(Problem(link_id, code_of(error)))
    return Batch(items, str(page.get("next_cursor") or ""), asked, problems=problems)


async def _write(job: Job, batch: Batch) -> Outcome:
    rows = job.db[ACQUISITION_LINKS]
    wanted = [row["_id"] for row in batch.items]
    there = {row["_id"]: row for row in await rows.find({"_id": {"$in": wanted}}, limit=None)}
    missing = [row for row in batch.items if row["_id"] not in there]
    changed = [
        row for row in batch.items if row["_id"] in there and _differs(row, there[row["_id"]])
    ]
    await note(job, [Difference("missing", row["link_id"], row["name"]) for row in missing])
    await note(job, [Difference("changed", row["link_id"], row["name"]) for row in changed])
    if job.mend:
        await rows.insert_new(missing)
        await rows.bulk_update([({"_id": row["_id"]}, {"$set": row}) for row in changed])
    seen = wanted + [f"{job.bank.id}:{problem.object}" for problem in batch.problems]
    await rows.update_many({"_id": {"$in": seen}}, {"$set": {"seen": job.number}})
    gone = 0 if batch.next else await _close_unseen(job)
    return Outcome(len(batch.items), len(missing), len(changed), gone, list(batch.problems))


def _differs(row: Doc, there: Doc) -> bool:
    return any(there.get(name) != value for name, value in row.items())


async def _close_unseen(job: Job) -> int:
    """Links that this sync did not see are gone at WeCom."""
    gone = await job.db[ACQUISITION_LINKS].find(
        {"active": True, "seen": {"$ne": job.number}}, limit=None
    )
    await note(job, [Difference("gone", row["link_id"], row["name"]) for row in gone])
    if job.mend and gone:
        await close(job.bank, [row["link_id"] for row in gone])
    return len(gone)


async def close(bank: Bank, link_ids: Sequence[str]) -> None:
    """These links are no more at WeCom; a channel that was one is wanted again, so that the next
    publication makes it."""
    db, gone = bank.db, {"link_id": {"$in": list(link_ids)}}
    await db[ACQUISITION_LINKS].update_many(gone, {"$set": {"active": False}})
    await db[CHANNELS].update_many(
        {**gone, "made": "made"}, {"$set": {"made": "wanted", "since": 0.0}}
    )


async def _again(job: Job, link_id: str) -> None:
    row = row_of(job.bank.id, link_id, await job.client.customer_acquisition_get(link_id))
    await job.db[ACQUISITION_LINKS].update({"_id": row["_id"]}, {"$set": row}, upsert=True)


LINKS_PART = Part("links", _read, _write, _again)
