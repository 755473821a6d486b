"""The house as its files tell it: the tree of docs/map.md, the rooms as a picture, and the URL
table as a page.

python -m deploy.house            writes those of the three that have changed
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy import picture
from deploy.processes import ROOT
from handlers.http.route import Route
from handlers.routes import ROUTES

ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services", "config")
MAP = ROOT / "docs" / "map.md"
FIRST, LAST = "<!-- tree: python -m deploy.house -->\n", "<!-- end of tree -->\n"
COLUMN = 30

FACES = {
    "callbacks": "Callbacks",
    "portal": "The mini-program",
    "h5": "The customer's pages",
    "health": "Operation",
    "dev": "The demonstration",
    "sidebar": "The side panel",
    "counter": "The counter",
    "open": "Partners",
    "console": "The console",
}
ROUTES_INTRODUCTION = (
    "# Routes\n\n"
    "Every path that the server answers, with the permission beside it: written from the table that"
    " serves them ([handlers/routes.py](../handlers/routes.py)) by `python -m deploy.house`, and"
    " compared by a test. What a permission allows is in [reference.md](reference.md#permissions);"
    " `public`, `customer`, `staff`, `clerk`, `counter` and `partner` ask for anybody, a signed-in"
    " customer, RM, clerk or person at a counter, and a partner's signature."
    " Bodies and answers of the JSON routes are in `/openapi.json`.\n"
)
ROUTES_HEAD = "| method | path | permission | what |\n|---|---|---|---|\n"


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


def routes_page() -> str:
    """The URL table as a page: a section a face, a row for each path and method."""
    sections = [ROUTES_INTRODUCTION]
    for face, title in FACES.items():
        rows = [row for route in ROUTES if _face(route) == face for row in _rows(route)]
        sections += [f"\n## {title}\n\n", ROUTES_HEAD, *rows]
    return "".join(sections)


def _face(route: Route) -> str:
    """The part of `handlers` that serves a route."""
    part = route.handler.__module__.split(".")[1]
    return part if part in FACES else "health"


def _rows(route: Route) -> Iterator[str]:
    for method, op in route.ops.items():
        marks = [mark for mark, wanted in (("JSON", route.json), ("dev only", route.dev)) if wanted]
        summary = op.summary + (f" ({', '.join(marks)})" if marks else "")
        yield f"| {method} | `{route.path}` | `{op.permission}` | {summary} |\n"


PAGES: dict[Path, Callable[[], str]] = {
    MAP: lambda: with_tree(MAP.read_text(encoding="utf-8")),
    ROOT / "docs" / "routes.md": routes_page,
    ROOT / "docs" / "rooms.svg": lambda: picture.draw(ROOT),
}


def main() -> None:
    """Writes the pages that are not as the files tell it, and says which."""
    for path, fresh in PAGES.items():
        text = fresh()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            print(f"{path.relative_to(ROOT)} is up to date")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} was brought up to date")


if __name__ == "__main__":
    main()
