"""Segments: what two clerks agreed to is live, and a rule that cannot be read is refused where it is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.approvals import versioned
from customers.banks.bank import Bank
from customers.banks.files import read_tenant_file
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.profiles import refreshing
from customers.segments import document, explaining, rows, versions
from customers.segments.document import FileRefused, SegmentRefused
from operations import profiling
from services.container import Services
from services.documents.problems import Problem
from services.errors import Conflict, Forbidden, NotFound
from tests.conftest import DEMO_BANK
from tests.support import cut_short

DECLARED = {one.key: one for one in read_tenant_file(DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml").fields}
LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
BAND = "customer.balance_band in ['A', 'B']"


@pytest.fixture
def bank(services: Services) -> Bank:
    return replace(Bank(services, "demo"), fields=DECLARED, removed_fields=frozenset({"old_score"}))


def segment(rule: str = BAND, kind: str = "live", **more: Any) -> document.Segment:
    return document.read("x", {"name": {"zh": "高资产", "en": "Wealthy"}, "rule": rule, "kind": kind, **more})


async def submit(bank: Bank, key: str, what: document.Segment, **more: Any) -> int:
    return await versions.submit(bank, LIN, key, what, await profiling.vocabulary(bank), **more)


async def approve(bank: Bank, key: str, version: int, who: ClerkActor = ZHAO) -> None:
    await versions.approve(bank, who, key, version, await profiling.vocabulary(bank))


async def put(bank: Bank, key: str, rule: str = BAND, kind: str = "live") -> None:
    await approve(bank, key, await submit(bank, key, segment(rule, kind)))


async def state(bank: Bank, key: str) -> tuple[str, int | None]:
    row = await rows.find(bank, key)
    assert row is not None
    return row["state"], row["live_version"]


async def test_what_two_clerks_agreed_to_is_live_and_its_author_cannot_agree(bank: Bank) -> None:
    assert await submit(bank, "rich", segment()) == 1
    assert await state(bank, "rich") == ("draft", None)
    with pytest.raises(Forbidden) as mine:
        await approve(bank, "rich", 1, LIN)
    assert mine.value.code == "approver_is_author"
    await approve(bank, "rich", 1)
    assert await state(bank, "rich") == ("live", 1)
    with pytest.raises(Conflict) as same:
        await submit(bank, "rich", segment())
    assert (same.value.code, same.value.data["version"]) == ("segment_unchanged", "1")
    assert await submit(bank, "rich", segment("customer.balance_band == 'A'")) == 2
    with pytest.raises(Conflict) as late:
        await submit(bank, "rich", segment("customer.balance_band == 'B'"), base=1)
    assert late.value.code == "segment_edited_meanwhile"
    await versions.reject(bank, ZHAO, "rich", 2, "太窄")
    assert await state(bank, "rich") == ("live", 1)
    actions = [row["action"] for row in await bank.db["audit"].find({"object": "rich"}, sort=[("seq", 1)])]
    assert sorted(actions) == sorted(
        ["segment.submitted", "segment.approval_refused", "segment.approved", "segment.published"]
        + ["segment.submitted", "segment.rejected"]
    )


async def test_a_version_that_was_changed_after_it_was_submitted_cannot_be_agreed_to(bank: Bank) -> None:
    number = await submit(bank, "rich", segment())
    row_id = versioned.version_id("demo", "rich", number)
    await bank.db["segment_versions"].update({"_id": row_id}, {"$set": {"content.rule": "customer.bound"}})
    with pytest.raises(Conflict) as changed:
        await approve(bank, "rich", number)
    assert changed.value.code == "segment_changed"
    assert await state(bank, "rich") == ("draft", None)


@pytest.mark.parametrize(
    ("rule", "code", "column", "zh"),
    [
        ("customer.bound and customer.old_score > 3", "rule_removed", 20, "已被删除"),
        ("not segment('riich')", "rule_unknown_segment", 13, "rich"),
        ("customer.bound and segment('me')", "rule_circle", 20, "me → me"),
        ("segment('rich') and segment('inner')", "rule_circle", 21, "me → inner → me"),
        ("customer.balance_bandd == 'A'", "rule_field", 1, "customer.balance_band"),
        ("(" * 100 + "customer.bound" + ")" * 100, "rule_deep", 51, ""),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_at_its_column_in_both_languages(
    bank: Bank, rule: str, code: str, column: int, zh: str
) -> None:
    await put(bank, "rich")
    await put(bank, "me")
    await put(bank, "inner", "segment('me')")
    with pytest.raises(SegmentRefused) as refused:
        await submit(bank, "me", segment(rule))
    ((place, said, data),) = refused.value.faults
    assert (place, said, data["column"]) == (("rule",), code, column)
    problem = Problem(1, said, data)
    assert zh in problem.say("zh")
    assert str(column) in problem.say("zh")
    assert problem.say("en") != problem.say("zh")
    assert await bank.db["segment_versions"].count({"segment": "me"}) == 1


async def test_a_segment_that_others_use_stays_and_an_archived_one_is_none_any_more(bank: Bank) -> None:
    await put(bank, "rich")
    number = await submit(bank, "rich_bound", segment("segment('rich') and customer.bound"))
    assert [row["segment"] for row in await versions.users(bank, "rich")] == ["rich_bound"]
    with pytest.raises(Conflict) as used:
        await versions.archive(bank, LIN, "rich", "不再用")
    assert (used.value.code, used.value.data["by"]) == ("segment_used", "rich_bound")
    await approve(bank, "rich_bound", number)
    await approve(bank, "rich_bound", await versions.archive(bank, LIN, "rich_bound", "不再用"))
    await approve(bank, "rich", await versions.archive(bank, LIN, "rich", "不再用"))
    assert await state(bank, "rich") == ("archived", 1)
    with pytest.raises(SegmentRefused):
        await submit(bank, "new", segment("segment('rich')"))


async def _states(bank: Bank, key: str) -> list[tuple[int, str]]:
    return sorted((row["version"], row["state"]) for row in await rows.versions(bank, {"segment": key}))


async def test_a_version_whose_successor_was_cut_short_is_not_live_beside_it(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(bank, "rich", segment())
    with monkeypatch.context() as patched:
        patched.setattr(versioned, "_replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await submit(bank, "rich", segment("customer.bound"))
    assert await _states(bank, "rich") == [(1, "submitted"), (2, "submitted")]
    await approve(bank, "rich", 2)
    with pytest.raises(Conflict, match="segment_decided"):
        await approve(bank, "rich", 1)
    assert (await state(bank, "rich"), await _states(bank, "rich")) == (("live", 2), [(1, "replaced"), (2, "live")])


async def test_a_version_that_is_written_after_a_newer_one_does_not_wait_beside_it(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = versioned._added

    async def late(*args: Any) -> bool:
        monkeypatch.setattr(versioned, "_added", real)
        words = await profiling.vocabulary(bank)
        assert await versions.submit(bank, ZHAO, "rich", segment("customer.bound"), words) == 2
        return await real(*args)

    monkeypatch.setattr(versioned, "_added", late)
    assert await submit(bank, "rich", segment()) == 1
    assert await _states(bank, "rich") == [(1, "replaced"), (2, "submitted")]
    with pytest.raises(Conflict, match="segment_decided"):
        await approve(bank, "rich", 1)


async def test_a_rule_over_a_segment_to_which_nobody_agreed_waits_for_it(bank: Bank) -> None:
    first = await submit(bank, "rich", segment())
    over = await submit(bank, "over", segment("segment('rich')"))
    with pytest.raises(Conflict) as waits:
        await approve(bank, "over", over)
    assert waits.value.code == "segment_not_live"
    await approve(bank, "rich", first)
    await approve(bank, "over", over)
    assert await state(bank, "over") == ("live", 1)


async def test_whoever_was_cut_short_before_his_first_version_may_submit_it_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_short.before_its_version(monkeypatch, lambda: submit(bank, "rich", segment(), base=0))
    view = await versions.view(bank, "rich", await profiling.vocabulary(bank))
    assert (view.state, view.newest, view.base) == ("draft", segment(), 0)
    assert await submit(bank, "rich", segment(), base=0) == 1
    with pytest.raises(Conflict, match="segment_exists"):
        await submit(bank, "rich", segment("customer.bound"), base=0)


FILE = """\
kind: segments/v1
segments:
  over:
    name: {zh: 高资产已绑定, en: Wealthy and bound}
    rule: segment('rich') and customer.bound
  rich:
    name: {zh: 高资产, en: Wealthy}
    rule: customer.balance_band in ['A', 'B']
