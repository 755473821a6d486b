"""The house as its files tell it: the tree of docs/map.md, a line for each file from its docstring.

python -m deploy.house            writes what has changed into docs/map.md
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from deploy.processes import ROOT

ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services", "config")
MAP = ROOT / "docs" / "map.md"
FIRST, LAST = "<!-- tree: python -m deploy.house -->\n", "<!-- end of tree -->\n"
COLUMN = 30


def tree() -> str:
    """The rooms with every file in them, indented by folder."""
    return "".join(f"{line}\n" for room in ROOMS for line in _folder(ROOT / room, 0))


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", folder / "__init__.py", depth)
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    for path in files:
        yield _line(path.name, path, depth + 1)
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        yield from _folder(inner, depth + 1)


def _line(name: str, path: Path, depth: int) -> str:
    return f"{'  ' * depth + name:<{COLUMN}} {summary(path)}".rstrip()


def summary(path: Path) -> str:
    """The first sentence of a file's docstring, without its full stop."""
    words = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    sentence = " ".join(words.split()).split(". ")[0]
    return sentence.removesuffix(".")


def with_tree(text: str) -> str:
    """The page with its tree brought up to date; ValueError when it has no place for one."""
    before, first, rest = text.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"{MAP} lacks the lines that enclose the tree")
    return f"{before}{FIRST}```\n{tree()}```\n{LAST}{after}"


def main() -> None:
    text = MAP.read_text(encoding="utf-8")
    fresh = with_tree(text)
    if fresh == text:
        print("docs/map.md is up to date")
    else:
        MAP.write_text(fresh, encoding="utf-8")
        print("docs/map.md: the tree was brought up to date")


if __name__ == "__main__":
    main()
