"""Reading a campaign file: from text to a checked document, or to a list of problems with their
lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError
from typing_extensions import override

from campaigns.document.model import Campaign, Codes, Links
from customers.segments.rules import RuleError, compile_rule
from services.errors import InvalidInput

PLACEHOLDER = re.compile(r"\{\{\s*([a-z_.]+)\s*\}\}")
FILLED_EARLY = frozenset({"customer.id", "channel.branch", "channel.code", "follow.userid"})
"""known at entry: for tags and keys"""
FILLED = FILLED_EARLY | {"customer.name", "staff.name", "branch.name", "bank.name"}
"""known when a message is written"""
FILLED_FOR_GROUPS = frozenset({"bank.name"})
"""known when a group's greeting is written"""
NICKNAME = "%NICKNAME%"
WELCOME_BYTES, STAFF_BYTES, GROUP_BYTES = 4000, 2048, 3000
"""of a text in UTF-8 (contract/wechat D3)"""
STATE_LIMIT = 30
"""characters of a live code's state, a link's name and a group code's state (contract/wechat B5 to
B7)"""
_EARLY = f"expected one of {', '.join(sorted(FILLED_EARLY))}"
_WORDING = re.compile(r"(分享|转发|关注|助力).{0,8}(领|得|送|奖|抽)")

Place = tuple[Any, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong in `source`, at which line (from 1), and what was expected."""

    line: int
    message: str
    source: str = ""

    @override
    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"


class DocumentError(InvalidInput):
    """The document cannot be used; nothing was applied."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            "campaign_document",
            "\n".join(map(str, problems)),
            fields={str(p.line): p.message for p in problems},
        )
        self.problems = problems


class _Loader(yaml.SafeLoader):
    """YAML's safe loader without aliases, whose every complaint carries its line."""

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias; write the part out", mark)
        return super().compose_node(parent, index)

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, str(error), node.start_mark
            ) from error


class _Lines:
    """Where each part of a YAML text stands."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root

    def of(self, place: Iterable[Any]) -> int:
        """The line of a place, or of the nearest part around it."""
        node = self._root
        line = node.start_mark.line + 1 if node is not None else 1
        for key in place:
            node, at = self._step(node, key)
            if node is None:
                break
            line = at
        return line

    @staticmethod
    def _step(node: yaml.Node | None, key: Any) -> tuple[yaml.Node | None, int]:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == str(key):
                    return value, name.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            child = node.value[key]
            return child, child.start_mark.line + 1
        return None, 0

    def repeated(self) -> list[tuple[int, str]]:
        """Keys that stand twice in one mapping, which YAML would silently drop."""
        found: list[tuple[int, str]] = []
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                names = [name.value for name, _ in node.value]
                found += [
                    (n.start_mark.line + 1, n.value)
                    for i, (n, _) in enumerate(node.value)
                    if n.value in names[:i]
                ]
                nodes += [value for _, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value
        return found


def read(
    text: str, source: str = "campaign", branches: Mapping[str, str] | None = None
) -> Campaign:
    """The checked document; raises DocumentError with every problem. `branches` are the bank's
    (unknown: not checked)."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise DocumentError([Problem(1, "not YAML: nested too deeply", source)]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise DocumentError(
            [Problem(line, f"not YAML: {getattr(error, 'problem', error)}", source)]
        ) from error
    lines = _Lines(root)
    problems = [
        Problem(line, f"the key {name} stands twice", source) for line, name in lines.repeated()
    ]
    if not isinstance(raw, dict):
        raise DocumentError(
            [Problem(1, "expected a mapping that begins with kind: campaign/v1", source)]
        )
    try:
        document = Campaign.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            problems.append(Problem(lines.of(detail["loc"]), _sentence(detail), source))
        raise DocumentError(_ordered(problems)) from None
    problems += [
        Problem(lines.of(place), message, source) for place, message in _faults(document, branches)
    ]
    if problems:
        raise DocumentError(_ordered(problems))
    return document


def _ordered(problems: list[Problem]) -> list[Problem]:
    return sorted(set(problems), key=lambda problem: (problem.line, problem.message))


