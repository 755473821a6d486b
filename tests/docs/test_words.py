"""Pages, messages and documents say one word for one thing, and quote no button that has another name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import ROOT
from tests.docs import words
from tests.docs.words import LANGUAGES

GLOSSARY = ROOT / "docs" / "glossary.md"
RETIRED = words.listed(GLOSSARY.read_text(encoding="utf-8"))
SANDBOX = ROOT / "sandbox" / "web"
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "docs" / "flow.svg",
        ROOT / "sandbox" / "README.md",
    ]
    if path != GLOSSARY
)
PAGES = sorted([*(ROOT / "web" / "templates").rglob("*.html"), *SANDBOX.rglob("*.html"), *SANDBOX.rglob("*.js")])
COMMANDS = [ROOT / "manage.py", *sorted((ROOT / "deploy").glob("*.py"))]
TO_CUSTOMERS = {
    "code:not_eligible",
    "code:quota_customer",
    "code:quota_branch",
    "code:quota_staff",
    "code:exclusive",
    "code:stack",
    "code:done_withdrawn",
    "code:plain_welcome",
    "code:done_gift_offered",
    "code:done_gift_taken",
    "code:voucher_elsewhere",
    "code:voucher_story_expired",
    "code:voucher_story_recalled",
    "code:voucher_story_refunded",
}
"""Codes whose texts customers read."""
WRITTEN = ("code:problem_", "code:read_", "code:card_")
"""Texts that quote what a clerk wrote in a file, or what something is called, and no button."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def said() -> Iterator[tuple[str, str, bool]]:
    for language in LANGUAGES:
        for msgid, text in words.catalogue(ROOT, language).items():
            yield f"{language}: {msgid}", text, True
    for path in [*DOCUMENTS, *PAGES]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{name(path)}:{number}", re.sub(r"`[^`]*`|\b(?:class|href|id)=\"[^\"]*\"", "", line), False
    for path in COMMANDS:
        for number, text in _strings(path):
            yield f"{name(path)}:{number}", text, False


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """What a command prints: the sentences among its strings."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for text in re.findall(r'"([^"]* [^"]*)"', line):
            yield number, text


def test_retired_words_are_said_nowhere() -> None:
    assert len(RETIRED) > 30
    assert words.uses(RETIRED, said()) == []


@pytest.mark.parametrize(
    ("text", "label", "found"),
    [
        ("领取奖励", True, ["奖励"]),
        ("Handed in by lin", True, ["handed in"]),
        ("It was handed in yesterday", False, ["handed in"]),
        ("Go on", True, ['"Go on"']),
        ("They go on", True, []),
        ("history", False, []),
    ],
)
def test_a_retired_word_is_found_where_it_is_said(text: str, label: bool, found: list[str]) -> None:
    retired = {"奖励": "权益", "handed in": "submitted", '"Go on"': "Resume", "story": "timeline"}
    expected = [f"here: {word} (say {retired[word]})" for word in found]
    assert words.uses(retired, iter([("here", text, label)])) == expected


def test_both_catalogues_say_everything_once() -> None:
    zh, en = (words.catalogue(ROOT, language) for language in LANGUAGES)
    assert zh.keys() == en.keys()
    assert [msgid for texts in (zh, en) for msgid, text in texts.items() if not text.strip()] == []
    for language in LANGUAGES:
        path = ROOT / "web" / "locale" / LANGUAGES[language] / "LC_MESSAGES" / "yinqiao.po"
        ids = re.findall(r"^msgid (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(ids) == sorted(set(ids)), language


def test_every_text_of_a_template_is_in_the_catalogues() -> None:
    known = words.catalogue(ROOT, "zh")
    found = [
        f"{name(path)}: {text}"
        for path in (ROOT / "web" / "templates").rglob("*.html")
        for text in re.findall(r"""_\((["'])(.+?)\1\)""", path.read_text(encoding="utf-8"))
        for text in [text[1].replace('\\"', '"')]
        if text not in known
    ]
    assert found == []


def test_customers_are_called_by_the_polite_word_and_staff_by_the_plain_one() -> None:
    zh = words.catalogue(ROOT, "zh")
    preview = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "web" / "templates" / "h5").glob("*.html"))
    to_customers = {msgid for msgid in zh if f'_("{msgid}")' in preview} | TO_CUSTOMERS
    assert [msgid for msgid, text in zh.items() if "您" in text and msgid not in to_customers] == []
    assert [msgid for msgid in to_customers if "你" in zh[msgid]] == []
    assert [
        name(path)
        for path in [*SANDBOX.rglob("*.html"), *SANDBOX.rglob("*.js"), ROOT / "README.zh-CN.md"]
        if "您" in path.read_text(encoding="utf-8")
    ] == []


def sayings() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        yield name(path), path.read_text(encoding="utf-8")
    for language in LANGUAGES:
        for msgid, text in words.catalogue(ROOT, language).items():
            if not msgid.startswith(WRITTEN):
                yield f"{language}: {msgid}", text


def test_whatever_is_quoted_is_called_so() -> None:
    labels = {text for language in LANGUAGES for text in words.catalogue(ROOT, language).values()}
    sandbox = "".join(path.read_text(encoding="utf-8") for path in PAGES if SANDBOX in path.parents)
    accounts = (ROOT / "config" / "demo" / "tenant.yaml").read_text(encoding="utf-8")
    unknown = [
        f"{place}: {label}"
        for place, text in sayings()
        for label in words.quoted(text)
        if label not in labels and not _stands_in(label, sandbox) and not _stands_in(label, accounts)
    ]
    assert unknown == []


def _stands_in(label: str, text: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(label)}(?![\w])", text) is not None
