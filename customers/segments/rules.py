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
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

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


@dataclass
class RuleError(Exception):
    """What is wrong with a rule, at which column (from 1), and what was expected there."""

    message: str
    column: int

    @override
    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


def compile_rule(
    text: str, codes: Mapping[str, Collection[str]], fields: Collection[str]
) -> Predicate:
    """The predicate of `text`; `codes` are the campaign's code groups by name, `fields` the names
    that the facts may have. Raises RuleError.

    A field that the facts lack is None; comparing it by size is false, not an error.
    """
    if len(text) > LONGEST:
        raise RuleError(f"a rule has at most {LONGEST} characters", LONGEST + 1)
    indent = len(text) - len(text.lstrip())
    rule = text.strip()
    try:
        tree = ast.parse(rule, mode="eval")
        value = _Compiler(codes, fields, rule).value(tree.body)
    except SyntaxError as error:
        raise RuleError(
            f"not a rule: {error.msg}", (error.offset or len(rule) + 1) + indent
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise RuleError("not a rule that can be read", 1 + indent) from None
    except RuleError as error:
        raise RuleError(error.message, error.column + indent) from None
    return lambda facts: bool(value(facts))


class _Compiler:
    def __init__(
        self, codes: Mapping[str, Collection[str]], fields: Collection[str], rule: str
    ) -> None:
        self._codes = codes
        self._fields = fields
        self._lines = rule.splitlines() or [""]

    def _error(self, node: ast.AST, message: str) -> RuleError:
        """The error at the node's first character (Python counts bytes, people count
        characters)."""
        line = self._lines[getattr(node, "lineno", 1) - 1]
        before = line.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
        return RuleError(message, len(before) + 1)

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
        raise self._error(node, "expected a field, a value, a comparison, and, or, not, in")

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
            raise self._error(node, "expected one comparison; join several with and")
        compare = _COMPARE.get(type(node.ops[0]))
        if compare is None:
            raise self._error(node, "expected ==, !=, <, <=, >, >=, in or not in")
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
            expected = ", ".join(sorted(self._fields))
            raise self._error(node, f"unknown field {name}; expected one of {expected}")
        return lambda facts: facts.get(name)

    def _call(self, node: ast.Call) -> _Value:
        argument = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if (
            ast.unparse(node.func) != "codes"
            or not isinstance(argument, ast.Constant)
            or not isinstance(argument.value, str)
        ):
            raise self._error(node, "expected codes('name')")
        if argument.value not in self._codes:
            raise self._error(
                argument, f"unknown codes {argument.value!r}; expected one of {sorted(self._codes)}"
            )
        states = frozenset(self._codes[argument.value])
        return lambda facts: states
