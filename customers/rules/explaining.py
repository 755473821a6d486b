"""Why a document meets a rule or does not, part by part, in both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from customers.rules import days
from customers.rules.days import Day, Span
from customers.rules.predicate import predicate, times, value_of
from customers.rules.tree import (
    All,
    Anniversary,
    AnyLeaf,
    Between,
    Compared,
    Constant,
    Contains,
    Counted,
    Document,
    Either,
    Entered,
    Equals,
    Holds,
    Known,
    Member,
    Tree,
    Within,
)
from customers.rules.vocabulary import Name
from services.texts import Language, sentence

SHOWN = 5
"""values that a sentence lists"""
HIDDEN = "***"
_SIZES = {"<": "less", "<=": "most", ">": "more", ">=": "least"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Whether the part `rule` is met, and of what `parts` that comes.

    `reason` is empty where it is met, and else `missing:<name>` or `not_met:<what>`; a part that is
    made of others has none of its own. `leaf` words a part that is not.
    """

    truth: bool
    rule: str
    reason: str = ""
    parts: tuple[Explanation, ...] = ()
    leaf: Callable[[Language], str] | None = None

    @property
    def decisive(self) -> tuple[Explanation, ...]:
        """The leaves that make it what it is, from left to right."""
        if not self.parts:
            return (self,)
        same = (one.decisive for one in self.parts if one.truth is self.truth)
        return tuple(leaf for leaves in same for leaf in leaves)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not met, each reason once."""
        return tuple(dict.fromkeys(one.reason for one in self.decisive if one.reason))

    def say(self, language: Language) -> str:
        """One sentence: met or not, and because of what."""
        why = [one.leaf(language) for one in self.decisive if one.leaf is not None]
        joined = sentence("rule_why_and", language).join(dict.fromkeys(why))
        return sentence("rule_why_yes" if self.truth else "rule_why_no", language, why=joined)


def explain(tree: Tree, document: Document, today: int) -> Explanation:
    """The explanation of the rule for a document on a day; `truth` is what the predicate says."""
    if isinstance(tree, All | Either):
        parts = tuple(explain(part, document, today) for part in tree.parts)
        truth = (all if isinstance(tree, All) else any)(part.truth for part in parts)
        return Explanation(truth=truth, rule=tree.text, parts=parts)
    if isinstance(tree, Constant):
        truth, reason = tree.value, "" if tree.value else f"not_met:{tree.text}"
        said = partial(sentence, f"rule_constant_{_word(truth)}")
        return Explanation(truth=truth, rule=tree.text, reason=reason, leaf=said)
    truth = predicate(tree)(document, today)
    told = _Telling(tree, document, today)
    reason = "" if truth else told.reason
    return Explanation(truth=truth, rule=tree.text, reason=reason, leaf=told.say)


class _Telling:
    """What there is to say of a leaf."""

    def __init__(self, leaf: AnyLeaf, document: Document, today: int) -> None:
        self._leaf, self._document, self._today = leaf, document, today
        self._value = _value(leaf, document, today)

    @property
    def reason(self) -> str:
        if self._value is None and not isinstance(self._leaf, Known):
            return f"missing:{_subject(self._leaf)}"
        return f"not_met:{_subject(self._leaf)}"

    def say(self, language: Language) -> str:
        leaf = self._leaf
        wanted = _WANTED[type(leaf)](leaf, self._today, language)
        if leaf.negated and not _says_no(leaf):
            wanted = sentence("rule_want_not", language, wanted=wanted)
        what = _what(leaf, language)
        if self._value is None:
            return sentence("rule_why_missing", language, what=what, wanted=wanted)
        value = self._shown(language)
        return sentence("rule_why", language, what=what, value=value, wanted=wanted)

    def _shown(self, language: Language) -> str:
        leaf = self._leaf
        if isinstance(leaf, Member | Holds | Entered):
            return sentence(f"rule_there_{_word(bool(self._value))}", language)
        if isinstance(leaf, Counted):
            return sentence("rule_times", language, n=self._value)
        if isinstance(leaf, Known):
            return sentence("rule_known_yes", language)
        if isinstance(leaf, Within) and leaf.name.kind == "moment" and not leaf.name.secret:
            return days.iso(days.day_at(self._value, leaf.offset))
        return _written(leaf.name, self._value, language)


def _says_no(leaf: AnyLeaf) -> bool:
    """Whether what such a leaf wants is a yes or a no."""
    flag = isinstance(leaf, Equals) and leaf.name.kind == "bool"
    return flag or isinstance(leaf, Member | Holds | Entered | Known)


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _value(leaf: AnyLeaf, document: Document, today: int) -> Any:
    """What the document has of what the leaf is about; None where that is missing."""
    match leaf:
        case Counted():
            return times(leaf.event, leaf.span)(document, today)
        case Member() | Holds() | Entered():
            return predicate(leaf)(document, today) is not leaf.negated
    return value_of(leaf.name)(document)


def _subject(leaf: AnyLeaf) -> str:
    match leaf:
        case Member():
            return f"{leaf.function}({leaf.value!r})"
        case Counted():
            return f"event({leaf.event!r})"
        case Entered():
            return f"campaign({leaf.campaign!r})"
        case Holds():
            return f"reward({leaf.reward!r})"
    return leaf.name.name


def _what(leaf: AnyLeaf, language: Language) -> str:
    match leaf:
        case Member():
            named = leaf.titles.get(language) or leaf.value
            return sentence(f"rule_what_{leaf.function}", language, name=named)
        case Holds():
            named = leaf.titles.get(language) or leaf.reward
            return sentence("rule_what_reward", language, name=named)
        case Entered():
            named = leaf.titles.get(language) or leaf.campaign
            return _in_window("rule_what_campaign", named, leaf.span, language)
        case Counted():
            named = leaf.titles.get(language) or leaf.event
            return _in_window("rule_what_event", named, leaf.span, language)
    return leaf.name.title(language)


def _in_window(code: str, named: str, span: Span | None, language: Language) -> str:
    if span is None:
        return sentence(code, language, name=named)
    told = sentence(f"rule_span_{span.unit}", language, n=span.count)
    return sentence(f"{code}_window", language, name=named, span=told)


def _written(name: Name, value: Any, language: Language) -> str:
    """A value as people read it; nothing of one that is secret."""
    if name.secret or name.kind == "sealed":
        return HIDDEN
    match name.kind:
        case "bool":
            return sentence(f"rule_{_word(value)}", language)
        case "choice":
            return name.choices.get(value, {}).get(language) or str(value)
        case "texts":
            return _listed(value, language) if value else sentence("rule_there_no", language)
        case "money":
            return f"{value / 100:,.2f}"
        case "number" if name.out_of:
            return sentence("rule_out_of", language, n=value, of=name.out_of)
    return str(value)


def _listed(values: Iterable[Any], language: Language) -> str:
    told = [str(value) for value in values]
    if len(told) > SHOWN:
        return sentence("rule_want_many", language, n=len(told))
    return sentence("rule_want_or", language).join(told)


def _want_equals(leaf: Equals, today: int, language: Language) -> str:
    if leaf.name.kind == "bool":
        return sentence(f"rule_{_word(leaf.values[0] is not leaf.negated)}", language)
    open_name = replace(leaf.name, secret=False)
    return _listed((_written(open_name, value, language) for value in leaf.values), language)


def _want_contains(leaf: Contains, today: int, language: Language) -> str:
    return sentence("rule_want_contains", language, value=leaf.value)


def _want_compared(leaf: Compared, today: int, language: Language) -> str:
    value = _number(leaf.name, leaf.value)
    return sentence(f"rule_want_{_SIZES[leaf.size]}", language, value=value)


def _number(name: Name, value: float) -> str:
    return f"{value / 100:,.2f}" if name.kind == "money" else str(value)


def _want_between(leaf: Between, today: int, language: Language) -> str:
    low, high = _number(leaf.name, leaf.low), _number(leaf.name, leaf.high)
    return sentence("rule_want_between", language, low=low, high=high)


def _want_within(leaf: Within, today: int, language: Language) -> str:
    low, high = _iso(leaf.low, today), _iso(leaf.high, today)
    return _range(low, high, ("rule_want_from", "rule_want_until"), language)


def _iso(day: Day | None, today: int) -> str | None:
    return days.iso(day.on(today)) if day is not None else None


def _range(low: Any, high: Any, codes: tuple[str, str], language: Language) -> str:
    if low == high:
        return str(low)
    if high is None:
        return sentence(codes[0], language, value=low)
    if low is None:
        return sentence(codes[1], language, value=high)
    return sentence("rule_want_between", language, low=low, high=high)


def _want_counted(leaf: Counted, today: int, language: Language) -> str:
    codes = ("rule_want_least", "rule_want_most")
    return sentence("rule_times", language, n=_range(leaf.low, leaf.high, codes, language))


def _want_known(leaf: Known, today: int, language: Language) -> str:
    return sentence(f"rule_known_{_word(not leaf.negated)}", language)


def _want_there(leaf: Member | Entered | Holds, today: int, language: Language) -> str:
    return sentence(f"rule_there_{_word(not leaf.negated)}", language)


def _want_anniversary(leaf: Anniversary, today: int, language: Language) -> str:
    low, high = (days.iso(number)[5:] for number in leaf.ends(today))
    return sentence("rule_want_anniversary", language, low=low, high=high)


_WANTED: Mapping[type, Callable[[Any, int, Language], str]] = {
    Equals: _want_equals,
    Contains: _want_contains,
    Compared: _want_compared,
    Between: _want_between,
    Within: _want_within,
    Counted: _want_counted,
    Known: _want_known,
    Member: _want_there,
    Entered: _want_there,
    Holds: _want_there,
    Anniversary: _want_anniversary,
}
