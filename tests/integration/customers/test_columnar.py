"""The columnar mirror has what the profiles have: made whole, kept up to changes, put in order, and put aside when it
cannot be trusted."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from customers.banks.bank import Bank
from customers.columnar import keeping, reading
from customers.columnar.folder import Folder, State
from customers.profiles import copying
from customers.profiles.rows import PROFILES
from customers.rules.reading import read_rule
from customers.rules.tree import Constant, Tree
from customers.segments import estimate
from services.container import Services
from tests.support.clock import MovedClock
from tests.support.rule_worlds import World

LINE = "line"
EVERYBODY = Constant(text="", column=1, value=True)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def at(services: Services) -> Bank:
    return Bank(services, "demo")


def _cid(number: int, tenant: str = "demo") -> str:
    return f"{tenant}:{random.Random(number).getrandbits(128):032x}"


def _profile(number: int, **said: Any) -> dict[str, Any]:
    rms = [{"userid": "rm1", "branch": branch, "since": 1.0} for branch in said.pop("branches", ())]
    return {"_id": _cid(number), "seq": 1, "fields": {"n": number}, "rms": rms, **said}


async def _put(at: Bank, profiles: Sequence[dict[str, Any]]) -> None:
    await at.db[PROFILES].insert_new(profiles)


async def _made(at: Bank) -> Folder:
    folder = reading.folder_of(at)
    with folder.locked() as mine:
        assert mine
        done = [step async for step in keeping.rebuild(at, folder, LINE)]
    assert done[-1].done == done[-1].of == await at.db[PROFILES].count()
    return folder


async def _apply(at: Bank, folder: Folder, *numbers: int) -> State:
    await keeping.apply(at, folder, {_cid(number) for number in numbers}, at.now())
    return _state(folder)


def _state(folder: Folder) -> State:
    state = folder.read()
    assert state is not None
    return state


async def _agree(at: Bank, tree: Tree) -> int:
    """Count, branches and sample of the mirror are the database's."""
    mine, its = await estimate.estimate(at, tree), await estimate.in_database(at, tree)
    assert mine.mirror_age is not None
    assert its.mirror_age is None
    assert (mine.count, dict(mine.by_branch), mine.sample) == (its.count, dict(its.by_branch), its.sample)
    assert list(mine.by_branch) == list(its.by_branch)
    return mine.count


