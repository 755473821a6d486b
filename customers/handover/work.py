"""What workers do with an approved hand-over: ask WeCom in calls of at most 100, then look until
every item has an end.

Before WeCom is asked, the items say `asking`. Whoever finds them so (the asker died, or the answer
was lost) looks at WeCom's own results before he asks again, and an item that is in transfer already
was accepted earlier: nothing is lost or asked for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple, cast

from customers import relationships, timeline
from customers.banks.bank import Bank
from customers.handover.batches import (
    ASKING,
    DONE,
    REQUESTED,
    WAITING,
    end,
    item_id,
    message_of,
    target_index,
)
from customers.handover.rows import HANDOVER_BATCHES, HANDOVERS, Batch, Item
from customers.identity import resolution
from services.limiter import lane
from services.observe import trace
from services.queue.retry import ERROR, Retry
from services.store import leases
from services.store.mongo import Doc
from services.wechat.core.errors import NotSent, PlatformError, SlowDown, behind

CALL_MOST = 100
AT_ONCE = 500
"""So many items are looked at side by side."""
RETRY = Retry(tries=12, first=2.0, most=60.0, then=ERROR)
"""Between tries while WeCom does not answer as it should, which is waited for; a fault of ours ends,
and somebody is told."""
LEASE_SECONDS = 60.0
POLL_SECONDS = (5.0, 30.0, 120.0, 600.0, 900.0)
"""Between looks at the results; the last goes on until the end."""
OVERDUE_SECONDS = 26 * 3600.0
"""A customer has 24 h to refuse; after this long whoever has no answer is given up."""
NO_RECORD_SECONDS = 600.0
IN_PROGRESS_SECONDS = 60.0
ASSIGNED_BY_ADMIN = 202
ACCEPTED = frozenset({0, 40100, 40129})
GROUP_BUSY = 90507
GROUPS_GONE = frozenset({0, 90508})
REASONS = {
    40096: "handover_customer_invalid",
    40097: "handover_in_service",
    40098: "handover_takeover_unverified",
    40099: "handover_takeover_full",
    40128: "handover_too_often",
    40130: "handover_same",
    40131: "handover_no_friend",
    84061: "handover_no_friend",
    84083: "handover_no_licence",
    90500: "handover_in_service",
    90501: "handover_no_customer_group",
    90502: "handover_not_in_service",
}
_LIMITS = frozenset({40099, 40128})
log = logging.getLogger(__name__)


class Result(IntEnum):
    """`status` of a result (94088, 94082)."""

    NONE = 0
    MOVED = 1
    WAITS = 2
    REFUSED = 3
    FULL = 4
    NO_RECORD = 5


class Next(NamedTuple):
    """When (seconds UTC) a batch goes on, and how many looks it has had by then."""

    due: float
    polls: int
    waits: dict[str, str] | None = None
    """What it waits behind (services/wechat/core/errors.py: behind)."""


NO_WORD: Doc = {"status": Result.NO_RECORD}


async def move(bank: Bank, owner: str, batch: Doc) -> None:
    """Moves a batch that is due and leased to `owner` by one step: a call to WeCom and what follows
    from it."""
    with lane("bulk"):
        await _move(bank, owner, cast("Batch", batch))


async def _move(bank: Bank, owner: str, batch: Batch) -> None:
    """One call to WeCom and what follows from it."""
    batches = bank.db[HANDOVER_BATCHES]
    then = await _step(bank, batch)
    if then is None:
        await leases.close(batches, owner, [batch["_id"]], state=DONE)
    else:
        kept = {"polls": then.polls, "attempts": 0, **(then.waits or {})}
        await leases.put_back(batches, owner, [batch["_id"]], then.due, **kept)


async def _step(bank: Bank, batch: Batch) -> Next | None:
    """What `_Step.take` says; a step that WeCom did not answer is tried again."""
    polls = batch["polls"] + 1
    try:
        return await _Step(bank, batch).take()
    except PlatformError as error:
        fields = {"batch": batch["_id"], "why": error.code}
        log.warning("a hand-over waits for WeCom", extra={"fields": fields})
        wait = RETRY.delay(polls, at_least=error.retry_after)
        return Next(bank.now() + wait, polls, behind(error))


class _Step:
    """One step of one batch."""

    def __init__(self, bank: Bank, batch: Batch) -> None:
        self.bank = bank
        self.batch = batch
        self.client = bank.wecom
        self.items = bank.db[HANDOVERS]

    async def take(self) -> Next | None:
        """When to go on; None when every item has its end."""
        now = self.bank.now()
        if self._is_overdue(now):
            return await self._give_up(now)
        if asking := await self._in(ASKING, limit=None):
            await self._recover(asking)
            return Next(now, 0)
        if requested := await self._in(REQUESTED, limit=CALL_MOST):
            kind = requested[0]["kind"]
            later = await self._ask(kind, [item for item in requested if item["kind"] == kind])
            return Next(now + later, 0)
        return await self._look_again()

    def _is_overdue(self, now: float) -> bool:
        decided = self.batch["decided_at"]
        return decided is not None and now > decided.timestamp() + OVERDUE_SECONDS

    async def _give_up(self, now: float) -> Next | None:
        """Ends AT_ONCE of those that have no end yet."""
        for state in (REQUESTED, ASKING, WAITING):
            if overdue := await self._in(state, limit=AT_ONCE):
                await self._end(overdue, "failed", "handover_overdue")
                return Next(now, 0)
        return None

    async def _look_again(self) -> Next | None:
        polls = self.batch["polls"]
        if polls:
            await self._look()
        if not await self._in(WAITING, limit=1):
            return None
        pause = POLL_SECONDS[min(polls, len(POLL_SECONDS) - 1)]
        return Next(self.bank.now() + pause, polls + 1)

    async def _in(self, state: str, limit: int | None) -> list[Item]:
        wanted = {"batch": self.batch["_id"], "state": state}
        return cast("list[Item]", await self.items.find(wanted, limit=limit))

    def _target(self, item: Item) -> str:
        return self.bank.vault.open_text(HANDOVERS, "target", item["_id"], item["target"])

    async def _set(self, items: Iterable[Item], before: str, state: str, **fields: Any) -> None:
        query = {"_id": {"$in": [item["_id"] for item in items]}, "state": before}
        await self.items.update_many(query, {"$set": {"state": state, **fields}})

    async def _end(self, items: list[Item], state: str, reason: str) -> None:
        await asyncio.gather(*(end(self.bank, item, state, reason) for item in items))

    async def _ask(self, kind: str, items: list[Item]) -> float:
        """Asks for at most 100; the seconds until the batch should go on."""
        await self._set(items, REQUESTED, ASKING, asked_at=self.bank.utc())
        targets = {self._target(item): item for item in items}
        try:
            return await (
                self._ask_groups(targets) if kind == "group" else self._ask_customers(targets)
            )
        except (SlowDown, NotSent):  # it has surely not happened
            await self._set(items, ASKING, REQUESTED)
            raise
        except PlatformError as error:
            if error.action != "give_up":
                raise
            await self._refused(items, error.errcode)
            return 0.0

    async def _ask_customers(self, targets: dict[str, Item]) -> float:
        answer = await self._transfer(list(targets))
        by_code = _by_code(targets, answer.get("customer"), "external_userid")
        for code, items in by_code.items():
            if code in ACCEPTED:
                await self._set(items, ASKING, WAITING)
            else:
                await self._refused(items, code)
        return 0.0

    async def _transfer(self, wanted: list[str]) -> Any:
        pair = (self.batch["handover_userid"], self.batch["takeover_userid"])
        if self.batch["mode"] == "resigned":
            return await self.client.handover.transfer_resigned_customers(*pair, wanted)
        message = message_of(self.bank, self.batch)
        return await self.client.handover.transfer_customers(
            *pair, wanted, transfer_success_msg=message
        )

    async def _ask_groups(self, targets: dict[str, Item]) -> float:
        answer = await self._transfer_groups(list(targets))
        by_code = _by_code(targets, answer.get("failed_chat_list"), "chat_id")
        for code, items in by_code.items():
            if code in GROUPS_GONE:
                await self._set(items, ASKING, DONE)
            elif code == GROUP_BUSY:
                await self._set(items, ASKING, REQUESTED)
            else:
                await self._refused(items, code)
        return IN_PROGRESS_SECONDS if GROUP_BUSY in by_code else 0.0

    async def _transfer_groups(self, wanted: list[str]) -> Any:
        to = self.batch["takeover_userid"]
        if self.batch["mode"] == "resigned":
            return await self.client.handover.transfer_resigned_groups(wanted, to)
        return await self.client.handover.transfer_groups(wanted, to)

    async def _refused(self, items: list[Item], code: int | None) -> None:
        """`code` is WeCom's, None when it gave none."""
        known = REASONS.get(code or 0)
        await self._end(
            items,
            "limit" if code in _LIMITS else "failed",
            known or f"handover_refused:{code or '-'}",
        )

    async def _recover(self, asking: list[Item]) -> None:
        """Finds out what became of a call whose answer nobody wrote down."""
        customers = [item for item in asking if item["kind"] == "customer"]
        accepted = await self._accepted(customers) if customers else []
        for item in asking:
            if item["kind"] == "group" and await self._is_handed_over(item):
                await self._set([item], ASKING, DONE)
        await self._set(accepted, ASKING, WAITING)
        trace.note("handover.recovered", asked=len(asking), accepted=len(accepted))
        await self._set(asking, ASKING, REQUESTED)

    async def _accepted(self, customers: list[Item]) -> list[Item]:
        """Those of whom WeCom's results speak since we asked."""
        found = {self._item_id(row): row async for page in self._pages() for row in page}
        return [item for item in customers if _since(found.get(item["_id"], {}), _asked(item))]

    async def _is_handed_over(self, item: Item) -> bool:
        answer: Any = await self.client.groups.get(self._target(item))
        chat = answer.get("group_chat") or {}
        return bool(chat.get("owner") == self.batch["takeover_userid"])

    def _item_id(self, row: Doc) -> str:
        index = target_index(self.bank, str(row.get("external_userid")))
        return item_id(self.bank.id, self.batch["_id"], "customer", index)

    async def _pages(self) -> AsyncIterator[list[Doc]]:
        """What WeCom says of all that ever went from the one to the other."""
        resigned = self.batch["mode"] == "resigned"
        call = (
            self.client.handover.get_resigned_result
            if resigned
            else self.client.handover.get_result
        )
        cursor = ""
        while True:
            answer: Any = await call(
                self.batch["handover_userid"], self.batch["takeover_userid"], cursor=cursor
            )
            yield list(answer.get("customer") or [])
            cursor = str(answer.get("next_cursor") or "")
            if not cursor:
                return

    async def _look(self) -> None:
        """Brings every waiting item up to what WeCom says; of whom it says nothing it has no
        record."""
        listed: set[str] = set()
        async for page in self._pages():
            told = {self._item_id(row): row for row in page}
            await self._settle_told(told)
            listed |= told.keys()
        left = await self._in(WAITING, limit=None)
        silent = [item for item in left if item["_id"] not in listed]
        for first in range(0, len(silent), AT_ONCE):
            part = silent[first : first + AT_ONCE]
            await asyncio.gather(*(self._settle(item, NO_WORD) for item in part))

    async def _settle_told(self, told: Mapping[str, Doc]) -> None:
        known = cast("dict[str, Item]", await self.bank.read(HANDOVERS, list(told)))
        waiting = [item for item in known.values() if item["state"] == WAITING]
        await asyncio.gather(*(self._settle(item, told[item["_id"]]) for item in waiting))

    async def _settle(self, item: Item, row: Doc) -> None:
        match int(row.get("status") or 0):
            case Result.MOVED:
                took_over = float(row.get("takeover_time") or 0)
                await self._moved(item, str(row["external_userid"]), took_over)
            case Result.REFUSED:
                await end(self.bank, item, "refused", "customer_refused")
            case Result.FULL:
                await end(self.bank, item, "limit", "customer_limit_exceed")
            case Result.NO_RECORD if self._was_asked_long_ago(item):
                await end(self.bank, item, "failed", "handover_no_record")

    def _was_asked_long_ago(self, item: Item) -> bool:
        return self.bank.now() - _asked(item) > NO_RECORD_SECONDS

    async def _moved(self, item: Item, external_userid: str, takeover_time: float) -> None:
        """The friendship is the new RM's; told by WeCom's own events as well, in any order, it ends
        the same."""
        at = takeover_time or self.bank.now()
        cid = await resolution.identify(
            self.bank,
            resolution.Facts(external_userid=external_userid),
        )
        old, new = item["handover_userid"], item["takeover_userid"]
        gone = {"ended_by": relationships.ENDED_BY_TRANSFER}
        await relationships.changed(self.bank, old, cid, at=at, active=False, **gone)
        await relationships.changed(
            self.bank,
            new,
            cid,
            at=at,
            active=True,
            state="",
            add_way=ASSIGNED_BY_ADMIN,
        )
        told: dict[str, Any] = {"from": old, "to": new, "mode": item["mode"]}
        await timeline.record(
            self.bank,
            cid,
            "handover.done",
            item["_id"],
            at=at,
            **told,
        )
        await self._set([item], WAITING, DONE, cid=cid)


def _by_code(targets: dict[str, Item], answers: Any, name: str) -> dict[int, list[Item]]:
    """WeCom's code → the items that it answered with it; whom it does not mention it took."""
    codes = {str(one.get(name)): int(one.get("errcode") or 0) for one in answers or []}
    found: defaultdict[int, list[Item]] = defaultdict(list)
    for target, item in targets.items():
        found[codes.get(target, 0)].append(item)
    return found


def _asked(item: Item) -> float:
    """When WeCom was asked for an item, in seconds UTC; 0.0 for never."""
    return item["asked_at"].timestamp() if item["asked_at"] else 0.0


def _since(row: Doc, asked_at: float) -> bool:
    """Whether a result speaks of what was asked at that moment: it waits, or it was done since
    then."""
    status = int(row.get("status") or 0)
    return status == Result.WAITS or (
        status == Result.MOVED and float(row.get("takeover_time") or 0) + 1.0 >= asked_at
    )
