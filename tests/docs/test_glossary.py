"""One word a concept: every term of the glossary is used, what it names exists, and retired words are gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.processes import ROOT
from operations.schema import COLLECTIONS
from tests.docs import retired
from tests.docs.retired import Word
from tests.docs.test_docs import texts

GLOSSARY = ROOT / "docs" / "glossary.md"
TEXT = GLOSSARY.read_text(encoding="utf-8")
TERMS = [row for row in re.findall(r"^\| (.+?) \| (.+?) \| (.+) \| (.+) \|$", TEXT, re.MULTILINE) if row[0] != "term"]


def collections() -> set[str]:
    section = (ROOT / "docs" / "map.md").read_text(encoding="utf-8").partition("\n## Collections\n")[2]
    return set(re.findall(r"`([a-z_]+)`", section.partition("\n## ")[0]))


def test_every_term_is_used() -> None:
    words = "\n".join(text.lower() for path, text in texts() if path.suffix in {".py", ".md"} and path != GLOSSARY)
    unused = [
        term
        for terms, *_ in TERMS
        for term in terms.split(", ")
        if not re.search(r"[-_ ]?".join(map(re.escape, re.split(r"[-_ ]", term.lower()))), words)
    ]
    assert unused == []
    assert len(TERMS) > 60


def test_every_term_stands_once() -> None:
    terms = [term for terms, *_ in TERMS for term in terms.split(", ")]
    assert sorted(terms) == sorted(set(terms))
    assert [row[0] for row in TERMS if not re.search(r"[\u4e00-\u9fff]", row[1])] == []


def test_every_collection_that_is_named_exists() -> None:
    named = {code for *_, where in TERMS for code in re.findall(r"`([a-z_]+)`", where)}
    assert named <= collections()


def test_the_map_lists_every_collection_and_no_other() -> None:
    assert collections() - {"tenant"} == {str(rows) for rows in COLLECTIONS}


def test_retired_words_are_gone() -> None:
    words = retired.listed(TEXT)
    assert retired.uses(sorted(words.keys(), key=str), ROOT) == []


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (Word("kept.py"), ["rewards/kept.py:1: kept.py"]),
        (Word("kept.py", "rewards"), ["rewards/kept.py:1: kept.py of rewards"]),
        (Word("kept.py", "customers"), []),
        (Word("keep()"), ["rewards/kept.py:4: keep()"]),
        (Word("Kept"), ["rewards/kept.py:1: Kept"]),
        (Word(".hit"), ["rewards/kept.py:2: .hit"]),
        (Word("wish"), ["rewards/kept.py:4: wish"]),
        (Word('"told"'), ['rewards/kept.py:5: "told"']),
        (Word('run["outbox"]'), ['rewards/kept.py:6: run["outbox"]']),
        (Word("told"), []),
        (Word("word()"), []),
    ],
)
def test_a_retired_word_is_found_where_it_names_something(tmp_path: Path, word: Word, found: list[str]) -> None:
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "kept.py").write_text(
        "class Kept:\n    hit: bool\n\ndef keep(wish):\n"
        '    """What was told, word for word."""; row = {"told": 1}\n    return run["outbox"]\n',
        encoding="utf-8",
    )
    assert retired.uses([word], tmp_path) == found


def test_the_list_is_read_as_it_is_written() -> None:
    words = retired.listed(f"{retired.HEADING}\n| not any more | but |\n|---|---|\n| `a()`, `b.py` of rewards | c |\n")
    assert words == {Word("a()"): "c", Word("b.py", "rewards"): "c"}
