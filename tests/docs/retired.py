"""Words that are not used any more, as docs/glossary.md lists them, and where they are used all the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services", "config")
HEADING = "\n## Not used any more\n"
CODE = re.compile(r"`([^`]+)`(?: of (\w+))?")


@dataclass(frozen=True, slots=True)
class Word:
    """A retired word in the glossary's notation: `name.py`, `name()`, `Name`, `.name`, `"name"` or
    a piece of code in brackets; in one room only, if `room` is not empty."""

    form: str
    room: str = ""

    def __str__(self) -> str:
        return f"{self.form} of {self.room}" if self.room else self.form


def listed(glossary: str) -> dict[Word, str]:
    """Every retired word with what is said instead."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", glossary.partition(HEADING)[2], re.MULTILINE)
    return {Word(form, room): instead for words, instead in rows for form, room in CODE.findall(words)}


def uses(words: Iterable[Word], root: Path) -> list[str]:
    """Where the rooms below `root` use one of `words`, as `file:line: word`."""
    files = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    trees = {path: list(_names(ast.parse(text))) for path, text in texts.items()}
    return [
        f"{path.relative_to(root).as_posix()}:{line}: {word}"
        for word in words
        for path in files
        if word.room in ("", path.relative_to(root).parts[0])
        for line in _lines(word.form, path, texts[path], trees[path])
    ]


def _lines(form: str, path: Path, text: str, names: list[tuple[str, int]]) -> Iterator[int]:
    if form.endswith(".py"):
        if path.name == form:
            yield 1
    elif "[" in form:
        yield from (number for number, line in enumerate(text.splitlines(), 1) if form in line)
    else:
        yield from (line for name, line in names if name == form)


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(form, line) of everything that a file names: functions, classes and variables, fields of
    classes, keys."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield f"{node.name}()", node.lineno
            case ast.ClassDef():
                yield node.name, node.lineno
                yield from _fields(node)
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Dict():
                yield from _keys(node.keys)
            case ast.Subscript():
                yield from _keys([node.slice])


def _fields(owner: ast.ClassDef) -> Iterator[tuple[str, int]]:
    for line in owner.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield f".{line.target.id}", line.lineno


def _keys(nodes: Iterable[ast.expr | None]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield f'"{node.value}"', node.lineno
