"""The rule language of campaigns: one expression, parsed once, checked against known fields,
compiled to a predicate. Which fields there are is the caller's to say.

    channel.code in codes('branch-q1') and not customer.bound

Names with dots are fields; `codes(...)` is the one function; comparison, `in`, `and`, `or`, `not`,
strings, numbers, True and False are all there is. Nothing is evaluated by Python: the tree is
walked once and closures do the rest.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from typing_extensions import override

from services.documents.problems import Problem

Facts = Mapping[str, Any]
Predicate = Callable[[Facts], bool]
_Value = Callable[[Facts], Any]

LONGEST = 500
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


class RuleError(Exception):
    """What is wrong with a rule, at which column (from 1): the sentence `problem_<code>` says it,
    with `data` in its places."""

    def __init__(self, code: str, column: int, **data: Any) -> None:
        super().__init__(code)
        self.code, self.column, self.data = code, column, data

    @property
    def message(self) -> str:
        """The sentence in English, without the column."""
        return str(self).removeprefix(f"column {self.column}: ")

    @override
    def __str__(self) -> str:
        return Problem(1, self.code, {**self.data, "column": self.column}).message


def compile_rule(
    text: str, codes: Mapping[str, Collection[str]], fields: Collection[str]
) -> Predicate:
    """The predicate of `text`; `codes` are the campaign's code groups by name, `fields` the names
    that the facts may have. Raises RuleError.

    A field that the facts lack is None; comparing it by size is false, not an error.
    """
    if len(text) > LONGEST:
        raise RuleError("rule_long", LONGEST + 1, most=LONGEST)
    indent = len(text) - len(text.lstrip())
    rule = text.strip()
    try:
        tree = ast.parse(rule, mode="eval")
        value = _Compiler(codes, fields, rule).value(tree.body)
    except SyntaxError as error:
        column = (error.offset or len(rule) + 1) + indent
        raise RuleError("rule_syntax", column, why=error.msg) from None
    except (ValueError, RecursionError, MemoryError):
        raise RuleError("rule_unreadable", 1 + indent) from None
    except RuleError as error:
        raise RuleError(error.code, error.column + indent, **error.data) from None
    return lambda facts: bool(value(facts))


class _Compiler:
    def __init__(
        self, codes: Mapping[str, Collection[str]], fields: Collection[str], rule: str
    ) -> None:
        self._codes = codes
        self._fields = fields
        self._lines = rule.splitlines() or [""]

    def _error(self, node: ast.AST, code: str, **data: Any) -> RuleError:
        """The error at the node's first character (Python counts bytes, people count
        characters)."""
        line = self._lines[getattr(node, "lineno", 1) - 1]
        before = line.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
        return RuleError(code, len(before) + 1, **data)

    def value(self, node: ast.expr) -> _Value:
        """What gives the node's value; raises RuleError for whatever rules do not have."""
        match node:
            case ast.BoolOp():
                return self._bool(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._not(operand)
            case ast.Compare():
                return self._compare(node)
            case ast.Attribute() | ast.Name():
                return self._field(node)
            case ast.Call():
                return self._call(node)
            case ast.Constant(value=str() | int() | float() as constant):
                return lambda facts: constant
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return self._list(items)
        raise self._error(node, "rule_value")

    def _not(self, operand: ast.expr) -> _Value:
        inner = self.value(operand)
        return lambda facts: not inner(facts)

    def _list(self, items: list[ast.expr]) -> _Value:
        values = [self.value(item) for item in items]
        return lambda facts: [value(facts) for value in values]

    def _bool(self, node: ast.BoolOp) -> _Value:
        parts = [self.value(part) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda facts: all(part(facts) for part in parts)
        return lambda facts: any(part(facts) for part in parts)

    def _compare(self, node: ast.Compare) -> _Value:
        if len(node.ops) != 1:
            raise self._error(node, "rule_one_comparison")
        compare = _COMPARE.get(type(node.ops[0]))
        if compare is None:
            raise self._error(node, "rule_operator")
        left = self.value(node.left)
        right = self.value(node.comparators[0])

        def holds(facts: Facts) -> bool:
            try:
                return compare(left(facts), right(facts))
            except TypeError:
                return False

        return holds

    def _field(self, node: ast.Attribute | ast.Name) -> _Value:
        name = ast.unparse(node)
        if name not in self._fields:
            raise self._error(node, "rule_field", name=name, expected=sorted(self._fields))
        return lambda facts: facts.get(name)

    def _call(self, node: ast.Call) -> _Value:
        argument = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if (
            ast.unparse(node.func) != "codes"
            or not isinstance(argument, ast.Constant)
            or not isinstance(argument.value, str)
        ):
            raise self._error(node, "rule_call")
        if argument.value not in self._codes:
            name, expected = argument.value, sorted(self._codes)
            raise self._error(argument, "rule_codes", name=name, expected=expected)
        states = frozenset(self._codes[argument.value])
        return lambda facts: states
