"""What can be wrong with a document whose parts are all right: each fault with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from campaigns.document.model import Campaign, Codes, Links, Step
from campaigns.document.parts import Place, Template
from campaigns.document.states import states_of, states_of_rules
from campaigns.engine import facts
from campaigns.engine.verbs import BY_NAME
from campaigns.engine.verbs.verb import Reference
from customers.segments.rules import RuleError, compile_rule

Fault = tuple[Place, str]

NICKNAME = "%NICKNAME%"
GROUP_BYTES = 3000
"""of a greeting in UTF-8 (contract/wechat D3)"""
STATE_LIMIT = 30
"""characters of a live code's state, a link's name and a group code's state (contract/wechat B5 to
B7)"""
_WORDING = re.compile(r"(分享|转发|关注|助力).{0,8}(领|得|送|奖|抽)")


def faults(document: Campaign, branches: Mapping[str, str] | None) -> list[Fault]:
    """Every fault of the document; `branches` are the bank's (unknown: not checked)."""
    return [
        *_code_faults("codes", document.codes, branches),
        *_code_faults("links", document.links, branches),
        *_name_faults(document),
        *_greeting_faults(document),
        *_rule_faults(document, branches or {}),
        *_step_faults(document),
        *_template_faults(document),
        *_reward_faults(document),
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
            expected = f"expected one of {sorted(branches or {})}"
            yield (key, name), f"unknown branch {', '.join(unknown)}; {expected}"
    for name, states in states_of(named, branches or {}).items():
        for state in states.values():
            if len(state) > STATE_LIMIT:
                yield (key, name), f"the state {state} is longer than {STATE_LIMIT} characters"


def _name_faults(document: Campaign) -> Iterator[Fault]:
    """Names that would share a state, or are none."""
    taken = set(document.codes)
    for key, names in (("links", document.links), ("group_codes", document.group_codes)):
        for name in names:
            if name in taken:
                yield (key, name), f"the name {name} is taken by another code"
        taken |= set(names)
    for name in document.group_codes:
        if len(name) > STATE_LIMIT:
            yield ("group_codes", name), f"longer than {STATE_LIMIT} characters"


def _greeting_faults(document: Campaign) -> Iterator[Fault]:
    """Texts that a group's greeting cannot have."""
    for name, greeting in document.group_welcome.items():
        place = ("group_welcome", name, "template")
        template = document.templates.get(greeting.template)
        if template is None:
            yield place, _unknown("templates", greeting.template, document.templates)
        elif facts.unfillable([template.zh], facts.GROUP):
            yield (
                place,
                "nobody is known when a group is greeted: "
                "expected {{bank.name}} or %NICKNAME% only",
            )


def _unknown(block: str, name: str, known: Mapping[str, object]) -> str:
    expected = sorted(known) or f"a {block} block"
    return f"unknown {block.removesuffix('s')} {name}; expected {expected}"


def _rule_faults(document: Campaign, branches: Mapping[str, str]) -> Iterator[Fault]:
    groups = states_of_rules(document, branches)
    fields = facts.known(facts.RULE)
    rules: list[tuple[Place, str | None]] = [
        ((*place, "when"), step.when) for place, step in document.all_steps()
    ]
    if document.entry is not None:
        rules.append((("entry", "when"), document.entry.when))
    for place, rule in rules:
        if rule is None:
            continue
        try:
            compile_rule(rule, groups, fields)
        except RuleError as error:
            yield place, str(error)


def _step_faults(document: Campaign) -> Iterator[Fault]:
    if document.steps and document.entry is None:
        yield ("steps",), "nobody can enter: expected an entry block"
    seen: set[str] = set()
    after_wait = False
    for place, step in document.all_steps():
        if step.id in seen:
            yield place, f"the step id {step.id} stands twice"
        seen.add(step.id)
        for inside, message in _block_faults(document, step, after_wait=after_wait):
            yield (*place, step.verb, *inside), message
        after_wait = after_wait or BY_NAME[step.verb].waits


def _block_faults(document: Campaign, step: Step, *, after_wait: bool) -> Iterator[Fault]:
    """What is wrong with a step's block, each with its place in the block."""
    for one in _references(step):
        known: Mapping[str, object] = getattr(document, one.block)
        if one.name not in known:
            yield (one.key,), _unknown(one.block, one.name, known)
    yield from BY_NAME[step.verb].lint(step.body, after_wait)


def _references(step: Step) -> tuple[Reference, ...]:
    return tuple(BY_NAME[step.verb].references(step.body))


def _uses(document: Campaign, block: str) -> list[Reference]:
    """Where steps name something of a block."""
    steps = document.all_steps()
    return [one for _, step in steps for one in _references(step) if one.block == block]


def _template_faults(document: Campaign) -> Iterator[Fault]:
    for name, template in document.templates.items():
        for message in _text_faults(document, name, template):
            yield ("templates", name), message
    if document.entry is not None and facts.unfillable([document.entry.key], facts.KEY):
        expected = ", ".join(sorted(facts.known(facts.KEY)))
        yield ("entry", "key"), f"unknown placeholder; expected one of {expected}"


def _text_faults(document: Campaign, name: str, template: Template) -> Iterator[str]:
    if facts.unfillable([template.zh, template.en], facts.MESSAGE):
        yield f"unknown placeholder; expected one of {', '.join(sorted(facts.known(facts.MESSAGE)))}"
    uses = [one for one in _uses(document, "templates") if one.name == name]
    limits = [one.most for one in uses if one.most is not None]
    most = min([*limits, *_greeting_limits(document, name)], default=GROUP_BYTES)
    if len(template.zh.encode()) > most:
        yield f"longer than {most} bytes"
    if NICKNAME in template.zh and uses:
        yield f"{NICKNAME} is filled in greetings of groups only"
    if _WORDING.search(template.zh):
        yield "a reward for sharing or following is banned by WeChat"


def _greeting_limits(document: Campaign, template: str) -> list[int]:
    greetings = document.group_welcome.values()
    return [GROUP_BYTES for greeting in greetings if greeting.template == template]


def _reward_faults(document: Campaign) -> Iterator[Fault]:
    if not document.rewards:
        return
    if document.disclosure is None:
        yield ("rewards",), "a campaign with rewards needs a disclosure block"
    most = sum(reward.cost * reward.stock for reward in document.rewards.values())
    if document.money is None:
        yield ("rewards",), "a campaign with rewards needs money: {budget: …} in fen"
    elif most > document.money.budget:
        budget = document.money.budget
        yield (
            ("money", "budget"),
            f"the rewards may cost {most} fen, more than the budget of {budget}",
        )
    offered = {one.name for one in _uses(document, "rewards")}
    for name, reward in document.rewards.items():
        if reward.claim == "offered" and name not in offered:
            yield ("rewards", name), "no step grants it; grant it, or set claim: anyone"