def _sentence(detail: Mapping[str, Any]) -> str:
    place = ".".join(str(part).rstrip("_") for part in detail["loc"]) or "document"
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown key; expected one of {', '.join(_keys_at(detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {detail['msg'].removeprefix('Value error, ')}"


def _keys_at(place: Place) -> list[str]:
    """The keys that the document knows at a place."""
    model: Any = Campaign
    for part in place:
        if isinstance(part, int) or not hasattr(model, "model_fields"):
            continue
        by_alias = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in by_alias:
            model = _model_in(by_alias[part].annotation)
    if not hasattr(model, "model_fields"):
        return ["names of your own"]
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = [_model_in(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in reversed(inner) if hasattr(model, "model_fields")), None)


def states_of(
    parts: Mapping[str, Codes] | Mapping[str, Links], branches: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """code group → branch → the state that its live code or link carries; the branch of a link of
    members is empty."""
    found: dict[str, dict[str, str]] = {}
    for name, part in parts.items():
        wanted = branches if part.branches == "all" else part.branches
        found[name] = (
            {"": name} if wanted is None else {branch: f"{name}.{branch}" for branch in wanted}
        )
    return found


def states_of_rules(document: Campaign, branches: Mapping[str, str]) -> dict[str, list[str]]:
    """What `codes('name')` means in a rule: the states of the live codes or links of that name."""
    states = states_of(document.codes, branches) | states_of(document.links, branches)
    return {name: list(by_branch.values()) for name, by_branch in states.items()}


def wanted_states(document: Campaign, branches: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Everything that is to be made at WeCom under a state: what it is, and the states."""
    return [
        (
            "live code",
            [
                state
                for one in states_of(document.codes, branches).values()
                for state in one.values()
            ],
        ),
        (
            "acquisition link",
            [
                state
                for one in states_of(document.links, branches).values()
                for state in one.values()
            ],
        ),
        ("group code", list(document.group_codes)),
    ]


def _faults(document: Campaign, branches: Mapping[str, str] | None) -> list[tuple[Place, str]]:
    return [
        *_code_faults(document, branches),
        *_group_faults(document),
        *_rule_faults(document, branches or {}),
        *_step_faults(document),
        *_template_faults(document),
        *_reward_faults(document),
    ]


def _code_faults(document: Campaign, branches: Mapping[str, str] | None) -> list[tuple[Place, str]]:
    faults: list[tuple[Place, str]] = []
    parts: dict[str, Mapping[str, Codes] | Mapping[str, Links]] = {
        "codes": document.codes,
        "links": document.links,
    }
    for key, named in parts.items():
        for name, part in named.items():
            told = part.branches if isinstance(part.branches, list) else []
            unknown = sorted(set(told) - set(branches)) if branches is not None else []
            if unknown:
                expected = f"expected one of {sorted(branches or {})}"
                faults.append(((key, name), f"unknown branch {', '.join(unknown)}; {expected}"))
        for name, states in states_of(named, branches or {}).items():
            long = [state for state in states.values() if len(state) > STATE_LIMIT]
            faults += [
                ((key, name), f"the state {state} is longer than {STATE_LIMIT} characters")
                for state in long
            ]
    return faults


def _group_faults(document: Campaign) -> list[tuple[Place, str]]:
    """Names that would share a state, and texts that a group's greeting cannot have."""
    faults: list[tuple[Place, str]] = []
    taken = set(document.codes)
    for key, names in (("links", document.links), ("group_codes", document.group_codes)):
        faults += [
            ((key, name), f"the name {name} is taken by another code")
            for name in names
            if name in taken
        ]
        taken |= set(names)
    for name in document.group_codes:
        if len(name) > STATE_LIMIT:
            faults.append((("group_codes", name), f"longer than {STATE_LIMIT} characters"))
    for name, greeting in document.group_welcome.items():
        place = ("group_welcome", name, "template")
        template = document.templates.get(greeting.template)
        if template is None:
            expected = sorted(document.templates) or "a templates block"
            faults.append((place, f"unknown template {greeting.template}; expected {expected}"))
        elif _unfillable([template.zh], FILLED_FOR_GROUPS):
            faults.append(
                (
                    place,
                    "nobody is known when a group is greeted: expected {{bank.name}} or %NICKNAME% only",
                )
            )
    return faults


def _rule_faults(document: Campaign, branches: Mapping[str, str]) -> list[tuple[Place, str]]:
    groups = states_of_rules(document, branches)
    rules: list[tuple[Place, str | None]] = [
        (("entry", "when"), document.entry.when if document.entry else None)
    ]
    rules += [((*place, "when"), step.when) for place, step in document.all_steps()]
    faults: list[tuple[Place, str]] = []
    for place, rule in rules:
        if rule is not None:
            try:
                compile_rule(rule, groups)
            except RuleError as error:
                faults.append((place, str(error)))
    return faults


def _step_faults(document: Campaign) -> list[tuple[Place, str]]:
    faults: list[tuple[Place, str]] = []
    if document.steps and document.entry is None:
        faults.append((("steps",), "nobody can enter: expected an entry block"))
    seen: set[str] = set()
    waited = False
    for place, step in document.all_steps():
        if step.id in seen:
            faults.append((place, f"the step id {step.id} stands twice"))
        seen.add(step.id)
        waited = waited or step.wait is not None
        if step.send is not None and step.send.via == "wecom.welcome" and waited:
            faults.append(
                ((*place, "send"), "a welcome must come before the first wait: its code lives 20 s")
            )
        if step.send is not None and step.send.template not in document.templates:
            expected = sorted(document.templates) or "a templates block"
            faults.append(
                (
                    (*place, "send", "template"),
                    f"unknown template {step.send.template}; expected {expected}",
                )
            )
        if step.grant is not None and step.grant.reward not in document.rewards:
            expected = sorted(document.rewards) or "a rewards block"
            faults.append(
                (
                    (*place, "grant", "reward"),
                    f"unknown reward {step.grant.reward}; expected {expected}",
                )
            )
        if step.tag is not None:
            faults += [
                ((*place, "tag"), f"unknown placeholder in {name}")
                for name in _unfillable(step.tag.add + step.tag.del_, FILLED_EARLY)
            ]
    return faults


def _unfillable(texts: Iterable[str], known: frozenset[str]) -> list[str]:
    return [
        text
        for text in texts
        if set(PLACEHOLDER.findall(text)) - known or "{{" in PLACEHOLDER.sub("", text)
    ]


def _uses(document: Campaign, template: str) -> tuple[bool, bool, bool]:
    """Whether the template is sent to RMs, sent as a welcome, and shown to groups."""
    sends = [
        step.send
        for _, step in document.all_steps()
        if step.send is not None and step.send.template == template
    ]
    staff = any(send.via == "staff" or send.fallback for send in sends)
    greets = any(greeting.template == template for greeting in document.group_welcome.values())
    return staff, any(send.via == "wecom.welcome" for send in sends), greets


def _most_bytes(document: Campaign, template: str) -> int:
    """What its shortest use takes."""
    limits = zip(_uses(document, template), (STAFF_BYTES, WELCOME_BYTES, GROUP_BYTES), strict=True)
    return min((most for used, most in limits if used), default=GROUP_BYTES)


def _template_faults(document: Campaign) -> list[tuple[Place, str]]:
    faults: list[tuple[Place, str]] = []
    for name, template in document.templates.items():
        if _unfillable([template.zh, template.en], FILLED):
            faults.append(
                (
                    ("templates", name),
                    f"unknown placeholder; expected one of {', '.join(sorted(FILLED))}",
                )
            )
        if len(template.zh.encode()) > (most := _most_bytes(document, name)):
            faults.append((("templates", name), f"longer than {most} bytes"))
        if NICKNAME in template.zh and any(_uses(document, name)[:2]):
            faults.append(
                (("templates", name), f"{NICKNAME} is filled in greetings of groups only")
            )
        if _WORDING.search(template.zh):
            faults.append(
                (("templates", name), "a reward for sharing or following is banned by WeChat")
            )
    if document.entry is not None and _unfillable([document.entry.key], FILLED_EARLY):
        faults.append((("entry", "key"), f"unknown placeholder; {_EARLY}"))
    return faults


def _reward_faults(document: Campaign) -> list[tuple[Place, str]]:
    if not document.rewards:
        return []
    faults: list[tuple[Place, str]] = []
    if document.disclosure is None:
        faults.append((("rewards",), "a campaign with rewards needs a disclosure block"))
    most = sum(reward.cost * reward.stock for reward in document.rewards.values())
    if document.money is None:
        faults.append((("rewards",), "a campaign with rewards needs money: {budget: …} in fen"))
    elif most > document.money.budget:
        faults.append(
            (
                ("money", "budget"),
                f"the rewards may cost {most} fen, more than the budget of {document.money.budget}",
            )
        )
    granted = {step.grant.reward for _, step in document.all_steps() if step.grant is not None}
    for name, reward in document.rewards.items():
        if reward.claim == "offered" and name not in granted:
            faults.append((("rewards", name), "no step grants it; grant it, or set claim: anyone"))
    return faults
