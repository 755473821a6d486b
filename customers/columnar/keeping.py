"""The mirror of a bank is made, and kept up to who changed: always of customers' profiles as they
are in the database now, so that whatever is done twice or late does no harm.

Blocks with a span hold all customers of it. Who changed since goes out of them and into a small
block, these are put together as they become many, and a span is read anew when too many of it went
out, or one of them a day ago: what somebody was, or that he was, does not stay on the disk.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import cast

import numpy as np

from customers.banks.bank import Bank
from customers.columnar.arrays import Array
from customers.columnar.building import HEX, Builder, id_of
from customers.columnar.folder import Folder, Part, Span, State
from customers.profiles import copying
from customers.profiles.copying import Ends
from services.store.mongo import Doc, decode

BLOCK = 65_536
AIM = 50_000
"""Customers of a block when it is made; ids are hashes and lie evenly, so that it never has many
more."""
ENOUGH = 500
"""So many customers of a part of all ids tell how many there are."""
READ = 4_000
"""Customers that are read at once."""
TIER = 8
"""So many small blocks of like size are put together."""
MOST_DEAD = 0.2
DEAD_SECONDS = 86_400.0
ALL: Span = (0, 16**HEX)


@dataclass(frozen=True)
class Progress:
    """How far the making of a mirror is: `done` customers of about `of`."""

    done: int
    of: int


async def rebuild(bank: Bank, folder: Folder, line: str) -> AsyncIterator[Progress]:
    """Makes the mirror anew; what was there stays until the new one is whole. Cut short, the next
    call in the same line goes on where it was, unless anything else was written meanwhile; when it
    fails, what was made goes. Whoever calls holds the folder's lock, and follows changes in this
    line from before."""
    folder.sweep(line)
    try:
        async for step in _rebuild(bank, folder, line):
            yield step
    except Exception:
        folder.sweep()
        raise


async def _rebuild(bank: Bank, folder: Folder, line: str) -> AsyncIterator[Progress]:
    made = await asyncio.to_thread(folder.made_so_far, line) or State(line, bank.now())
    customers, done = await _about(bank), made.count
    yield Progress(done, max(done, customers))
    spans = {span: _to_read(span, customers) for span in _left(made.parts, customers)}
    async with aclosing(_read_ahead(bank, chain.from_iterable(spans.values()))) as batches:
        for span, some in spans.items():
            builder = Builder()
            for _ in some:
                done += await _taken(builder, await anext(batches))
                yield Progress(done, max(done, customers))
            made = await _noted(folder, made, await _added(folder, builder, span))
    await asyncio.to_thread(folder.write, State(line, made.at, made.parts))
    yield Progress(done, done)


async def _noted(folder: Folder, made: State, new: list[Part]) -> State:
    """What is made so far, with these parts; on the disk."""
    made = replace(made, parts=[*made.parts, *new])
    await asyncio.to_thread(folder.note_made, made)
    return made


def _left(parts: Sequence[Part], customers: int) -> list[Span]:
    """What is left of all ids behind these parts, in spans of blocks."""
    upto = max((part.span[1] for part in parts if part.span), default=ALL[0])
    left = (upto, ALL[1])
    return list(cut(left, _share(left, customers), AIM))


async def _about(bank: Bank) -> int:
    """About how many profiles there are: ids are hashes, and a small part of them says it."""
    found = 0
    for parts in (4096, 256, 16, 1):
        first = next(cut(ALL, parts, 1))
        found = await copying.count_between(bank, _ends(bank, first)) * parts
        if found >= ENOUGH * parts:
            break
    return found


async def count_in_database(bank: Bank, wanted: Doc) -> int:
    """How many profiles fit a filter, counted some at a time: one question of all of a large bank's
    takes the database too long."""
    found = 0
    for span in cut(ALL, await _about(bank), AIM // TIER):
        found += await copying.count_between(bank, _ends(bank, span), wanted)
    return found


async def _added(folder: Folder, builder: Builder, span: Span | None = None) -> list[Part]:
    return [await asyncio.to_thread(folder.add, builder, span)] if len(builder) else []


def cut(span: Span, customers: int, size: int) -> Iterator[Span]:
    """The span in even parts with about so many of the customers in each."""
    low, high = span
    parts = max(1, math.ceil(customers / size))
    yield from pairwise([low + (high - low) * nth // parts for nth in range(parts + 1)])


def _to_read(span: Span, customers: int) -> list[Span]:
    """A span in parts of which each is read at once, where a bank has so many customers."""
    return list(cut(span, _share(span, customers), READ))


def _share(span: Span, customers: int) -> int:
    return customers * (span[1] - span[0]) // (ALL[1] - ALL[0])


async def _read_ahead(bank: Bank, spans: Iterable[Span]) -> AsyncGenerator[list[bytes]]:
    """The profiles of each span; those of the next one are read while these are worked on."""
    ahead = deque[asyncio.Task[list[bytes]]]()
    try:
        for span in spans:
            ahead.append(asyncio.create_task(_read(bank, span)))
            if len(ahead) > 1:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()


async def _read(bank: Bank, span: Span) -> list[bytes]:
    return await copying.read_between(bank, _ends(bank, span))


def _ends(bank: Bank, span: Span) -> Ends:
    low, high = (f"{bank.id}:{end:0{HEX}x}" if end < ALL[1] else f"{bank.id};" for end in span)
    return low, high


async def _taken(builder: Builder, batches: Iterable[bytes]) -> int:
    """Takes profiles into a block; how many."""
    before = len(builder)
    await asyncio.to_thread(_take, builder, batches)
    return len(builder) - before


def _take(builder: Builder, batches: Iterable[bytes]) -> None:
    for batch in batches:
        builder.take(decode(batch))


# changes


async def apply(bank: Bank, folder: Folder, cids: Collection[str], right: float) -> None:
    """Brings the mirror up to these customers as they are now: whoever changed up to a time (`right`,
    seconds UTC). Whoever calls holds the folder's lock, and there is a mirror."""
    state = folder.read()
    if state is None:
        return
    builder = await built(bank, cids)
    new = await _added(folder, builder)
    gone = np.array([id_of(cid) for cid in cids], dtype=f"S{HEX // 2}")
    left = await asyncio.to_thread(_without, folder, state, gone, bank.now())
    await asyncio.to_thread(folder.write, State(state.line, right, [*left, *new]))


