"""What a segment says, as a form or a file writes it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from config import bounds
from customers.rules.circles import check_circle
from customers.rules.errors import RuleError
from customers.rules.reading import read_rule
from customers.rules.tree import Tree, mentions
from customers.rules.vocabulary import Vocabulary
from services.documents import yaml12
from services.documents.parts import Key, Part
from services.documents.problems import Fault, Problem, fault, found, in_order
from services.errors import InvalidInput

LIVE, FROZEN = "live", "frozen"


class Titled(Part):
    """What it is called in both languages."""

    zh: bounds.Name
    en: bounds.Name


class Segment(Part):
    """Whom the `rule` describes: `live` follows what becomes known, `frozen` is taken once, when two
    clerks have agreed."""

    name: Titled
    rule: bounds.RuleText
    kind: Literal["live", "frozen"] = "live"


class _Named(Part):
    key: Key


class SegmentsFile(Part):
    """The whole file."""

    kind: Literal["segments/v1"]
    segments: bounds.Entries[Key, Segment]


class SegmentRefused(InvalidInput):
    """What was handed in is no segment; `faults` say where and why."""

    def __init__(self, faults: list[Fault]) -> None:
        places = {".".join(map(str, place)): code for place, code, _ in faults}
        said = "\n".join(Problem(1, code, data).message for _, code, data in faults)
        super().__init__("segment_wrong", said, fields=places)
        self.faults = faults


class FileRefused(InvalidInput):
    """The file cannot be used; nothing was applied."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("segments_file", "\n".join(map(str, problems)))
        self.problems = problems


def read(key: str, fields: Mapping[str, Any]) -> Segment:
    """The segment that `fields` say; its rule is not read yet. Raises SegmentRefused with every
    fault, each at its field."""
    faults: list[Fault] = []
    try:
        _Named.model_validate({"key": key})
    except ValidationError as error:
        faults += found(error.errors(include_url=False), _Named)
    try:
        segment = Segment.model_validate(dict(fields))
    except ValidationError as error:
        faults += found(error.errors(include_url=False), Segment)
    if faults:
        raise SegmentRefused(faults)
    return segment


Uses = Mapping[str, frozenset[str]]
"""The segments that each segment's rule names."""


def tree_of(key: str, rule: str, words: Vocabulary, uses: Uses) -> Tree:
    """The rule's tree. Raises RuleError with its column, also where it leads back to the segment."""
    tree = read_rule(rule, words)
    check_circle(key, tree, uses)
    return tree


def checked(key: str, segment: Segment, words: Vocabulary, uses: Uses) -> Tree:
    """As `tree_of`; raises SegmentRefused with the fault at the rule."""
    try:
        return tree_of(key, segment.rule, words, uses)
    except RuleError as error:
        raise SegmentRefused([_fault(("rule",), error)]) from error


def _fault(place: tuple[Any, ...], error: RuleError) -> Fault:
    return fault(place, error.code, **{**error.data, "column": error.column})


def used(tree: Tree) -> list[str]:
    """The segments that a rule names."""
    return sorted(name for kind, name in mentions(tree) if kind == "segment")


def read_file(text: str, source: str = "segments") -> tuple[dict[str, Segment], yaml12.Document]:
    """The segments by key, and the file's places; raises FileRefused with every problem and its
    line. The rules are not read yet."""
    parsed = yaml12.parse(text, source)
    problems = [*parsed.problems, *parsed.unclear.values()]
    file: SegmentsFile | None = None
    if isinstance(parsed.value, dict):
        try:
            file = SegmentsFile.model_validate(parsed.value)
        except ValidationError as error:
            faults = found(error.errors(include_url=False), SegmentsFile)
            problems += _located(faults, parsed, source)
    elif not parsed.problems:
        begin: Fault = ((), "not_mapping", {"begin": "kind: segments/v1"})
        problems += _located([begin], parsed, source)
    if file is None or problems:
        raise FileRefused(in_order(problems))
    return dict(file.segments), parsed


def check_file(
    wanted: Mapping[str, Segment],
    parsed: yaml12.Document,
    source: str,
    words: Vocabulary,
    uses: Uses,
) -> dict[str, frozenset[str]]:
    """The segments that each of the file's names, when all rules are right together; raises
    FileRefused otherwise."""
    problems: list[Fault] = []
    trees: dict[str, Tree] = {}
    for key, segment in wanted.items():
        try:
            trees[key] = read_rule(segment.rule, words)
        except RuleError as error:
            problems.append(_fault(("segments", key, "rule"), error))
    mine = {key: frozenset(used(tree)) for key, tree in trees.items()}
    for key, tree in trees.items():
        try:
            check_circle(key, tree, {**uses, **mine})
        except RuleError as error:
            problems.append(_fault(("segments", key, "rule"), error))
    if problems:
        raise FileRefused(in_order(_located(problems, parsed, source)))
    return mine


def _located(faults: Iterable[Fault], parsed: yaml12.Document, source: str) -> list[Problem]:
    return [Problem(parsed.line(place), code, data, source) for place, code, data in faults]
