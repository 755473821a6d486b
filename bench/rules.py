"""One rule of five terms asked of many customers, on one core.

Product: the predicate of the rule's tree. Naive: Python's syntax tree of the same text, walked for each
customer, as rules are interpreted when nothing is prepared. Both answer for the same documents: first
such that meet every term, so that none may be left out, then a mixture. What counts is processor time.
"""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

from bench.load import LoadError
from customers.rules import days
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.vocabulary import Name, Vocabulary

AT_LEAST, AT_LEAST_OF_NAIVE = 1_000_000, 3.0
RULE = (
    "customer.balance_band in ['A', 'B'] and customer.age >= 30 and customer.bound"
    " and not tag('staff') and count(event('app.login')) >= 3"
)
WINDOWED = RULE.replace("count(event('app.login'))", "count(event('app.login'), 30d)")
TODAY = days.number_of(date(2026, 11, 30))
VOCABULARY = Vocabulary(
    names={
        name.name: name
        for name in (
            Name(name="customer.balance_band", kind="choice", path=("fields", "balance_band")),
            Name(name="customer.age", kind="number", path=("fields", "age")),
            Name(name="customer.bound", kind="bool", path=("bound",)),
        )
    },
    known={"tag": None, "event": None},
)
Holds = Callable[[Any, int], bool]


@dataclass(frozen=True)
class Scale:
    customers: int
    rounds: int


FULL, TINY = Scale(customers=50_000, rounds=5), Scale(customers=200, rounds=1)


async def measure(tiny: bool) -> tuple[dict[str, Any], str]:
    """The row's line: rules a second where every term is met, under `mixed` over a mixture, and
    `windowed` what the product does when the count is one of the last 30 days."""
    scale, chance = TINY if tiny else FULL, random.Random(10)
    mixed = [_customer(chance) for _ in range(scale.customers)]
    whole = [_meeting(one) for one in mixed]
    prepared, counting, walked = (*map(_prepared, (RULE, WINDOWED)), _walked(RULE))
    if [prepared(one, TODAY) for one in mixed] != [walked(one, TODAY) for one in mixed]:
        raise LoadError("product and naive do not say the same")
    if not all(prepared(one, TODAY) and counting(one, TODAY) for one in whole):
        raise LoadError("there is a customer who does not meet every term")
    line: dict[str, Any] = {"bench": "rules", "unit": "rules/s"}
    line |= _rates(scale, whole, prepared, walked)
    line["mixed"] = _rates(scale, mixed, prepared, walked)
    line["windowed"] = round(median(_rate(counting, whole) for _ in range(scale.rounds)), 1)
    line |= {"at_least": AT_LEAST, "at_least_of_naive": AT_LEAST_OF_NAIVE}
    return line, ""


def _rates(
    scale: Scale, customers: Sequence[Any], prepared: Holds, walked: Holds
) -> dict[str, float]:
    rates = [(_rate(prepared, customers), _rate(walked, customers)) for _ in range(scale.rounds)]
    return {
        "product": round(median(mine for mine, _ in rates), 1),
        "naive": round(median(its for _, its in rates), 1),
        "of_naive": round(median(mine / its for mine, its in rates), 3),
    }


def _rate(holds: Holds, customers: Sequence[Any]) -> float:
    began = time.process_time()
    for customer in customers:
        holds(customer, TODAY)
    return len(customers) / (time.process_time() - began)


def _customer(chance: random.Random) -> dict[str, Any]:
    counts = {str(TODAY - back): chance.randint(1, 3) for back in range(57, -1, -3)}
    return {
        "fields": {"balance_band": chance.choice("ABC"), "age": chance.randint(18, 80)},
        "bound": chance.random() < 0.5,
        "tags": chance.sample(["staff", "vip", "wealth"], chance.randint(0, 2)),
        "events": {"app/login": {"n": sum(counts.values()), "days": counts}},
    }


def _meeting(customer: dict[str, Any]) -> dict[str, Any]:
    """The same one, who meets every term."""
    return {
        **customer,
        "fields": {"balance_band": "B", "age": 40},
        "bound": True,
        "tags": ["vip", "wealth"],
    }


def _prepared(rule: str) -> Holds:
    return predicate(read_rule(rule, VOCABULARY))


def _walked(rule: str) -> Holds:
    tree = ast.parse(rule, mode="eval").body
    return lambda customer, today: bool(_Walk(customer).value(tree))


class _Walk:
    """What an expression is for one customer."""

    def __init__(self, customer: dict[str, Any]) -> None:
        self._customer = customer

    def value(self, node: ast.expr) -> Any:
        method: Callable[[Any], Any] = getattr(self, f"_{type(node).__name__.lower()}")
        return method(node)

    def _boolop(self, node: ast.BoolOp) -> bool:
        return all(self.value(part) for part in node.values)

    def _unaryop(self, node: ast.UnaryOp) -> bool:
        return not self.value(node.operand)

    def _compare(self, node: ast.Compare) -> bool:
        left, right = self.value(node.left), self.value(node.comparators[0])
        if left is None:
            return False
        return bool(left in right if isinstance(node.ops[0], ast.In) else left >= right)

    def _attribute(self, node: ast.Attribute) -> Any:
        fields = self._customer["fields"]
        return fields[node.attr] if node.attr in fields else self._customer.get(node.attr)

    def _call(self, node: ast.Call) -> Any:
        function, argument = getattr(node.func, "id", ""), self.value(node.args[0])
        if function == "tag":
            return argument in self._customer["tags"]
        if function == "event":
            return self._customer["events"].get(argument.replace(".", "/"), {})
        return argument.get("n", 0)

    def _list(self, node: ast.List) -> list[Any]:
        return [self.value(item) for item in node.elts]

    def _constant(self, node: ast.Constant) -> Any:
        return node.value
