"""The grammar: a Pratt parser that makes expressions of tokens. It knows no names.

rule   := or                     or  := and ("or" and)*         and := not ("and" not)*
not    := "not" not | test       test := value [comparison]
value  := name | call | text | number | span | day | list | "(" rule ")"
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NoReturn, TypeAlias

from customers.rules.days import Span
from customers.rules.errors import RuleError
from customers.rules.tokens import Token, tokens

DEEPEST = 50
"""levels of brackets, lists, calls and `not`"""
MOST_TERMS = 500
"""comparisons of one rule"""
MOST_ENTRIES = 10_000
"""entries of all lists of one rule"""

OR, AND, NOT, COMPARE = 10, 20, 30, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """From `begin` to `end` (from 0) in the rule, brackets around it included; `at` is where its
    errors are told (from 1)."""

    begin: int
    end: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal_(Part):
    value: str | float | bool | Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Today(Part):
    """Today, shifted by the span."""

    span: Span | None
    sign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Word(Part):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Part):
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Part):
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not(Part):
    operand: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic(Part):
    word: Literal["and", "or"]
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Part):
    """`at` is the operator's place; `high` is there for `between` alone."""

    operator: str
    left: Expression
    right: Expression
    high: Expression | None = None


Expression: TypeAlias = Literal_ | Today | Word | Call | Listing | Not | Logic | Comparison

_SIGNS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_TWO_WORDS = {
    ("not", "in"): "not in",
    ("in", "next"): "in next",
    ("in", "last"): "in last",
    ("older", "than"): "older than",
    ("newer", "than"): "newer than",
}
_ONE_WORD = frozenset({"in", "between", "contains"})
_RESERVED = frozenset({"and", "or", "not", "in", "between", "contains", "older", "newer", "than"})
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False}


