"""Alarms: what a person at the bank must know of soon. Kept until somebody has dealt with it.

Whoever is named is told by a card in WeCom. One member takes at most 30 app messages a minute, and
WeCom drops the rest in silence (contract/wechat D1): so a member gets one card for all that came
together, and at most two cards a minute.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from customers import timeline
from customers.actors import ClerkActor
from customers.alerts.rows import ALARMS, NOTICES, Alarm, Notice
from customers.banks.bank import Bank
from customers.banks.userids import key as key_of
from customers.identity import resolution
from services import ids
from services.cache import Slot
from services.clock import utc
from services.errors import Conflict, NotFound
from services.queue import outbox
from services.store.mongo import Doc

OPEN, HANDLED = "open", "handled"
COLLECT_SECONDS = 2.0
"""How long the first card of a minute waits for company."""
MINUTE = 60
CARD = "card"
"""The kind of effect that tells a member of alarms (customers/alerts/cards.py)."""
_CARDS: Slot[defaultdict[str, dict[str, int]]] = Slot("cards", lambda: defaultdict(dict))
"""The minute for whose card each member has been seen to, by tenant."""


UNRECORDED: Doc = {"unrecorded": True}
"""What was handled, and the trail does not say so yet."""
COME_BACK = timedelta(seconds=60)
"""How long whoever handled it has to say so himself."""


async def raise_alarm(
    bank: Bank,
    kind: str,
    key: str,
    *,
    userids: Sequence[str] = (),
    cid: str = "",
    at: float | None = None,
    said: str = "",
    gathers: str = "",
    **data: Any,
) -> bool:
    """Raises the alarm (`kind`, `key`) once; False when it was raised before, and nobody is told
    again then.

    It stands on the console, and the members `userids` are told by a card: the sentence
    `card_<kind>` of the catalogues, with `data` in its places. `at` is in seconds UTC (now). `data`
    and `key` carry no person's data in clear; `said` is what the customer wrote, as it may be shown,
    and is kept sealed.
    """
    told = list({key_of(one): one for one in userids}.values())
    alarm: Alarm = {
        "_id": ids.tenant_id(bank.id, "alarm", kind, key),
        "kind": kind,
        "key": key,
        "state": OPEN,
        "at": utc(bank.now() if at is None else at),
        "cid": cid,
        "data": data,
        "userids": told,
    }
    if said:
        alarm["said"] = bank.vault.seal_text(ALARMS, "said", alarm["_id"], said)
    if gathers:
        alarm["gathers"] = gathers
    new = await bank.insert(ALARMS, {**alarm})  # before any card can look for it
    await asyncio.gather(*(_put_notice(bank, alarm, userid) for userid in told))
    await asyncio.gather(*(ask_for_card(bank, userid) for userid in told))
    return new


async def work_failed(bank: Bank, work: str, reason: str) -> None:
    """A job's work failed for good: told once a day for each reason. A person has it tried again
    (operations/failed.py)."""
    await raise_daily(bank, "work.failed", f"{work}:{reason}", work=work, reason=reason)


async def raise_daily(bank: Bank, kind: str, what: str, **data: Any) -> None:
    """Raises the alarm of `kind` on `what` once a day; anew on the same day when it happens after
    somebody has dealt with it."""
    today = f"{what}:{bank.today().isoformat()}"
    earlier = await bank.db[ALARMS].count({"kind": kind, "gathers": today, "state": HANDLED})
    await raise_alarm(bank, kind, f"{today}:{earlier}", gathers=today, **data)


async def gather(
    bank: Bank,
    kind: str,
    what: str,
    times: int,
    *,
    userids: Sequence[str] = (),
    among: Mapping[str, str] | None = None,
    **data: Any,
) -> None:
    """Adds `times` happenings to the one alarm of `kind` that gathers `what`, and raises it at the
    first; its data has how many there were (`times`), `since` when and the `last` one, and a list of
    each value of `among`. After `end_gathering` the next is raised anew."""
    rows = bank.db[ALARMS]
    going_on = {"kind": kind, "gathers": what, "state": OPEN, "data.end": None}
    now = bank.utc().isoformat()
    more: Doc = {"$inc": {"data.times": times}, "$set": {"data.last": now}}
    if among:
        more["$addToSet"] = {f"data.{name}": value for name, value in among.items()}
        data |= {name: [value] for name, value in among.items()}
    new: Doc = {**data, "times": times, "since": now, "last": now}
    over: Doc = {"$or": [{"state": HANDLED}, {"data.end": {"$ne": None}}]}
    while not await rows.update(going_on, more):
        number = await rows.count({"kind": kind, "gathers": what, **over})
        key = f"{what}:{number}"  # what goes on is not counted: whoever is second finds it there
        if await raise_alarm(bank, kind, key, userids=userids, gathers=what, **new):
            return


async def end_gathering(bank: Bank, kinds: Sequence[str], until: datetime) -> list[Alarm]:
    """Ends what gathers nothing since `until`: it stays open, with its end, until somebody has
    dealt with it. Those that were ended."""
    rows = bank.db[ALARMS]
    quiet: Doc = {"kind": {"$in": list(kinds)}, "state": OPEN, "data.end": None}
    quiet["data.last"] = {"$lte": until.isoformat()}
    ended = await rows.find({**quiet, "gathers": {"$exists": True}}, limit=None)
    for row in ended:
        still = {"_id": row["_id"], "data.last": row["data"]["last"]}
        await rows.update(still, {"$set": {"data.end": row["data"]["last"]}})
    return cast("list[Alarm]", ended)


async def open_of(bank: Bank, kind: str) -> list[Alarm]:
    """The open alarms of one kind."""
    return cast(
        "list[Alarm]", await bank.db[ALARMS].find({"kind": kind, "state": OPEN}, limit=None)
    )


async def was_raised(bank: Bank, kind: str, key: str) -> bool:
    """Whether the alarm (`kind`, `key`) is there already."""
    return bool(await bank.read(ALARMS, [ids.tenant_id(bank.id, "alarm", kind, key)]))


async def _put_notice(bank: Bank, alarm: Alarm, userid: str) -> None:
    notice_id = ids.tenant_id(bank.id, "notice", alarm["_id"], key_of(userid))
    notice: Notice = {"_id": notice_id, "userid": key_of(userid), "alarm": alarm["_id"], "card": ""}
    await bank.insert(NOTICES, {**notice})


async def ask_for_card(bank: Bank, userid: str) -> None:
    """Sees to it that a card goes out for every notice that is there: this minute's, or the next
    one's if that is gone."""
    userid, now = key_of(userid), bank.now()
    minute = int(now // MINUTE)
    waiting = bank.services.cache.of(_CARDS)[bank.id]
    if waiting.get(userid) == minute:  # this minute's and the next one's are there already
        return
    next_minute = float((minute + 1) * MINUTE)
    if await _put_card(bank, userid, minute, now + COLLECT_SECONDS):
        return
    if not await _put_card(bank, userid, minute + 1, next_minute):
        waiting[userid] = minute


async def _put_card(bank: Bank, userid: str, minute: int, due: float) -> bool:
    """False when that minute's card is there already."""
    card = outbox.Effect(
        id=ids.tenant_id(bank.id, "card", userid, minute),
        tenant=bank.id,
        kind=CARD,
        cid="",
        args={"userid": userid},
    )
    return await outbox.put(bank.services, card, due=bank.off_the_rush(due, card.id))


async def take(bank: Bank, userid: str, card: str) -> list[str]:
    """The alarms that `card` tells the member of: those that no card has told him of, fixed at the
    first asking."""
    rows, his = bank.db[NOTICES], {"userid": key_of(userid)}
    if not await rows.find({**his, "card": card}, limit=1):
        await rows.update_many({**his, "card": ""}, {"$set": {"card": card}})
    return await told(bank, userid, card)


async def told(bank: Bank, userid: str, card: str) -> list[str]:
    """The alarms on a card that this member was sent; none on anybody else's."""
    his = {"userid": key_of(userid), "card": card}
    found = await bank.db[NOTICES].find(his, limit=None)
    return sorted(row["alarm"] for row in found)


async def untold(bank: Bank, userid: str) -> bool:
    """Whether something waits for a card."""
    his = {"userid": key_of(userid), "card": ""}
    return bool(await bank.db[NOTICES].find(his, limit=1))


async def rows_of(bank: Bank, alarms: Iterable[str]) -> list[Alarm]:
    """These alarms, oldest first."""
    found = await bank.read(ALARMS, list(alarms))
    rows = cast("list[Alarm]", list(found.values()))
    return sorted(rows, key=lambda row: (row["at"], row["_id"]))


def said_of(bank: Bank, row: Mapping[str, Any]) -> str:
    """What the customer wrote of whom the alarm tells; empty for all others."""
    sealed = row.get("said")
    return bank.vault.open_text(ALARMS, "said", row["_id"], sealed) if sealed else ""


async def handle(bank: Bank, alarms: Sequence[str], by: str, how: str, cause: str) -> int:
    """Marks those that are still open as handled, and says so in the customers' stories and in the
    audit trail; how many `by` handled for this `cause` (what made him: an event's id). Who was
    first stays. Cut short, it is finished by the next call with the same cause, or by a worker
    (`record_handled`)."""
    rows = bank.db[ALARMS]
    wanted = {"_id": {"$in": list(alarms)}}
    done = {"state": HANDLED, "handled_by": by, "how": how, "cause": cause, "unrecorded": True}
    done["handled_at"] = bank.utc()
    await rows.update_many({**wanted, "state": OPEN}, {"$set": done})
    unrecorded = {**wanted, "cause": cause, "unrecorded": True}
    mine = cast("list[Alarm]", await rows.find(unrecorded, limit=None))
    if mine:
        await _record(bank, mine, by, how, cause)
        await rows.update_many(unrecorded, {"$unset": {"unrecorded": ""}})
    return len(mine)


async def _record(bank: Bank, handled: Sequence[Alarm], by: str, how: str, cause: str) -> None:
    told = {"by": by, "how": how}
    stories = [
        timeline.entry(bank, row["cid"], "alarm.handled", row["_id"], told)
        for row in handled
        if row["cid"]
    ]
    await timeline.record_many(bank, stories)
    kinds = sorted({row["kind"] for row in handled})
    subject = handled[0]["_id"] if len(handled) == 1 else cause
    await bank.audit(by, "alarm.handled", subject, how=how, kinds=kinds, alarms=len(handled))


async def handle_by_clerk(bank: Bank, actor: ClerkActor, alarm: str) -> None:
    """Raises NotFound `alarm_unknown`, or Conflict `alarm_handled` when somebody else was first."""
    if await bank.db[ALARMS].find_one({"_id": alarm}, {"_id": 1}) is None:
        raise NotFound("alarm_unknown", "no such alarm")
    cause = ids.tenant_id(bank.id, "handled", alarm, actor.login)
    if not await handle(bank, [alarm], actor.login, "console", cause):
        raise Conflict("alarm_handled", "somebody has dealt with it already")


async def list_alarms(
    bank: Bank, actor: ClerkActor, state: str = OPEN, limit: int = 100
) -> list[Doc]:
    """The newest alarms of the actor's bank in that state, customers masked."""
    rows = await bank.db[ALARMS].find({"state": state}, sort=[("at", -1)], limit=limit)
    names = await asyncio.gather(*(masked_name(bank, row["cid"]) for row in rows))
    return [
        {**row, "name": name, "said": said_of(bank, row)}
        for row, name in zip(rows, names, strict=True)
    ]


async def masked_name(bank: Bank, cid: str) -> str:
    """The customer's name as it may be shown; empty for nobody."""
    if not cid:
        return ""
    try:
        return resolution.mask_name((await resolution.customer(bank, cid)).name)
    except NotFound:
        return ""


async def open_since(bank: Bank, kinds: Sequence[str], until: datetime) -> list[str]:
    """The open alarms of these kinds that were raised by `until`."""
    wanted = {"state": OPEN, "at": {"$lte": until}, "kind": {"$in": list(kinds)}}
    return [row["_id"] for row in await bank.db[ALARMS].find(wanted, limit=None)]


async def record_handled(bank: Bank) -> None:
    """Says in the customers' timelines and in the audit trail what somebody handled who was cut short
    and did not come back."""
    old = {**UNRECORDED, "handled_at": {"$lte": bank.utc() - COME_BACK}}
    for row in cast("list[Alarm]", await bank.db[ALARMS].find(old)):
        await handle(bank, [row["_id"]], row["handled_by"], row["how"], row["cause"])
