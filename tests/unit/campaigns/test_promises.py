"""Every field of a campaign is read by something: what a document promises is no idle word."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from campaigns.document import model
from campaigns.document.model import Campaign
from campaigns.engine.verbs import VERBS
from deploy.processes import ROOT

FOR_THE_FILES_READER = {
    "Step.note": "for whoever reads the file",
    "Template.en": "messages are sent in Chinese",
    "Text.en": "shown by the language of who looks, from the stored texts",
}
ROOMS = ("handlers", "operations", "campaigns", "rewards")


def _models() -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [Campaign, model.Step, *(verb.model for verb in VERBS)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in found:
                found.add(one)
                waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += get_args(one)
    return found


def _attributes() -> set[str]:
    """Names that the rooms read of an object, besides the module that declares the document."""
    names: set[str] = set()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            declared = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for inner in node.body}
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in declared:
                    names.add(node.attr)
    return names


def _says_something(annotation: Any) -> bool:
    """A field that can have one value alone says nothing."""
    return not (get_origin(annotation) is Literal and len(get_args(annotation)) == 1)


def _unread() -> Iterator[str]:
    read = _attributes() | {verb.name for verb in VERBS} | {"steps", "else_"}
    for one in _models():
        for name, field in one.model_fields.items():
            if _says_something(field.annotation) and name not in read:
                yield f"{one.__name__}.{name}"


def test_every_field_of_a_campaign_is_read_by_something() -> None:
    assert len(_models()) > 15
    assert sorted(set(_unread()) - set(FOR_THE_FILES_READER)) == []
