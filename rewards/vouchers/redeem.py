"""Write-off: a voucher is looked at and used at a counter, and a use is taken back (核销).

Who asks is a `Redeemer`: an RM, a teller, a merchant's clerk, a partner's program, a clerk of the
console. Of two who use the last use at once one wins, and the other is told when and where. The
same `key` of the same counter has the same answer. Whoever shows or types what is no voucher of the
bank may do so a few times only, and every refusal is in the audit trail, without the code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import Literal, cast

from customers.banks.bank import Bank
from customers.identity import resolution
from rewards import catalogue
from rewards.item import Item
from rewards.pools.codes import codes_of
from rewards.rows import Grant
from rewards.vouchers import codes, issuing, life, qr
from rewards.vouchers.rows import (
    ACTIVE,
    EXPIRED,
    OPEN,
    RECALLED,
    REFUNDED,
    USED,
    VOUCHER_USES,
    VOUCHERS,
    By,
    Use,
    Used,
    Voucher,
    as_doc,
    find_use,
    use_id,
)
from services import ids
from services.errors import Conflict, InvalidInput, KeyReused, NotFound, YinqiaoError
from services.security.tries import Limit, LockedOut
from services.store.mongo import Doc

UNDO = timedelta(minutes=10)
"""So long whoever wrote a voucher off may take it back alone."""
FAILURES, FAILURE_SECONDS = 20, 600
"""How often a counter may be wrong in that time."""
RECENT = 20
FEWEST_TYPED, MOST_TYPED = 4, 128
"""Characters of a code, without dashes; of what is longer the rest is not read."""
MOST_TODAY = 500
SHOWN_TOGETHER = 16
"""So many codes that are shown at the same moment are looked for together."""

Kind = Literal["rm", "teller", "merchant", "partner", "clerk"]


@dataclass(frozen=True, slots=True)
class Redeemer:
    """Who stands at the counter: `id` is the userid, the account or the login; `branch` and
    `merchant` where, by their ids, and `place` what that is called."""

    kind: Kind
    id: str
    name: str
    branch: str = ""
    merchant: str = ""
    place: str = ""

    @property
    def counter(self) -> str:
        """The counter as rows name it."""
        return f"{self.kind}:{self.id}"

    @property
    def actor(self) -> str:
        """Who it is in the audit trail: the bank's own people by their names alone."""
        return self.id if self.kind in ("rm", "clerk") else self.counter


