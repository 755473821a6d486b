"""Who is in which segment, compared with a plain reading of what a played population knows to be true.

SEGMENTS are the segments that can be judged so; those of them that are live in the bank, with this
rule, are compared: the profile, and whether everybody was told who wanted to know.
"""

from __future__ import annotations

import asyncio
import time
from calendar import isleap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from customers.approvals.versioned import LIVE
from customers.banks.bank import Bank
from customers.profiles import refreshing
from customers.segments import rows
from customers.segments.filling import FILLING
from customers.segments.rows import SEGMENT_FILLS, SEGMENT_MEMBERS
from deploy.audit_bank import ACCEPTED, Differ
from deploy.truth_file import Customer
from operations import audience
from services.errors import Unavailable

LOOK_SECONDS = 0.5
LIST = "audited"
"""The list that `list_file` is for."""


@dataclass(frozen=True)
class Known:
    """What is true of a customer on a day, as rules may ask for it."""

    told: Customer
    today: date
    zone: tzinfo
    appid: str

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the bank told of him, if the product can know that it was he."""
        kept = self.told.bank
        if kept is None or not self.told.must_be_found(kept.by, self.appid):
            return {}
        return {key: value for key, value in kept.fields.items() if value is not None}

    def days(self, event: str) -> list[date]:
        """On which days it happened to him."""
        kept = self.told.bank
        if kept is None or not self.told.must_be_found(kept.by, self.appid):
            return []
        return [one.at.astimezone(self.zone).date() for one in kept.events if one.name == event]

    def since(self, days: int) -> date:
        return self.today - timedelta(days=days)

    def met(self) -> list[date]:
        """The days on which his friendships of now began."""
        return [datetime.fromtimestamp(one.since, self.zone).date() for one in self.told.friends]


def _asleep(who: Known) -> bool:
    days = who.days("app.login")
    return bool(days) and max(days) < who.since(90)


def _has_birthday(who: Known) -> bool:
    """On one of 30 days from today on; who was born on the 29th of February has it on the 28th where
    there is no other."""
    born = who.fields.get("birthday")
    if born is None:
        return False
    for day in (who.today + timedelta(days=n) for n in range(30)):
        no_other = str(day)[5:] == "02-28" and not isleap(day.year)
        if str(day)[5:] == born[5:] or (no_other and born[5:] == "02-29"):
            return True
    return False


def _is_wealthy(who: Known) -> bool:
    return who.fields.get("balance_band") in ("A", "B")


def _is_regular(who: Known) -> bool:
    return sum(who.since(30) < day <= who.today for day in who.days("app.login")) >= 2


def _branches(bank_staff: Mapping[str, str], who: Known) -> set[str]:
    return {bank_staff[one.userid] for one in who.told.friends if one.userid in bank_staff}


Reading = Callable[[Known, Mapping[str, str]], bool]
"""Of a customer, and of the RMs' branches by userid."""


@dataclass(frozen=True)
class Judged:
    rule: str
    reads: Reading


SEGMENTS: Mapping[str, Judged] = {
    "au-wealthy": Judged("customer.balance_band in ['A', 'B']", lambda who, _: _is_wealthy(who)),
    "au-regular": Judged("count(event('app.login'), 30d) >= 2", lambda who, _: _is_regular(who)),
    "au-asleep": Judged("last(event('app.login')) older than 90d", lambda who, _: _asleep(who)),
    "au-birthday": Judged(
        "anniversary(customer.birthday) in next 30d", lambda who, _: _has_birthday(who)
    ),
    "au-tagged": Judged(
        "tag('客户分层:私行') and not tag('客户分层:代发')",
        lambda who, _: "客户分层:私行" in _tags(who) and "客户分层:代发" not in _tags(who),
    ),
    "au-rm": Judged(
        "rm('rm.chen') or branch('gz-tianhe')",
        lambda who, staff: (
            any(one.userid == "rm.chen" for one in who.told.friends)
            or "gz-tianhe" in _branches(staff, who)
        ),
    ),
    "au-met": Judged(
        "rm.since newer than 60d", lambda who, _: bool(who.met()) and min(who.met()) > who.since(60)
    ),
    "au-coffee": Judged(
        "reward('acq-branch.coffee')",
        lambda who, _: any(one.reward == "acq-branch.coffee" for one in who.told.granted),
    ),
    "au-bound": Judged(
        "customer.bound or not customer.stage in ['active', 'lead']",
        lambda who, _: who.told.bound or who.fields.get("stage") in ("opened", "dormant", "closed"),
    ),
    "au-idle": Judged(
        "segment('au-wealthy') and not segment('au-regular')",
        lambda who, _: _is_wealthy(who) and not _is_regular(who),
    ),
    "au-listed": Judged(
        f"list('{LIST}') and not segment('au-wealthy')",
        lambda who, _: _is_listed(who.told) and not _is_wealthy(who),
    ),
}


