"""The size gate and `make clean`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import clean, gate
from deploy.demo import holding
from deploy.errors import DeployError


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_long_function_and_a_long_file_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "room/fine.py", "def fine():\n" + "    pass\n" * 59)
    write(tmp_path, "room/long.py", "x = 1\n\n\nasync def long():\n" + "    pass\n" * 60)
    write(tmp_path, "room/file.py", "x = 1\n" * 401)
    assert gate.main(tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "room/file.py:1: the file has 401 lines, at most 400",
        "room/long.py:4: function long has 61 lines, at most 60",
    ]


def test_only_the_url_table_and_hidden_folders_are_exempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "handlers/routes.py", "x = 1\n" * 1000)
    write(tmp_path, ".venv/lib/big.py", "x = 1\n" * 1000)
    assert gate.main(tmp_path) == 0
    assert capsys.readouterr().out == "size gate: 1 files, none over 400 lines, no function over 60\n"


def test_clean_removes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    for made in [".venv/bin/python", ".data/mongodb/file", "room/__pycache__/a.pyc", ".coverage"]:
        write(tmp_path, made, "")
    for kept in ["room/a.py", ".env", ".git/HEAD"]:
        write(tmp_path, kept, "")
    assert clean.main(tmp_path) == 0
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".env", ".git/HEAD", "room/a.py"]


def test_clean_refuses_while_a_demo_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ".venv/bin/python", "")
    hold = "import sys, time; from pathlib import Path; from deploy.demo import holding\n"
    hold += "with holding(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline() == "held\n"
        assert clean.main(tmp_path) == 1
        with pytest.raises(DeployError, match=f"already running \\(process {demo.pid}\\)"), holding(tmp_path / ".data"):
            pass
        assert demo.stdin is not None
        demo.stdin.close()
        assert demo.wait(20) == 0
    assert f"the demo is running (process {demo.pid})" in capsys.readouterr().err
    assert (tmp_path / ".venv/bin/python").exists()
    assert clean.main(tmp_path) == 0
