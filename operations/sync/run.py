"""The sync with WeCom: what it walks through, how it begins, and how it ends before its time.

There is one at a time; operations/sync/walk.py moves it. What it could not bring in is tried again
here, one object at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from campaigns.channels import links, live_codes
from customers.banks.bank import Bank
from customers.wecom_mirror import customers, findings, groups, members, sync, tags
from customers.wecom_mirror.sync import WHOLE_PART, Job, Part, Problem
from operations.sync import rows
from operations.sync.rows import KEPT_SYNCS, RUNNING, SyncRow
from services.errors import Conflict, InvalidInput, NotFound
from services.wechat.core.errors import PlatformError

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        members.DEPARTMENTS_PART,
        members.MEMBERS_PART,
        tags.TAGS_PART,
        customers.CUSTOMERS_PART,
        customers.FRIENDSHIPS_PART,
        live_codes.LIVE_CODES_PART,
        links.LINKS_PART,
        groups.GROUPS_PART,
    )
}
"""What a sync walks through, in this order: what comes later may need what came before."""

TASK = "campaigns.sync"
FULL, NIGHTLY = "full", "nightly"


async def start(
    bank: Bank,
    by: str,
    *,
    kind: str = FULL,
    parts: Sequence[str] = (),
    mend: bool = True,
) -> tuple[int, bool]:
    """The number of the sync that runs now, and whether this call began it: there is one at a time,
    and who comes second joins it. `parts` of PARTS, or all; raises InvalidInput for others."""
    if strangers := [name for name in parts if name not in PARTS]:
        raise InvalidInput(
            "sync_part", f"no part {', '.join(strangers)}; there is {', '.join(PARTS)}"
        )
    before = await latest(bank)
    if before is not None and before["open"]:
        return before["number"], False
    number = before["number"] + 1 if before is not None else 1
    plan = [name for name in PARTS if not parts or name in parts]
    async with bank.audited(by, "sync.started", str(number), kind=kind, parts=plan) as act:
        act.done = await rows.insert(bank, _new(bank, number, by, kind, plan, mend))
    if not act.done:
        return number, False  # somebody else began it in this moment
    await rows.forget_old(bank, number)
    await findings.forget_differences(bank, before=number - KEPT_SYNCS)
    bank.signal(TASK)
    return number, True


def _new(bank: Bank, number: int, by: str, kind: str, plan: list[str], mend: bool) -> SyncRow:
    return SyncRow(
        _id=rows.row_id(bank, number),
        number=number,
        kind=kind,
        by=by,
        mend=mend,
        plan=plan,
        state=RUNNING,
        reason="",
        part=plan[0],
        cursor=None,
        tries=0,
        counts={},
        started_at=bank.utc(),
        finished_at=None,
        open=True,
        due=bank.now(),
        owner=None,
        attempts=0,
    )


async def latest(bank: Bank) -> SyncRow | None:
    """The newest sync's row."""
    return next(iter(await rows.newest(bank)), None)


async def cancel(bank: Bank, by: str) -> int:
    """Ends the sync that runs; what it wrote stays. Raises Conflict `sync_not_running`."""
    newest = await latest(bank)
    if newest is None:
        raise Conflict("sync_not_running", "no sync is running")
    async with bank.audited(by, "sync.cancelled", str(newest["number"])):
        if not await rows.cancel(bank, newest):
            raise Conflict("sync_not_running", "no sync is running")
    return newest["number"]


async def retry(bank: Bank, by: str, error: str) -> bool:
    """Brings in the one object of an error row (its id without the tenant) again: whether it
    worked. An error of a whole part begins a sync of that part, which ends the error when it comes
    to its end. Raises NotFound, and Conflict `sync_running` when another sync has to end first."""
    row = await findings.error(bank, error)
    if row is None:
        raise NotFound("sync_error_unknown", "no such error; it may be mended already")
    part, what = PARTS[row["part"]], findings.object_of_error(bank, row)
    if what == WHOLE_PART or part.again is None:
        _, begun = await start(bank, by, parts=[part.name])
        if not begun:
            raise Conflict("sync_running", "a sync is running; try again when it has ended")
        return True
    try:
        await part.again(Job(bank, 0, bank.now()), what)
    except PlatformError as failure:
        await sync.keep_problems(bank, part, [Problem(what, sync.code_of(failure))])
        return False
    await sync.drop_errors(bank, part.name, [what])
    return True


async def nightly(bank: Bank) -> None:
    """Begins tonight's comparison, once, when the night's hours have come; a sync that runs is
    waited for."""
    settings = bank.services.settings
    now = datetime.fromtimestamp(bank.now(), bank.tz)
    hours = range(settings.nightly_from, settings.nightly_until)
    if settings.nightly_sync == "off" or now.hour not in hours:
        return
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for row in await rows.newest(bank, KEPT_SYNCS):
        if row["kind"] == NIGHTLY and row["started_at"] >= midnight:
            return
    await start(bank, NIGHTLY, kind=NIGHTLY, mend=settings.nightly_sync == "mend")
