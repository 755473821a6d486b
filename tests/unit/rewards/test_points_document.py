"""The points programme as a document: what it says, what it costs, and everything that it may not say."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from customers.banks.files import MiniProgram, read_tenant_file
from deploy import demo
from rewards.points import document
from rewards.points.document import Program, ProgramError

APPID = "wx5ab0000000000001"
BANKS = {APPID: MiniProgram(appid=APPID, name="银桥", secret="s" * 32, templates=["tpl-points"])}
SHANGHAI = ZoneInfo("Asia/Shanghai")
TEXT = """kind: points/v1
id: points
name: {zh: 银桥积分, en: Yinqiao Points}
cost: 800
lifetime: 365
notice:
  days: 30
  appid: wx5ab0000000000001
  template: tpl-points
  fields: {thing1: program, number2: points, date3: date}
rules:
  login:
    title: {zh: 每日登录, en: Signing in}
    event: customer.login
    points: 10
    per_day: 50
"""


def _value(**changes: Any) -> dict[str, Any]:
    rule = {"title": {"zh": "登录"}, "event": "customer.login", "points": 10, "per_day": 50}
    base: dict[str, Any] = {
        "kind": "points/v1",
        "id": "points",
        "name": {"zh": "积分"},
        "cost": 800,
        "lifetime": 365,
        "rules": {"login": {**rule, **changes.pop("rule", {})}},
    }
    return base | changes


def test_a_programme_is_read_from_a_file_and_comes_back_as_it_was() -> None:
    program = document.read(TEXT, "points.yaml", BANKS)
    assert (program.name.en, program.rules["login"].per_day, program.lifetime_of("login")) == (
        "Yinqiao Points",
        50,
        365,
    )
    dumped = program.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Program.model_validate(dumped) == program


@pytest.mark.parametrize(
    ("line", "wrong", "told"),
    [
        ("points: 10", "points: -10", "points.yaml:15: "),
        ("points: 10", "points: 1.5", "points.yaml:15: "),
        ("points: 10", "points: 99999999999999999999", "points.yaml:15: "),
        ("event: customer.login", "event: nothing", "there is no event nothing"),
        ("per_day: 50", "per_day: 9", "at most 9 is less than the 10 points of each time"),
        ("per_day: 50", "per_week: 50", "points.yaml:16: "),
        ("template: tpl-points", "template: other", "no template other"),
        ("thing1: program", "phrase1: points", "WeChat does not take this in the field phrase1"),
        ("lifetime: 365", "lifetime: 0", "points.yaml:5: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: str, wrong: str, told: str) -> None:
    with pytest.raises(ProgramError, match="points_document") as refused:
        document.read(TEXT.replace(line, wrong), "points.yaml", BANKS)
    assert told in str(refused.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "kind: points/v1\n\tid: x"])
def test_a_file_that_is_no_programme_is_refused(text: str) -> None:
    with pytest.raises(ProgramError):
        document.read(text, "points.yaml", BANKS)


def test_a_forms_faults_name_their_fields() -> None:
    wrong = _value(rule={"points": "many", "from": "2026-12-31", "to": "2026-01-01"}, lifetime=0)
    with pytest.raises(ProgramError) as refused:
        document.check(wrong, BANKS)
    assert set(refused.value.fields) == {"rules.login.points", "lifetime"}


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ProgramError) as refused:
        document.check(_value(rule={"from": "2026-12-31", "to": "2026-01-01"}), BANKS)
    assert list(refused.value.fields) == ["rules.login.to"]


def test_a_rule_holds_from_its_first_to_its_last_day_while_it_is_live() -> None:
    window = {"from": "2026-11-01", "to": "2026-11-30"}
    rule = document.check(_value(rule=window), BANKS).rules["login"]
    days = [date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1)]
    assert [rule.holds(day) for day in days] == [False, True, True, False]
    paused = document.check(_value(rule={"state": "paused"}), BANKS).rules["login"]
    assert not paused.holds(date(2026, 11, 1))


def test_caps_are_of_the_banks_day_and_month() -> None:
    rule = document.check(_value(rule={"per_month": 300, "ever": 1000}), BANKS).rules["login"]
    assert rule.caps(date(2026, 11, 30)) == {"day-20261130": 50, "month-202611": 300, "ever": 1000}


def test_points_expire_at_the_midnight_after_their_last_day() -> None:
    assert document.expires(date(2026, 11, 30), 365, SHANGHAI) == datetime(2027, 12, 1, tzinfo=SHANGHAI)
    assert document.expires(date(2026, 11, 30), 1, SHANGHAI) == datetime(2026, 12, 2, tzinfo=SHANGHAI)


@pytest.mark.parametrize(("points", "fen"), [(0, 0), (1, 1), (625, 500), (1_000, 800), (10**15, 8 * 10**14)])
def test_the_cost_is_in_whole_fen_half_a_fen_up(points: int, fen: int) -> None:
    assert document.check(_value(), BANKS).cost_of(points) == fen


def test_changes_are_told_field_by_field() -> None:
    new = _value(rule={"points": 20, "ever": 500})
    assert document.changes(_value(), new) == [("rules.login.points", 10, 20), ("rules.login.ever", None, 500)]
    assert document.changes(None, {"id": "a"}) == [("id", None, "a")]


def test_the_demonstration_banks_programme_is_right() -> None:
    bank = read_tenant_file(demo.BANK.read_text(encoding="utf-8"), demo.BANK.name)
    programs = {one.appid: one for one in bank.miniprograms}
    program = document.read(demo.POINTS.read_text(encoding="utf-8"), demo.POINTS.name, programs)
    assert program.rules["login"].caps(date(2026, 11, 30)) == {"day-20261130": 50}
