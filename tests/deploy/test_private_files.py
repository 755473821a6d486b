"""Nobody but their owner reads what the processes write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.processes import ROOT, end, open_log, spawn


def test_a_log_is_for_its_owner_also_one_that_was_there(tmp_path: Path) -> None:
    log, old = tmp_path / "logs" / "server.log", tmp_path / "old.log"
    end(spawn(["true"], log=log))
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    old.write_text("before\n")
    old.chmod(0o644)
    with open_log(old, "w") as file:
        print("日志", file=file)
    assert old.stat().st_mode & 0o777 == 0o600
    assert old.read_text(encoding="utf-8") == "日志\n"


@pytest.mark.parametrize(
    "door",
    [
        "import manage; manage.app(['campaign', 'validate', 'config/demo/campaigns/flash.yaml'], standalone_mode=False)",
        "import operations.celery",
        "import server, asyncio; server.serve = lambda: asyncio.sleep(0); "
        "exec('try: server.main()\\nexcept SystemExit: pass')",
    ],
    ids=["manage", "worker", "server"],
)
def test_every_process_writes_for_its_owner_alone(door: str, tmp_path: Path) -> None:
    written = tmp_path / "written"
    code = f"import os; os.umask(0o022); {door}; open({str(written)!r}, 'w').close()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert written.stat().st_mode & 0o777 == 0o600
