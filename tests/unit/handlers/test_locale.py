"""Both languages have every text, and the compiled catalogues are those of the sources."""

from __future__ import annotations

import ast
import gettext
import re

import pytest
from tornado import locale

from deploy.processes import ROOT
from handlers.console.base import GROUPS
from handlers.http.pages import language_of, load_locale
from services.texts import LOCALES

WEB = ROOT / "web"
CALLED = re.compile(r"\b_\((\"[^\"]*\"|'[^']*')")
ENTRY = re.compile(r'^msgid ((?:"[^\n]*"\n)+)msgstr ((?:"[^\n]*"\n?)+)', re.MULTILINE)
NEVER_ON_A_PAGE = {"callback_replayed", "push_not_configured", "run_busy", "tenant_file"}
"""Told to platforms, workers and the command line alone."""


def _text(quoted: str) -> str:
    return "".join(ast.literal_eval(line) for line in quoted.splitlines())


def _source(language: str) -> dict[str, str]:
    path = WEB / "locale" / language / "LC_MESSAGES" / "yinqiao.po"
    return {_text(key): _text(value) for key, value in ENTRY.findall(path.read_text(encoding="utf-8"))}


def _used() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (WEB / "templates").rglob("*.html")]
    sections = {name for title, listed in GROUPS for name in (title, *(one[0] for one in listed))}
    return sections | {str(ast.literal_eval(found)) for text in texts for found in CALLED.findall(text)}


@pytest.mark.parametrize("language", LOCALES.values())
def test_the_compiled_catalogue_is_that_of_the_source(language: str) -> None:
    source = _source(language)
    compiled = gettext.translation("yinqiao", str(WEB / "locale"), languages=[language])
    catalogue = {key: value for key, value in compiled._catalog.items() if key}  # type: ignore[attr-defined]
    assert catalogue == {key: value for key, value in source.items() if key}


@pytest.mark.parametrize("language", LOCALES.values())
def test_every_text_of_a_template_is_translated_with_the_same_places(language: str) -> None:
    source = _source(language)
    used = _used()
    assert len(used) > 80
    assert sorted(used - set(source)) == []
    assert [key for key, value in source.items() if not value] == []
    places = re.compile(r"%[sd]")
    assert [key for key, value in source.items() if key and places.findall(key) != places.findall(value)] == []


def test_both_catalogues_hold_the_same_texts_and_no_unused_one() -> None:
    zh, en = _source("zh_CN"), _source("en_US")
    assert set(zh) == set(en)
    data_driven = ("code:", "kind:", "data:")
    assert sorted(key for key in zh if key and not key.startswith(data_driven) and key not in _used()) == []


@pytest.mark.parametrize(
    ("wanted", "language"), [("", "zh"), ("zh", "zh"), ("zh-HK", "zh"), ("fr", "zh"), ("en", "en"), ("en-GB", "en")]
)
def test_every_chinese_is_chinese_and_the_default(wanted: str, language: str) -> None:
    assert language_of(wanted) == language


def test_the_chinese_console_speaks_chinese() -> None:
    load_locale(WEB / "locale")
    assert locale.get("zh_CN").translate("Sign in") == "登录"
    assert locale.get("en_US").translate("code:sold_out") == "Sold out"


def test_every_reason_and_every_audited_action_has_a_text() -> None:
    rooms = ("customers", "rewards", "campaigns", "handlers")
    sources = [path.read_text(encoding="utf-8") for room in rooms for path in (WEB.parent / room).rglob("*.py")]
    raised = re.compile(
        r"(?:InvalidInput|NotSignedIn|Forbidden|NotFound|Conflict|KeyReused|TooMany|Unavailable)\(\s*\"([a-z_]+)\""
    )
    audited = re.compile(r"audit\.record\([^)]*?\"([a-z]+\.[a-z_]+)\"", re.DOTALL)
    wanted = {f"code:{code}" for text in sources for code in raised.findall(text)}
    wanted |= {f"code:audit_{action}" for text in sources for action in audited.findall(text)}
    wanted -= {f"code:{code}" for code in NEVER_ON_A_PAGE}
    assert len(wanted) > 40
    assert sorted(wanted - set(_source("zh_CN"))) == []


def test_every_fact_of_the_audit_trail_has_a_label() -> None:
    named: set[str] = set()
    for room in ("customers", "rewards", "campaigns", "operations", "handlers"):
        for path in (WEB.parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("audit", "audited"):
                    named |= {keyword.arg for keyword in node.keywords if keyword.arg}
    assert len(named) > 15
    assert sorted({f"data:{name}" for name in named} - set(_source("zh_CN"))) == []
