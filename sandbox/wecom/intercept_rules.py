"""Rules against words in members' messages to customers (externalcontact/*_intercept_rule).

A message with such a word is blocked (type 1), or the member is warned (type 2).
"""

from __future__ import annotations

import re
from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.records import Rule
from sandbox.core.sandbox import Sandbox
from sandbox.wecom.contacts import EC

RULES_MOST, WORDS_MOST = 100, 300
MEMBERS_MOST = 1000
"""Members of a rule; the real figure is not published (41076)."""
NAME_MOST, WORD_MOST = 20, 32
BLOCK, WARN = 1, 2
SEMANTICS = {1: re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)"), 2: re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")}
"""What WeCom recognises by itself: phone numbers (1), e-mail addresses (2); red packets (3) are no
text."""


def _name(call: Call, rule_id: str = "") -> str:
    """Raises ApiError 40058, or 41077 when another rule bears the name."""
    name = call.text("rule_name", most=NAME_MOST, missing=40058)
    if any(
        r.rule_name == name and r.rule_id != rule_id for r in call.box.state.records.rules.values()
    ):
        raise ApiError(41077)
    return name


def _words(call: Call) -> list[str]:
    """Raises ApiError 41068 above 300 words, 41083 for an empty or long one."""
    words = call.strings("word_list")
    if len(words) > WORDS_MOST:
        raise ApiError(41068)
    if not all(1 <= len(w) <= WORD_MOST for w in words):
        raise ApiError(41083)
    return words


def _semantics(given: Any) -> list[int]:
    if not isinstance(given, list) or not set(given) <= {1, 2, 3}:
        raise ApiError(41084)
    return given


def _kind(call: Call, default: int) -> int:
    kind = call.integer("intercept_type", default)
    if kind not in {BLOCK, WARN}:
        raise ApiError(40058, "invalid Request Parameter: intercept_type")
    return kind


def _range(call: Call, name: str) -> tuple[list[str], list[int]]:
    """Members and departments. Raises ApiError 60111 or 60123 for one that does not exist, 41076 for
    too many members."""
    given = call.body.get(name) or {}
    if not isinstance(given, dict):
        raise ApiError(40058, f"invalid Request Parameter: {name}")
    world = call.box.world
    departments = [d for d in given.get("department_list") or [] if isinstance(d, int)]
    if any(world.department(department) is None for department in departments):
        raise ApiError(60123)
    wanted = given.get("user_list") or []
    if len(wanted) > MEMBERS_MOST:
        raise ApiError(41076)
    userids = []
    for userid in wanted:
        member = world.member(str(userid))
        if member is None:
            raise ApiError(60111)
        userids.append(member.userid)
    return userids, departments


def add(call: Call) -> dict[str, Any]:
    """A new rule: name up to 20 characters, up to 300 words, for members and departments; 41069
    when there are 100."""
    name = _name(call)
    words = _words(call)
    semantics = _semantics(call.body.get("semantics_list") or [])
    users, departments = _range(call, "applicable_range")
    if not words and not semantics:
        raise ApiError(41083)
    if not users and not departments:
        raise ApiError(40058, "applicable_range is empty")
    rules = call.box.state.records.rules
    if len(rules) >= RULES_MOST:
        raise ApiError(41069)
    rule = Rule(
        rule_id=ids.code("rule"),
        agent_id=int(call.app),
        rule_name=name,
        create_time=call.box.seconds(),
        word_list=words,
        semantics_list=semantics,
        intercept_type=_kind(call, 0),
        user_list=users,
        department_list=departments,
    )
    rules[rule.rule_id] = rule
    call.box.changed()
    return {"rule_id": rule.rule_id}


def _rule(call: Call) -> Rule:
    """The rule that a call names. Raises ApiError 41071 for one that was deleted, 41070 for one that
    is unknown or another app's."""
    rule_id = call.text("rule_id", missing=41070)
    rule = call.box.state.records.rules.get(rule_id)
    if rule_id in call.box.state.records.deleted_rules:
        raise ApiError(41071)
    if rule is None or str(rule.agent_id) != call.app:
        raise ApiError(41070)
    return rule


def listed(call: Call) -> dict[str, Any]:
    """The app's rules, without their words."""
    own = [r for r in call.box.state.records.rules.values() if str(r.agent_id) == call.app]
    return {
        "rule_list": [r.model_dump(include={"rule_id", "rule_name", "create_time"}) for r in own]
    }


def get(call: Call) -> dict[str, Any]:
    """One rule in full."""
    rule = _rule(call)
    return {
        "rule": {
            **rule.model_dump(include={"rule_id", "rule_name", "word_list", "intercept_type"}),
            "extra_rule": {"semantics_list": rule.semantics_list},
            "applicable_range": {
                "user_list": rule.user_list,
                "department_list": rule.department_list,
            },
        }
    }


def update(call: Call) -> dict[str, Any]:
    """What is given replaces; members and departments are added and removed."""
    rule = _rule(call)
    changes = _changes(call, rule)
    more_users, more_departments = _range(call, "add_applicable_range")
    fewer_users, fewer_departments = _range(call, "remove_applicable_range")
    users = dict.fromkeys(rule.user_list + more_users)
    changes["user_list"] = [u for u in users if u not in fewer_users]
    departments = dict.fromkeys(rule.department_list + more_departments)
    changes["department_list"] = [d for d in departments if d not in fewer_departments]
    call.box.state.records.rules[rule.rule_id] = rule.model_copy(update=changes)
    call.box.changed()
    return {}


def _changes(call: Call, rule: Rule) -> dict[str, Any]:
    """The fields that a body replaces. Raises ApiError like a new rule."""
    changes: dict[str, Any] = {}
    if "rule_name" in call.body:
        changes["rule_name"] = _name(call, rule.rule_id)
    if "word_list" in call.body:
        changes["word_list"] = _words(call)
    extra = call.body.get("extra_rule")
    if isinstance(extra, dict):
        changes["semantics_list"] = _semantics(extra.get("semantics_list") or [])
    changes["intercept_type"] = _kind(call, rule.intercept_type)
    return changes


def delete(call: Call) -> dict[str, Any]:
    """The rule goes."""
    rule_id = _rule(call).rule_id
    del call.box.state.records.rules[rule_id]
    call.box.state.records.deleted_rules.append(rule_id)
    call.box.changed()
    return {}


def found(box: Sandbox, userid: str, text: str) -> Rule | None:
    """The rule that this member's message breaks, a blocking one first."""
    member = box.world.member(userid)
    departments = set(member.departments) if member else set()
    broken = [
        r
        for r in box.state.records.rules.values()
        if (userid in r.user_list or departments.intersection(r.department_list))
        and _breaks(r, text)
    ]
    return min(broken, key=lambda r: r.intercept_type) if broken else None


def _breaks(rule: Rule, text: str) -> bool:
    if any(word in text for word in rule.word_list):
        return True
    return any(SEMANTICS[s].search(text) for s in rule.semantics_list if s in SEMANTICS)


ENDPOINTS = (
    Endpoint("POST", f"{EC}/add_intercept_rule", add, contact=True),
    Endpoint("GET", f"{EC}/get_intercept_rule_list", listed, contact=True),
    Endpoint("POST", f"{EC}/get_intercept_rule", get, contact=True),
    Endpoint("POST", f"{EC}/update_intercept_rule", update, contact=True),
    Endpoint("POST", f"{EC}/del_intercept_rule", delete, contact=True),
)
