"""The catalogue as a file: `kind: catalogue/v1` with items by key, for the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ValidationError

from config import bounds
from rewards.item import Item
from rewards.items import wordings
from services.documents import yaml12
from services.documents.parts import Key, Part
from services.documents.problems import Fault, Problem, found, in_order
from services.errors import InvalidInput


class CatalogueFile(Part):
    """The whole file."""

    kind: Literal["catalogue/v1"]
    items: bounds.Entries[Key, Item]


class FileRefused(InvalidInput):
    """The file cannot be used; nothing was applied."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("catalogue_file", "\n".join(map(str, problems)))
        self.problems = problems


def read(text: str, source: str = "catalogue") -> dict[str, Item]:
    """The items by key; raises FileRefused with every problem and its line."""
    parsed = yaml12.parse(text, source)
    problems = [*parsed.problems, *parsed.unclear.values()]
    file: CatalogueFile | None = None
    if not isinstance(parsed.value, dict):
        if not parsed.problems:
            begin: Fault = ((), "not_mapping", {"begin": "kind: catalogue/v1"})
            problems += _located([begin], parsed, source)
    else:
        try:
            file = CatalogueFile.model_validate(parsed.value)
        except ValidationError as error:
            faults = found(error.errors(include_url=False), CatalogueFile)
            problems += _located(faults, parsed, source)
        else:
            said = [
                (("items", key, *place), code, data)
                for key, item in file.items.items()
                for place, code, data in wordings.faults(item)
            ]
            problems += _located(said, parsed, source)
    if file is None or problems:
        raise FileRefused(in_order(problems))
    return dict(file.items)


def _located(faults: Iterable[Fault], parsed: yaml12.Document, source: str) -> list[Problem]:
    return [Problem(parsed.line(place), code, data, source) for place, code, data in faults]
