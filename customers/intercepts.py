"""Blocked words: what members may not write to customers: the bank's rules, which WeCom enforces before a
message goes out (95097).

One clerk proposes a change, another agrees (promise P7), and then it is brought to WeCom.
`intercept_changes` are the proposals, `intercept_rules` what was agreed and WeCom took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, cast

from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks import staff, userids
from customers.banks.bank import Bank
from customers.wecom_mirror import members
from services import ids
from services.clock import utc
from services.documents.placeholders import look_alikes, names_in
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc
from services.store.rows import Rows
from services.wechat.core.errors import PlatformError
from services.wechat.core.lists import OF_ONE_DEPARTMENT, OF_ONE_MEMBER, put_all_but
from services.wechat.wecom import WeComClient

INTERCEPT_RULES = Rows(
    "intercept_rules",
)
"""Words that members may not write."""
INTERCEPT_CHANGES = Rows(
    "intercept_changes",
)
"""Proposed changes of those words."""

PUT, END = "put", "end"
SUBMITTED, APPROVED, DONE, REJECTED, REPLACED = (
    "submitted",
    "approved",
    "done",
    "rejected",
    "replaced",
)
PENDING = (SUBMITTED, APPROVED)
WORDS = approvals.Kind(
    name="words",
    right="intercepts.submit",
    submitted="intercept.submitted",
    approved="intercept.approved",
    rejected="intercept.rejected",
    refused="intercept.approval_refused",
    decided="intercept_decided",
    revocable=True,
)
MOST_RULES, MOST_WORDS, MOST_WORD, MOST_NAME = 100, 300, 32, 20
TYPES = {"block": 1, "warn": 2}
SEMANTICS = (1, 2, 3)
"""What WeCom finds by itself: phone numbers, mail addresses, red packets."""
NAME_TAKEN = 41077
RULE_GONE = frozenset({41070, 41071})
"""There is no such rule, or it was deleted."""


@dataclass(frozen=True)
class Rule:
    """`kind` says whether a message with one of the words is blocked or its writer warned."""

    name: str
    kind: Literal["block", "warn"]
    words: tuple[str, ...]
    userids: tuple[str, ...] = ()
    departments: tuple[int, ...] = ()
    semantics: tuple[int, ...] = ()

    def problems(self) -> dict[str, str]:
        """What WeCom would not take, by field."""
        found = {}
        if not 1 <= len(self.name) <= MOST_NAME:
            found["name"] = f"1 to {MOST_NAME} characters"
        elif names_in(self.name) or look_alikes(self.name):
            found["name"] = "no placeholders: nothing is filled in"
        if not 1 <= len(self.words) <= MOST_WORDS or not all(
            1 <= len(word) <= MOST_WORD for word in self.words
        ):
            found["words"] = f"1 to {MOST_WORDS} words of 1 to {MOST_WORD} characters"
        if not self.userids and not self.departments:
            found["userids"] = "a member or a department"
        if not set(self.semantics) <= set(SEMANTICS):
            found["semantics"] = "1, 2 or 3"
        return found

    def normal(self) -> Rule:
        """The same rule with everything in order and once."""
        return Rule(
            self.name,
            self.kind,
            tuple(dict.fromkeys(self.words)),
            tuple(sorted(set(self.userids))),
            tuple(sorted(set(self.departments))),
            tuple(sorted(set(self.semantics))),
        )


class RuleFields(TypedDict):
    """A rule as rows have it."""

    name: str
    kind: Literal["block", "warn"]
    words: list[str]
    userids: list[str]
    departments: list[int]
    semantics: list[int]


class RuleRow(RuleFields):
    """A rule that WeCom has, by its id there; `change` is the proposal that made it so. `left_out`
    are members and departments of its range whom WeCom does not take."""

    _id: str
    rule_id: str
    change: str
    at: datetime
    left_out: NotRequired[list[str]]


class ChangeRow(RuleFields):
    """A proposal: `action` is PUT or END."""

    _id: str
    action: str
    state: str
    author: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    reason: str


def _rule_of(row: RuleFields) -> Rule:
    return Rule(
        row["name"],
        row["kind"],
        tuple(row["words"]),
        tuple(row["userids"]),
        tuple(row["departments"]),
        tuple(row["semantics"]),
    )


def _fields(rule: Rule) -> RuleFields:
    return {
        "name": rule.name,
        "kind": rule.kind,
        "words": list(rule.words),
        "userids": list(rule.userids),
        "departments": list(rule.departments),
        "semantics": list(rule.semantics),
    }


def _rule_id(tenant: str, name: str) -> str:
    return ids.tenant_id(tenant, "intercept", name)


async def _find_rule(bank: Bank, name: str) -> RuleRow | None:
    row = await bank.db[INTERCEPT_RULES].find_one({"_id": _rule_id(bank.id, name)})
    return cast("RuleRow | None", row)


async def submit(bank: Bank, actor: ClerkActor, rule: Rule) -> str:
    """Proposes a new rule, or the new content of the rule of that name; the change's id.

    Raises InvalidInput `intercept_rule` with `fields`, Conflict `intercept_rules_full` beyond
    MOST_RULES.
    """
    rule = await _spelled(bank, rule.normal())
    if problems := rule.problems():
        raise InvalidInput("intercept_rule", "WeCom would not take this rule", fields=problems)
    known = await _find_rule(bank, rule.name)
    if known is None and await bank.db[INTERCEPT_RULES].count() >= MOST_RULES:
        raise Conflict("intercept_rules_full", f"WeCom takes at most {MOST_RULES} rules")
    return await _propose(bank, actor, PUT, rule)


async def submit_end(bank: Bank, actor: ClerkActor, name: str) -> str:
    """Proposes to end a rule; the change's id. Raises NotFound `intercept_unknown`."""
    row = await _find_rule(bank, name)
    if row is None:
        raise NotFound("intercept_unknown", "no such rule")
    return await _propose(bank, actor, END, _rule_of(row))


