"""One tree, four answers: predicate, filter, mask and explanation say the same of every customer, also where
fields are missing or of another type."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from customers.rules.explaining import explain
from customers.rules.filters import to_filter
from customers.rules.masks import mask
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from tests.support.rule_columns import DocumentColumns
from tests.support.rule_worlds import World

RULES, DOCUMENTS = 20, 30


def test_predicate_filter_mask_and_explanation_agree(mongodb_uri: str) -> None:
    met: Counter[bool] = Counter()
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        database = client["rules_agree"]

        @settings(max_examples=15, deadline=None)
        @given(seed=st.integers(0, 2**32))
        def agree(seed: int) -> None:
            world = World.of(seed, RULES, DOCUMENTS)
            profiles = database[f"profiles_{uuid4().hex}"]
            profiles.insert_many(world.documents)
            columns = DocumentColumns(world.documents)
            for rule in world.rules:
                tree = read_rule(rule, world.vocabulary)
                holds, found = predicate(tree), mask(tree, columns, world.today)
                stored = {one["_id"] for one in profiles.find(to_filter(tree, world.today), {"_id": 1})}
                for place, document in enumerate(world.documents):
                    answer = holds(document, world.today)
                    told = explain(tree, document, world.today)
                    answers = (answer, place in stored, bool(found[place]), told.truth)
                    assert answers == (answer,) * 4, (rule, document, world.today)
                    assert bool(told.reasons) is not answer
                    met[answer] += 1

        try:
            agree()
        finally:
            client.drop_database("rules_agree")
    assert min(met[True], met[False]) > sum(met.values()) / 10
