"""From a rule's text to its tree: names are looked up, types compared, negation is pushed down to
the leaves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from customers.rules import tree
from customers.rules.days import MOST_SPAN, MOST_WINDOW, Day, Span, iso, read_iso
from customers.rules.errors import RuleError, names, nearest
from customers.rules.syntax import (
    Call,
    Comparison,
    Expression,
    Listing,
    Literal_,
    Logic,
    Not,
    Today,
    Word,
    parse,
)
from customers.rules.tree import Tree
from customers.rules.vocabulary import Function, Kind, Name, Vocabulary, map_key
from services.texts import in_every_language, sentence

_TEXTS: frozenset[Kind] = frozenset({"text", "choice", "sealed"})
_NUMBERS: frozenset[Kind] = frozenset({"number", "money"})
_DAYS: frozenset[Kind] = frozenset({"date", "moment"})
_SIZES = ("<", "<=", ">", ">=")
_OPERATORS: Mapping[Kind, tuple[str, ...]] = {
    "text": ("==", "!=", "in", "not in", "contains"),
    "choice": ("==", "!=", "in", "not in"),
    "sealed": ("==", "!=", "in", "not in"),
    "number": ("==", "!=", *_SIZES, "in", "not in", "between"),
    "money": ("==", "!=", *_SIZES, "in", "not in", "between"),
    "bool": ("==", "!="),
    "date": ("==", "!=", *_SIZES, "in", "not in", "between", "older than", "newer than"),
    "moment": ("==", "!=", *_SIZES, "between", "older than", "newer than"),
    "texts": ("contains",),
}
_COUNT_OPERATORS = ("==", "!=", *_SIZES, "between")
_NEGATIONS = {"!=": "==", "not in": "in", "not contains": "contains"}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE: Mapping[str, tree.Size] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_FORMS: Mapping[str, str] = {
    "tag": "tag('…')",
    "segment": "segment('…')",
    "list": "list('…')",
    "rm": "rm('userid')",
    "branch": "branch('…')",
    "reward": "reward('…')",
    "event": "event('…'), event('…', 30d)",
    "campaign": "campaign('…'), campaign('…', 30d)",
    "count": "count(event('…')), count(event('…'), 30d)",
    "first": "first(event('…'))",
    "last": "last(event('…'))",
    "known": "known(customer.…)",
    "anniversary": "anniversary(customer.…)",
    "codes": "codes('…')",
}
_KEYS = frozenset({"event", "campaign", "reward"})
"""Functions whose texts are keys of a document's maps."""
_KEY = re.compile(r"[\w.:/-]{1,128}")
_OF_EVENTS = frozenset({"count", "first", "last"})


def read_rule(rule: str, vocabulary: Vocabulary) -> Tree:
    """The tree of a rule. Raises RuleError with the code, the column and what was expected
    there."""
    if len(rule) > vocabulary.longest:
        raise RuleError("rule_long", vocabulary.longest + 1, most=vocabulary.longest)
    return _Reader(rule, vocabulary).condition(parse(rule), negated=False)


