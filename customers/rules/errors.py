"""What is wrong with a rule, and where."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection
from typing import Any

from typing_extensions import override

from services.documents.problems import Fix, Problem
from services.texts import Language

MOST_TOLD = 20
"""names that a sentence lists"""


class RuleError(Exception):
    """What is wrong with a rule, at which column (from 1, counted in characters): the sentence
    `problem_<code>` says it, with `data` in its places."""

    def __init__(self, code: str, column: int, **data: Any) -> None:
        super().__init__(code)
        self.code, self.column, self.data = code, column, data

    def say(self, language: Language) -> str:
        """The sentence, with its column."""
        return Problem(1, self.code, {**self.data, "column": self.column}).say(language)

    @property
    def message(self) -> str:
        """The sentence in English, without the column."""
        return str(self).removeprefix(f"column {self.column}: ")

    @override
    def __str__(self) -> str:
        return self.say("en")


def names(known: Collection[str]) -> list[str]:
    """The known names as a sentence lists them: in order, and only the first of many."""
    listed = sorted(known)
    return listed if len(listed) <= MOST_TOLD else [*listed[:MOST_TOLD], "…"]


def nearest(name: str, known: Collection[str]) -> Fix:
    """The known name that was meant, as far as that can be guessed."""
    said = unicodedata.normalize("NFKC", name)[:100].casefold()
    by_said = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(said, by_said, n=1, cutoff=0.6)
    return Fix("meant", by_said[near[0]]) if near else Fix()
