"""What workers do with an approved hand-over: ask WeCom in calls of at most 100, then look until
every item has an end.

Before WeCom is asked, the items say `asking`. Whoever finds them so (the asker died, or the answer
was lost) looks at WeCom's own results before he asks again, and an item that is in transfer already
was accepted earlier: nothing is lost or asked for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from enum import IntEnum
from typing import Any

from customers import relationships, timeline
from customers.banks.bank import Bank
from customers.handover.batches import ASKING, DONE, REQUESTED, WAITING, end, item_id, target_index
from customers.handover.rows import HANDOVER_BATCHES, HANDOVERS
from customers.identity import resolution
from services.limiter import lane
from services.observe import trace
from services.queue.retry import Retry
from services.store import leases
from services.store.mongo import Doc
from services.wechat.core.errors import NotSent, PlatformError, SlowDown

CALL_MOST = 100
AT_ONCE = 500
"""So many items are looked at side by side."""
RETRY = Retry(first=2.0, most=60.0)
LEASE_SECONDS = 60.0
POLL_SECONDS = (5.0, 30.0, 120.0, 600.0, 900.0)
"""Between looks at the results; the last goes on until the end."""
OVERDUE_SECONDS = 26 * 3600.0
"""A customer has 24 h to refuse; after this long whoever has no answer is given up."""
NO_RECORD_SECONDS = 600.0
IN_PROGRESS_SECONDS = 60.0
ASSIGNED_BY_ADMIN = 202
ACCEPTED = frozenset({0, 40100, 40129})
GROUP_BUSY, GROUP_DONE = 90507, 90508
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


async def move(bank: Bank, owner: str, batch: Doc) -> None:
    """Moves a batch that is due and leased to `owner` by one step: a call to WeCom and what follows
    from it."""
    with lane("bulk"):
        await _move(bank, owner, batch)


async def _move(bank: Bank, owner: str, batch: Doc) -> None:
    batches = bank.db[HANDOVER_BATCHES]
    try:
        due = await _Step(bank, batch).take()
    except PlatformError as error:
        log.warning(
            "a hand-over waits for WeCom",
            extra={"fields": {"batch": batch["_id"], "why": error.code}},
        )
        polls = batch["polls"] + 1
        wait = RETRY.delay(polls, at_least=error.retry_after)
        await leases.put_back(batches, owner, [batch["_id"]], bank.now() + wait, polls=polls)
        return
    if due is None:
        await leases.close(batches, owner, [batch["_id"]], state=DONE)
    else:
        await leases.put_back(batches, owner, [batch["_id"]], due[0], polls=due[1])


class _Step:
    """One step of one batch."""

    def __init__(self, bank: Bank, batch: Doc) -> None:
        self.bank = bank
        self.batch = batch
        self.client = bank.wecom
        self.items = bank.db[HANDOVERS]

    async def take(self) -> tuple[float, int] | None:
        """When to go on, and the number of looks by then; None when every item has its end."""
        now = self.bank.now()
        if now > self.batch["decided_at"].timestamp() + OVERDUE_SECONDS:
            for state in (REQUESTED, ASKING, WAITING):
                if overdue := await self._in(state, limit=AT_ONCE):
                    await self._end(overdue, "failed", "handover_overdue")
                    return now, 0
            return None
        if asking := await self._in(ASKING, limit=None):
            await self._recover(asking)
            return now, 0
        if requested := await self._in(REQUESTED, limit=CALL_MOST):
            kind = requested[0]["kind"]
            later = await self._ask(kind, [item for item in requested if item["kind"] == kind])
            return now + later, 0
        polls: int = self.batch["polls"]
        if polls:
            await self._look()
        if await self._in(WAITING, limit=1):
            return self.bank.now() + POLL_SECONDS[min(polls, len(POLL_SECONDS) - 1)], polls + 1
        return None

    async def _in(self, state: str, limit: int | None) -> list[Doc]:
        return await self.items.find({"batch": self.batch["_id"], "state": state}, limit=limit)

    def _target(self, item: Doc) -> str:
        return self.bank.vault.open_text(HANDOVERS, "target", item["_id"], item["target"])

    async def _set(self, items: Iterable[Doc], before: str, state: str, **fields: Any) -> None:
        query = {"_id": {"$in": [item["_id"] for item in items]}, "state": before}
        await self.items.update_many(query, {"$set": {"state": state, **fields}})

    async def _end(self, items: list[Doc], state: str, reason: str) -> None:
        await asyncio.gather(*(end(self.bank, item, state, reason) for item in items))

    async def _ask(self, kind: str, items: list[Doc]) -> float:
        """Asks for at most 100; the seconds until the batch should go on."""
        await self._set(items, REQUESTED, ASKING, asked_at=self.bank.now())
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

    async def _ask_customers(self, targets: dict[str, Doc]) -> float:
        pair, wanted = (self.batch["handover_userid"], self.batch["takeover_userid"]), list(targets)
        if self.batch["mode"] == "resigned":
            answer: Any = await self.client.handover.transfer_resigned_customers(*pair, wanted)
        else:
            message = self.bank.vault.open_text(
                HANDOVER_BATCHES, "message", self.batch["_id"], self.batch["message"]
            )
            answer = await self.client.handover.transfer_customers(
                *pair, wanted, transfer_success_msg=message
            )
        codes = {
            str(one.get("external_userid")): int(one.get("errcode") or 0)
            for one in answer.get("customer") or []
        }
        accepted = [item for target, item in targets.items() if codes.get(target, 0) in ACCEPTED]
        await self._set(accepted, ASKING, WAITING)
        for code in {code for code in codes.values() if code not in ACCEPTED}:
            await self._refused(
                [item for target, item in targets.items() if codes.get(target) == code], code
            )
        return 0.0

    async def _ask_groups(self, targets: dict[str, Doc]) -> float:
        call = (
            self.client.handover.transfer_resigned_groups
            if self.batch["mode"] == "resigned"
            else self.client.handover.transfer_groups
        )
        answer: Any = await call(list(targets), self.batch["takeover_userid"])
        codes = {
            str(one.get("chat_id")): int(one.get("errcode") or 0)
            for one in answer.get("failed_chat_list") or []
        }
        gone = [item for target, item in targets.items() if codes.get(target, 0) in (0, GROUP_DONE)]
        busy = [item for target, item in targets.items() if codes.get(target) == GROUP_BUSY]
        await self._set(gone, ASKING, DONE)
        await self._set(busy, ASKING, REQUESTED)
        for code in set(codes.values()) - {0, GROUP_DONE, GROUP_BUSY}:
            await self._refused(
                [item for target, item in targets.items() if codes.get(target) == code], code
            )
        return IN_PROGRESS_SECONDS if busy else 0.0

    async def _refused(self, items: list[Doc], code: int | None) -> None:
        """`code` is WeCom's, None when it gave none."""
        known = REASONS.get(code or 0)
        await self._end(
            items,
            "limit" if code in _LIMITS else "failed",
            known or f"handover_refused:{code or '-'}",
        )

    async def _recover(self, asking: list[Doc]) -> None:
        """Finds out what became of a call whose answer nobody wrote down."""
        found: dict[str, Doc] = {}
        if any(item["kind"] == "customer" for item in asking):
            found = {self._item_id(row): row async for page in self._pages() for row in page}
        accepted = []
        for item in asking:
            if item["kind"] == "group":
                chat: Any = (await self.client.groups.get(self._target(item))).get(
                    "group_chat"
                ) or {}
                if chat.get("owner") == self.batch["takeover_userid"]:
                    await self._set([item], ASKING, DONE)
            elif _since(found.get(item["_id"], {}), item["asked_at"]):
                accepted.append(item)
        await self._set(accepted, ASKING, WAITING)
        trace.note("handover.recovered", asked=len(asking), accepted=len(accepted))
        await self._set(asking, ASKING, REQUESTED)

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
            known = await self.bank.read(HANDOVERS, list(told))
            waiting = [
                (item, told[row_id]) for row_id, item in known.items() if item["state"] == WAITING
            ]
            await asyncio.gather(*(self._settle(item, row) for item, row in waiting))
            listed |= told.keys()
        silent = [item for item in await self._in(WAITING, limit=None) if item["_id"] not in listed]
        for first in range(0, len(silent), AT_ONCE):
            part = silent[first : first + AT_ONCE]
            await asyncio.gather(
                *(self._settle(item, {"status": Result.NO_RECORD}) for item in part)
            )

    async def _settle(self, item: Doc, row: Doc) -> None:
        match int(row.get("status") or 0):
            case Result.MOVED:
                await self._moved(
                    item, str(row["external_userid"]), float(row.get("takeover_time") or 0)
                )
            case Result.REFUSED:
                await end(self.bank, item, "refused", "customer_refused")
            case Result.FULL:
                await end(
                    self.bank,
                    item,
                    "limit",
                    "customer_limit_exceed",
                )
            case Result.NO_RECORD if self.bank.now() - item["asked_at"] > NO_RECORD_SECONDS:
                await end(
                    self.bank,
                    item,
                    "failed",
                    "handover_no_record",
                )

    async def _moved(self, item: Doc, external_userid: str, takeover_time: float) -> None:
        """The friendship is the new RM's; told by WeCom's own events as well, in any order, it ends
        the same."""
        at = takeover_time or self.bank.now()
        cid = await resolution.identify(
            self.bank,
            resolution.Facts(external_userid=external_userid),
        )
        old, new = item["handover_userid"], item["takeover_userid"]
        await relationships.changed(self.bank, old, cid, at=at, active=False)
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


def _since(row: Doc, asked_at: float) -> bool:
    """Whether a result speaks of what was asked at that moment: it waits, or it was done since
    then."""
    status = int(row.get("status") or 0)
    return status == Result.WAITS or (
        status == Result.MOVED and float(row.get("takeover_time") or 0) + 1.0 >= asked_at
    )