"""


async def test_a_file_puts_what_is_used_first_and_tells_each_mistake_at_its_line(bank: Bank) -> None:
    async def apply(text: str) -> list[str]:
        wanted, parsed = document.read_file(text, "s.yaml")
        words = await profiling.vocabulary(bank, new=wanted)
        named = document.check_file(wanted, parsed, "s.yaml", words, await versions.uses(bank))
        return await versions.apply(bank, wanted, named, words, "cli:ops")

    assert await apply(FILE) == ["segment rich: version 1 is live", "segment over: version 1 is live"]
    again = ["segment rich: version 1 is this already", "segment over: version 1 is this already"]
    assert await apply(FILE) == again
    wrong = FILE.replace("['A', 'B']", "['A', 'Z']").replace("customer.bound", "segment('over')")
    with pytest.raises(FileRefused) as refused:
        await apply(wrong)
    assert [(one.line, one.code) for one in refused.value.problems] == [(5, "rule_circle"), (8, "rule_choice")]


async def test_why_tells_the_whole_tree_of_a_customer(bank: Bank) -> None:
    cid = await resolution.identify(bank, Facts(external_userid="wm1"), source="callback", proof="e1")
    await put(bank, "rich", "customer.balance_band in ['A', 'B'] and customer.bound")
    words = await profiling.vocabulary(bank)
    with pytest.raises(NotFound) as unknown:
        await explaining.explained(bank, "rich", cid, words)
    assert unknown.value.code == "profile_unknown"
    await values.write_many(bank, [Update(cid, {"balance_band": "C"}, 10.0, "core", "e1")])
    await refreshing.refresh(bank, [cid], profiling.SOURCES)
    found = await explaining.explained(bank, "rich", cid, words)
    assert (found.truth, found.reasons) == (
        False, ("not_met:customer.balance_band", "not_met:customer.bound"),
    )  # fmt: skip
    told = [(line.depth, line.met, line.rule) for line in explaining.lines(found, "zh")]
    assert told == [
        (0, False, "customer.balance_band in ['A', 'B'] and customer.bound"),
        (1, False, "customer.balance_band in ['A', 'B']"),
        (1, False, "customer.bound"),
    ]