def _tags(who: Known) -> set[str]:
    return {tag for one in who.told.friends for tag in one.tags}


def _is_listed(one: Customer) -> bool:
    """Every third of those whom WeCom told of, by the last sign of his id."""
    told = one.crowd or any(each.told for each in one.begun)
    return told and sum(one.external_userid.encode()) % 3 == 0


def list_file(truth: Iterable[Customer]) -> bytes:
    """The file that puts customers on LIST."""
    named = [one.external_userid for one in truth if _is_listed(one)]
    return "\n".join(["external_userid", *named]).encode()


def segments_file(but: Iterable[str] = ()) -> str:
    """SEGMENTS as `manage.py segment apply` takes them."""
    lines = ["kind: segments/v1", "segments:"]
    for key, one in SEGMENTS.items():
        if key not in but:
            lines += [f"  {key}:", f"    name: {{zh: {key}, en: {key}}}"]
            lines += [f"    rule: >-\n      {one.rule}"]
    return "\n".join(lines) + "\n"


async def live(bank: Bank) -> list[str]:
    """Which of SEGMENTS can be compared."""
    there = {row["segment"]: row for row in await rows.everything(bank)}
    return [
        key
        for key, one in SEGMENTS.items()
        if key in there and (there[key]["state"], there[key]["rule"]) == (LIVE, one.rule)
    ]


async def followed(bank: Bank, seconds: float) -> bool:
    """Waits until the audience process has followed what there was, and no segment is being filled;
    False after `seconds`. A store that is away for a moment is waited for."""
    now, deadline = bank.now(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            behind = await audience.lag(bank.services)
            filling = await bank.db[SEGMENT_FILLS].count({"open": True, "state": FILLING})
            if not filling and behind is not None and bank.now() - behind > now:
                return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


class SegmentComparison:
    """Compares a page of customers after the other; `keys` are the segments, `staff` the RMs'
    branches by userid."""

    def __init__(
        self, bank: Bank, keys: Sequence[str], staff: Mapping[str, str], differ: Differ
    ) -> None:
        self._bank, self._keys, self._staff, self._differ = bank, keys, staff, differ
        self._appid = next(iter(bank.miniprograms), "")
        self.members: Counter[str] = Counter()
        """How many should be in each."""
        self._seen: set[str] = set()

    async def check(self, page: Iterable[tuple[Customer, list[str]]]) -> None:
        """The customers of a page with their cids."""
        known = {cids[0]: one for one, cids in page if cids}
        profiles = await refreshing.segments_of(self._bank, list(known))
        told = await self._told(list(known))
        for cid, one in known.items():
            self._one(cid, one, set(profiles.get(cid) or ()), told.get(cid, {}))

    def _one(self, cid: str, one: Customer, inside: set[str], told: Mapping[str, bool]) -> None:
        self._seen.add(cid)
        who = Known(one, self._bank.today(), self._bank.tz, self._appid)
        for key in self._keys:
            expected, found = SEGMENTS[key].reads(who, self._staff), key in inside
            self.members[key] += expected
            if is_sure(one) and expected != found:
                self._differ(f"segment {key} differs", one.id, _said(expected), _said(found))
            if (key in told) != found or not told.get(key, True):
                self._differ(f"not everybody was told of {key}", one.id, _said(found), told)

    async def _told(self, cids: Sequence[str]) -> dict[str, dict[str, bool]]:
        """cid → the segments in which he is by what was told, with whether all was told."""
        found: dict[str, dict[str, bool]] = {}
        for row in await self._bank.db[SEGMENT_MEMBERS].find({"cid": {"$in": cids}}, limit=None):
            if row["left"] is None and row["segment"] in SEGMENTS:
                his = found.setdefault(row["cid"], {})
                his[row["segment"]] = row["announced"] == row["turn"]
        return found

    async def strangers(self) -> None:
        """Nobody is in a segment of whom the file knows nothing."""
        query = {"segment": {"$in": list(self._keys)}, "left": None}
        async for row in self._bank.db[SEGMENT_MEMBERS].scan(query, {"cid": 1, "segment": 1}):
            if row["cid"] not in self._seen:
                self._differ(f"a stranger is in {row['segment']}", "", "nobody", row["cid"])


def is_sure(one: Customer) -> bool:
    """Whether all is known of him that segments ask for: no answer was missing, and WeCom told the
    product of his friendships."""
    kept = one.bank
    if one.untold() or one.unanswered or one.bound is None:
        return False
    return kept is None or (
        not kept.unsure and all(event.state == ACCEPTED for event in kept.events)
    )


def _said(inside: bool) -> str:
    return "inside" if inside else "outside"