async def _propose(bank: Bank, actor: ClerkActor, action: str, rule: Rule) -> str:
    change = ids.new_id(bank.id)
    await _replace(bank, {"name": rule.name, "state": SUBMITTED})
    row: ChangeRow = {
        "_id": change,
        "action": action,
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "decided_by": "",
        "decided_at": None,
        "reason": "",
        **_fields(rule),
    }
    data: Doc = {"rule": rule.name, "change": action, "words": len(rule.words)}
    await approvals.submit(bank, actor, WORDS, change, _content(row), **data)
    await bank.db[INTERCEPT_CHANGES].insert({**row})
    return change


def _content(row: ChangeRow) -> approvals.Content:
    """What is decided on."""
    return {"words": {"action": row["action"], **_fields(_rule_of(row))}}


async def _replace(bank: Bank, earlier: Doc) -> None:
    """A newer change takes the place of these that wait."""
    rows = await bank.db[INTERCEPT_CHANGES].find(earlier, fields={"_id": 1}, limit=None)
    changes = [row["_id"] for row in rows]
    await approvals.replace(bank, WORDS, changes)
    replaced = {**earlier, "_id": {"$in": changes}}
    await bank.db[INTERCEPT_CHANGES].update_many(replaced, {"$set": {"state": REPLACED}})


async def approve(bank: Bank, actor: ClerkActor, change: str) -> None:
    """Agrees to another clerk's change and brings it to WeCom; what was cut short is completed by
    approving again.

    Raises Forbidden `approver_is_author`, NotFound `intercept_unknown`, Conflict
    `intercept_decided` or `approval_changed`, PlatformError.
    """
    row = await _change(bank, change)
    async with approvals.approve(bank, actor, WORDS, change, _content(row)) as approval:
        await _follow(bank, change, approval)
        await _carry_out(bank, row)
        agreed = {"_id": change, "state": APPROVED}
        await bank.db[INTERCEPT_CHANGES].update(agreed, {"$set": {"state": DONE}})
        passed = {"name": row["name"], "state": {"$in": PENDING}, "at": {"$lt": row["at"]}}
        await _replace(bank, passed)


