"""Sentences made of a code and data, for whoever is at no page of ours."""

from __future__ import annotations

import re

import pytest

from deploy.processes import ROOT
from services.texts import LOCALES, Language, in_every_language, sentence

LANGUAGES: tuple[Language, ...] = ("zh", "en")


def kinds_of_alarms() -> list[str]:
    """Those of the reference."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    part = text.split("\n## Alarms\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z_.]+)` \|", part, re.MULTILINE)


def test_data_stands_in_its_places() -> None:
    assert sentence("card_code.nobody", state="c.sz-nanshan") == "活码c.sz-nanshan已无可接待的客户经理"
    assert sentence("card_links.quota_expiring", number=30, days=7) == "30个获客额度将在7天内到期"
    assert sentence("card_more", "en", count=35) == "35 more in the console"
    assert in_every_language("stage_claimed") == {"zh": "已领取", "en": "Claimed"}


def test_what_has_no_sentence_is_its_code_and_a_place_without_data_is_empty() -> None:
    assert sentence("card_something.else", state="x") == "card_something.else"
    assert sentence("card_code.nobody") == "活码已无可接待的客户经理"


def test_data_is_no_format_of_its_own() -> None:
    assert sentence("card_link.deleted", state="{count}") == "获客链接{count}已被删除"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_alarm_has_a_sentence_for_the_console_and_for_a_card(language: Language) -> None:
    kinds = kinds_of_alarms()
    assert len(kinds) > 10
    for code in [f"{how}_{kind}" for kind in kinds for how in ("alarm", "card")]:
        assert sentence(code, language) != code


def test_both_languages_have_the_same_places() -> None:
    found = re.compile(r'^msgid "code:(card_[a-z_.]+)"$', re.MULTILINE)
    path = ROOT / "web" / "locale" / LOCALES["zh"] / "LC_MESSAGES" / "yinqiao.po"
    codes = found.findall(path.read_text(encoding="utf-8"))
    assert len(codes) > 20
    given = {name: f"<{name}>" for name in ("state", "count", "number", "days")}
    for code in codes:
        zh, en = (sorted(re.findall(r"<[a-z]+>", sentence(code, language, **given))) for language in LANGUAGES)
        assert zh == en, code
