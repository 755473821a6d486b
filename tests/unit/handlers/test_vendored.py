"""What is vendored is what VENDORED.md says, and nothing else."""

from __future__ import annotations

import hashlib

import pytest

from deploy.processes import ROOT


@pytest.mark.parametrize("folder", ["web/static/vendor", "tests/browser"])
def test_vendored_files_are_the_recorded_ones(folder: str) -> None:
    lines = (ROOT / folder / "VENDORED.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    recorded = {row[0]: row[4] for row in rows}
    found = {
        path.relative_to(ROOT / folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".js", ".css"}
    }
    assert found == recorded
