"""The columnar mirror has what the profiles have: made whole, kept up to changes, put in order, and put aside when it
cannot be trusted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from customers.banks.bank import Bank
from customers.columnar import keeping, reading
from customers.columnar.folder import Folder, State
from customers.profiles.rows import PROFILES
from customers.rules.reading import read_rule
from customers.rules.tree import Tree
from customers.segments import estimate
from services.container import Services
from tests.support.rule_worlds import World

LINE = "line"


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
    await keeping.apply(at, folder, {_cid(number) for number in numbers})
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
    world = World.of(20, 25, 400)
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
