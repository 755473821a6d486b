"""Words that members may not write: agreed by two clerks, kept the same at WeCom, and effective there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers import intercepts
from customers.actors import ClerkActor
from customers.intercepts import Rule
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.wechat.core.errors import PlatformError
from services.wechat.wecom import WeComClient
from services.wechat.wecom.intercept import Intercept
from tests.conftest import Sandbox
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
PROMISES = Rule("保本承诺", "block", ("保本", "稳赚不赔"), userids=("rm.chen",), semantics=(1,))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def client(services: Services) -> WeComClient:
    return (await open_bank(services, "demo")).wecom


async def there(services: Services) -> dict[str, dict[str, Any]]:
    """WeCom's rules by name."""
    api = await client(services)
    listed = (await api.intercept.list()).get("rule_list") or []
    rules = [(await api.intercept.get(one["rule_id"]))["rule"] for one in listed]
    return {rule["rule_name"]: dict(rule) for rule in rules}


async def agree(services: Services, rule: Rule) -> str:
    change = await intercepts.submit(await open_bank(services, "demo"), LIN, rule)
    await intercepts.approve(await open_bank(services, "demo"), ZHAO, change)
    return change


async def state(services: Services, change: str) -> str:
    row = await services.store.tenant("demo")["intercept_changes"].find_one({"_id": change})
    assert row is not None
    return str(row["state"])


async def test_a_rule_that_two_clerks_agreed_to_blocks_the_message(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person()
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    change = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    assert await there(bank) == {}
    await intercepts.approve(await open_bank(bank, "demo"), ZHAO, change)
    told = (await there(bank))["保本承诺"]
    assert (told["word_list"], told["intercept_type"], told["extra_rule"]) == (
        ["保本", "稳赚不赔"], 1, {"semantics_list": [1]},
    )  # fmt: skip
    written = {"person": person["id"], "text": "这款保本"}
    assert (await sandbox.control("POST", "members/rm.chen/write", written))["sent"] is False
    assert await state(bank, change) == "done"
    assert await intercepts.differences(await open_bank(bank, "demo"), LIN) == []


async def test_whoever_proposed_it_cannot_agree_to_it(bank: Services) -> None:
    change = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    with pytest.raises(Forbidden, match="approver_is_author"):
        await intercepts.approve(await open_bank(bank, "demo"), LIN, change)
    assert (await there(bank), await state(bank, change)) == ({}, "submitted")
    rows = await bank.store.tenant("demo")["audit"].find({"object": change}, sort=[("seq", 1)])
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("lin", "intercept.submitted"),
        ("lin", "intercept.approval_refused"),
    ]


async def test_a_change_replaces_words_and_people(bank: Services) -> None:
    await agree(bank, PROMISES)
    before = (await there(bank))["保本承诺"]["rule_id"]
    await agree(bank, Rule("保本承诺", "warn", ("零风险",), userids=("rm.li",), departments=(3,)))
    told = (await there(bank))["保本承诺"]
    assert (told["rule_id"], told["word_list"], told["intercept_type"]) == (before, ["零风险"], 2)
    assert told["applicable_range"] == {"user_list": ["rm.li"], "department_list": [3]}
    assert told["extra_rule"] == {"semantics_list": []}
    assert await intercepts.differences(await open_bank(bank, "demo"), LIN) == []


async def test_a_newer_proposal_replaces_an_older_one(bank: Services) -> None:
    older = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    newer = await intercepts.submit(
        await open_bank(bank, "demo"), LIN, Rule("保本承诺", "warn", ("零风险",), userids=("rm.li",))
    )
    with pytest.raises(Conflict, match="intercept_decided"):
        await intercepts.approve(await open_bank(bank, "demo"), ZHAO, older)
    await intercepts.approve(await open_bank(bank, "demo"), ZHAO, newer)
    assert (await there(bank))["保本承诺"]["word_list"] == ["零风险"]
    assert await state(bank, older) == "replaced"


async def test_a_rule_is_ended_by_two_clerks(bank: Services) -> None:
    await agree(bank, PROMISES)
    change = await intercepts.submit_end(await open_bank(bank, "demo"), ZHAO, "保本承诺")
    assert list(await there(bank)) == ["保本承诺"]
    await intercepts.approve(await open_bank(bank, "demo"), LIN, change)
    assert await there(bank) == {}
    assert (await intercepts.overview(await open_bank(bank, "demo"), LIN))[0] == []
    with pytest.raises(NotFound, match="intercept_unknown"):
        await intercepts.submit_end(await open_bank(bank, "demo"), ZHAO, "保本承诺")