async def reject(bank: Bank, actor: ClerkActor, change: str, reason: str) -> None:
    """Turns a change down, also one that WeCom did not take. Raises InvalidInput `reason_missing`,
    NotFound `intercept_unknown`, Conflict `intercept_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    row = await _change(bank, change)
    if row["state"] not in PENDING:
        raise Conflict("intercept_decided", "this change waits for no decision")
    await _follow(bank, change, await approvals.reject(bank, actor, WORDS, change, reason.strip()))


async def _follow(bank: Bank, change: str, approval: Approval) -> None:
    """The change's own row says what was decided."""
    decided = {
        "state": approval.state,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        "reason": approval.reason,
    }
    waits = {"_id": change, "state": {"$in": PENDING}}
    await bank.db[INTERCEPT_CHANGES].update(waits, {"$set": decided})


async def _spelled(bank: Bank, rule: Rule) -> Rule:
    """The rule with its members in WeCom's spelling, as far as it is known."""
    known = await members.spellings(bank, rule.userids)
    spelled = userids.spelled_as(rule.userids, known.values())
    return replace(rule, userids=tuple(sorted(spelled)))


async def _change(bank: Bank, change: str) -> ChangeRow:
    row = await bank.db[INTERCEPT_CHANGES].find_one({"_id": change})
    if row is None:
        raise NotFound("intercept_unknown", "no such change")
    return cast("ChangeRow", row)


async def _carry_out(bank: Bank, row: ChangeRow) -> None:
    """Does at WeCom what was agreed, and keeps it; safe to repeat."""
    rules = bank.db[INTERCEPT_RULES]
    rule = _rule_of(row)
    client = bank.wecom
    known = await _find_rule(bank, rule.name)
    if row["action"] == END:
        if known is not None:
            await _end(client, known["rule_id"])
            await rules.delete({"_id": known["_id"]})
        return
    put = await _put_range(bank, rule, known["rule_id"] if known else "")
    fields = {
        **_fields(rule),
        **put,
        "change": row["_id"],
        "at": utc(bank.now()),
    }
    await rules.update({"_id": _rule_id(bank.id, rule.name)}, {"$set": fields}, upsert=True)


async def _end(client: WeComClient, rule_id: str) -> None:
    try:
        await client.intercept.delete(rule_id)
    except PlatformError as error:
        if error.errcode not in RULE_GONE:
            raise


async def _put_range(bank: Bank, rule: Rule, rule_id: str) -> Doc:
    """The rule at WeCom, for all of its range but whom WeCom does not take, who are told of; its
    row's `rule_id` and `left_out`. Raises PlatformError when nobody is left."""

    async def put(some: Sequence[str | int]) -> None:
        nonlocal rule_id
        people = tuple(one for one in some if isinstance(one, str))
        departments = tuple(one for one in some if isinstance(one, int))
        part = replace(rule, userids=people, departments=departments)
        rule_id = await _put(bank.wecom, part, rule_id)

    everybody: list[str | int] = [*rule.departments, *rule.userids]
    codes = OF_ONE_MEMBER | OF_ONE_DEPARTMENT
    _, refused = await put_all_but(everybody, put, codes)
    for one, error in refused.items():
        key, why = f"{rule.name}:{one}:{bank.today()}", error.reason
        known = (await staff.names_of(bank, [one])).get(one, one) if isinstance(one, str) else one
        data: Doc = {"name": rule.name, "member": known, "why": why}
        await alarms.raise_alarm(bank, "intercept.left_out", key, **data)
    return {"rule_id": rule_id, "left_out": sorted(str(one) for one in refused)}


async def _put(client: WeComClient, rule: Rule, rule_id: str) -> str:
    """Makes the rule at WeCom, or makes the one there like it; its id there. A rule of that name
    that we do not know of is one whose making was answered to nobody."""
    if rule_id:
        try:
            await _change_there(client, rule, rule_id)
            return rule_id
        except PlatformError as error:
            if error.errcode not in RULE_GONE:
                raise
    try:
        made = await client.intercept.create(
            rule.name,
            rule.words,
            userids=rule.userids,
            departments=rule.departments,
            semantics=rule.semantics,
            intercept_type=TYPES[rule.kind],
        )
        return str(made["rule_id"])
    except PlatformError as error:
        if error.errcode != NAME_TAKEN:
            raise
        there = await client.intercept.list()
        found = [
            one["rule_id"]
            for one in there.get("rule_list") or []
            if one.get("rule_name") == rule.name
        ]
        if not found:
            raise
    await _change_there(client, rule, found[0])
    return str(found[0])


