"""Reading a campaign file: from text to a checked document, or to a list of problems with their
lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError
from typing_extensions import override

from campaigns.document import checks
from campaigns.document.model import Campaign
from campaigns.document.parts import Place
from services.errors import InvalidInput


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
    raw, lines = _parsed(text, source)
    problems = [
        Problem(line, f"the key {name} stands twice", source) for line, name in lines.repeated()
    ]
    try:
        document = Campaign.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [Problem(lines.of(one["loc"]), _sentence(one), source) for one in details]
        raise DocumentError(_ordered(problems)) from None
    problems += [
        Problem(lines.of(place), message, source)
        for place, message in checks.faults(document, branches)
    ]
    if problems:
        raise DocumentError(_ordered(problems))
    return document


def _parsed(text: str, source: str) -> tuple[dict[Any, Any], _Lines]:
    """The mapping that a YAML text is, and where its parts stand; raises DocumentError."""

    def unreadable(line: int, message: str) -> DocumentError:
        return DocumentError([Problem(line, message, source)])

    try:
        root = yaml.compose(text, Loader=_Loader)
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise unreadable(1, "not YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise unreadable(line, f"not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(raw, dict):
        raise unreadable(1, "expected a mapping that begins with kind: campaign/v1")
    return raw, _Lines(root)


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
