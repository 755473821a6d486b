"""The size gate: no file over 400 lines, no function over 60. `python -m deploy.gate` names those
that are.

A URL table is data and may be as long as it is: handlers/routes.py is exempt.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.processes import ROOT

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
EXEMPT = {"handlers/routes.py"}


def sources(root: Path) -> Iterator[Path]:
    """Every Python file below `root`, except in hidden folders."""
    for entry in sorted(root.iterdir()):
        if entry.is_file() and entry.suffix == ".py":
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from sorted(entry.rglob("*.py"))


def too_long(path: Path, name: str) -> list[str]:
    """What in `path` exceeds the limits, each as `name:line: what`."""
    if name in EXEMPT:
        return []
    text = path.read_text(encoding="utf-8")
    found = []
    lines = text.count("\n")
    if lines > MOST_LINES:
        found.append(f"{name}:1: the file has {lines} lines, at most {MOST_LINES}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                at_most = f"at most {MOST_LINES_OF_A_FUNCTION}"
                found.append(
                    f"{name}:{node.lineno}: function {node.name} has {length} lines, {at_most}"
                )
    return found


def main(root: Path = ROOT) -> int:
    """Exit status 1 when something is too long."""
    files = list(sources(root))
    found = [
        problem for path in files for problem in too_long(path, path.relative_to(root).as_posix())
    ]
    for problem in found:
        print(problem)
    if not found:
        print(
            f"size gate: {len(files)} files, none over {MOST_LINES} lines, no function over {MOST_LINES_OF_A_FUNCTION}"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:2])))
