"""Which parts of a pydantic model have no end: for the tests that let no such model in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
_SHORT = frozenset({"date", "date-time", "time", "duration"})


def unbounded(model: type[BaseModel]) -> list[str]:
    """The places of `model` that take a text, a number, a list or a mapping of any size, such as
    `rewards.*.title: text`; nested models are walked too."""
    schema = model.model_json_schema(mode="validation")
    return sorted(set(_walk(schema, schema.get("$defs", {}), model.__name__, ())))


def _walk(schema: Schema, defs: Schema, place: str, seen: tuple[str, ...]) -> Iterator[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        if name not in seen:
            yield from _walk(defs[name], defs, place, (*seen, name))
        return
    for each in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for one in schema.get(each, ()):
            yield from _walk(one, defs, place, seen)
    if "enum" in schema or "const" in schema:
        return
    yield from _of_kind(schema, defs, place, seen)


def _of_kind(schema: Schema, defs: Schema, place: str, seen: tuple[str, ...]) -> Iterator[str]:
    kind = schema.get("type")
    if kind == "string":
        if not ("maxLength" in schema or schema.get("format") in _SHORT or _ends(schema)):
            yield f"{place}: text"
    elif kind in ("integer", "number"):
        if not {"maximum", "exclusiveMaximum"} & set(schema):
            yield f"{place}: number"
    elif kind == "array":
        if "maxItems" not in schema and "prefixItems" not in schema:
            yield f"{place}: list"
        yield from _walk(schema.get("items", {"type": "null"}), defs, f"{place}.*", seen)
    elif kind == "object":
        yield from _of_object(schema, defs, place, seen)
    elif kind is None and not {"anyOf", "oneOf", "allOf"} & set(schema):
        yield f"{place}: anything"


def _ends(schema: Schema) -> bool:
    """Whether a text's pattern is anchored at both ends and repeats nothing without end."""
    pattern = re.sub(r"\\.|\[[^]]*\]", "c", schema.get("pattern", ""))
    anchored = pattern.startswith("^") and pattern.endswith("$")
    return anchored and re.search(r"[*+]|\{\d+,\}", pattern) is None


def _of_object(schema: Schema, defs: Schema, place: str, seen: tuple[str, ...]) -> Iterator[str]:
    for name, one in schema.get("properties", {}).items():
        yield from _walk(one, defs, f"{place}.{name}", seen)
    for pattern, one in schema.get("patternProperties", {}).items():
        if "maxProperties" not in schema:
            yield f"{place}: mapping"
        yield from _walk({"type": "string", "pattern": pattern}, defs, f"{place} (keys)", seen)
        yield from _walk(one, defs, f"{place}.*", seen)
    if "patternProperties" in schema:
        return
    more = schema.get("additionalProperties", "properties" not in schema)
    if more is not False and "properties" not in schema:
        if "maxProperties" not in schema:
            yield f"{place}: mapping"
        if isinstance(more, dict):
            yield from _walk(more, defs, f"{place}.*", seen)
        names = {"type": "string", **schema.get("propertyNames", {})}
        yield from _walk(names, defs, f"{place} (keys)", seen)
