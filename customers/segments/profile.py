"""What segments say in a customer's profile: the frozen ones that were taken of him, and the live ones
whose rules he meets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from customers.banks.bank import Bank
from customers.profiles.source import Batch, Known, Part, Source
from customers.rules.days import number_of
from customers.segments.judging import Judge
from customers.segments.rows import SEGMENT_TAKEN

GetJudge = Callable[[Bank], Awaitable[Judge]]


def source(judge_of: GetJudge) -> Source:
    """The source of segments; the rooms above know what rules may name, and so make the judge."""

    async def read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
        frozen = (await judge_of(bank)).frozen
        if not frozen:
            return {}
        taken: defaultdict[str, set[str]] = defaultdict(set)
        for query in batch.among("cid"):
            for row in await bank.db[SEGMENT_TAKEN].find(query, limit=None):
                cid = batch.owners.get(row["cid"])
                if cid is not None and frozen.get(row["segment"]) == row["version"]:
                    taken[cid].add(row["segment"])
        return {cid: {"segments": sorted(segments)} for cid, segments in taken.items()}

    async def conclude(bank: Bank, known: Known, made: Mapping[str, Part]) -> Mapping[str, Part]:
        judge, today = await judge_of(bank), number_of(bank.today())
        return {
            cid: {"segments": judge.segments_of(known.get(cid), profile, today)}
            for cid, profile in made.items()
        }

    async def version(bank: Bank) -> object:
        return (await judge_of(bank)).version

    return Source("segments", {SEGMENT_TAKEN: "cid"}, read, conclude, version, ("segments",))
