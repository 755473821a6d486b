"""The mirror measures what a reader meets, and fails for nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from deploy import mirror
from deploy.processes import ROOT

SMALL = '''
async def small(self, one, *, two=2):
    """Words cost nothing."""
    three = one
    return three
'''
LARGE = "def large(a, b, c, d, e, f, g):\n" + "".join(f"    n{i} = a + b\n" for i in range(34))


def reading(text: str) -> mirror.Reading:
    function = ast.parse(text).body[0]
    assert isinstance(function, mirror.Function)
    return mirror.read(function, "here")


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_nodes_names_and_parameters_of_a_function() -> None:
    # Assign, Name and its Store, Name and its Load; Return, Name and its Load.
    assert reading(SMALL) == mirror.Reading(nodes=8, names=3, parameters=2, where="here")
    assert reading(SMALL.replace('    """Words cost nothing."""\n', "")).nodes == 8
    large = reading(LARGE)
    assert (large.names, large.parameters) == (41, 7)
    assert large.nodes == 34 * 9


def test_a_room_is_summed_up(tmp_path: Path) -> None:
    write(tmp_path, "rewards/small.py", SMALL * 10 + f"x = '{'-' * 100}'\n")
    write(tmp_path, "rewards/inner/large.py", LARGE)
    write(tmp_path, "tests/large.py", LARGE)
    assert mirror.measure(tmp_path) == {
        "rewards": mirror.Figures(
            functions=11, p50=8, p90=8, most=306, dense=1, names=1, parameters=1, wide=1
        )
    }  # fmt: skip
    assert [each.where for each in mirror.worst(tmp_path, 1)] == ["rewards/inner/large.py:1 large"]


def test_what_is_shown_stands_beside_the_last_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "rewards/small.py", SMALL)
    write(tmp_path, "docs/mirror.json", "")
    mirror.main(["--keep", "1.0"], tmp_path)
    assert json.loads((tmp_path / "docs/mirror.json").read_text(encoding="utf-8"))["release"] == "1.0"
    write(tmp_path, "rewards/large.py", LARGE)
    mirror.main([], tmp_path)
    head, names, row, *_ = capsys.readouterr().out.splitlines()
    assert head == "the mirror, in brackets 1.0 where it was otherwise:"
    assert names.split() == " ".join(mirror.HEADINGS.values()).split()
    assert " ".join(row.split()) == "rewards 2 (1) 306 (8) 306 (8) 306 (8) 1 (0) 1 (0) 1 (0) 0"


def test_it_fails_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    mirror.main([])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 + len(mirror.measure(ROOT)) + mirror.WORST
    assert shown[0].startswith("the mirror")
