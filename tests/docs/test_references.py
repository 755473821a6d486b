"""Every reference leads somewhere: sections of docs/contract, promises, decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.processes import ROOT
from tests.docs import references
from tests.docs.test_docs import name, texts

READ = {".py", ".md", ".html", ".yaml", ".yml", ".lua", ".js", ".css", ".toml"}
HERE = Path(__file__)


def test_every_reference_resolves() -> None:
    known, numbers = references.pages(), references.decisions()
    found = [
        f"{name(path)}:{what}"
        for path, text in texts()
        if path.suffix in READ and ".min." not in path.name and path != HERE and references.CONTRACT not in path.parents
        for what in references.unresolved(path, text, known, numbers)
    ]
    assert found == []


def test_the_contract_is_cited_at_all() -> None:
    cited = {
        match[1]
        for path, text in texts()
        if path.suffix == ".py" and path != HERE
        for match in references.CITATION.finditer(text)
    }
    assert {"wechat", "trust", "engine", "rewards", "design"} <= cited


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('"""As contract/wechat B5 says."""', []),
        ('"""As contract/wechat B3 92118, B4 92117; contract/wechat C1-C3."""', []),
        ('"""As contract/rewards 3 and 4, contract/engine T8 and contract/trust 1.1 f say."""', []),
        ('"""Everything in contract/wechat, and contract/wechat A is a part of it."""', []),
        ('"""As contract/wechat\n0, D2 say."""', []),
        ("# promise P3, docs/decisions/0002,\n# contract/engine\n# 4.1", []),
        ("x = 'P99, contract/nowhere, B5'", []),
        ('"""As contract/wechat B99 says."""', ["1: contract/wechat B99"]),
        ('"""As contract/wechat b5 says."""', ["1: contract/wechat b5"]),
        ('"""As contract/wechat B3 11111 says."""', ["1: contract/wechat 11111"]),
        ('"""As contract/wechat C1-C9 say."""', ["1: contract/wechat C9"]),
        ('"""As contract/wechta B5 says."""', ["1: contract/wechta"]),
        ('"""As contract/trust 1.9 says."""', ["1: contract/trust 1.9"]),
        ('"""Promise P11."""', ["1: P11"]),
        ("# decision 0999", ["1: decision 0999"]),
        ('"""As wechat-contract B5 says."""', ["1: wechat-contract", "1: B5"]),
        ("x = 1\n# trust.md 1.3", ["2: trust.md"]),
        ('"""B9, D3: limits."""', ["1: B9", "1: D3"]),
        ('"""Of contract/wechat B9."""\n# D3, B99', ["2: B99"]),
    ],
)
def test_a_reference_that_is_mistyped_or_in_another_form_is_named(line: str, wrong: list[str]) -> None:
    known, numbers = references.pages(), references.decisions()
    assert references.unresolved(Path("made_up.py"), line, known, numbers) == wrong


def test_pages_are_read_for_what_they_cite() -> None:
    known, numbers = references.pages(), references.decisions()
    page = Path("made_up.md")
    assert references.unresolved(page, "[the design](design.md), contract/design 5, P3", known, numbers) == []
    assert references.unresolved(page, "contract/design 9, P12", known, numbers) == ["1: contract/design 9", "1: P12"]


def test_every_page_of_the_contract_is_listed() -> None:
    listed = (references.CONTRACT / "README.md").read_text(encoding="utf-8")
    assert [page for page in references.pages() if f"({page}.md)" not in listed] == []
    assert ROOT / "docs" in references.CONTRACT.parents