async def test_a_rejected_change_reaches_nobody(bank: Services) -> None:
    change = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    with pytest.raises(InvalidInput, match="reason_missing"):
        await intercepts.reject(await open_bank(bank, "demo"), ZHAO, change, " ")
    await intercepts.reject(await open_bank(bank, "demo"), ZHAO, change, "词太宽")
    with pytest.raises(Conflict, match="intercept_decided"):
        await intercepts.approve(await open_bank(bank, "demo"), ZHAO, change)
    with pytest.raises(Conflict, match="intercept_decided"):
        await intercepts.reject(await open_bank(bank, "demo"), ZHAO, change, "再次")
    assert (await there(bank), await state(bank, change)) == ({}, "rejected")


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule("", "block", ("a",), ("rm.chen",)), "name"),
        (Rule("n" * 21, "block", ("a",), ("rm.chen",)), "name"),
        (Rule("n", "block", (), ("rm.chen",)), "words"),
        (Rule("n", "block", tuple(map(str, range(301))), ("rm.chen",)), "words"),
        (Rule("n", "block", ("x" * 33,), ("rm.chen",)), "words"),
        (Rule("n", "block", ("a",)), "userids"),
        (Rule("n", "block", ("a",), ("rm.chen",), semantics=(4,)), "semantics"),
    ],
)
async def test_what_wecom_would_not_take_is_refused_at_once(bank: Services, rule: Rule, field: str) -> None:
    with pytest.raises(InvalidInput, match="intercept_rule") as refused:
        await intercepts.submit(await open_bank(bank, "demo"), LIN, rule)
    assert list(refused.value.fields) == [field]
    assert await intercepts.overview(await open_bank(bank, "demo"), LIN) == ([], [])


async def test_a_hundred_rules_are_all_that_there_may_be(bank: Services) -> None:
    rules = bank.store.tenant("demo")["intercept_rules"]
    await rules.insert_new([{"_id": f"demo:{number}", "name": str(number)} for number in range(100)])
    with pytest.raises(Conflict, match="intercept_rules_full"):
        await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    assert await bank.store.tenant("demo")["intercept_changes"].count() == 0


async def test_an_answer_of_wecom_that_was_lost_makes_no_second_rule(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Intercept.create

    async def lost(self: Any, *given: Any, **more: Any) -> Any:
        await real(self, *given, **more)
        raise PlatformError(None, "lost", "add_intercept_rule")

    monkeypatch.setattr(Intercept, "create", lost)
    change = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    with pytest.raises(PlatformError):
        await intercepts.approve(await open_bank(bank, "demo"), ZHAO, change)
    assert await state(bank, change) == "approved"
    monkeypatch.undo()
    await intercepts.approve(await open_bank(bank, "demo"), ZHAO, change)
    assert (list(await there(bank)), await state(bank, change)) == (["保本承诺"], "done")
    assert await intercepts.differences(await open_bank(bank, "demo"), LIN) == []


async def test_two_who_approve_at_once_make_one_rule(bank: Services, second: Services) -> None:
    change = await intercepts.submit(await open_bank(bank, "demo"), LIN, PROMISES)
    both = [intercepts.approve(await open_bank(one, "demo"), ZHAO, change) for one in (bank, second)]
    await asyncio.gather(*both, return_exceptions=True)
    assert (list(await there(bank)), await state(bank, change)) == (["保本承诺"], "done")


async def test_what_somebody_did_at_wecom_is_reported_and_what_was_agreed_comes_back(bank: Services) -> None:
    await agree(bank, PROMISES)
    await agree(bank, Rule("返现", "warn", ("返现",), userids=("rm.li",)))
    api, rules = await client(bank), await there(bank)
    await api.intercept.delete(rules["保本承诺"]["rule_id"])
    await api.intercept.update(rules["返现"]["rule_id"], words=["别的"], add_userids=["rm.wang"])
    await api.intercept.create("别人的", ["词"], userids=["rm.chen"])
    assert await intercepts.differences(await open_bank(bank, "demo"), LIN) == [
        {"name": "保本承诺", "kind": "missing", "fields": []},
        {"name": "返现", "kind": "different", "fields": ["userids", "words"]},
        {"name": "别人的", "kind": "unknown", "fields": []},
    ]
    assert await intercepts.bring(await open_bank(bank, "demo"), LIN) == 2
    assert await intercepts.differences(await open_bank(bank, "demo"), LIN) == [
        {"name": "别人的", "kind": "unknown", "fields": []}
    ]
    assert await intercepts.bring(await open_bank(bank, "demo"), LIN) == 0


async def test_one_of_a_rules_range_whom_wecom_does_not_know_holds_up_no_other(bank: Services) -> None:
    at_bank = await open_bank(bank, "demo")
    rule = Rule("保本承诺", "block", ("保本",), userids=("rm.chen", "rm.typo", "rm.li"), departments=(2, 99))
    await agree(bank, rule)
    told = (await there(bank))["保本承诺"]["applicable_range"]
    assert (sorted(told["user_list"]), told["department_list"]) == (["rm.chen", "rm.li"], [2])
    assert await intercepts.differences(at_bank, LIN) == []
    alarms = await bank.store.tenant("demo")["alarms"].find({"kind": "intercept.left_out"})
    assert sorted(str(row["data"]["member"]) for row in alarms) == ["99", "rm.typo"]
    with pytest.raises(PlatformError, match="60111"):
        await agree(bank, Rule("谁也不是", "block", ("保本",), userids=("rm.typo",)))
