"""`make clean`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import clean
from deploy.demo import holding
from deploy.errors import DeployError


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


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
