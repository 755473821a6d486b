"""A block answers what plain columns of the same documents answer, and notices when it is not as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers.columnar import block
from customers.columnar.arrays import Damaged
from customers.columnar.block import Block
from customers.columnar.building import Builder
from customers.rules.masks import mask
from customers.rules.reading import read_rule
from customers.rules.vocabulary import CHINA
from tests.support.rule_columns import DocumentColumns
from tests.support.rule_worlds import World

TENANT = "demo"


def _named(documents: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**one, "_id": f"{TENANT}:{one['_id']:032x}"} for one in documents]


def _block(path: Path, documents: list[dict[str, object]], parts: int = 3) -> Block:
    builder = Builder()
    for part in range(parts):
        builder.take(documents[part::parts])
    block.write(path, TENANT, builder)
    return Block(path, TENANT, CHINA)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1, 3, 40]))
def test_a_block_answers_as_plain_columns_do(tmp_path_factory: pytest.TempPathFactory, seed: int, size: int) -> None:
    world = World.of(seed, 20, size)
    plain = DocumentColumns(world.documents)
    made = _block(tmp_path_factory.mktemp("blocks") / "b", _named(world.documents))
    for rule in world.rules:
        tree = read_rule(rule, world.vocabulary)
        found = mask(tree, made, world.today)
        assert found.dtype == np.bool_
        assert found.tolist() == mask(tree, plain, world.today).tolist(), rule


def test_customers_are_found_by_their_ids(tmp_path: Path) -> None:
    documents = _named([{"_id": number} for number in (2**128 - 1, 0, 256, 7)])
    made = _block(tmp_path / "b", documents)
    assert made.hex_at(np.arange(4)) == [f"{number:032x}" for number in (0, 7, 256, 2**128 - 1)]
    asked = np.array([bytes.fromhex(f"{number:032x}") for number in (7, 8, 2**128 - 1, 0)], dtype="S16")
    there, places = made.places_of(asked)
    assert (there.tolist(), places.tolist()) == ([True, False, True, True], [1, 3, 0])


def test_texts_that_are_days_are_days_and_texts(tmp_path: Path) -> None:
    values = ["2026-11-30", "1950-01-02", "2026-W48-1", "x", None]
    documents = _named([{"_id": n, "fields": {"a": value, "b": values[n % 2]}} for n, value in enumerate(values)])
    made, plain = _block(tmp_path / "b", documents), DocumentColumns(documents)
    for key in "ab":
        codes = made.codes(("fields", key))
        texts = [codes.texts[code] if code >= 0 else None for code in codes.codes]
        assert texts == [one["fields"][key] for one in documents]  # type: ignore[index]
        assert made.days(("fields", key)).tolist() == plain.days(("fields", key)).tolist()


def test_what_is_damaged_is_said_and_never_answered(tmp_path: Path) -> None:
    path = tmp_path / "b"
    made = _block(path, _named([{"_id": n, "fields": {"n": n + 0.1}} for n in range(50)]))
    assert np.nansum(made.numbers(("fields", "n"))) == pytest.approx(sum(n + 0.1 for n in range(50)))
    whole = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    for cut in (b"", whole[:10], whole[:100], whole[:-8], b"x" + whole[1:]):
        path.write_bytes(cut)
        with pytest.raises(Damaged):
            Block(path, TENANT, CHINA)
    path.write_bytes(whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:])
    with pytest.raises(Damaged):
        Block(path, TENANT, CHINA).numbers(("fields", "n"))
    path.write_bytes(whole)
    with pytest.raises(Damaged):
        Block(path, "other", CHINA)
