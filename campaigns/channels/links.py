"""Customer acquisition links as WeCom has them (contract/wechat B6): a mirror, brought up by the
sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from campaigns.channels.provisioning import PRESENT, WANTED_AGAIN
from campaigns.channels.rows import ACQUISITION_LINKS, CHANNELS, AcquisitionLink, differs
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
from services.wechat.wecom.acquisition import Link

A_PAGE = 20


async def read_link(bank: Bank, link_id: str) -> AcquisitionLink:
    """The mirror's row of a link as WeCom has it now. Raises PlatformError."""
    return _row(bank, link_id, await bank.wecom.links.get(link_id))


def _row_id(bank: Bank, link_id: str) -> str:
    return f"{bank.id}:{link_id}"


def _row(bank: Bank, link_id: str, answer: Link) -> AcquisitionLink:
    link = answer.get("link") or {}
    whom = answer.get("range") or {}
    return {
        "_id": _row_id(bank, link_id),
        "link_id": link_id,
        "name": link.get("link_name") or "",
        "url": link.get("url") or "",
        "skip_verify": bool(link.get("skip_verify", True)),
        "users": sorted(whom.get("user_list") or []),
        "departments": sorted(whom.get("department_list") or []),
        "active": True,
    }


async def put(bank: Bank, *rows: AcquisitionLink) -> None:
    """The mirror says this of the links, and keeps what else it has of them."""
    changes: list[tuple[Doc, Doc]] = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "_id"}
        changes.append(({"_id": row["_id"]}, {"$set": fields}))
    await bank.db[ACQUISITION_LINKS].bulk_update(changes, upsert=True)


async def mirrored(bank: Bank) -> dict[str, AcquisitionLink]:
    """Every link that WeCom ever told of, by its link_id."""
    rows = cast("list[AcquisitionLink]", await bank.db[ACQUISITION_LINKS].find({}, limit=None))
    return {row["link_id"]: row for row in rows}


async def close(bank: Bank, link_ids: Sequence[str]) -> None:
    """These links are no more at WeCom; a channel that was one is wanted again, so that the next
    publication makes it."""
    gone = {"link_id": {"$in": list(link_ids)}}
    await bank.db[ACQUISITION_LINKS].update_many(gone, {"$set": {"active": False}})
    present = {**gone, "at_wecom": PRESENT}
    await bank.db[CHANNELS].update_many(present, {"$set": WANTED_AGAIN})


async def _read(job: Job, cursor: str) -> Batch:
    asked = job.bank.now()
    page = await job.client.links.list(cursor=cursor, limit=A_PAGE)
    items: list[AcquisitionLink] = []
    problems: list[Problem] = []
    for link_id in page.get("link_id_list") or []:
        try:
            items.append(await read_link(job.bank, link_id))
        except PlatformError as error:
            if error.action != "give_up":
                raise
            problems.append(Problem(link_id, code_of(error)))
    return Batch(items, page.get("next_cursor") or "", asked, problems=problems)


async def _write(job: Job, batch: Batch) -> Outcome:
    told: list[AcquisitionLink] = batch.items
    known = await job.bank.by_id(ACQUISITION_LINKS, [row["_id"] for row in told])
    missing = [row for row in told if row["_id"] not in known]
    changed = [row for row in told if row["_id"] in known and differs(known[row["_id"]], row)]
    await _note(job, "missing", missing)
    await _note(job, "changed", changed)
    if job.mend:
        await put(job.bank, *missing, *changed)
    await _mark_seen(job, batch)
    gone = 0 if batch.next else await _close_unseen(job)
    return Outcome(len(told), len(missing), len(changed), gone, list(batch.problems))


async def _note(job: Job, kind: str, rows: Sequence[AcquisitionLink]) -> None:
    await note(job, [Difference(kind, row["link_id"], row["name"]) for row in rows])


async def _mark_seen(job: Job, batch: Batch) -> None:
    """The links of this page are there, also those that could not be read."""
    told = [row["_id"] for row in batch.items]
    untold = [_row_id(job.bank, problem.object) for problem in batch.problems]
    seen = {"_id": {"$in": [*told, *untold]}}
    await job.db[ACQUISITION_LINKS].update_many(seen, {"$set": {"seen": job.number}})


async def _close_unseen(job: Job) -> int:
    """Links that this sync did not see are gone at WeCom; how many."""
    unseen: Doc = {"active": True, "seen": {"$ne": job.number}}
    rows = await job.db[ACQUISITION_LINKS].find(unseen, limit=None)
    gone = cast("list[AcquisitionLink]", rows)
    await _note(job, "gone", gone)
    if job.mend and gone:
        await close(job.bank, [row["link_id"] for row in gone])
    return len(gone)


async def _again(job: Job, link_id: str) -> None:
    await put(job.bank, await read_link(job.bank, link_id))


LINKS_PART = Part("links", _read, _write, _again)
