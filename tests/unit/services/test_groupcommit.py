from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from services.errors import Unavailable
from services.store.groupcommit import GroupCommit

PATIENCE = 10.0


class Flushes:
    """A flush that answers each item with `("done", item)` and keeps the groups it was given; it waits while closed."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.at_once = self.most_at_once = 0

    async def __call__(self, items: list[Any]) -> Sequence[Any]:
        self.groups.append(list(items))
        self.started.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        return [("done", item) for item in items]


async def _ask(group: GroupCommit[Any, Any], items: Sequence[Any]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(group.submit(item) for item in items), return_exceptions=True)


@pytest.mark.parametrize("window", [0.0, 0.02])
async def test_callers_of_one_moment_share_one_flush_in_the_order_they_came(window: float) -> None:
    flush = Flushes()
    group = GroupCommit("g", flush, window=window)
    answers = await _ask(group, range(100))
    assert flush.groups == [list(range(100))]
    assert answers == [("done", n) for n in range(100)]
    await group.close()


async def test_what_comes_during_a_flush_goes_with_the_next_one() -> None:
    flush = Flushes()
    flush.gate.clear()
    group = GroupCommit("g", flush, window=0)
    first = asyncio.create_task(group.submit("first"))
    await flush.started.wait()
    later = [asyncio.create_task(group.submit(n)) for n in range(10)]
    await asyncio.sleep(0)
    flush.gate.set()
    assert await asyncio.gather(first, *later) == [("done", "first"), *(("done", n) for n in range(10))]
    assert flush.groups == [["first"], list(range(10))]
    await group.close()


@pytest.mark.parametrize("lanes", [1, 3])
async def test_no_more_flushes_are_under_way_than_there_are_lanes(lanes: int) -> None:
    flush = Flushes()
    flush.gate.clear()
    group = GroupCommit("g", flush, window=0, limit=2, lanes=lanes)
    asked = asyncio.create_task(_ask(group, range(20)))
    await flush.started.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert flush.at_once == lanes
    flush.gate.set()
    assert await asked == [("done", n) for n in range(20)]
    assert flush.most_at_once == lanes
    await group.close()


async def test_a_group_is_never_larger_than_the_limit() -> None:
    flush = Flushes()
    group = GroupCommit("g", flush, window=0.02, limit=8)
    answers = await _ask(group, range(50))
    assert answers == [("done", n) for n in range(50)]
    assert [len(items) for items in flush.groups] == [8, 8, 8, 8, 8, 8, 2]
    assert [n for items in flush.groups for n in items] == list(range(50))
    await group.close()


async def test_a_full_group_does_not_wait_for_its_window() -> None:
    flush = Flushes()
    group = GroupCommit("g", flush, window=3600, limit=8)
    assert await _ask(group, range(8)) == [("done", n) for n in range(8)]
    await group.close()


async def test_an_answer_that_is_an_exception_reaches_its_caller_alone() -> None:
    async def flush(items: list[int]) -> Sequence[int | Exception]:
        return [ValueError(f"not {n}") if n % 3 == 0 else n for n in items]

    group: GroupCommit[int, int] = GroupCommit("g", flush, window=0)
    answers = await _ask(group, range(9))
    assert [str(a) if isinstance(a, Exception) else a for a in answers] == ["not 0", 1, 2, "not 3", 4, 5, "not 6", 7, 8]
    await group.close()


async def test_a_flush_that_fails_is_heard_of_by_its_whole_group_and_by_no_other() -> None:
    failing = [True]

    async def flush(items: list[int]) -> Sequence[int]:
        if failing.pop() if failing else False:
            raise Unavailable("store_unavailable")
        return items

    group: GroupCommit[int, int] = GroupCommit("g", flush, window=0, limit=5)
    answers = await _ask(group, range(10))
    assert [type(answer) for answer in answers[:5]] == [Unavailable] * 5
    assert answers[5:] == [5, 6, 7, 8, 9]
    assert await _ask(group, [10]) == [10]
    await group.close()


@pytest.mark.parametrize("answers", [[], ["one"], ["one", "two", "three"]])
async def test_a_flush_with_the_wrong_number_of_answers_leaves_nobody_waiting(answers: list[str]) -> None:
    async def flush(items: list[int]) -> Sequence[str]:
        return answers

    group: GroupCommit[int, str] = GroupCommit("g", flush, window=0)
    heard = await _ask(group, [1, 2])
    assert all(isinstance(answer, Exception) for answer in heard), heard
    await group.close()


async def test_a_cancelled_callers_item_is_written_all_the_same() -> None:
    flush = Flushes()
    flush.gate.clear()
    group = GroupCommit("g", flush, window=0)
    first = asyncio.create_task(group.submit("in flight"))
    await flush.started.wait()
    second = asyncio.create_task(group.submit("waiting"))
    third = asyncio.create_task(group.submit("patient"))
    await asyncio.sleep(0)
    for task in (first, second):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    flush.gate.set()
    async with asyncio.timeout(PATIENCE):
        assert await third == ("done", "patient")
    assert flush.groups == [["in flight"], ["waiting", "patient"]]
    await group.close()


async def test_beyond_its_backlog_it_takes_nothing_and_later_takes_again() -> None:
    flush = Flushes()
    flush.gate.clear()
    group = GroupCommit("g", flush, window=0, limit=1, backlog=3)
    first = asyncio.create_task(group.submit("first"))
    await flush.started.wait()
    waiting = [asyncio.create_task(group.submit(n)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        async with asyncio.timeout(PATIENCE):
            await group.submit("too much")
    assert (refused.value.code, refused.value.status) == ("busy", 503)
    flush.gate.set()
    assert await asyncio.gather(first, *waiting) == [("done", "first"), ("done", 0), ("done", 1), ("done", 2)]
    assert await group.submit("again") == ("done", "again")
    assert [item for items in flush.groups for item in items] == ["first", 0, 1, 2, "again"]
    await group.close()


async def test_closing_answers_everything_that_was_taken_and_takes_nothing_more() -> None:
    flush = Flushes()
    flush.gate.clear()
    group = GroupCommit("g", flush, window=3600, limit=4, lanes=2)
    asked = [asyncio.create_task(group.submit(n)) for n in range(11)]
    await flush.started.wait()
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await group.submit("late")
    assert not closing.done()
    flush.gate.set()
    async with asyncio.timeout(PATIENCE):
        await closing
    assert [task.result() for task in asked] == [("done", n) for n in range(11)]
    assert sorted(item for items in flush.groups for item in items) == list(range(11))


async def test_closing_a_group_that_was_never_used_returns() -> None:
    async with asyncio.timeout(PATIENCE):
        await GroupCommit("g", Flushes()).close()


async def test_the_sizes_of_groups_are_measured() -> None:
    sizes = Histogram("size", "of groups", ["writer"], registry=CollectorRegistry(), buckets=(1, 4, 8))
    group = GroupCommit("g", Flushes(), window=0.02, limit=4, sizes=sizes)
    await _ask(group, range(6))
    samples = {(s.name, s.labels.get("le")): s.value for s in sizes.collect()[0].samples if s.labels["writer"] == "g"}
    assert (samples["size_count", None], samples["size_sum", None], samples["size_bucket", "1.0"]) == (2, 6, 0)
    await group.close()


_arrivals = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["answer", "refuse", "cancel"])), max_size=40)


async def _play(group: GroupCommit[tuple[int, str], str], arrivals: list[tuple[int, str]]) -> list[Any]:
    """What each caller heard, where each comes a few loop turns after the one before and some are cancelled."""
    tasks = []
    for n, (pause, fate) in enumerate(arrivals):
        for _ in range(pause):
            await asyncio.sleep(0)
        tasks.append(asyncio.create_task(group.submit((n, fate))))
        if fate == "cancel":
            await asyncio.sleep(0)
            tasks[-1].cancel()
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await group.close()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _is_his(n: int, fate: str, answer: object) -> bool:
    if isinstance(answer, RuntimeError):
        return f"({n}, {fate!r})" in str(answer)
    if fate == "refuse":
        return isinstance(answer, KeyError) and answer.args == (n,)
    return answer == f"answer to {n}" or (fate == "cancel" and isinstance(answer, asyncio.CancelledError))


@settings(deadline=None)
@given(
    arrivals=_arrivals,
    limit=st.integers(1, 6),
    lanes=st.integers(1, 3),
    pauses=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    broken=st.sets(st.integers(0, 8)),
)
def test_every_caller_gets_exactly_the_answer_to_his_own_item(
    arrivals: list[tuple[int, str]], limit: int, lanes: int, pauses: list[int], broken: set[int]
) -> None:
    """Whatever the order of arrival, the lengths of flushes, the cancelled callers and the flushes that fail."""
    flushed: list[list[tuple[int, str]]] = []

    async def flush(items: list[tuple[int, str]]) -> Sequence[str | Exception]:
        number = len(flushed)
        flushed.append(items)
        for _ in range(pauses[number % len(pauses)]):
            await asyncio.sleep(0)
        if number in broken:
            raise RuntimeError(f"flush with {items}")
        return [KeyError(n) if fate == "refuse" else f"answer to {n}" for n, fate in items]

    async def play() -> list[Any]:
        return await _play(GroupCommit("g", flush, window=0, limit=limit, lanes=lanes), arrivals)

    answers = asyncio.run(play())
    fates = [fate for _, fate in arrivals]
    assert [item for items in flushed for item in items] == list(enumerate(fates))
    assert all(len(items) <= limit for items in flushed)
    wrong = [n for n, (fate, answer) in enumerate(zip(fates, answers, strict=True)) if not _is_his(n, fate, answer)]
    assert wrong == []
