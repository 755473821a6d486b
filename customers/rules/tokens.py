"""A rule's text as words, numbers, texts and signs, each with its column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from customers.rules.days import Span, Unit
from customers.rules.errors import RuleError
from customers.rules.vocabulary import Function
from services.documents.problems import Fix

TokenKind = Literal["word", "number", "text", "span", "sign", "end"]
MOST_NUMBER = 10**15
"""What numbers of a rule stay below: columns keep every number up to it exactly."""
LONGEST_TEXT = 200
"""characters of a text in quotes"""

_TOKEN = re.compile(
    r"(?P<blank>\s+)"
    r"|(?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)"
    r"|(?P<number>\d[\w.]*)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<sign>==|!=|<=|>=|[<>()\[\],+-])",
    re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SPAN = re.compile(r"([0-9]+)(d|mo|y)", re.ASCII)
_ESCAPED = re.compile(r"\\(['\"\\])")
_FUNCTIONS = frozenset({*get_args(Function), "codes"})
"""Those that are given a text."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_MEANT = {
    "=": "==",
    "&": "and",
    "|": "or",
    "!": "not",
    "＝": "==",
    "！": "not",
    "（": "(",
    "）": ")",
    "【": "[",
    "】": "]",
    "，": ",",
    "、": ",",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "＜": "<",
    "＞": ">",
    "《": "<",
    "》": ">",
}


@dataclass(frozen=True, slots=True)
class Token:
    """`text` as it is written, `value` what a number, a text or a span means; from `begin` to `end`
    (from 0) in the rule."""

    kind: TokenKind
    text: str
    begin: int
    end: int
    value: str | float | Span | None = None


def tokens(rule: str) -> list[Token]:
    """Every token, and the end; raises RuleError."""
    bad = _CONTROL.search(rule)
    if bad is not None:
        character = f"U+{ord(bad[0]):04X}"
        raise RuleError("rule_character", bad.start() + 1, character=character, fix=Fix())
    return [*_read(rule), Token("end", "", len(rule), len(rule))]


def texts_of(rule: str, function: str) -> frozenset[str]:
    """The texts that the rule gives the function, `tag('…')`, also where nobody knows any more what
    else it names; raises RuleError for what is no rule."""
    found = tokens(rule)
    return frozenset(
        str(text.value)
        for word, sign, text in zip(found, found[1:], found[2:], strict=False)
        if (word.kind, word.text, sign.text, text.kind) == ("word", function, "(", "text")
    )


def names_of(rule: str) -> frozenset[tuple[str, str]]:
    """What the rule names, as `mentions` of its tree says it (customers/rules/tree.py), also where
    nobody knows any more what that is; nothing of what is no rule."""
    try:
        found = tokens(rule)
    except RuleError:
        return frozenset()
    fields = {("field", one.text) for one in found if one.kind == "word" and "." in one.text}
    called = {
        (word.text, str(text.value))
        for word, sign, text in zip(found, found[1:], found[2:], strict=False)
        if word.text in _FUNCTIONS and (sign.text, text.kind) == ("(", "text")
    }
    return frozenset(fields | called)


def _read(rule: str) -> Iterator[Token]:
    at = 0
    while at < len(rule):
        match = _TOKEN.match(rule, at)
        if match is None:
            raise _stranger(rule, at)
        begin, at = at, match.end()
        written = match[0]
        match match.lastgroup:
            case "word":
                yield Token("word", written, begin, at)
            case "sign":
                yield Token("sign", written, begin, at)
            case "text":
                yield _text(written, begin, at)
            case "number":
                yield _number(written, begin, at)


def _stranger(rule: str, at: int) -> RuleError:
    character = rule[at]
    if character in "'\"":
        return RuleError("rule_quote", at + 1, character=character)
    meant = _MEANT.get(character)
    fix = Fix("write", meant) if meant else Fix()
    return RuleError("rule_character", at + 1, character=character, fix=fix)


def _text(written: str, begin: int, end: int) -> Token:
    value = _ESCAPED.sub(r"\1", written[1:-1])
    if len(value) > LONGEST_TEXT:
        raise RuleError("rule_text_long", begin + 1, most=LONGEST_TEXT)
    return Token("text", written, begin, end, value)


def _number(written: str, begin: int, end: int) -> Token:
    span = _SPAN.fullmatch(written)
    if span is not None and len(span[1]) <= 6:
        unit: Unit = "d" if span[2] == "d" else "mo" if span[2] == "mo" else "y"
        return Token("span", written, begin, end, Span(int(span[1]), unit))
    if _NUMBER.fullmatch(written) and len(written) <= 40:
        value = float(written) if "." in written else int(written)
        if value < MOST_NUMBER:
            return Token("number", written, begin, end, value)
    raise RuleError("rule_number", begin + 1, value=written[:40], most=15)