class _Reader:
    def __init__(self, rule: str, vocabulary: Vocabulary) -> None:
        self._rule = rule
        self._words = vocabulary

    # what holds or does not

    def condition(self, node: Expression, *, negated: bool) -> Tree:
        match node:
            case Logic():
                parts = tuple(self.condition(part, negated=negated) for part in node.parts)
                every = (node.word == "and") is not negated
                joined = tree.All if every else tree.Either
                return joined(**self._place(node, negated), parts=parts)
            case Not():
                found = self.condition(node.operand, negated=not negated)
                return found if negated else replace(found, text=self._written(node))
            case Literal_(value=bool() as value):
                return tree.Constant(**self._place(node, negated), value=value is not negated)
            case Word():
                return self._flag(node, negated)
            case Call():
                return self._function(node, negated)
            case Comparison():
                return self._comparison(node, negated)
        raise RuleError("rule_test", node.at)

    def _written(self, node: Expression) -> str:
        return self._rule[node.begin : node.end]

    def _place(self, node: Expression, negated: bool) -> dict[str, Any]:
        """Where a part stands, and its text, which says it when a `not` further out negates it."""
        written = self._written(node)
        return {"text": f"not {written}" if negated else written, "column": node.begin + 1}

    def _flag(self, node: Word, negated: bool) -> Tree:
        name = self._name(node)
        if name.kind != "bool":
            raise RuleError(
                "rule_test_name", node.at, name=name.name, expected=self._operators(name)
            )
        return tree.Equals(**self._place(node, negated), negated=negated, name=name, values=(True,))

    def _name(self, node: Word) -> Name:
        name = self._words.names.get(node.name)
        if name is not None:
            return name
        if node.name in self._words.removed:
            raise RuleError("rule_removed", node.at, name=node.name)
        if node.name in self._words.undeclared:
            raise RuleError(self._words.undeclared[node.name], node.at, name=node.name)
        known = self._words.names
        fix = nearest(node.name, known)
        raise RuleError("rule_field", node.at, name=node.name, expected=names(known), fix=fix)

    # functions

    def _function(self, node: Call, negated: bool) -> Tree:
        self._check_function(node)
        place = {**self._place(node, negated), "negated": negated}
        match node.name:
            case "tag" | "segment" | "list" | "rm" | "branch" as function:
                value, titles, _ = self._argument(node, function)
                return tree.Member(**place, function=function, value=value, titles=titles)
            case "reward":
                value, titles, _ = self._argument(node, "reward")
                return tree.Holds(**place, reward=value, titles=titles)
            case "campaign":
                value, titles, span = self._argument(node, "campaign", spans=True)
                offset = self._words.offset
                return tree.Entered(
                    **place, campaign=value, titles=titles, span=span, offset=offset
                )
            case "event":
                value, titles, span = self._argument(node, "event", spans=True, most=MOST_WINDOW)
                return tree.Counted(
                    **place, event=value, titles=titles, span=span, low=1, high=None
                )
            case "known":
                return tree.Known(**place, name=self._known(node))
        raise RuleError("rule_test_call", node.at, name=node.name, form=_FORMS[node.name])

    def _check_function(self, node: Call) -> None:
        known = {*self._words.known, "known", "anniversary"}
        if "event" in known:
            known |= _OF_EVENTS
        if self._words.codes is not None:
            known.add("codes")
        if node.name not in known:
            name, expected = node.name, names([f"{one}()" for one in known])
            raise RuleError(
                "rule_function", node.at, name=name, expected=expected, fix=nearest(name, known)
            )

    def _refuse_arguments(self, node: Call) -> NoReturn:
        raise RuleError("rule_arguments", node.at, name=node.name, form=_FORMS[node.name])

    def _argument(
        self, node: Call, function: Function, *, spans: bool = False, most: int = MOST_SPAN
    ) -> tuple[str, Mapping[str, str], Span | None]:
        """The text that the function is about, with its titles, and its window."""
        first, rest = node.arguments[:1], node.arguments[1:]
        if not first or len(rest) > int(spans):
            self._refuse_arguments(node)
        literal = first[0]
        if not (isinstance(literal, Literal_) and isinstance(literal.value, str)):
            self._refuse_arguments(node)
        titles = self._titles(literal, function, literal.value)
        return literal.value, titles, self._span(rest[0], most) if rest else None

    def _titles(self, node: Literal_, function: Function, value: str) -> Mapping[str, str]:
        known = self._words.known[function]
        if known is None and (function not in _KEYS or _KEY.fullmatch(value)):
            return {}
        if known is None:
            raise RuleError("rule_key", node.at, value=value)
        if value not in known:
            data = {"name": value, "expected": names(known), "fix": nearest(value, known)}
            raise RuleError(f"rule_unknown_{function}", node.at, **data)
        return known[value]

    def _span(self, node: Expression, most: int = MOST_SPAN) -> Span:
        if not (isinstance(node, Literal_) and isinstance(node.value, Span)):
            raise RuleError("rule_span", node.at)
        span = node.value
        if not 1 <= span.longest <= most:
            raise RuleError("rule_span_long", node.at, value=span.written, most=most)
        return span

    def _known(self, node: Call) -> Name:
        if len(node.arguments) != 1:
            self._refuse_arguments(node)
        match node.arguments[0]:
            case Word() as word:
                name = self._name(word)
            case Call(name="first" | "last") as call:
                name = self._event_time(call)
            case _:
                self._refuse_arguments(node)
        if name.kind == "texts":
            raise RuleError("rule_never_missing", node.at, name=name.name)
        return name

    def _event_of(self, node: Call) -> Call:
        """The `event(…)` that is the first argument."""
        first = node.arguments[0] if node.arguments else None
        if not (isinstance(first, Call) and first.name == "event" and len(first.arguments) == 1):
            self._refuse_arguments(node)
        return first

    def _event_time(self, node: Call) -> Name:
        """The moment when an event happened for the first or the last time."""
        self._check_function(node)
        if len(node.arguments) != 1:
            self._refuse_arguments(node)
        event, titles, _ = self._argument(self._event_of(node), "event")
        said = {
            language: sentence(f"rule_{node.name}", language, name=titles.get(language) or event)
            for language in ("zh", "en")
        }
        written = f"{node.name}(event({event!r}))"
        path = ("events", map_key(event), node.name)
        return Name(name=written, kind="moment", path=path, titles=said, event=event)

    # comparisons

    def _comparison(self, node: Comparison, negated: bool) -> Tree:
        left, operator, right = node.left, node.operator, node.right
        place = self._place(node, negated)
        if isinstance(left, Literal_ | Today) and isinstance(right, Word | Call):
            left, operator, right = self._turned(node)
        if operator in _NEGATIONS:
            operator, negated = _NEGATIONS[operator], not negated
        place["negated"] = negated
        if isinstance(left, Call) and left.name == "count":
            return self._count(node, left, operator, right, place)
        if isinstance(left, Call) and left.name == "anniversary":
            return self._anniversary(node, left, operator, right, place)
        name = self._named(left)
        wanted = operator if operator not in ("in next", "in last") else ""
        if wanted not in _OPERATORS[name.kind]:
            raise RuleError(
                "rule_compare",
                node.at,
                name=name.name,
                kind=in_every_language(f"rule_kind_{name.kind}"),
                expected=self._operators(name),
            )
        return _BY_KIND[name.kind](self, name, node, operator, right, place)

    def _turned(self, node: Comparison) -> tuple[Expression, str, Expression]:
        """A comparison whose value stands on the left: `18 <= customer.age`, `'vip' in tags`."""
        if node.operator in _FLIPPED:
            return node.right, _FLIPPED[node.operator], node.left
        if node.operator in ("in", "not in") and isinstance(node.right, Word):
            turned = "contains" if node.operator == "in" else "not contains"
            return node.right, turned, node.left
        raise RuleError("rule_left", node.left.at)

    def _operators(self, name: Name) -> list[str]:
        return list(_OPERATORS[name.kind])

    def _named(self, node: Expression) -> Name:
        match node:
            case Word():
                return self._name(node)
            case Call(name="first" | "last"):
                return self._event_time(node)
            case Call():
                self._check_function(node)
                raise RuleError("rule_no_value", node.at, name=node.name)
        raise RuleError("rule_left", node.at)

    def _wrong(self, node: Expression, name: Name) -> NoReturn:
        """The value is not of the name's type, or no value at all."""
        if isinstance(node, Word):
            self._name(node)
            raise RuleError("rule_two_names", node.at, name=node.name)
        kind = in_every_language(f"rule_kind_{name.kind}")
        wants = in_every_language(f"rule_wants_{name.kind}")
        raise RuleError("rule_type", node.at, name=name.name, kind=kind, wants=wants)

    def _several(self, operator: str, right: Expression, name: Name) -> list[Expression]:
        """The values of `==` or of a list."""
        if operator == "==":
            return [right]
        if not isinstance(right, Listing):
            raise RuleError("rule_list", right.at, name=name.name)
        if not right.items:
            raise RuleError("rule_list_empty", right.at)
        return list(right.items)

    def _texts(
        self, name: Name, node: Comparison, operator: str, right: Expression, place: dict[str, Any]
    ) -> Tree:
        if operator == "contains":
            return tree.Contains(**place, name=name, value=self._text(right, name))
        if operator == "in" and isinstance(right, Call):
            group, states = self._codes(right)
            return tree.Equals(**place, name=name, values=states, group=group)
        values = [self._text(one, name) for one in self._several(operator, right, name)]
        blind = name.blind
        sealed = [blind(one) for one in values] if blind is not None else values
        return tree.Equals(**place, name=name, values=tuple(dict.fromkeys(sealed)))

    def _text(self, node: Expression, name: Name) -> str:
        if not (isinstance(node, Literal_) and isinstance(node.value, str)):
            self._wrong(node, name)
        if name.choices and node.value not in name.choices:
            data = {"expected": names(name.choices), "fix": nearest(node.value, name.choices)}
            raise RuleError("rule_choice", node.at, name=name.name, value=node.value, **data)
        return node.value

    def _codes(self, node: Call) -> tuple[str, tuple[str, ...]]:
        self._check_function(node)
        codes = self._words.codes
        if node.name != "codes" or codes is None:
            raise RuleError("rule_list_call", node.at, name=node.name)
        argument = node.arguments[0] if len(node.arguments) == 1 else None
        if not (isinstance(argument, Literal_) and isinstance(argument.value, str)):
            self._refuse_arguments(node)
        if argument.value not in codes:
            data = {"expected": names(codes), "fix": nearest(argument.value, codes)}
            raise RuleError("rule_codes", argument.at, name=argument.value, **data)
        return argument.value, tuple(codes[argument.value])

    def _numbers(
        self, name: Name, node: Comparison, operator: str, right: Expression, place: dict[str, Any]
    ) -> Tree:
        if operator in _SIZES:
            size = _OPPOSITE[operator] if place.pop("negated") else _size(operator)
            return tree.Compared(**place, name=name, size=size, value=self._number(right, name))
        if operator == "between" and node.high is not None:
            low, high = self._number(right, name), self._number(node.high, name)
            self._check_order(node, low, high)
            return tree.Between(**place, name=name, low=low, high=high)
        values = [self._number(one, name) for one in self._several(operator, right, name)]
        return tree.Equals(**place, name=name, values=tuple(dict.fromkeys(values)))

    def _number(self, node: Expression, name: Name) -> float:
        value = node.value if isinstance(node, Literal_) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(node, name)
        return value

    def _check_order(self, node: Comparison, low: float, high: float) -> None:
        if low > high:
            raise RuleError("rule_between_order", node.right.at)

    def _bools(
        self, name: Name, node: Comparison, operator: str, right: Expression, place: dict[str, Any]
    ) -> Tree:
        if not (isinstance(right, Literal_) and isinstance(right.value, bool)):
            self._wrong(right, name)
        return tree.Equals(**place, name=name, values=(right.value,))

    def _lists(
        self, name: Name, node: Comparison, operator: str, right: Expression, place: dict[str, Any]
    ) -> Tree:
        return tree.Contains(**place, name=name, value=self._text(right, name))

    # days

    def _days(
        self, name: Name, node: Comparison, operator: str, right: Expression, place: dict[str, Any]
    ) -> Tree:
        if operator == "in":
            days = [self._day(one, name) for one in self._several(operator, right, name)]
            if any(day.moves for day in days):
                raise RuleError("rule_list_today", right.at)
            values = tuple(dict.fromkeys(iso(day.on(0)) for day in days))
            return tree.Equals(**place, name=name, values=values)
        low, high = self._ends(name, node, operator, right)
        if place["negated"] and (low is None or high is None):
            place["negated"] = False
            low, high = _after(high), _before(low)
        return tree.Within(**place, name=name, low=low, high=high, offset=self._words.offset)

    def _ends(
        self, name: Name, node: Comparison, operator: str, right: Expression
    ) -> tuple[Day | None, Day | None]:
        """The first and the last day that meet the comparison."""
        if operator == "older than":
            return None, Day(span=self._span(right), sign=-1, plus=-1)
        if operator == "newer than":
            return Day(span=self._span(right), sign=-1, plus=1), None
        day = self._day(right, name)
        if operator == "between" and node.high is not None:
            high = self._day(node.high, name)
            if not (day.moves or high.moves):
                self._check_order(node, day.on(0), high.on(0))
            return day, high
        ends: Mapping[str, tuple[Day | None, Day | None]] = {
            "==": (day, day),
            "<": (None, _before(day)),
            "<=": (None, day),
            ">": (_after(day), None),
            ">=": (day, None),
        }
        return ends[operator]

    def _day(self, node: Expression, name: Name) -> Day:
        if isinstance(node, Today):
            span = node.span
            if span is not None and span.longest > MOST_SPAN:
                raise RuleError("rule_span_long", node.at, value=span.written, most=MOST_SPAN)
            return Day(span=span, sign=node.sign)
        if not (isinstance(node, Literal_) and isinstance(node.value, str)):
            self._wrong(node, name)
        number = read_iso(node.value)
        if number is None or not "1900" <= node.value < "2200":
            raise RuleError("rule_day", node.at, value=node.value[:40])
        return Day(number=number)

    def _anniversary(
        self,
        node: Comparison,
        left: Call,
        operator: str,
        right: Expression,
        place: dict[str, Any],
    ) -> Tree:
        word = left.arguments[0] if len(left.arguments) == 1 else None
        if not isinstance(word, Word):
            self._refuse_arguments(left)
        name = self._name(word)
        if name.kind != "date":
            self._refuse_arguments(left)
        if operator not in ("in next", "in last"):
            raise RuleError("rule_anniversary", node.at)
        span = self._span(right, 366)
        return tree.Anniversary(**place, name=name, span=span, ahead=operator == "in next")

    # counts

    def _count(
        self,
        node: Comparison,
        left: Call,
        operator: str,
        right: Expression,
        place: dict[str, Any],
    ) -> Tree:
        self._check_function(left)
        event, titles, _ = self._argument(self._event_of(left), "event")
        rest = left.arguments[1:]
        if len(rest) > 1:
            self._refuse_arguments(left)
        span = self._span(rest[0], MOST_WINDOW) if rest else None
        if operator not in _COUNT_OPERATORS:
            kind = in_every_language("rule_kind_number")
            expected = list(_COUNT_OPERATORS)
            raise RuleError("rule_compare", node.at, name="count()", kind=kind, expected=expected)
        low, high = self._times(node, operator, right)
        return tree.Counted(**place, event=event, titles=titles, span=span, low=low, high=high)

    def _times(
        self, node: Comparison, operator: str, right: Expression
    ) -> tuple[int | None, int | None]:
        """The least and the most times that meet the comparison."""
        number = self._number(right, _COUNT)
        match operator:
            case "<":
                return None, math.ceil(number) - 1
            case "<=":
                return None, math.floor(number)
            case ">":
                return math.floor(number) + 1, None
            case ">=":
                return math.ceil(number), None
        high = self._number(node.high, _COUNT) if node.high is not None else number
        self._check_order(node, number, high)
        return math.ceil(number), math.floor(high)


_COUNT = Name(name="count()", kind="number", path=("count",))
_Reading = Callable[[_Reader, Name, Comparison, str, Expression, dict[str, Any]], Tree]
_BY_KIND: Mapping[Kind, _Reading] = {
    "text": _Reader._texts,
    "choice": _Reader._texts,
    "sealed": _Reader._texts,
    "number": _Reader._numbers,
    "money": _Reader._numbers,
    "bool": _Reader._bools,
    "date": _Reader._days,
    "moment": _Reader._days,
    "texts": _Reader._lists,
}


def _size(operator: str) -> tree.Size:
    """The operator itself, as a size."""
    return _OPPOSITE[_OPPOSITE[operator]]


def _before(day: Day | None) -> Day | None:
    return Day(day.number, day.span, day.sign, day.plus - 1) if day is not None else None


def _after(day: Day | None) -> Day | None:
    return Day(day.number, day.span, day.sign, day.plus + 1) if day is not None else None
