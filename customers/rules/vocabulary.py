"""What a rule may ask of a customer: the names and functions that whoever reads a rule knows, and
where documents have what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "choice", "sealed", "number", "money", "bool", "date", "moment", "texts"]
Titles = Mapping[str, str]
"""language → what people call it"""
Function = Literal["tag", "segment", "list", "rm", "branch", "event", "campaign", "reward"]
Path = tuple[str, ...]

CHINA = 8 * 3600
"""seconds that the bank's zone is east of UTC"""
LONGEST = 300_000
"""characters of a rule, unless its vocabulary says otherwise: room for the longest lists"""
LONGEST_OF_CAMPAIGNS = 500


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a rule calls `name`, and the document has at `path`.

    A `date` is written YYYY-MM-DD there, a `moment` is seconds since the epoch in UTC, `money` is in
    fen, `texts` is a list (and never missing), `sealed` is the blind index of a text, which `blind`
    makes. A value of another type counts as missing. With `earliest` the path's last key is one of
    rows in a list, of which the earliest moment counts. `choices` are what a choice may be, a number
    with `out_of` is one of 1 to so many, `secret` keeps values out of explanations, and `event` is the
    event whose first or last time it is.
    """

    name: str
    kind: Kind
    path: Path
    titles: Titles = field(default_factory=dict)
    choices: Mapping[str, Titles] = field(default_factory=dict)
    secret: bool = False
    earliest: bool = False
    out_of: int = 0
    event: str = ""
    blind: Callable[[str], str] | None = None

    def title(self, language: str) -> str:
        return self.titles.get(language) or self.name


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """`names` by what rules call them; `removed` are names that there were, `undeclared` those that
    there could be, with the code that says what is to be done first. `known` says for each
    function which texts it takes, with their titles; None takes any, and what is not in it is no
    function here. `codes` are the states of live codes and links by group, where rules have them.
    Days are those of a zone `offset` seconds east of UTC. A rule has at most `longest` characters.
    """

    names: Mapping[str, Name]
    removed: Collection[str] = ()
    undeclared: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[Function, Mapping[str, Titles] | None] = field(default_factory=dict)
    codes: Mapping[str, Collection[str]] | None = None
    offset: int = CHINA
    longest: int = LONGEST


def of_facts(kinds: Mapping[str, Kind], codes: Mapping[str, Collection[str]]) -> Vocabulary:
    """The vocabulary of a campaign's short rules over facts, which stand in one mapping by their
    names."""
    names = {name: Name(name=name, kind=kind, path=(name,)) for name, kind in kinds.items()}
    return Vocabulary(names=names, codes=codes, longest=LONGEST_OF_CAMPAIGNS)


def map_key(name: str) -> str:
    """How a name stands as a key of a document's map: without the dot that MongoDB reads as a
    path."""
    return name.replace(".", "/")
