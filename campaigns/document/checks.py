"""What can be wrong with a document whose parts are all right: each fault with its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from campaigns.document import limits, texts
from campaigns.document.model import Campaign, Codes, Links, Step
from campaigns.document.states import states_of, states_of_rules
from campaigns.engine import facts
from campaigns.engine.verbs import BY_NAME
from campaigns.engine.verbs.verb import Reference
from customers.rules.errors import RuleError
from customers.rules.reading import read_rule
from services.documents.problems import Fault, Place, fault

STATE_LIMIT = 30
"""characters of a live code's state, a link's name and a group code's state (contract/wechat B5 to
B7)"""
MOST_STEPS = 200
"""over all levels"""


def faults(document: Campaign, branches: Mapping[str, str] | None) -> list[Fault]:
    """Every fault of the document; `branches` are the bank's (unknown: not checked). Takes time in
    proportion to the document."""
    steps = document.all_steps()
    if len(steps) > MOST_STEPS:
        return [fault(("steps",), "too_many_steps", n=len(steps), most=MOST_STEPS)]
    return [
        *_code_faults("codes", document.codes, branches),
        *_code_faults("links", document.links, branches),
        *_name_faults(document),
        *_greeting_faults(document),
        *_rule_faults(document, branches or {}),
        *_step_faults(document),
        *texts.faults(document, _uses(document, "templates"), branches),
        *_reward_faults(document),
        *limits.faults(document, branches or {}),
    ]


def _code_faults(
    key: str,
    named: Mapping[str, Codes] | Mapping[str, Links],
    branches: Mapping[str, str] | None,
) -> Iterator[Fault]:
    for name, part in named.items():
        wanted = part.branches if isinstance(part.branches, list) else []
        unknown = sorted(set(wanted) - set(branches)) if branches is not None else []
        if unknown:
            yield fault(
                (key, name), "unknown_branch", name=unknown, expected=sorted(branches or {})
            )
    for name, states in states_of(named, branches or {}).items():
        for state in states.values():
            if len(state) > STATE_LIMIT:
                yield fault((key, name), "state_long", state=state, most=STATE_LIMIT)


def _name_faults(document: Campaign) -> Iterator[Fault]:
    """Names that would share a state, or are none."""
    taken = set(document.codes)
    for key, names in (("links", document.links), ("group_codes", document.group_codes)):
        for name in names:
            if name in taken:
                yield fault((key, name), "name_taken", name=name)
        taken |= set(names)
    for name in document.group_codes:
        if len(name) > STATE_LIMIT:
            yield fault(("group_codes", name), "name_long", most=STATE_LIMIT)


def _greeting_faults(document: Campaign) -> Iterator[Fault]:
    """Texts that a group's greeting cannot have."""
    for name, greeting in document.group_welcome.items():
        place = ("group_welcome", name, "template")
        template = document.templates.get(greeting.template)
        if template is None:
            yield _unknown(place, "templates", greeting.template, document.templates)
        elif any(texts.unknown_names(one, facts.GROUP) for one in (template.zh, template.en)):
            yield fault(place, "group_facts")


def _unknown(place: Place, block: str, name: str, known: Mapping[str, object]) -> Fault:
    data = {"block": block, "one": block.removesuffix("s"), "name": name}
    if not known:
        return fault(place, "unknown_name_none", **data)
    return fault(place, "unknown_name", **data, expected=sorted(known))


def rule_faults(document: Campaign, branches: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the rules of entry, steps and rewards."""
    of_rewards = limits.eligible_faults(document, branches)
    faults = [one for one in of_rewards if one[0][-1] == "eligible"]
    return [*_rule_faults(document, branches), *faults]


def _rule_faults(document: Campaign, branches: Mapping[str, str]) -> Iterator[Fault]:
    words = facts.vocabulary(states_of_rules(document, branches))
    for place, rule in document.all_rules():
        try:
            read_rule(rule, words)
        except RuleError as error:
            yield fault(place, error.code, **error.data, column=error.column)


def _step_faults(document: Campaign) -> Iterator[Fault]:
    if document.steps and document.entry is None:
        yield fault(("steps",), "no_entry")
    seen: set[str] = set()
    after_wait = False
    for place, step in document.all_steps():
        if step.id in seen:
            yield fault(place, "step_twice", name=step.id)
        seen.add(step.id)
        for inside, code, data in _block_faults(document, step, after_wait=after_wait):
            yield fault((*place, step.verb, *inside), code, **data)
        after_wait = after_wait or BY_NAME[step.verb].waits


def _block_faults(document: Campaign, step: Step, *, after_wait: bool) -> Iterator[Fault]:
    """What is wrong with a step's block, each with its place in the block."""
    for one in _references(step):
        known: Mapping[str, object] = getattr(document, one.block)
        if one.name not in known:
            yield _unknown((one.key,), one.block, one.name, known)
    yield from BY_NAME[step.verb].lint(step.body, after_wait)


def _references(step: Step) -> tuple[Reference, ...]:
    return tuple(BY_NAME[step.verb].references(step.body))


def _uses(document: Campaign, block: str) -> dict[str, list[Reference]]:
    """Where steps name something of a block, by that name."""
    uses: defaultdict[str, list[Reference]] = defaultdict(list)
    for _, step in document.all_steps():
        for one in _references(step):
            if one.block == block:
                uses[one.name].append(one)
    return uses


def _reward_faults(document: Campaign) -> Iterator[Fault]:
    if not document.rewards:
        return
    if document.disclosure is None:
        yield fault(("rewards",), "reward_disclosure")
    elif document.disclosure.claim_by < document.window.from_:
        days = {"claim_by": document.disclosure.claim_by, "begin": document.window.from_}
        yield fault(("disclosure", "claim_by"), "claim_before_window", **days)
    if document.money is None:
        yield fault(("rewards",), "reward_money")
    offered = _uses(document, "rewards")
    for name, reward in document.rewards.items():
        if document.money is not None and reward.cost > document.money.budget:
            data = {"cost": reward.cost, "budget": document.money.budget}
            yield fault(("rewards", name, "cost"), "reward_budget", **data)
        if reward.fallback is not None and reward.fallback not in document.rewards:
            place = ("rewards", name, "fallback")
            yield _unknown(place, "rewards", reward.fallback, document.rewards)
        reachable = name in offered or limits.is_fallback(document, name)
        if reward.claim == "offered" and not reachable:
            yield fault(("rewards", name), "reward_ungranted")
        if (reward.claim == "staff") != (reward.allowance is not None):
            yield fault(("rewards", name), "reward_allowance")
