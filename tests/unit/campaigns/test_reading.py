"""A campaign file with a fault: the file, the line, and what was expected; nothing is applied."""

from __future__ import annotations

import pytest

from campaigns.document.model import Campaign
from campaigns.document.reading import DocumentError, read
from tests.conftest import DEMO_CAMPAIGNS
from tests.support.documents import BRANCHES, REWARDS, WELCOME

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read(text, "f.yaml", BRANCHES)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WELCOME + HI + "colour: red\n", "f.yaml:12: colour: unknown key; expected one of kind, id, name, owner"),
        (
            WELCOME + "- {id: a, sned: {via: staff, template: hi}}\n",
            "f.yaml:11: steps.0.sned: unknown key; expected one of id, when, note, send, tag, grant, wait, exit",
        ),
        (
            WELCOME + "- {id: a}\n",
            "f.yaml:11: steps.0: expected exactly one verb of send, tag, grant, wait, exit, found none",
        ),
        (
            WELCOME + "- {id: a, exit: x, tag: {add: [t]}}\n",
            "f.yaml:11: steps.0: expected exactly one verb of send, tag, grant, wait, exit, found tag, exit",
        ),
        (
            WELCOME + "- {id: a, send: {via: staff, template: nope}}\n",
            "f.yaml:11: unknown template nope; expected ['hi', 'note']",
        ),
        (WELCOME + "- {id: a, send: {via: sms, template: hi}}\n", "f.yaml:11: steps.0.send.via: Input should be "),
        (WELCOME + "- {id: a, grant: {reward: nope}}\n", "f.yaml:11: unknown reward nope; expected a rewards block"),
        (WELCOME + HI + HI, "f.yaml:12: the step id hi stands twice"),
        (WELCOME + "- {id: a, tag: {}}\n", "f.yaml:11: steps.0.tag: expected add or del"),
        (WELCOME + '- {id: a, tag: {add: ["{{no.such}}"]}}\n', "f.yaml:11: unknown placeholder in {{no.such}}"),
        (
            WELCOME + "- {id: a, wait: {for: 5}}\n",
            "f.yaml:11: steps.0.wait.for: expected a duration such as 90s, 15m, 2h or 7d; found the number 5",
        ),
        (WELCOME + "- {id: a, wait: {for: 5y}}\n", "f.yaml:11: steps.0.wait.for: expected a duration such as 90s"),
        (
            WELCOME + "- {id: a, wait: {for: 3天}}\n",
            'f.yaml:11: steps.0.wait.for: expected a duration such as 90s, 15m, 2h or 7d; found the text "3天"; write 3d',
        ),
        (
            WELCOME.replace("to: 2029-12-31", "to: 2029/2/28") + HI,
            'f.yaml:4: window.to: expected a day; found the text "2029/2/28"; write 2029-02-28',
        ),
        (
            WELCOME.replace("to: 2029-12-31", "to: 20304000") + HI,
            "f.yaml:4: window.to: expected a day; found the number 20304000; for example 2027-01-31",
        ),
        (REWARDS.replace("stock: 10", "stock: true"), "f.yaml:8: rewards.cup.stock: Input should be a valid integer"),
        (
            REWARDS.replace("stock: 10", "stock: '0100'"),
            'f.yaml:8: rewards.cup.stock: Input should be a valid integer; found the text "0100"; write 100',
        ),
        (
            WELCOME + "".join(f"- {{id: s{n}, exit: x}}\n" for n in range(201)),
            "f.yaml:10: 201 steps; over all levels there are at most 200",
        ),
        (WELCOME + "- {id: a, wait: {}}\n", "f.yaml:11: steps.0.wait: expected exactly one of for, until, event"),
        (
            WELCOME + "- {id: a, wait: {event: reward.claimed}}\n",
            "f.yaml:11: steps.0.wait: a wait for an event needs a timeout",
        ),
        (
            WELCOME + "- {id: a, wait: {until: 2027-01-01T10:00:00}}\n",
            "f.yaml:11: steps.0.wait: expected until with a time zone",
        ),
        (
            WELCOME + "- {id: a, wait: {for: 1d, else: [{id: b, exit: x}]}}\n",
            "f.yaml:11: steps.0.wait: only a wait for an event has an else",
        ),
        (
            WELCOME + "- id: a\n  wait:\n    event: reward.claimed\n    timeout: 1d\n    else:\n"
            "    - {id: b, send: {via: staff, template: nope}}\n",
            "f.yaml:16: unknown template nope; expected ['hi', 'note']",
        ),
        (
            WELCOME + '- {id: a, when: "nobody.knows == 1", exit: x}\n',
            "f.yaml:11: column 1: unknown field nobody.knows; expected one of",
        ),
        (WELCOME + '- {id: a, when: "1 +", exit: x}\n', "f.yaml:11: column "),
        (
            WELCOME.replace("codes('c')", "codes('d')") + HI,
            "f.yaml:5: column 23: unknown codes 'd'; expected one of ['c']",
        ),
        (
            WELCOME.replace("branches: all", "branches: [moon]") + HI,
            "f.yaml:6: unknown branch moon; expected one of ['gz-tianhe'",
        ),
        (WELCOME.replace("campaign/v1", "campaign/v9") + HI, "f.yaml:1: kind: Input should be 'campaign/v1'"),
        (WELCOME.replace("id: hello", "id: Hello!") + HI, "f.yaml:2: id: String should match pattern"),
        (WELCOME.replace("id: hello\n", "") + HI, "f.yaml:1: id: missing"),
        (WELCOME.replace("to: 2029", "to: 2025") + HI, "f.yaml:4: window: the window ends before it begins"),
        (WELCOME.replace("to: 2029-12-31", "to: 2029-02-30") + HI, "f.yaml:4: "),
        (WELCOME.replace("to: 2029-12-31", "to: 2029-12-31, tz: Mars/Base") + HI, "f.yaml:4: "),
        (WELCOME.replace("to: 2029-12-31", "to: 9999-12-31") + HI, "f.yaml:4: "),
        (WELCOME.replace("from: 2026-01-01", "from: 0001-01-01") + HI, "f.yaml:4: "),
        (
            WELCOME.replace("您好", "您好，分享即可领奖") + HI,
            "f.yaml:8: a reward for sharing or following is banned by WeChat",
        ),
        (
            WELCOME.replace("{{customer.name}}您好", "{{customer.nmae}}您好") + HI,
            "f.yaml:8: unknown placeholder; expected one of",
        ),
        (
            WELCOME.replace("entry: {by: scan, when: \"channel.code in codes('c')\"}\n", "") + HI,
            "f.yaml:9: nobody can enter: expected an entry block",
        ),
        (WELCOME.replace("by: scan", "by: magic") + HI, "f.yaml:5: entry.by: Input should be 'scan'"),
        (
            REWARDS.replace("budget: 100000", "budget: 99"),
            "f.yaml:8: one costs 100 fen, more than the whole budget of 99, so that none could be given",
        ),
        (
            REWARDS.replace("cost: 100", "cost: 5000001"),
            "f.yaml:8: rewards.cup.cost: Input should be less than or equal to 5000000",
        ),
        (
            REWARDS.replace("stock: 10", "stock: -1"),
            "f.yaml:8: rewards.cup.stock: Input should be greater than or equal to 0",
        ),
        (REWARDS.replace(", claim: anyone", ""), "f.yaml:8: no step grants it; grant it, or set claim: anyone"),
        (
            REWARDS.replace("claim: anyone", "claim: staff"),
            "f.yaml:8: a reward that RMs offer (claim: staff) needs an allowance, and only such a one may have it",
        ),
        (
            REWARDS.replace("claim: anyone", "claim: anyone, allowance: {rm: 5}"),
            "f.yaml:8: a reward that RMs offer (claim: staff) needs an allowance, and only such a one may have it",
        ),
        (
            REWARDS.replace("claim: anyone", "claim: staff, allowance: {rm: 501}"),
            "f.yaml:8: rewards.cup.allowance.rm: Input should be less than or equal to 500",
        ),
        (
            REWARDS.replace("claim: anyone", "claim: staff, allowance: {boss: 5}"),
            "f.yaml:8: rewards.cup.allowance.boss: unknown key; expected one of rm, head",
        ),
        (REWARDS.replace("money: {budget: 100000}\n", ""), "f.yaml:6: a campaign with rewards needs money"),
        (
            REWARDS.replace("claim_by: 2029-12-31", "claim_by: 2025-12-31"),
            "f.yaml:6: the last day to claim, 2025-12-31, lies before the first day, 2026-01-01",
        ),
        (REWARDS.replace("host: 银行, ", ""), "f.yaml:6: disclosure.host: missing"),
        (REWARDS.replace("budget: 100000", "budget: 100,000"), "f.yaml:5: a number has no comma before its thousands"),
        (REWARDS.replace("cost: 100,", "cost: 1,200,"), "f.yaml:8: a number has no comma before its thousands"),
        (
            REWARDS.replace("stock: 10", "stock: 2万张"),
            'f.yaml:8: rewards.cup.stock: Input should be a valid integer; found the text "2万张"; write 20000',
        ),
        (REWARDS + "rewards: {}\n", "f.yaml:9: the key rewards stands twice"),
        (WELCOME + HI + "5: 1\n", "f.yaml:12: 5: unknown key; expected one of kind, id"),
        (
            REWARDS.replace("cup:", "100:"),
            "f.yaml:8: rewards.100: Input should be a valid string; found the number 100",
        ),
        (
            REWARDS.replace("cup:", "on:"),
            'f.yaml:8: the key on could be read as something else than a text; write "on"',
        ),
        (REWARDS.replace("  cup", "\u00a0\u00a0cup"), "f.yaml:8: not YAML: unknown key "),
        (REWARDS.replace("stock: 10", "stock:\u00a010"), "f.yaml:8: not YAML: unknown key stock"),
        (
            WELCOME.replace("branches: all", "branches: sz-nanshan") + HI,
            'f.yaml:6: codes.c.branches: Input should be a valid list; found the text "sz-nanshan"; write [sz-nanshan]',
        ),
        (
            WELCOME.replace("branches: all", "branches: All") + HI,
            "f.yaml:6: codes.c.branches: Input should be 'all'; found the text \"All\"; did you mean all?",
        ),
        (
            WELCOME.replace("branches: all", "branches: [12]") + HI,
            'f.yaml:6: codes.c.branches.0: Input should be a valid string; found the number 12; write "12"',
        ),
        (
            WELCOME.replace("to: 2029-12-31", "to: 2029-12-31, tz: 北京") + HI,
            'f.yaml:4: window.tz: expected a time zone; found the text "北京"; write Asia/Shanghai',
        ),
        (
            WELCOME.replace("to: 2029-12-31", "to: 2029-12-31, tz: asia/shanghai") + HI,
            'f.yaml:4: window.tz: expected a time zone; found the text "asia/shanghai"; write Asia/Shanghai',
        ),
        (
            WELCOME.replace('{zh: "{{customer.name}}您好"}', "您好") + HI,
            'f.yaml:8: templates.hi: expected keys and values, such as key: value; found the text "您好"',
        ),
        ("kind: campaign/v1\nid: [a\n", "f.yaml:3: not YAML: "),
        ("- a\n- b\n", "f.yaml:1: expected a mapping that begins with kind: campaign/v1"),
        ("", "f.yaml:1: expected a mapping that begins with kind: campaign/v1"),
        (WELCOME + HI + "---\nkind: campaign/v1\n", "f.yaml:12: not YAML: "),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_was_expected(text: str, expected: str) -> None:
    found = problems(text)
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize("branches", ["sz-nanshan", "All", "[12]", "[on]", "5", "true"])
def test_what_is_a_word_or_a_list_has_one_fault(branches: str) -> None:
    assert len(problems(WELCOME.replace("branches: all", f"branches: {branches}") + HI)) == 1


