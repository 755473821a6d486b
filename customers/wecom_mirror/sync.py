"""The words of a sync with WeCom: what a part is, what a page of it brings, and what it leaves
behind.

A sync walks through parts (customers, tags, live codes, …), each page by page. To read a page asks
WeCom and changes nothing; to write it changes rows by their `_id`s and may be done twice. What a
page could not do for one object is a row of `sync_errors`; what a comparison found different is a
row of `sync_differences`, written before it is mended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from customers.banks.bank import Bank
from customers.wecom_mirror.rows import SYNC_DIFFERENCES, SYNC_ERRORS, SyncDifference
from services.cache import cached
from services.clock import utc
from services.errors import YinqiaoError
from services.store.mongo import Doc, TenantStore
from services.wechat.wecom import WeComClient

WHOLE_PART = "*"
"""The object of an error that concerns a part as a whole."""
FOLLOW_USERS_SECONDS = 60.0
NOTES_AT_ONCE = 500


@dataclass(frozen=True)
class Job:
    """One sync of one bank. `started` in seconds UTC: what is newer than that is not the sync's to
    undo. `compare`: write down what differs; `mend`: bring it up to what WeCom says. `part` is
    where it is, and `private` whether that is customers."""

    bank: Bank
    number: int
    started: float
    compare: bool = False
    mend: bool = True
    part: str = ""
    private: bool = False

    @property
    def db(self) -> TenantStore:
        return self.bank.db

    @property
    def client(self) -> WeComClient:
        return self.bank.wecom


@dataclass(frozen=True)
class Batch:
    """One page as WeCom told it when `asked` (seconds UTC). `next` is the cursor of the page after
    it, empty at the end, and nothing else tells the end: pages may be short or empty. `total` of
    the whole part, if known."""

    items: list[Any]
    next: str
    asked: float
    total: int | None = None
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """An object that could not be brought in, by the reason's code."""

    object: str
    code: str


@dataclass(frozen=True)
class Difference:
    """What a comparison found: `kind` missing (here), gone (there), state, tags, notes or
    changed."""

    kind: str
    object: str
    about: str = ""
    cid: str = ""


@dataclass
class Outcome:
    """What became of a page: objects that are `done`, and how many of them were new, changed, or
    gone."""

    done: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """`again` brings in one object once more; without it an error is mended by the next sync only.
    `private`: its objects are customers' ids, which are kept sealed."""

    name: str
    read: Callable[[Job, str], Awaitable[Batch]]
    write: Callable[[Job, Batch], Awaitable[Outcome]]
    again: Callable[[Job, str], Awaitable[None]] | None = None
    private: bool = False


def code_of(error: BaseException) -> str:
    """The reason's code, with WeCom's number where there is one."""
    if isinstance(error, YinqiaoError):
        number = getattr(error, "errcode", None)
        return error.code if number is None else f"{error.code}:{number}"
    return "platform_unknown_outcome" if isinstance(error, TimeoutError) else "internal"


async def follow_users(job: Job) -> list[str]:
    """The members who may have customers, sorted (92571); asked for once a minute. Raises
    PlatformError."""

    async def load() -> list[str]:
        return sorted((await job.client.customers.list_followers()).get("follow_user") or [])

    return await cached(
        job.bank.services, f"follow_users:{job.bank.id}", FOLLOW_USERS_SECONDS, load
    )


def row_id(bank: Bank, *parts: str) -> str:
    """The `_id` of what a sync leaves behind about an object, without the object's own id in
    clear."""
    return f"{bank.id}:{bank.vault.blind('sync', '|'.join(parts))}"


async def note(job: Job, found: Sequence[Difference]) -> None:
    """Writes differences down, if this sync compares. To be called before they are mended."""
    if not job.compare:
        return
    for start in range(0, len(found), NOTES_AT_ONCE):
        rows = [_difference_row(job, one) for one in found[start : start + NOTES_AT_ONCE]]
        await job.db[SYNC_DIFFERENCES].insert_new(cast("list[Doc]", rows))


def _difference_row(job: Job, one: Difference) -> SyncDifference:
    doc_id = row_id(job.bank, str(job.number), job.part, one.kind, one.object, one.about)
    return {
        "_id": doc_id,
        "object": job.bank.vault.seal_text(SYNC_DIFFERENCES, "object", doc_id, one.object),
        "number": job.number,
        "part": job.part,
        "private": job.private,
        "at": job.bank.utc(),
        "kind": one.kind,
        "about": one.about,
        "cid": one.cid,
        "mended": job.mend,
    }


async def keep_problems(bank: Bank, part: Part, problems: Sequence[Problem]) -> None:
    """One row for each object that could not be brought in, however often it is tried."""
    for problem in problems:
        doc_id = row_id(bank, part.name, problem.object)
        fields = {
            "part": part.name,
            "object": bank.vault.seal_text(SYNC_ERRORS, "object", doc_id, problem.object),
            "private": part.private and problem.object != WHOLE_PART,
            "code": problem.code,
            "last": bank.utc(),
        }
        change = {"$set": fields, "$inc": {"attempts": 1}}
        await bank.db[SYNC_ERRORS].update({"_id": doc_id}, change, upsert=True)


async def drop_errors(bank: Bank, part: str, objects: Sequence[str]) -> None:
    """These objects came in after all."""
    wanted = [row_id(bank, part, one) for one in objects]
    await bank.db[SYNC_ERRORS].delete({"_id": {"$in": wanted}})


async def drop_older_errors(job: Job) -> None:
    """The part's walk is at its end: errors of earlier syncs that it did not meet again are
    mended."""
    await job.db[SYNC_ERRORS].delete({"part": job.part, "last": {"$lt": utc(job.started)}})
