"""What a document may say of codes, links and groups, and what is refused with its line."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.document.reading import DocumentError, read
from campaigns.document.states import states_of_rules, wanted_states
from tests.support.documents import BRANCHES, WELCOME

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"
CODES = "codes: {c: {per: branch, branches: all}}\n"
LINE = WELCOME.splitlines().index(CODES.strip()) + 1


def problems(codes: str = CODES, steps: str = HI, **swap: str) -> list[str]:
    """What is wrong when the line of codes is `codes`, as `line: message`."""
    text = WELCOME.replace(CODES, codes) + steps
    for old, new in swap.items():
        text = text.replace(old, new)
    try:
        read(text, "t", BRANCHES)
    except DocumentError as error:
        return [f"{problem.line}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        ("{from: 09:00, to: 18:00, staff: [rm.li]}", []),
        ("{from: '09:00', to: '18:30', days: [mon, sun], staff: [rm.li]}", []),
        ("{from: 9am, to: 18:00, staff: [rm.li]}", ["codes.c.slots.0.from"]),
        ("{from: 09:00, to: '24:00', staff: [rm.li]}", ["codes.c.slots.0.to"]),
        ("{from: 09:00, to: 18:00, staff: []}", ["codes.c.slots.0.staff"]),
        ("{from: 09:00, to: 18:00, days: [monday], staff: [rm.li]}", ["codes.c.slots.0.days.0"]),
        ("{from: 09:00, to: 18:00, who: [rm.li]}", ["codes.c.slots.0.staff", "codes.c.slots.0.who"]),
    ],
)
def test_slots_are_checked(slot: str, expected: list[str]) -> None:
    found = problems(f"codes: {{c: {{branches: all, slots: [{slot}], daily_cap: 3, backup: [rm.wang]}}}}\n")
    assert [one.split(": ", 2)[1] for one in found] == expected


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ("{ads: {branches: all}}", []),
        ("{ads: {staff: [rm.li]}}", []),
        ("{ads: {}}", ["links.ads: expected either branches or staff"]),
        ("{ads: {branches: all, staff: [rm.li]}}", ["links.ads: expected either branches or staff"]),
        ("{ads: {branches: [mars]}}", [f"unknown branch mars; expected one of {sorted(BRANCHES)}"]),
        ("{c: {branches: all}}", ["the name c is taken by another code"]),
    ],
)
def test_links_are_checked(links: str, expected: list[str]) -> None:
    assert problems(f"{CODES}links: {links}\n") == [f"{LINE + 1}: {one}" for one in expected]


def test_a_state_that_is_too_long_is_refused() -> None:
    name = "a" * 25
    found = problems(f"{CODES}links: {{{name}: {{branches: [sz-nanshan]}}}}\n")
    assert found == [f"{LINE + 1}: the state {name}.sz-nanshan is longer than 30 characters"]


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("{groups: [wrA, wrB], room_base_name: 群, room_base_id: 2, auto_create_room: false}", ""),
        ("{groups: []}", "group_codes.talk.groups"),
        ("{groups: [a, b, c, d, e, f]}", "group_codes.talk.groups"),
        ("{groups: [a], full_at: 501}", "group_codes.talk.full_at"),
        (f"{{groups: [a], room_base_name: {'群' * 41}}}", "group_codes.talk.room_base_name"),
    ],
)
def test_group_codes_are_checked(code: str, bad: str) -> None:
    found = problems(f"{CODES}group_codes: {{talk: {code}}}\n")
    assert [one.split(": ", 2)[1] for one in found] == ([bad] if bad else [])


def greeting(text: str, template: str = "all") -> list[str]:
    codes = f"{CODES}group_welcome: {{hello: {{template: {template}}}}}\n"
    return problems(codes, HI, **{"templates:\n": f'templates:\n  all: {{zh: "{text}"}}\n'})


def test_a_groups_greeting_knows_the_bank_and_the_nickname_only() -> None:
    assert greeting("%NICKNAME%，欢迎来到{{bank.name}}") == []
    assert [one.split(": ", 1)[1] for one in greeting("{{customer.name}}您好")] == [
        "nobody is known when a group is greeted: expected {{bank.name}} or %NICKNAME% only"
    ]
    assert [one.split(": ", 1)[1] for one in greeting("您好", "none")] == [
        "unknown template none; expected ['all', 'hi', 'note']"
    ]


@pytest.mark.parametrize(
    ("steps", "length", "most"),
    [
        (HI, 1333, None),
        (HI, 1334, 4000),
        ("- {id: a, send: {via: staff, template: hi}}\n", 682, None),
        ("- {id: a, send: {via: staff, template: hi}}\n", 683, 2048),
        ("- {id: a, send: {via: wecom.welcome, template: hi, fallback: [staff]}}\n", 683, 2048),
    ],
)
def test_a_text_is_as_long_as_its_shortest_use_takes(steps: str, length: int, most: int | None) -> None:
    """A han character has three bytes."""
    found = problems(CODES, steps, **{"{{customer.name}}您好": "好" * length})
    assert [one.split(": ", 1)[1] for one in found] == ([f"longer than {most} bytes"] if most else [])


def test_a_greeting_of_groups_has_3000_bytes() -> None:
    assert greeting("好" * 1000) == []
    assert [one.split(": ", 1)[1] for one in greeting("好" * 1001)] == ["longer than 3000 bytes"]


def test_a_nickname_is_for_groups_only() -> None:
    found = problems(CODES, HI, **{"{{customer.name}}您好": "%NICKNAME%您好"})
    assert [one.split(": ", 1)[1] for one in found] == ["%NICKNAME% is filled in greetings of groups only"]


def test_links_count_in_rules_as_codes_do() -> None:
    text = WELCOME.replace(CODES, f"{CODES}links: {{ads: {{branches: [gz-tianhe]}}, vip: {{staff: [rm.li]}}}}\n") + HI
    document: Any = read(text, "t", BRANCHES)
    rules = states_of_rules(document, BRANCHES)
    assert (rules["ads"], rules["vip"], len(rules["c"])) == (["ads.gz-tianhe"], ["vip"], 3)
    assert wanted_states(document, BRANCHES)[1] == ("acquisition link", ["ads.gz-tianhe", "vip"])
