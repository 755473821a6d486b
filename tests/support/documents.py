"""Campaign documents to change, and clerks to hand them in."""

from __future__ import annotations

from campaigns.document.model import Campaign
from campaigns.document.reading import read
from campaigns.document.states import states_of
from campaigns.engine.program import Program, compile_program
from customers.actors import ClerkActor

BRANCHES = {"sz-nanshan": "深圳南山支行", "sz-futian": "深圳福田支行", "gz-tianhe": "广州天河支行"}
LIN = ClerkActor("demo", "lin", "林晓", frozenset({"campaigns.submit", "campaigns.approve", "campaigns.pause"}))
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset({"campaigns.submit", "campaigns.approve", "campaigns.pause"}))

WELCOME = """\
kind: campaign/v1
id: hello
name: {zh: 欢迎}
window: {from: 2026-01-01, to: 2029-12-31}
entry: {by: scan, when: "channel.code in codes('c')"}
codes: {c: {per: branch, branches: all}}
templates:
  hi: {zh: "{{customer.name}}您好"}
  note: {zh: "请联系{{customer.name}}"}
steps:
"""
"""A campaign without rewards; its steps are appended."""

REWARDS = """\
kind: campaign/v1
id: shop
name: {zh: 商城}
window: {from: 2026-01-01, to: 2029-12-31}
money: {budget: 100000}
disclosure: {rules_zh: 规则, odds_or_quantity: "10 张", claim_by: 2029-12-31, host: 银行, contact: "95500"}
rewards:
  cup: {kind: code, title: {zh: 杯子}, cost: 100, stock: 10, claim: anyone}
"""


def document(steps: str, head: str = WELCOME) -> Campaign:
    """The checked document of `head` and `steps` (YAML list items)."""
    return read(head + steps, "t.yaml", BRANCHES)


def program(steps: str, head: str = WELCOME) -> Program:
    checked = document(steps, head)
    codes = {name: list(states.values()) for name, states in states_of(checked.codes, BRANCHES).items()}
    return compile_program(checked, 1, codes)
