"""What the types of config/bounds.py take, and what the walk for models without an end finds."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from config import bounds
from tests.support.bounded import unbounded


def _takes(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "most", "too_much"),
    [
        (bounds.Word, "字" * 64, "字" * 65),
        (bounds.Text, "a\tb\r\n" * 400, "x" * 2_001),
        (bounds.Document, "x" * 65_536, "x" * 65_537),
        (bounds.Whole, 2**63 - 1, 2**63),
        (bounds.Whole, -(2**63), -(2**63) - 1),
        (bounds.Fen, 10**13, 10**13 + 1),
        (bounds.Few[int], [1] * 100, [1] * 101),
        (bounds.Entries[str, int], {str(n): n for n in range(100)}, {str(n): n for n in range(101)}),
        (bounds.RowId, "demo:" + "0" * 123, "demo:" + "0" * 124),
        (bounds.Userid, "Rm.Li@bank-1_x", "rm li"),
        (bounds.WebAddress, "https://wework.qpic.cn/a?b=c", "https://evil.example@10.0.0.1/"),
        (bounds.TenantId, "demo", "demo\n"),
    ],
)
def test_each_type_takes_its_most_and_not_more(kind: Any, most: object, too_much: object) -> None:
    assert _takes(kind, most)
    assert not _takes(kind, too_much)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\ud800"])
def test_a_text_holds_nothing_that_cannot_be_shown(character: str) -> None:
    assert _takes(bounds.ShortText, "a b")
    assert not _takes(bounds.ShortText, f"a{character}b")


class _Inner(BaseModel):
    names: list[str]
    more: _Inner | None = None


class _Open(BaseModel):
    text: str
    number: int | None = None
    anything: Any = None
    inner: _Inner
    pairs: dict[str, bounds.Word]
    fine: bounds.Few[bounds.Word]
    choice: Literal["a", "b"] = "a"


def test_the_walk_names_every_part_without_an_end() -> None:
    assert unbounded(_Open) == [
        "_Open.anything: anything",
        "_Open.inner.names.*: text",
        "_Open.inner.names: list",
        "_Open.number: number",
        "_Open.pairs (keys): text",
        "_Open.pairs: mapping",
        "_Open.text: text",
    ]
