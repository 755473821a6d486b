"""The lock file: every package pinned with hashes, and nothing in it of the machine that made it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

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


def test_whatever_an_installed_package_needs_is_locked() -> None:
    """Extras included, which `pip check` does not look at. Walks from pyproject.toml through what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = {each.name: each for each in locked() if each.marker is None or each.marker.evaluate({"extra": ""})}
    waiting = [Requirement(text) for text in [*project["dependencies"], *extras["laptop"], *extras["dev"]]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        need = waiting.pop()
        name = re.sub(r"[-_.]+", "-", need.name.lower())
        asked = frozenset(need.extras)
        if (name, asked) in seen or (need.marker is not None and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add((name, asked))
        assert name in pins, f"{need} is not locked"
        for text in requires(name) or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in ("", *asked)):
                inner.marker = None
                waiting.append(inner)
    assert len(seen) > 80