def test_all_faults_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = WELCOME.replace("branches: all", "branches: [moon]") + "- {id: a, send: {via: staff, template: nope}}\n"
    assert [problem.split(":")[1] for problem in problems(text)] == ["6", "11"]


@pytest.mark.parametrize("file", ["branch-acquisition.yaml", "flash.yaml"])
def test_the_demos_campaigns_have_no_faults_and_survive_storing(file: str) -> None:
    document = read((DEMO_CAMPAIGNS / file).read_text(encoding="utf-8"), file, BRANCHES)
    stored = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Campaign.model_validate(stored) == document


def test_every_verb_is_read_and_survives_storing() -> None:
    text = WELCOME + (
        "- {id: hi, send: {via: wecom.welcome, template: hi, fallback: [staff]}}\n"
        "- {id: t, note: why, tag: {add: [a], del: [b]}}\n"
        "- {id: p, wait: {for: 90s}}\n"
        '- {id: u, wait: {until: "2027-02-01T10:00:00+08:00"}}\n'
        "- {id: w, wait: {event: reward.claimed, timeout: 1d, else: [{id: n, send: {via: staff, template: note}}]}}\n"
        "- {id: x, when: \"channel.branch == 'sz-nanshan'\", exit: done}\n"
    )
    document = read(text, "f.yaml", BRANCHES)
    assert [step.verb for _, step in document.all_steps()] == ["send", "tag", "wait", "wait", "wait", "send", "exit"]
    stored = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Campaign.model_validate(stored) == document
