"""One tree, five answers: predicate, filter, mask over plain columns and over a block of the columnar mirror, and
explanation say the same of every customer, also where fields are missing or of another type."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from customers.columnar import block
from customers.columnar.block import Block
from customers.columnar.building import Builder
from customers.rules.explaining import explain
from customers.rules.filters import to_filter
from customers.rules.masks import mask
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.vocabulary import CHINA
from tests.support.rule_columns import DocumentColumns
from tests.support.rule_worlds import World

RULES, DOCUMENTS = 20, 30


def _mirrored(path: Path, world: World) -> Block:
    """The world's documents as a block; their places in it are those in the world."""
    builder = Builder()
    builder.take([{**one, "_id": f"demo:{one['_id']:032x}"} for one in world.documents])
    block.write(path, "demo", builder)
    return Block(path, "demo", CHINA)


def test_predicate_filter_masks_and_explanation_agree(mongodb_uri: str, tmp_path: Path) -> None:
    met: Counter[bool] = Counter()
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        database = client["rules_agree"]

        @settings(max_examples=15, deadline=None)
        @given(seed=st.integers(0, 2**32))
        def agree(seed: int) -> None:
            world = World.of(seed, RULES, DOCUMENTS)
            profiles = database[f"profiles_{uuid4().hex}"]
            profiles.insert_many(world.documents)
            read = list(profiles.find().sort("_id"))  # as whoever asks has them
            columns, mirrored = DocumentColumns(world.documents), _mirrored(tmp_path / "block", world)
            for rule in world.rules:
                tree = read_rule(rule, world.vocabulary)
                holds, found = predicate(tree), mask(tree, columns, world.today)
                kept = mask(tree, mirrored, world.today)
                stored = {one["_id"] for one in profiles.find(to_filter(tree, world.today), {"_id": 1})}
                for place, document in enumerate(read):
                    answer = holds(document, world.today)
                    told = explain(tree, document, world.today)
                    answers = (answer, place in stored, bool(found[place]), bool(kept[place]), told.truth)
                    assert answers == (answer,) * 5, (rule, document, world.today)
                    assert bool(told.reasons) is not answer
                    met[answer] += 1

        try:
            agree()
        finally:
            client.drop_database("rules_agree")
    assert min(met[True], met[False]) > sum(met.values()) / 10