async def _change_there(client: WeComClient, rule: Rule, rule_id: str) -> None:
    there = await _there(client, rule_id)
    await client.intercept.update(
        rule_id,
        rule_name=None if rule.name == there.name else rule.name,
        words=rule.words,
        semantics=rule.semantics,
        intercept_type=TYPES[rule.kind],
        add_userids=sorted(set(rule.userids) - set(there.userids)),
        add_departments=sorted(set(rule.departments) - set(there.departments)),
        remove_userids=sorted(set(there.userids) - set(rule.userids)),
        remove_departments=sorted(set(there.departments) - set(rule.departments)),
    )


async def _there(client: WeComClient, rule_id: str) -> Rule:
    """The rule as WeCom has it."""
    told = (await client.intercept.get(rule_id)).get("rule") or {}
    people, extra = told.get("applicable_range") or {}, told.get("extra_rule") or {}
    return Rule(
        str(told.get("rule_name") or ""),
        "warn" if told.get("intercept_type") == TYPES["warn"] else "block",
        tuple(told.get("word_list") or ()),
        tuple(people.get("user_list") or ()),
        tuple(people.get("department_list") or ()),
        tuple(extra.get("semantics_list") or ()),
    ).normal()


async def overview(bank: Bank, actor: ClerkActor) -> tuple[list[RuleRow], list[ChangeRow]]:
    """The rules that hold, by name, and the newest 50 changes, newest first."""
    rules = await bank.db[INTERCEPT_RULES].find({}, sort=[("name", 1)], limit=None)
    changes = await bank.db[INTERCEPT_CHANGES].find({}, sort=[("at", -1)], limit=50)
    return cast("list[RuleRow]", rules), cast("list[ChangeRow]", changes)


async def differences(bank: Bank, actor: ClerkActor) -> list[dict[str, Any]]:
    """Where WeCom's rules and the agreed ones are not the same: `name`, `kind` (`missing`: not at
    WeCom; `unknown`: nobody agreed to it here; `different`) and the `fields` that differ. Raises
    PlatformError."""
    rules, _ = await overview(bank, actor)
    client = bank.wecom
    listed = (await client.intercept.list()).get("rule_list") or []
    there = {str(one["rule_id"]): await _there(client, str(one["rule_id"])) for one in listed}
    found: list[dict[str, Any]] = []
    for row in rules:
        other = there.pop(row["rule_id"], None)
        if other is None:
            found.append({"name": row["name"], "kind": "missing", "fields": []})
        elif fields := _differing(_taken(row), other):
            found.append({"name": row["name"], "kind": "different", "fields": fields})
    return found + [{"name": one.name, "kind": "unknown", "fields": []} for one in there.values()]


def _taken(row: RuleRow) -> Rule:
    """The rule without those of its range whom WeCom does not take."""
    rule, without = _rule_of(row), {*row.get("left_out", [])}
    return replace(
        rule,
        userids=tuple(one for one in rule.userids if one not in without),
        departments=tuple(one for one in rule.departments if str(one) not in without),
    )


def _differing(ours: Rule, theirs: Rule) -> list[str]:
    same: Sequence[str] = ("name", "kind", "userids", "departments", "semantics")
    found = [name for name in same if getattr(ours, name) != getattr(theirs, name)]
    return found + (["words"] if sorted(ours.words) != sorted(theirs.words) else [])


async def bring(bank: Bank, actor: ClerkActor) -> int:
    """Makes WeCom's rules like the agreed ones where they are missing or different; how many. Rules
    that nobody agreed to here stay. Raises PlatformError."""
    wanted = {one["name"] for one in await differences(bank, actor) if one["kind"] != "unknown"}
    if not wanted:
        return 0
    async with bank.audited(actor.login, "intercept.renewed", bank.id, rules=sorted(wanted)):
        for name in sorted(wanted):
            row = await _find_rule(bank, name)
            if row is not None:
                made = await _put_range(bank, _rule_of(row), row["rule_id"])
                await bank.db[INTERCEPT_RULES].update({"_id": row["_id"]}, {"$set": made})
    return len(wanted)
