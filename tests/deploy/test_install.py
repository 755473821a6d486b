"""`make setup` against a folder that serves as the package index: what is locked is installed, whatever else is there."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.processes import ROOT

PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
OLD_LINE = ("install", "--disable-pip-version-check", "--require-hashes", "--requirement")


def build_wheel(folder: Path, name: str, version: str, needs: str = "", extra: str = "") -> str:
    """Puts a tiny wheel into `folder`; its SHA-256."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Provides-Extra: {extra}\n" if extra else ""
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{record_hash(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def record_hash(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    return f"sha256={digest}"


@dataclass
class Index:
    """A folder of wheels, a lock, and a place for a virtual environment."""

    root: Path

    @property
    def wheels(self) -> Path:
        return self.root / "wheels"

    @property
    def venv(self) -> Path:
        return self.root / "venv"

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with the folder in the place of every index that pip would ask."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "VIRTUAL"))}
        return {**bare, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}

    def lock(self, **pins: tuple[str, str]) -> Path:
        lock = self.root / "requirements.lock"
        entries = [f"{name}=={version} \\\n    --hash=sha256:{digest}\n" for name, (version, digest) in pins.items()]
        lock.write_text("".join(entries))
        return lock

    def make_setup(self) -> subprocess.CompletedProcess[str]:
        """`make setup`, as a newcomer runs it."""
        places = [f"PYTHON={PYTHON}", f"VENV={self.venv}", f"LOCK={self.root / 'requirements.lock'}"]
        return self._run("make", "setup", *places)

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(str(self.venv / "bin" / "python"), "-m", "pip", *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index(tmp_path)
    index.wheels.mkdir()
    return index


def test_a_newer_release_of_what_is_asked_for_with_an_extra_changes_nothing(index: Index) -> None:
    asks = build_wheel(index.wheels, "asks", "1.0", needs="asked[more]>=1.0")
    asked = build_wheel(index.wheels, "asked", "1.0", extra="more")
    build_wheel(index.wheels, "asked", "2.0", extra="more")
    lock = index.lock(asks=("1.0", asks), asked=("1.0", asked))

    done = index.make_setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 locked packages" in done.stdout
    assert "WARNING" not in done.stdout
    listed = index.pip("list", "--format=freeze", "--exclude=pip", "--exclude=setuptools").stdout.split()
    assert listed == ["asked==1.0", "asks==1.0"]

    if "pip 23." in index.pip("--version").stdout:
        old = index.pip(*OLD_LINE, str(lock), "--ignore-installed", "--dry-run")
        assert old.returncode == 1
        assert "all requirements must have their versions pinned" in old.stderr


def test_a_lock_that_lacks_a_package_is_found_and_leaves_no_stamp(index: Index) -> None:
    asks = build_wheel(index.wheels, "asks", "1.0", needs="asked>=1.0")
    index.lock(asks=("1.0", asks))
    done = index.make_setup()
    assert done.returncode != 0
    assert "Setting up failed at: checking what" in done.stderr
    assert "asks 1.0 requires asked, which is not installed." in done.stderr
    assert "What to do: the lock is not complete: run `make lock`." in done.stderr
    assert not (index.venv / "installed").exists()


@pytest.mark.parametrize(
    ("digest", "version", "advice"),
    [
        ("0" * 64, "1.0", "a mirror or proxy serves other files than those that were locked: do not use it"),
        (None, "7.0", "the index that pip uses lacks this release for this Python and system"),
    ],
    ids=["other-file", "no-such-release"],
)
def test_what_cannot_be_installed_is_named_with_what_to_do(
    index: Index, digest: str | None, version: str, advice: str
) -> None:
    real = build_wheel(index.wheels, "asks", "1.0")
    index.lock(asks=(version, digest or real))
    done = index.make_setup()
    assert done.returncode != 0
    assert f"Setting up failed at: installing the packages of {index.root / 'requirements.lock'}" in done.stderr
    assert f"What to do: {advice}." in done.stderr
    assert not (index.venv / "installed").exists()
    index.lock(asks=("1.0", real))
    assert index.make_setup().returncode == 0


def test_nothing_is_built_since_a_build_would_resolve_its_tools(index: Index) -> None:
    """A source archive alone is refused."""
    (index.wheels / "asks-1.0.tar.gz").write_bytes(b"")
    index.lock(asks=("1.0", hashlib.sha256(b"").hexdigest()))
    done = index.make_setup()
    assert done.returncode != 0
    assert "No matching distribution found for asks==1.0" in done.stderr


def test_a_python_that_is_too_old_or_too_new_is_named(tmp_path: Path) -> None:
    pretend = tmp_path / "pretend.py"
    pretend.write_text(
        "import runpy, sys\nsys.version_info = (3, 10, 1)\nsys.version = '3.10.1 (main)'\n"
        "sys.argv = ['install.py', '--venv', sys.argv[1]]\nrunpy.run_path('deploy/install.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, str(pretend), str(tmp_path / "venv")], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "Yinqiao needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "make setup PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