async def test_its_counts_are_those_of_the_database_before_and_after_changes(
    at: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AIM", 100)
    monkeypatch.setattr(keeping, "READ", 30)
    chance = random.Random(7)
    world = World.of(20, 12, 400)
    people = [
        {"rms": [], **one, "_id": _cid(number), "seq": 1, "tenant": "demo"}
        for number, one in enumerate(world.documents)
    ]
    await _put(at, people[:300])
    await _put(Bank(at.services, "other"), [{**one, "_id": _cid(n, "other")} for n, one in enumerate(people[:50])])
    folder = await _made(at)
    assert [len(part.live) for part in _state(folder).parts if part.span] != [300]
    trees = [read_rule(rule, world.vocabulary) for rule in world.rules]
    met = [await _agree(at, tree) for tree in trees]
    assert max(met) > 30
    await _put(at, people[300:])
    changed = set(chance.sample(range(400), 120))
    for number in sorted(changed)[:90]:
        await at.db[PROFILES].update({"_id": _cid(number)}, {"$set": {"fields": people[-number - 1].get("fields", {})}})
    for number in sorted(changed)[90:]:
        await at.db[PROFILES].delete({"_id": _cid(number)})
    state = await _apply(at, folder, *changed, *range(300, 400))
    assert state.count == await at.db[PROFILES].count() == 370
    assert [await _agree(at, tree) for tree in trees] != met
    while await keeping.mend(at, folder):
        pass
    assert _state(folder).count == 370
    for tree in trees:
        await _agree(at, tree)


async def test_a_kill_before_the_state_is_written_leaves_the_one_of_before(
    at: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _put(at, [_profile(number) for number in range(20)])
    folder = await _made(at)
    before = _files(folder)
    await _put(at, [_profile(20)])

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            await _apply(at, folder, 20)
    assert len(_files(folder) - before) == 1
    assert await _counted(at) == 20
    again = reading.folder_of(at)
    assert (await _apply(at, again, 20)).count == 21
    assert _files(again) == {part.name for part in _state(again).parts}


async def test_making_it_anew_cut_short_leaves_what_was_there(at: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "AIM", 10)
    await _put(at, [_profile(number) for number in range(60)])
    folder = await _made(at)
    whole = _state(folder)
    steps = keeping.rebuild(at, folder, "another")
    while len(_files(folder)) < len(whole.parts) + 2:
        await anext(steps)
    await steps.aclose()
    assert await _counted(at) == 60
    assert _state(reading.folder_of(at)).generation == whole.generation
    await _apply(at, folder, 1)
    assert _files(folder) == {part.name for part in _state(folder).parts}


async def test_killed_at_any_moment_making_it_goes_on_where_it_was(at: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a block is on the disk, before it is in its place, before it counts as made, and before the end."""
    monkeypatch.setattr(keeping, "AIM", 10)
    monkeypatch.setattr(keeping, "_read", real := _Reading(keeping._read))
    await _put(at, [_profile(number) for number in range(30)])
    await _made(at)
    made = set[int]()
    for number in count():
        if not await _is_killed(at, monkeypatch, number):
            break
        assert await _counted(at) == 30
        kept = reading.folder_of(at).made_so_far(LINE)
        names = {part.name for part in kept.parts} if kept else set()
        real.spans.clear()
        folder = await _made(at)
        upto = max((part.span[1] for part in kept.parts if part.span), default=0) if kept else 0
        assert real.spans[0][0] == upto
        assert _files(folder) == {part.name for part in _state(folder).parts} >= names
        assert (await _counted(at), folder.made_so_far(LINE)) == (30, None)
        made.add(len(names))
    assert made == {0, 1, 2, 3}


class _Reading:
    """Reads, and remembers which spans."""

    def __init__(self, real: Any) -> None:
        self.spans: list[tuple[int, int]] = []
        self._real = real

    async def __call__(self, at: Bank, span: tuple[int, int]) -> list[bytes]:
        self.spans.append(span)
        return list(await self._real(at, span))


async def _is_killed(at: Bank, monkeypatch: pytest.MonkeyPatch, number: int) -> bool:
    """Whether making the mirror came to its `number`th write to the disk, and was killed there."""
    sync, calls = os.fsync, count()

    def killed(opened: int) -> None:
        if next(calls) >= number:
            raise KeyboardInterrupt
        sync(opened)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        try:
            await _made(at)
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("meanwhile", ["a change", "another line", "a lost block"])
async def test_what_was_made_of_it_counts_no_more_where_something_was_missed(
    at: Bank, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(keeping, "AIM", 10)
    await _put(at, [_profile(number) for number in range(30)])
    await _made(at)
    assert await _is_killed(at, monkeypatch, 9)
    folder = reading.folder_of(at)
    kept = folder.made_so_far(LINE)
    assert kept is not None
    stale = {part.name for part in kept.parts}
    assert len(stale) == 2
    if meanwhile == "a change":
        await _apply(at, folder, 1)
        assert not stale & _files(folder)
    elif meanwhile == "another line":
        assert folder.made_so_far("another") is None
        folder.sweep("another")
        assert not stale & _files(folder)
    else:
        (folder.path / kept.parts[0].name).unlink()
    assert reading.folder_of(at).made_so_far(LINE) is None
    folder = await _made(at)
    assert (await _counted(at), _files(folder) & stale) == (30, set())


async def test_what_has_no_room_leaves_nothing_behind_but_what_was_there(
    at: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AIM", 10)
    await _put(at, [_profile(number) for number in range(60)])
    folder = await _made(at)
    whole = {part.name for part in _state(folder).parts}
    (folder.path / "block-of-who-was-killed").write_bytes(b"x")
    sync, calls = os.fsync, count()

    def full(opened: int) -> None:
        if next(calls) == 4:
            raise OSError(errno.ENOSPC, "no space left")
        sync(opened)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            async for _ in keeping.rebuild(at, folder, "another"):
                pass
    assert {file.name for file in folder.path.iterdir()} == {"current", "lock", *whole}
    assert await _counted(at) == 60


async def test_it_is_on_the_disk_before_it_is_in_its_place(at: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    await _put(at, [_profile(number) for number in range(5)])
    folder = await _made(at)
    sync, replace, synced, placed = os.fsync, Path.replace, list[int](), list[str]()

    def noted(opened: int) -> None:
        sync(opened)
        synced.append(os.fstat(opened).st_ino)

    def put_in_place(self: Path, target: Path) -> Path:
        assert self.stat().st_ino == synced[-1]
        placed.append(target.name.partition("-")[0])
        return replace(self, target)

    await _put(at, [_profile(5)])
    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", put_in_place)
    await _apply(at, folder, 5)
    assert placed == ["block", "current"]
    assert synced[-1] == folder.path.stat().st_ino


@pytest.mark.parametrize("guarded", [False, True])
async def test_of_two_who_write_at_once_one_waits(at: Bank, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    await _put(at, [_profile(number) for number in range(5)])
    folder, other, real = await _made(at), reading.folder_of(at), copying.read
    await _put(at, [_profile(5), _profile(6)])
    may_read, has_begun = asyncio.Event(), asyncio.Event()

    async def slow(bank: Bank, cids: Any) -> Any:
        if _cid(5) in cids:
            has_begun.set()
            await may_read.wait()
        return await real(bank, cids)

    async def first() -> None:
        with folder.locked() as mine:
            assert mine
            await keeping.apply(at, folder, {_cid(5)}, at.now())

    monkeypatch.setattr(copying, "read", slow)
    late = asyncio.create_task(first())
    await has_begun.wait()
    with other.locked() as mine:
        assert not mine
        if not guarded:
            await keeping.apply(at, other, {_cid(6)}, at.now())
    may_read.set()
    await late
    if guarded:
        with other.locked() as mine:
            assert mine
            await keeping.apply(at, other, {_cid(6)}, at.now())
    assert await _counted(at) == (7 if guarded else 6)


async def test_what_somebody_was_leaves_the_disk_within_a_day(at: Bank, clock: MovedClock) -> None:
    await _put(at, [_profile(number, fields={"t": f"of {number}"}) for number in range(30)])
    folder = await _made(at)
    await _put(at, [_profile(30, fields={"t": "of 30"})])
    await _apply(at, folder, 30)
    for number in (7, 30):
        await at.db[PROFILES].delete({"_id": _cid(number)})
    state = await _apply(at, folder, 7, 30)
    assert (state.count, len(state.parts)) == (29, 1)  # nobody counts in the small block any more
    assert (_on_disk(folder, "of 7"), _on_disk(folder, "of 30")) == (True, False)
    clock.advance(keeping.DEAD_SECONDS - 60)
    assert not await keeping.mend(at, folder)
    clock.advance(-3 * keeping.DEAD_SECONDS)
    assert keeping._is_old(_state(folder).parts[0], at.now())  # somebody went out of it in a time to come
    clock.advance(3 * keeping.DEAD_SECONDS + 120)
    folder.say_right(_state(folder), at.now())
    assert await keeping.mend(at, folder)
    assert folder.right_at(_state(folder)) == pytest.approx(at.now(), abs=30.0)
    assert not _on_disk(folder, "of 7")
    assert _on_disk(folder, "of 8")
    assert not await keeping.mend(at, folder)
    assert _state(folder).count == 29


async def test_small_blocks_are_put_together_and_a_worn_one_is_read_anew(at: Bank) -> None:
    await _put(at, [_profile(number) for number in range(64)])
    folder = await _made(at)
    base = _state(folder).parts[0].name
    for number in range(keeping.TIER):
        await _put(at, [_profile(100 + number)])
        state = await _apply(at, folder, 100 + number)
        assert (len(state.parts), state.count) == (2 + number, 65 + number)
    assert await keeping.mend(at, folder)
    state = _state(folder)
    assert [part.count for part in state.parts] == [64, keeping.TIER]
    assert state.parts[0].name == base
    assert not await keeping.mend(at, folder)
    for number in range(14):
        await at.db[PROFILES].update({"_id": _cid(number)}, {"$set": {"fields": {"n": 1000}}})
    state = await _apply(at, folder, *range(14))
    assert [part.count for part in state.parts] == [50, keeping.TIER, 14]
    assert await keeping.mend(at, folder)
    state = _state(folder)
    assert [(part.count, part.span) for part in state.parts] == [(72, keeping.ALL)]
    assert not await keeping.mend(at, folder)


async def test_a_block_whose_customers_became_many_becomes_several(at: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    await _put(at, [_profile(number) for number in range(10)])
    folder = await _made(at)
    monkeypatch.setattr(keeping, "AIM", 10)
    await _put(at, [_profile(number) for number in range(10, 60)])
    state = await _apply(at, folder, *range(60))
    assert [part.span for part in state.parts] == [None]
    assert not keeping.is_scattered(state)
    monkeypatch.setattr(keeping, "BLOCK", 20)
    assert keeping.is_scattered(state)
    state = _state(await _made(at))
    spans = sorted(part.span for part in state.parts if part.span is not None)
    assert len(spans) > 4
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    worn = [number for number in range(60) if int(_cid(number)[-32:], 16) < spans[0][1]]
    await _put(
        at, twins := [_profile(number) for number in range(60, 400) if int(_cid(number)[-32:], 16) < spans[0][1]]
    )
    await _apply(at, folder, *worn, *(one["fields"]["n"] for one in twins))
    while await keeping.mend(at, folder):
        pass
    assert _state(folder).count == 60 + len(twins)


async def test_an_old_a_damaged_or_anothers_mirror_is_not_asked(at: Bank, clock: MovedClock) -> None:
    await _put(at, [_profile(number, branches=("b1",)) for number in range(40)])
    folder = await _made(at)
    assert await _counted(at) == 40
    clock.advance(reading.FRESH_SECONDS + 1)
    assert await _counted(at) is None
    folder.say_right(_state(folder), at.now() + reading.FRESH_SECONDS + 1)
    assert await _counted(at) is None  # the clock was set back: nobody knows how old it is
    folder.say_right(_state(folder), at.now() - 5)
    found = await estimate.estimate(at, EVERYBODY)
    assert (found.count, found.mirror_age) == (40, pytest.approx(5.0, abs=1.0))
    other = Bank(at.services, "other")
    shutil.copytree(folder.path, reading.folder_of(other).path)
    found = await estimate.estimate(other, EVERYBODY)
    assert (found.count, found.mirror_age) == (0, None)
    (block,) = (part.name for part in _state(folder).parts)
    at.services.cache.clear()
    whole = (folder.path / block).read_bytes()
    (folder.path / block).write_bytes(whole[: len(whole) // 2])
    found = await estimate.estimate(at, EVERYBODY)
    assert (found.count, found.by_branch, found.mirror_age) == (40, {"b1": 40}, None)
    assert reading.folder_of(at).read() is None  # whoever keeps it makes it anew


async def _counted(at: Bank) -> int | None:
    """What the mirror says of everybody, as a process that opens it now."""
    at.services.cache.clear()
    found = await reading.count(at, EVERYBODY, 5)
    return None if found is None else found.count


def _files(folder: Folder) -> set[str]:
    return {file.name for file in folder.path.iterdir() if file.name.startswith("block-")}


def _on_disk(folder: Folder, text: str) -> bool:
    return any(f'"{text}"'.encode() in file.read_bytes() for file in folder.path.iterdir())
