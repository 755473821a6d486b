"""Blocked words: what members may not write to customers (contract/wechat B11 95097)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from services.wechat.core.checks import at_most, need, refuse
from services.wechat.wecom.calls import Answer, Calls, Json

_PATH = "externalcontact"
BLOCK, WARN = 1, 2
PHONE_NUMBER, MAIL_ADDRESS, RED_PACKET = 1, 2, 3
MOST_WORDS = 300
MOST_AT_ONCE = 1000


class RuleId(Answer, total=False):
    rule_id: str


class RuleEntry(TypedDict, total=False):
    rule_id: str
    rule_name: str
    create_time: int


class RuleList(Answer, total=False):
    rule_list: list[RuleEntry]


class RuleFields(TypedDict, total=False):
    """`extra_rule` holds `semantics_list`, `applicable_range` holds `members.list` and
    `members.list_departments`."""

    rule_id: str | int
    rule_name: str
    word_list: list[str]
    extra_rule: Json
    intercept_type: int
    applicable_range: Json


class Rule(Answer, total=False):
    rule: RuleFields


class RuleChanges(TypedDict, total=False):
    """What a rule may be changed in: a given setting replaces the old one, an empty `semantics`
    clears it; members and departments are added and removed."""

    rule_name: str | None
    words: Sequence[str]
    semantics: Sequence[int] | None
    intercept_type: int | None
    add_userids: Sequence[str]
    add_departments: Sequence[int]
    remove_userids: Sequence[str]
    remove_departments: Sequence[int]


class Intercept(Calls):
    """Intercept rules, at most 100 (BadConfig 41069); BadRequest 41077 name taken; SubjectState
    41070 unknown rule."""

    async def create(
        self,
        rule_name: str,
        words: Sequence[str],
        *,
        userids: Sequence[str] = (),
        departments: Sequence[int] = (),
        semantics: Sequence[int] = (),
        intercept_type: int = BLOCK,
    ) -> RuleId:
        """Makes a rule for members and departments: the name has 1 to 20 characters, at most 300
        words of 1 to 32 each.

        `intercept_type` 1 blocks, 2 only warns; `semantics` 1 phone numbers, 2 mail addresses, 3
        red packets.
        """
        path = f"{_PATH}/add_intercept_rule"
        _check(path, rule_name, words)
        need(path, "at least one word", words)
        need(path, "a member or a department", userids, departments)
        body = {
            "rule_name": rule_name,
            "word_list": list(words),
            "semantics_list": list(semantics) or None,
            "intercept_type": intercept_type,
            "applicable_range": _range(path, userids, departments),
        }
        return await self._submit(RuleId, path, body)

    async def list(self) -> RuleList:
        """All rules by id, name and time."""
        return await self._fetch(RuleList, f"{_PATH}/get_intercept_rule_list")

    async def get(self, rule_id: str) -> Rule:
        """One rule with its words."""
        return await self._submit(Rule, f"{_PATH}/get_intercept_rule", {"rule_id": rule_id})

    async def update(self, rule_id: str, **changes: Unpack[RuleChanges]) -> Answer:
        """Changes a rule in what is given."""
        path = f"{_PATH}/update_intercept_rule"
        words, semantics = changes.get("words", ()), changes.get("semantics")
        _check(path, changes.get("rule_name"), words)
        added = _range(path, changes.get("add_userids", ()), changes.get("add_departments", ()))
        removed = _range(
            path, changes.get("remove_userids", ()), changes.get("remove_departments", ())
        )
        body = {
            "rule_id": rule_id,
            "rule_name": changes.get("rule_name"),
            "word_list": list(words) or None,
            "extra_rule": None if semantics is None else {"semantics_list": list(semantics)},
            "intercept_type": changes.get("intercept_type"),
            "add_applicable_range": added,
            "remove_applicable_range": removed,
        }
        return await self._submit(Answer, path, body)

    async def delete(self, rule_id: str) -> Answer:
        """Ends a rule; AlreadyDone 41071."""
        return await self._submit(Answer, f"{_PATH}/del_intercept_rule", {"rule_id": rule_id})


def _check(path: str, rule_name: str | None, words: Sequence[str]) -> None:
    if rule_name is not None and not 1 <= len(rule_name) <= 20:
        raise refuse(path, "rule_name has 1 to 20 characters")
    at_most(path, "word_list", len(words), MOST_WORDS)
    if any(not 1 <= len(word) <= 32 for word in words):
        raise refuse(path, "a word has 1 to 32 characters")


def _range(path: str, userids: Sequence[str], departments: Sequence[int]) -> Json | None:
    at_most(path, "user_list", len(userids), MOST_AT_ONCE)
    at_most(path, "department_list", len(departments), MOST_AT_ONCE)
    people = {"user_list": list(userids), "department_list": list(departments)}
    return {name: values for name, values in people.items() if values} or None