@dataclass(frozen=True, slots=True)
class VoucherView:
    """A voucher as a counter sees it. `left` uses are left (now, where they come back each period);
    `may` it be used here, else `why` not, with `data` for the sentence. `ticket` may be redeemed in
    place of what was shown, for five minutes. `customer` is masked."""

    voucher: str
    reward: str
    campaign: str
    kind: str
    title: Mapping[str, str]
    how: Mapping[str, str]
    face_value: int
    state: str
    uses: int
    uses_per: str
    left: int
    transferable: bool
    granted_at: datetime
    expires: datetime | None
    may: bool
    why: str
    data: Mapping[str, str]
    ticket: str
    customer: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A use that was written off: `left` were left after it; until `undo_until` the same person may
    take it back. `replayed` when this key had it already."""

    use: str
    voucher: str
    reward: str
    title: Mapping[str, str]
    face_value: int
    count: int
    left: int
    at: datetime
    by: By
    undo_until: datetime
    state: str
    replayed: bool


class Guessed(Exception):  # noqa: N818 - what is told apart, no error of its own
    """What could be a guess."""


class CodeWrong(InvalidInput, Guessed):
    """It cannot be a code of this bank."""

    def __init__(self) -> None:
        super().__init__(
            "voucher_code_wrong",
            "this is no code of this bank: a character is wrong, or it is another bank's",
            fields={"code": "not a code of this bank"},
        )


class CodeUnknown(NotFound, Guessed):
    """It could be, and is none."""

    def __init__(self) -> None:
        super().__init__(
            "voucher_unknown", "no voucher has this code", fields={"code": "no voucher has it"}
        )


@dataclass(frozen=True, slots=True)
class _Found:
    row: Voucher
    qr: qr.Shown | None
    code: str


async def look(bank: Bank, by: Redeemer, shown: str) -> VoucherView:
    """What was shown or typed, and whether it may be used here. Raises InvalidInput
    `voucher_code_wrong`, NotFound `voucher_unknown`, Conflict `qr_stale`, and TooMany
    `too_many_attempts`."""
    async with _judged(bank, by):
        found = await _find(bank, by, shown)
        return await _view(bank, by, found)


async def redeem(bank: Bank, by: Redeemer, shown: str, key: str, uses: int = 1) -> Receipt:
    """Writes off `uses` uses of the voucher that was shown (a code, a QR code's text, or a ticket of
    `look`). The same `key` of this counter is answered as before.

    Raises what `look` does, and Conflict: `voucher_used`, `voucher_expired`, `voucher_recalled`,
    `voucher_refunded`, `not_here`, `uses_exceeded`, `qr_used`; KeyReused for the same key with
    another voucher.
    """
    if not key:
        raise InvalidInput("idempotency_key_missing", "a write-off needs a key")
    async with _judged(bank, by) as about:
        if type(uses) is not int or not 1 <= uses <= 1_000:
            fields = {"uses": "1-1000"}
            raise InvalidInput("uses_wrong", "at least one use, at most 1000", fields=fields)
        found = await _find(bank, by, shown, replay=key)
        about["voucher"] = found.row["_id"]
        return await _redeem(bank, by, found, ids.fingerprint(key.encode()), uses)


async def undo(bank: Bank, by: Redeemer, use: str, reason: str) -> Receipt:
    """Takes a use back, within ten minutes, by whoever wrote it off, with a reason. Raises NotFound
    `use_unknown`, InvalidInput `reason_missing`, Conflict `not_yours`, `undo_too_late`,
    `use_undone`, `voucher_recalled`, `voucher_refunded`, `voucher_made_good`."""
    asked = await _done(bank, use)
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "say why"})
    if asked["counter"] != by.counter:
        await _refused(bank, by, "not_yours", {"voucher": asked["voucher"], "use": use})
        raise Conflict("not_yours", "only who wrote it off may take it back")
    if bank.utc() > asked["at"] + UNDO:
        await _refused(bank, by, "undo_too_late", {"voucher": asked["voucher"], "use": use})
        raise Conflict("undo_too_late", "more than ten minutes ago: two clerks may take it back")
    facts = {"voucher": asked["voucher"], "reason": reason.strip()}
    async with bank.audited(by.actor, "voucher.undone", use, **facts):
        row = await take_back(bank, asked, by.name or by.id, reason.strip())
    return await _receipt(bank, row, asked, replayed=False)


async def today(bank: Bank, by: Redeemer) -> list[Use]:
    """What this counter wrote off today (the bank's day), newest first, taken back or not."""
    begin = datetime.combine(bank.today(), time(), bank.tz)
    mine = {"counter": by.counter, "at": {"$gte": begin}, "state": {"$in": ["done", "undone"]}}
    newest_first = [("at", -1), ("_id", -1)]
    found = await bank.db[VOUCHER_USES].find(mine, sort=newest_first, limit=MOST_TODAY)
    return cast("list[Use]", found)


def limits(bank: Bank, by: Redeemer) -> list[Limit]:
    """How often a counter may be wrong."""
    return [Limit(f"voucher|{bank.id}|{by.counter}", FAILURES, FAILURE_SECONDS)]


@asynccontextmanager
async def _judged(bank: Bank, by: Redeemer) -> AsyncIterator[dict[str, str]]:
    """Around the judging of what a counter showed: guesses are counted, refusals written down."""
    about: dict[str, str] = {}
    try:
        async with bank.services.tries.trying(limits(bank, by), Guessed):
            yield about
    except LockedOut as error:
        if error.first:
            await _refused(bank, by, error.code, about)
        raise
    except YinqiaoError as error:
        if error.status < 500:
            await _refused(bank, by, error.code, about)
        raise


async def _refused(bank: Bank, by: Redeemer, reason: str, about: Mapping[str, str]) -> None:
    where = {
        name: value for name, value in (("branch", by.branch), ("merchant", by.merchant)) if value
    }
    about = {**about, **where}
    await bank.audit(
        by.counter, "voucher.refused", about.pop("voucher", "-"), reason=reason, **about
    )


async def _find(bank: Bank, by: Redeemer, shown: str, replay: str = "") -> _Found:
    """The voucher that was shown; raises Guessed and Conflict `qr_stale`. A QR code that is over
    is no reason to refuse the answer to what it wrote off in its time."""
    seen = qr.read(bank, shown)
    if seen is None:
        row, code = await _by_code(bank, shown)
        return _Found(row, None, code)
    made_of = await issuing.of_grant_id(bank, seen.voucher)
    if made_of is None or not qr.is_genuine(bank, made_of, seen, by.counter):
        raise CodeWrong
    if qr.is_stale(bank, seen) and not (replay and await _was_done(bank, by, replay, made_of)):
        raise Conflict("qr_stale", "this QR code is over; have the customer show the one of now")
    return _Found(made_of, seen, "")


async def _was_done(bank: Bank, by: Redeemer, key: str, row: Voucher) -> bool:
    """Whether this key has written the voucher off; one that was refused has not."""
    use = await find_use(bank, use_id(bank.id, by.counter, ids.fingerprint(key.encode())))
    return use is not None and (use["state"] in ("done", "undone") or has(row, use["_id"]))


async def _by_code(bank: Bank, typed: str) -> tuple[Voucher, str]:
    """The voucher of a code that was typed, and the code: one of ours, or one out of a pool."""
    plain = codes.plain(typed)[:MOST_TYPED]
    if len(plain) < FEWEST_TYPED:
        raise CodeWrong
    code = codes.meant(plain)
    ours = codes.is_code(bank.vault, code)
    wanted = [codes.index_of(bank.vault, code)] if ours or codes.is_old(code) else []
    wanted.append(codes.pool_index_of(bank.vault, plain))
    rows = await _with_index(bank, wanted)
    if not rows:
        raise CodeUnknown if ours or len(code) != codes.LENGTH else CodeWrong
    if len(rows) > 1:  # codes of pools that differ by a dash or a small letter
        pooled = await codes_of(bank, cast("list[Grant]", rows))
        rows = [row for row in rows if pooled.get(row["_id"]) == typed.strip()] or rows
    return rows[0], code if wanted[0] in rows[0]["indexes"] and len(wanted) > 1 else plain


async def _with_index(bank: Bank, wanted: list[str]) -> list[Voucher]:
    """The vouchers that are found under one of these, read together with what other counters show."""

    async def flush(asked: list[list[str]]) -> Sequence[list[Voucher]]:
        every = list(dict.fromkeys(one for some in asked for one in some))
        found = await bank.db[VOUCHERS].find({"indexes": {"$in": every}}, limit=10 * len(asked))
        rows = cast("list[Voucher]", found)
        return [
            [row for row in rows if not mine.isdisjoint(row["indexes"])] for mine in map(set, asked)
        ]

    group = bank.services.groups.get(f"shown:{bank.id}", flush, limit=SHOWN_TOGETHER, lanes=2)
    return cast("list[Voucher]", await group.submit(wanted))


async def _view(bank: Bank, by: Redeemer, found: _Found) -> VoucherView:
    row = found.row
    reward = await catalogue.find(bank, row["reward"])
    item = issuing.item_of(reward)
    refusal = why_not(bank, by, row, item, 1, found.qr)
    ticket = qr.ticket(bank, row, found.qr, by.counter) if found.qr else found.code
    person = await resolution.customer(bank, row["cid"])
    return VoucherView(
        voucher=row["_id"],
        reward=row["reward"],
        campaign=row["campaign"],
        kind=row["kind"],
        title=reward["title"],
        how=(item.how or item.text).model_dump(),
        face_value=face_value(item),
        state="expired" if row["state"] in OPEN and life.is_over(row, bank.utc()) else row["state"],
        uses=row["uses"],
        uses_per=row["uses_per"],
        left=life.left(bank, row, bank.utc()),
        transferable=item.transferable,
        granted_at=row["at"],
        expires=row["expires"],
        may=refusal is None,
        why="" if refusal is None else refusal.code,
        data={} if refusal is None else refusal.data,
        ticket=ticket,
        customer=resolution.mask_name(person.name),
    )


def face_value(item: Item) -> int:
    """What the customer is told that it is worth, in fen."""
    return item.cost if item.face_value is None else item.face_value


def why_not(
    bank: Bank, by: Redeemer, row: Voucher, item: Item, count: int, seen: qr.Shown | None
) -> Conflict | None:
    """The refusal of using the voucher here and now, if it has to be."""
    ended = over(bank, row)
    if ended is not None:
        return ended
    if not _may_here(by, item):
        return Conflict("not_here", "this voucher is used elsewhere")
    if seen is not None and seen.stamp in row["seen"]:
        return Conflict("qr_used", "this QR code was used already", data=_last(bank, row))
    left = life.left(bank, row, bank.utc())
    if count > left:
        message = f"{left} uses are left" if left else "no use is left for now"
        return Conflict("uses_exceeded", message, data={"left": str(left), **_last(bank, row)})
    return None


def over(bank: Bank, row: Voucher) -> Conflict | None:
    if row["state"] == USED:
        last = _last(bank, row)
        said = " ".join(["used already:", *(last[name] for name in ("when", "where") if last)])
        return Conflict("voucher_used", said.strip(), fields=last, data=last)
    if row["state"] == EXPIRED or (row["state"] in OPEN and life.is_over(row, bank.utc())):
        when = _said(bank, row["expires"] or bank.utc())
        return Conflict("voucher_expired", f"it was good until {when}", data={"when": when})
    return None if row["state"] in OPEN else taken_away(row)


def taken_away(row: Voucher) -> Conflict:
    """The refusal of whatever is asked of a voucher that the bank took back."""
    if row["state"] == REFUNDED:
        return Conflict("voucher_refunded", "this voucher was given back")
    return Conflict("voucher_recalled", "the bank has recalled this voucher")


def is_replaced(row: Voucher) -> bool:
    """Whether another voucher has taken its place, or is about to."""
    return bool(row.get("made_good") or row.get("making_good"))


def undone() -> Conflict:
    """The refusal of a write-off that was taken back or given up."""
    return Conflict("use_undone", "this was taken back already")


def replaced() -> Conflict:
    """The refusal of what would let the customer have both."""
    return Conflict("voucher_made_good", "another voucher has taken its place")


def _last(bank: Bank, row: Voucher) -> dict[str, str]:
    """When, where and by whom it was used last."""
    if not row["recent"]:
        return {}
    last = row["recent"][-1]
    by = last["by"]
    return {"when": _said(bank, last["at"]), "where": where(bank, by), "by": by["name"]}


def _said(bank: Bank, at: datetime) -> str:
    return f"{at.astimezone(bank.tz):%Y-%m-%d %H:%M:%S}"


def where(bank: Bank, by: By) -> str:
    """What the place is called."""
    branch = bank.branches.get(by["branch"], by["branch"])
    return by["place"] or branch or bank.merchants.get(by["merchant"], by["merchant"])


def _may_here(by: Redeemer, item: Item) -> bool:
    allowed = item.use_at
    if allowed is None or by.kind == "clerk":
        return True
    if by.merchant:
        return allowed.merchants == "all" or by.merchant in allowed.merchants
    return allowed.branches == "all" or by.branch in allowed.branches


async def _redeem(bank: Bank, by: Redeemer, found: _Found, key: str, count: int) -> Receipt:
    item = issuing.item_of(await catalogue.find(bank, found.row["reward"]))
    refusal = _refusal_now(bank, by, found, item, key, count)
    asked = await _ask(bank, by, found.row, key, count, refusal)
    if asked["state"] in ("done", "undone"):
        row = await _row(bank, asked["voucher"])
        return await _receipt(bank, row, asked, replayed=True)
    try:
        row, replayed = await _write_off(bank, by, found, item, asked)
    except Conflict as refusal:
        await bank.change(VOUCHER_USES, asked["_id"], _as_refused(refusal.code))
        raise
    return await _receipt(bank, row, await _done_of(bank, row, asked), replayed=replayed)


def _as_refused(why: str) -> list[Doc]:
    """The change of a use's row that was refused, unless it was done by another try of its key."""
    refused = {"$mergeObjects": ["$$ROOT", {"state": "refused", "why": {"$literal": why}}]}
    waits = {"$eq": ["$state", "asked"]}
    return [{"$replaceWith": {"$cond": [waits, refused, "$$ROOT"]}}]


def _refusal_now(
    bank: Bank, by: Redeemer, found: _Found, item: Item, key: str, count: int
) -> Conflict | None:
    """Why the voucher as it was read may not be used under a key that has not used it: most who are
    refused hear so for the price of the row that says it."""
    if has(found.row, use_id(bank.id, by.counter, key)):
        return None
    return why_not(bank, by, found.row, item, count, found.qr)


async def _write_off(
    bank: Bank, by: Redeemer, found: _Found, item: Item, asked: Use
) -> tuple[Voucher, bool]:
    """The voucher after its use, and whether it had it already. Raises Conflict when it may not be
    used."""
    replayed = False

    def decide(row: Voucher) -> Doc:
        nonlocal replayed
        replayed = has(row, asked["_id"])
        if replayed:
            return {}
        if asked["_id"] in row["undone"]:  # while this try stood still
            raise undone()
        refusal = why_not(bank, by, row, item, asked["count"], found.qr)
        if refusal is not None:
            raise refusal
        return _use(bank, by, row, asked, found.qr)

    place = by.place or by.branch or by.merchant
    facts = {"use": asked["_id"], "count": asked["count"], "place": place}
    async with bank.audited(by.actor, "voucher.used", found.row["_id"], **facts) as act:
        row = await life.change(bank, found.row["_id"], decide, found.row)
        act.done = not replayed
    return row, replayed


async def _done_of(bank: Bank, row: Voucher, asked: Use) -> Use:
    """What was asked for as it was done: the voucher's row says when, and how many were left."""
    mark = next((one for one in row["recent"] if one["use"] == asked["_id"]), None)
    if mark is None:  # many uses ago, or taken back meanwhile
        return await find_use(bank, asked["_id"]) or asked
    return {**asked, "state": "done", "at": mark["at"], "left": mark["left"]}


def has(row: Voucher, use: str) -> bool:
    """Whether the voucher has this use, told or not."""
    return any(one["use"] == use for one in (*row["recent"], *row["steps"]))


async def _row(bank: Bank, voucher: str) -> Voucher:
    row = await issuing.of_grant_id(bank, voucher)
    if row is None:
        raise NotFound("voucher_unknown", "no such voucher")
    return row


async def _ask(
    bank: Bank, by: Redeemer, row: Voucher, key: str, count: int, refusal: Conflict | None
) -> Use:
    """Writes down what is asked for under this key, and raises its `refusal` if there is one; what
    was asked for under it already, if it was."""
    asked: Use = {
        **_nothing(bank, by, key),
        "voucher": row["_id"],
        "reward": row["reward"],
        "campaign": row["campaign"],
        "count": count,
    }
    said: dict[str, str] = {"state": "asked"}
    if refusal is not None:
        said = {"state": "refused", "why": refusal.code}
    if await bank.insert(VOUCHER_USES, {**asked, **said}):
        if refusal is not None:
            raise refusal
        return {**asked, "state": "asked"}
    known = await find_use(bank, asked["_id"]) or asked
    if not known["voucher"]:
        raise undone()
    if (known["voucher"], known["count"]) != (row["_id"], count):
        raise KeyReused("idempotency_key_reused", "this key was used for another write-off")
    return known


def _nothing(bank: Bank, by: Redeemer, key: str) -> Use:
    """The row of a key under which nothing is asked for, nor can be."""
    return {
        "_id": use_id(bank.id, by.counter, key),
        "voucher": "",
        "reward": "",
        "campaign": "",
        "counter": by.counter,
        "by": cast("By", asdict(by)),
        "key": key,
        "count": 0,
        "state": "refused",
        "at": bank.utc(),
        "left": 0,
    }


async def give_up(bank: Bank, by: Redeemer, key: str) -> None:
    """Ends what this counter asks for under the hash `key`. What is not written off by now never is,
    neither by a try that only stands still nor when the key comes again: both are told
    `use_undone`."""
    nothing = _nothing(bank, by, key)
    use = nothing["_id"]
    if await bank.insert(VOUCHER_USES, as_doc(nothing)):
        return
    asked = await find_use(bank, use) or nothing
    if not asked["voucher"] or asked["state"] in ("done", "undone"):
        return

    def decide(row: Voucher) -> Doc:
        ended = has(row, use) or use in row["undone"]
        return {} if ended else {"undone": [*row["undone"], use]}

    await life.change(bank, asked["voucher"], decide)


def _use(bank: Bank, by: Redeemer, row: Voucher, asked: Use, seen: qr.Shown | None) -> Doc:
    """The change by which the uses are taken."""
    now, count = bank.utc(), asked["count"]
    period = life.period_of(row["uses_per"], now.astimezone(bank.tz))
    used = count + (row["used"] if row["period"] == period else 0)
    left = row["uses"] - used
    mark: Used = {
        "use": asked["_id"],
        "count": count,
        "period": period,
        "at": now,
        "by": asked["by"],
        "left": left,
    }
    fields: Doc = {
        "used": used,
        "period": period,
        "recent": [*row["recent"], mark][-RECENT:],
    }
    if seen is not None:
        fields["seen"] = qr.remembered(bank, row, seen.stamp)
    state = USED if not left and row["uses_per"] == "ever" else ACTIVE
    told = {"count": count, "uses_left": left, "place": by.place or by.branch or by.merchant}
    return life.happened(
        row, "voucher.used", now, state=state, use=asked["_id"], fields=fields, **told
    )


async def _done(bank: Bank, use: str) -> Use:
    asked = await find_use(bank, use)
    if asked is None:
        raise NotFound("use_unknown", "no such write-off")
    if asked["state"] == "undone":
        raise undone()
    if asked["state"] != "done" and not has(await _row(bank, asked["voucher"]), use):
        raise NotFound("use_unknown", "no such write-off")
    return asked


async def take_back(bank: Bank, asked: Use, who: str, reason: str) -> Voucher:
    """Gives the uses of `asked` back to their voucher; once."""

    def decide(row: Voucher) -> Doc:
        if asked["_id"] in row["undone"]:
            raise undone()
        if row["state"] in (RECALLED, REFUNDED):
            raise taken_away(row)
        if is_replaced(row):
            raise replaced()
        fields: Doc = {
            "recent": [one for one in row["recent"] if one["use"] != asked["_id"]],
            "undone": [*row["undone"], asked["_id"]],
        }
        if life.period_of(row["uses_per"], asked["at"].astimezone(bank.tz)) == row["period"]:
            fields["used"] = row["used"] - asked["count"]
        told = {"by": who, "reason": reason, "count": asked["count"]}
        return life.happened(
            row, "voucher.undone", bank.utc(), state=ACTIVE, use=asked["_id"], fields=fields, **told
        )

    return await life.change(bank, asked["voucher"], decide)


async def _receipt(bank: Bank, row: Voucher, asked: Use, *, replayed: bool) -> Receipt:
    reward = await catalogue.find(bank, row["reward"])
    return Receipt(
        use=asked["_id"],
        voucher=row["_id"],
        reward=row["reward"],
        title=reward["title"],
        face_value=face_value(issuing.item_of(reward)),
        count=asked["count"],
        left=asked["left"],
        at=asked["at"],
        by=asked["by"],
        undo_until=asked["at"] + UNDO,
        state=row["state"],
        replayed=replayed,
    )
