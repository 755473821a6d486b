"""What the registries of verbs, facts and effect kinds hold together."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.delivery.kinds import ALL, KINDS
from campaigns.engine import facts
from campaigns.engine.verbs import BY_NAME, VERBS
from campaigns.engine.verbs.verb import Verb


def test_names_are_taken_once() -> None:
    assert [kind.name for kind in ALL] == list(KINDS)
    assert [verb.name for verb in VERBS] == list(BY_NAME)
    assert len({fact.name for fact in facts.FACTS}) == len(facts.FACTS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_either_moves_its_run_or_asks_for_an_effect(verb: Verb[Any]) -> None:
    assert (verb.move is None) == (verb.prepare is not None) == bool(verb.kinds)
    assert set(verb.kinds) <= set(ALL)


def test_what_a_key_may_name_a_message_may_name_too() -> None:
    assert facts.known(facts.KEY) < facts.known(facts.MESSAGE)
    assert facts.known(facts.GROUP) < facts.known(facts.MESSAGE)


def test_a_message_knows_names_as_they_are_when_it_is_sent() -> None:
    kept = {"customer.id": "demo:1", "customer.name": "as he was called", "follow.userid": "rm.chen"}
    scene: Any = facts.Scene(bank=_Bank(), staff=None)  # type: ignore[arg-type]
    known = facts.for_message(kept, scene)
    text = "{{bank.name}} {{customer.id}} {{ follow.userid }} [{{customer.name}}{{staff.name}}{{branch.name}}]"
    assert facts.fill(text, known) == "银桥银行 demo:1 rm.chen []"
    assert facts.for_group(scene.bank) == {"bank.name": "银桥银行"}


@pytest.mark.parametrize(
    ("text", "when", "bad"),
    [
        ("{{customer.id}}", facts.KEY, False),
        ("{{customer.name}}", facts.KEY, True),
        ("{{customer.name}}", facts.MESSAGE, False),
        ("{{bank.name}}", facts.GROUP, False),
        ("{{staff.name}}", facts.GROUP, True),
        ("{{customer.bound}}", facts.MESSAGE, True),
        ("{{ customer.id", facts.MESSAGE, True),
    ],
)
def test_a_placeholder_is_known_when_its_fact_is(text: str, when: facts.When, bad: bool) -> None:
    assert facts.unfillable([text], when) == ([text] if bad else [])


class _Bank:
    name = {"zh": "银桥银行"}
    branches: dict[str, str] = {}
