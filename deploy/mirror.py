"""The mirror: what a reader meets, room by room, beside the last release. It judges nothing and
fails for nothing.

python -m deploy.mirror             prints it, and the functions that say most at once
python -m deploy.mirror --keep 0.2.0    keeps what it shows as a release's figures
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.processes import ROOT

ROOMS = (
    "handlers",
    "operations",
    "campaigns",
    "rewards",
    "customers",
    "services",
    "config",
    "sandbox",
)
RELEASE = Path("docs") / "mirror.json"
MANY_NODES, MANY_NAMES, MANY_PARAMETERS, WIDE = 200, 12, 6, 100
HEADINGS = {
    "functions": "functions",
    "p50": "nodes p50",
    "p90": "p90",
    "most": "most",
    "dense": f"> {MANY_NODES} nodes",
    "names": f"> {MANY_NAMES} names",
    "parameters": f"> {MANY_PARAMETERS} parameters",
    "wide": f"> {WIDE} columns",
}
WORST = 5
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Reading:
    """One function: AST nodes of its body without the docstring, names that it assigns or takes,
    parameters without self and cls."""

    nodes: int
    names: int
    parameters: int
    where: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One room: percentiles of nodes a function, and how many functions or lines are over."""

    functions: int
    p50: int
    p90: int
    most: int
    dense: int
    names: int
    parameters: int
    wide: int


def read(function: Function, where: str) -> Reading:
    """What a reader of this function meets."""
    inside = [node for statement in _body(function) for node in ast.walk(statement)]
    given = function.args
    parameters = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    taken = {name for name in parameters if name not in ("self", "cls")}
    assigned = {
        node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return Reading(len(inside), len(taken | assigned), len(taken), where)


def _body(function: Function) -> list[ast.stmt]:
    documented = ast.get_docstring(function, clean=False) is not None
    return function.body[1:] if documented else function.body


def readings(root: Path, room: str) -> list[Reading]:
    """Every function of a room."""
    return [
        read(node, f"{path.relative_to(root).as_posix()}:{node.lineno} {node.name}")
        for path in sorted((root / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Function)
    ]


def figures(found: list[Reading], wide: int) -> Figures:
    """A room's functions, of which there is at least one, summed up; `wide` is its wide lines."""
    nodes = sorted(each.nodes for each in found)
    return Figures(
        functions=len(nodes),
        p50=nodes[len(nodes) // 2],
        p90=nodes[int(len(nodes) * 0.9)],
        most=nodes[-1],
        dense=sum(each.nodes > MANY_NODES for each in found),
        names=sum(each.names > MANY_NAMES for each in found),
        parameters=sum(each.parameters > MANY_PARAMETERS for each in found),
        wide=wide,
    )


def wide_lines(root: Path, room: str) -> int:
    """How many lines of a room are wider than a page."""
    texts = [path.read_text(encoding="utf-8") for path in (root / room).rglob("*.py")]
    return sum(len(line) > WIDE for text in texts for line in text.splitlines())


def measure(root: Path) -> dict[str, Figures]:
    """Every room that has functions, by name."""
    found = {room: readings(root, room) for room in ROOMS}
    return {
        room: figures(functions, wide_lines(root, room))
        for room, functions in found.items()
        if functions
    }


def shown(now: Mapping[str, Figures], before: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """The table's lines: each figure, and in brackets the last release's where it was another."""
    rows = [["", *HEADINGS.values()]]
    for room, measured in now.items():
        cells = [
            _cell(figure, before.get(room, {}).get(name))
            for name, figure in asdict(measured).items()
        ]
        rows.append([room, *cells])
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    """A table's lines: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]])


def _cell(figure: int, before: int | None) -> str:
    return str(figure) if before in (None, figure) else f"{figure} ({before})"


def worst(root: Path, most: int = WORST) -> list[Reading]:
    """The functions with most nodes, of all rooms."""
    found = [each for room in ROOMS for each in readings(root, room)]
    return sorted(found, key=lambda each: (-each.nodes, each.where))[:most]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Prints the mirror, or keeps it as a release's."""
    parser = argparse.ArgumentParser(prog="python -m deploy.mirror")
    parser.add_argument("--keep", metavar="RELEASE", help="keep the figures as this release's")
    keep = parser.parse_args(arguments).keep
    now = measure(root)
    if keep:
        release = {"release": keep, "rooms": {room: asdict(each) for room, each in now.items()}}
        (root / RELEASE).write_text(json.dumps(release, indent=1) + "\n", encoding="utf-8")
        return
    last = json.loads((root / RELEASE).read_text(encoding="utf-8"))
    print(f"the mirror, in brackets {last['release']} where it was otherwise:")
    for line in shown(now, last["rooms"]):
        print(line)
    for each in worst(root):
        print(f"  {each.nodes} nodes, {each.names} names  {each.where}")


if __name__ == "__main__":
    main()