async def built(bank: Bank, cids: Collection[str]) -> Builder:
    """A block of these customers."""
    builder, found = Builder(), await copying.read(bank, cids)
    await asyncio.to_thread(builder.take, cast("list[Doc]", found))
    return builder


def _without(folder: Folder, state: State, gone: Array, now: float) -> list[Part]:
    found = []
    for part in state.parts:
        _, places = folder.block(part).places_of(gone)
        found.append(part.without(places, now))
    return found


def counts(folder: Folder, part: Part, cid: str) -> bool:
    """Whether a customer counts in a part."""
    _, places = folder.block(part).places_of(np.array([id_of(cid)], dtype=f"S{HEX // 2}"))
    return bool(part.live[places].any())


async def mend(bank: Bank, folder: Folder) -> bool:
    """Puts small blocks together, or reads the span anew that has most need of it; whether there was
    anything to do. Whoever calls holds the folder's lock."""
    state = folder.read()
    if state is None:
        return False
    small = _together(state.parts, bank.now())
    if small:
        await _put_together(bank, folder, state, small)
        return True
    worn = _worn(state.parts, bank.now())
    if worn is not None:
        await _read_anew(bank, folder, state, worn)
    return worn is not None


def _together(parts: Sequence[Part], now: float) -> list[Part]:
    """Small blocks of like size that are many enough, or one from which somebody went long ago."""
    tiers: defaultdict[int, list[Part]] = defaultdict(list)
    for part in parts:
        if part.span is None:
            tiers[int(math.log(max(part.count, 1), TIER))].append(part)
            if _is_old(part, now):
                return [part]
    for some in tiers.values():
        if len(some) >= TIER and sum(part.count for part in some) <= BLOCK:
            return some
    return []


def _is_old(part: Part, now: float) -> bool:
    return part.dead_since is not None and abs(now - part.dead_since) > DEAD_SECONDS


def is_scattered(state: State) -> bool:
    """Whether so many customers lie in no block with a span that all are better read anew."""
    aside = sum(part.count for part in state.parts if part.span is None)
    return aside > max(BLOCK, state.count // 2)


def _worn(parts: Sequence[Part], now: float) -> Part | None:
    """The block with a span of which most went out, if that is too much or too long ago."""
    spanned = [part for part in parts if part.span is not None]
    due = [p for p in spanned if p.count < (1 - MOST_DEAD) * len(p.live) or _is_old(p, now)]
    return min(due, key=lambda part: part.count / len(part.live), default=None)


async def _put_together(bank: Bank, folder: Folder, state: State, some: list[Part]) -> None:
    cids = [cid for part in some for cid in _cids(bank, folder, part)]
    new = await _added(folder, await built(bank, cids))
    left = [part for part in state.parts if part not in some]
    at = folder.right_at(state)
    await asyncio.to_thread(folder.write, State(state.line, at, [*left, *new]))


def _cids(bank: Bank, folder: Folder, part: Part) -> list[str]:
    return [f"{bank.id}:{one}" for one in folder.block(part).hex_at(np.flatnonzero(part.live))]


async def _read_anew(bank: Bank, folder: Folder, state: State, worn: Part) -> None:
    """The part's span as it is now: in several blocks where it has grown."""
    span, now = worn.span or ALL, bank.now()
    small = [part for part in state.parts if part.span is None]
    left = [part.without(_inside(folder, part, span), now) for part in small]
    customers = sum(part.count for part in (worn, *small)) - sum(part.count for part in left)
    every = customers * (ALL[1] - ALL[0]) // (span[1] - span[0])
    left += [part for part in state.parts if part.span is not None and part is not worn]
    for one in cut(span, customers, AIM):
        builder = Builder()
        async with aclosing(_read_ahead(bank, _to_read(one, every))) as read:
            async for batches in read:
                await _taken(builder, batches)
        left += await _added(folder, builder, one)
    at = folder.right_at(state)
    await asyncio.to_thread(folder.write, State(state.line, at, left))


def _inside(folder: Folder, part: Part, span: Span) -> slice:
    """The places of a part whose ids lie in the span."""
    ids = folder.block(part).ids
    low, high = (_place(ids, end.to_bytes(HEX // 2 + 1)) for end in span)
    return slice(low, high)


def _place(ids: Array, end: bytes) -> int:
    """Where an end of a span lies among ids; the end of all ids has one byte more than they."""
    if end[0]:
        return len(ids)
    return int(np.searchsorted(ids, np.array(end[1:], dtype=ids.dtype)))
