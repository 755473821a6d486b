"""The lock file: every package pinned with hashes, and nothing in it of the machine that made it."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deploy.processes import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRIES = re.split(r"\n(?=[a-z0-9])", LOCK.strip())


def locked() -> list[Requirement]:
    return [Requirement(entry.partition(" \\\n")[0]) for entry in ENTRIES]


def test_every_package_is_pinned_with_hashes() -> None:
    assert len(ENTRIES) > 50
    for entry in ENTRIES:
        lines = entry.splitlines()
        assert re.match(r"^[a-z0-9-]+==[A-Za-z0-9.]+( ; [^\\]+)? \\$", lines[0]), lines[0]
        assert len(lines) > 1
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])


def test_it_names_no_host_and_no_path() -> None:
    for word in ("://", "--index", "--extra-index", "--find-links", "--trusted-host", "file:", "/"):
        assert word not in LOCK, word


def test_it_satisfies_pyproject_on_each_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["laptop"]]
    wanted += project["optional-dependencies"]["dev"]
    for python in ("3.11", "3.12", "3.13"):
        marks = {"python_version": python, "python_full_version": f"{python}.3", "extra": ""}
        pins = {
            each.name: str(each.specifier).removeprefix("==")
            for each in locked()
            if each.marker is None or each.marker.evaluate(marks)
        }
        for need in map(Requirement, wanted):
            if need.marker is None or need.marker.evaluate(marks):
                pin = pins[need.name.lower()]
                assert SpecifierSet(str(need.specifier), prereleases=True).contains(pin), (python, str(need), pin)