def parse(rule: str) -> Expression:
    """The rule's expression; raises RuleError."""
    found = tokens(rule)
    if len(found) == 1:
        raise RuleError("rule_empty", 1)
    return _Parser(found).whole()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._next = 0
        self._depth = self._terms = self._entries = 0

    def whole(self) -> Expression:
        expression = self._expression(0)
        if self._token.kind != "end":
            self._refuse_rest()
        return expression

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._token.kind in ("word", "sign") and self._token.text in texts

    def _refuse_rest(self) -> NoReturn:
        token = self._token
        if self._is(")", "]"):
            raise RuleError("rule_unopened", token.begin + 1, sign=token.text)
        raise RuleError("rule_operator", token.begin + 1)

    def _expression(self, power: int) -> Expression:
        """An expression whose operators all bind closer than `power`."""
        left = self._not() if self._is("not") else self._value()
        if power < COMPARE and not isinstance(left, Not):
            left = self._compared(left)
        for word, its in (("and", AND), ("or", OR)):
            if power < its and self._is(word):
                left = self._joined(left, "and" if word == "and" else "or", its)
        return left

    def _deeper(self) -> Token:
        """The token, taken, that begins another level."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise RuleError("rule_deep", self._token.begin + 1, most=DEEPEST)
        return self._take()

    def _not(self) -> Expression:
        token = self._deeper()
        operand = self._expression(NOT)
        self._depth -= 1
        return Not(begin=token.begin, end=operand.end, at=token.begin + 1, operand=operand)

    def _joined(self, left: Expression, word: Literal["and", "or"], power: int) -> Expression:
        parts, at = [left], self._token.begin + 1
        while self._is(word):
            self._take()
            parts.append(self._expression(power))
        return Logic(begin=left.begin, end=parts[-1].end, at=at, word=word, parts=tuple(parts))

    def _operator(self) -> str:
        """The comparison that stands here, taken; empty where there is none."""
        token = self._token
        if token.kind == "sign" and token.text in _SIGNS:
            self._take()
            return token.text
        if token.kind != "word":
            return ""
        after = self._tokens[self._next + 1]
        two = _TWO_WORDS.get((token.text, after.text))
        if two is not None:
            self._next += 2
            return two
        if token.text in _ONE_WORD:
            self._take()
            return token.text
        return ""

    def _compared(self, left: Expression) -> Expression:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise RuleError("rule_terms", left.begin + 1, most=MOST_TERMS)
        at = self._token.begin + 1
        operator = self._operator()
        if not operator:
            return left
        right = self._members() if operator in ("in", "not in") else self._expression(COMPARE)
        high = None
        if operator == "between":
            if not self._is("and"):
                raise RuleError("rule_between_and", self._token.begin + 1)
            self._take()
            high = self._expression(COMPARE)
        again = self._token.begin + 1
        if self._operator():
            raise RuleError("rule_one_comparison", again)
        end = (high or right).end
        return Comparison(
            begin=left.begin, end=end, at=at, operator=operator, left=left, right=right, high=high
        )

    def _members(self) -> Expression:
        """What `in` looks in: a list, also in round brackets, or a value."""
        if self._is("(", "["):
            return self._listing()
        return self._expression(COMPARE)

    def _value(self) -> Expression:
        token = self._token
        begin, end, at = token.begin, token.end, token.begin + 1
        if token.kind in ("text", "number", "span") and token.value is not None:
            self._take()
            return Literal_(begin=begin, end=end, at=at, value=token.value)
        if token.kind == "word" and token.text not in _RESERVED:
            self._take()
            return self._word(token)
        if self._is("-"):
            return self._negative()
        if self._is("("):
            return self._grouped()
        if self._is("["):
            return self._listing()
        if self._is(")", "]"):
            raise RuleError("rule_value" if self._depth else "rule_unopened", at, sign=token.text)
        raise RuleError("rule_value", at)

    def _word(self, token: Token) -> Expression:
        begin, end, at = token.begin, token.end, token.begin + 1
        if token.text in _CONSTANTS:
            return Literal_(begin=begin, end=end, at=at, value=_CONSTANTS[token.text])
        if token.text == "today":
            return self._today(token)
        if not self._is("("):
            return Word(begin=begin, end=end, at=at, name=token.text)
        arguments, end = self._entries_of(")")
        return Call(begin=begin, end=end, at=at, name=token.text, arguments=arguments)

    def _today(self, token: Token) -> Expression:
        begin, end, at = token.begin, token.end, token.begin + 1
        if not self._is("+", "-"):
            return Today(begin=begin, end=end, at=at, span=None, sign=1)
        sign = 1 if self._take().text == "+" else -1
        span = self._token
        if not isinstance(span.value, Span):
            raise RuleError("rule_span", span.begin + 1)
        self._take()
        return Today(begin=begin, end=span.end, at=at, span=span.value, sign=sign)

    def _negative(self) -> Expression:
        token = self._take()
        number = self._token
        if not isinstance(number.value, int | float):
            raise RuleError("rule_value", number.begin + 1)
        self._take()
        return Literal_(begin=token.begin, end=number.end, at=token.begin + 1, value=-number.value)

    def _grouped(self) -> Expression:
        opening = self._deeper()
        inner = self._expression(0)
        if not self._is(")"):
            self._refuse_unclosed(opening)
        self._depth -= 1
        return _widened(inner, opening.begin, self._take().end)

    def _refuse_unclosed(self, opening: Token) -> NoReturn:
        if self._token.kind == "end":
            raise RuleError("rule_unclosed", opening.begin + 1, sign=opening.text)
        raise RuleError("rule_operator", self._token.begin + 1)

    def _listing(self) -> Expression:
        begin = self._token.begin
        closing = ")" if self._token.text == "(" else "]"
        items, end = self._entries_of(closing)
        self._entries += len(items)
        return Listing(begin=begin, end=end, at=begin + 1, items=items)

    def _entries_of(self, closing: str) -> tuple[tuple[Expression, ...], int]:
        """What stands between commas up to the closing bracket, and where that ends."""
        opening, items = self._deeper(), list[Expression]()
        while not self._is(closing):
            if self._entries + len(items) >= MOST_ENTRIES:
                raise RuleError("rule_entries", self._token.begin + 1, most=MOST_ENTRIES)
            items.append(self._expression(COMPARE))
            if self._is(","):
                self._take()
            elif self._token.kind == "end":
                raise RuleError("rule_unclosed", opening.begin + 1, sign=opening.text)
            elif not self._is(closing):
                raise RuleError("rule_comma", self._token.begin + 1, sign=closing)
        self._depth -= 1
        return tuple(items), self._take().end


def _widened(expression: Expression, begin: int, end: int) -> Expression:
    """The same, with the brackets around it."""
    return replace(expression, begin=begin, end=end)
