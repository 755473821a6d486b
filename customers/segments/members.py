"""Who is in a segment, masked, and who came or left lately."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity.facts import mask_name
from customers.identity.rows import CustomerRow, customers_by_id
from customers.identity.sealing import open_customer
from customers.profiles import downloading, refreshing
from customers.profiles.downloading import Wanted
from customers.segments import estimate, filling, rows
from customers.segments.estimate import Estimate
from customers.segments.rows import SEGMENT_MEMBERS, FillRow, MemberRow
from services.cache import cached
from services.errors import NotFound, Unavailable
from services.phones import mask_phone

LATELY = 20


COUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A customer as a sample shows him."""

    cid: str
    name: str
    phone: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody came in (`entered`) or left, in seconds UTC."""

    who: Shown
    entered: bool
    at: float


@dataclass(frozen=True)
class Members:
    """A segment's members: how many, by branch, a sample, who came or left last, and how far it is
    filled."""

    found: Estimate
    sample: list[Shown]
    lately: list[Turn]
    fill: FillRow | None


async def counts(bank: Bank) -> Mapping[str, int] | None:
    """How many customers are in each segment that anybody is in, as of COUNT_SECONDS ago at most;
    None where the store does not count so many in time."""

    async def count() -> Mapping[str, int]:
        return await refreshing.count_by_segment(bank)

    try:
        return await cached(bank.services, f"segment-counts:{bank.id}", COUNT_SECONDS, count)
    except Unavailable:
        return None


async def masked(bank: Bank, cids: Sequence[str]) -> list[Shown]:
    """These customers, masked, in their order."""
    known = await customers_by_id(bank, cids)
    return [_shown(bank, cid, known) for cid in cids if cid in known]


def _shown(bank: Bank, cid: str, known: Mapping[str, CustomerRow]) -> Shown:
    customer = open_customer(bank, known[cid])
    return Shown(cid, mask_name(customer.name), mask_phone(customer.phone))


async def members(bank: Bank, segment: str) -> Members:
    """Raises NotFound `segment_unknown`, and Unavailable when there are too many to be counted in
    time."""
    await _expect(bank, segment)
    found = await estimate.of_segment(bank, segment)
    turned = await bank.db[SEGMENT_MEMBERS].find(
        {"segment": segment}, sort=[("at", -1)], limit=LATELY
    )
    last = cast("list[MemberRow]", turned)
    people = {one.cid: one for one in await masked(bank, [row["cid"] for row in last])}
    lately = [
        Turn(people[row["cid"]], row["left"] is None, row["at"])
        for row in last
        if row["cid"] in people
    ]
    sample = await masked(bank, found.sample)
    return Members(found, sample, lately, await filling.fill_of(bank, segment))


async def _expect(bank: Bank, segment: str) -> None:
    if await rows.find(bank, segment) is None:
        raise NotFound("segment_unknown", f"there is no segment {segment}")


async def download(
    bank: Bank, actor: ClerkActor, segment: str, wanted: Wanted
) -> AsyncGenerator[bytes]:
    """Its members as a table in pieces. Raises Forbidden `not_permitted`, InvalidInput
    `reason_missing`, NotFound `segment_unknown`."""
    downloading.check(actor, wanted)
    await _expect(bank, segment)
    audited = bank.audited(actor.login, "segment.downloaded", segment, **wanted.said())
    return downloading.table(bank, audited, {"segments": segment}, wanted)
