"""The words of pages and documents: one a thing in each language, as docs/glossary.md lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.pofile import read_po

HEADING = "\n## Said no more\n"
LANGUAGES = {"zh": "zh_CN", "en": "en_US"}
QUOTED = re.compile(r"[“「]([^”」\n{%]+)[”」]")
"""What is quoted; a value that is filled in is none of the names of buttons and sections."""
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def catalogue(root: Path, language: str) -> dict[str, str]:
    """msgid → text of a language's catalogue below `root`."""
    path = root / "web" / "locale" / LANGUAGES[language] / "LC_MESSAGES" / "yinqiao.po"
    with path.open("rb") as file:
        return {str(one.id): str(one.string) for one in read_po(file) if one.id}


def listed(glossary: str) -> dict[str, str]:
    """Every word that pages and documents do not say any more, with what they say instead. One in
    quotes is a whole label, which may well stand inside a sentence."""
    section = glossary.partition(HEADING)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)[1:]
    return {word: instead for words, instead in rows for word in words.split(", ")}


def uses(words: dict[str, str], texts: Iterator[tuple[str, str, bool]]) -> list[str]:
    """Where `texts` (place, text, whether it is a label) say one of `words`."""
    return [
        f"{place}: {word} (say {instead})"
        for place, text, label in texts
        for word, instead in words.items()
        if _says(text, word, label)
    ]


def _says(text: str, word: str, label: bool) -> bool:
    if word.startswith('"'):
        return label and text.strip().lower() == word.strip('"').lower()
    if _CHINESE.search(word):
        return word in text
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def quoted(text: str) -> list[str]:
    """What a text quotes: the buttons and sections that it sends the reader to."""
    return QUOTED.findall(text)
