"""`make setup`: a virtual environment that holds what the lock names, and nothing else. Runs on a
bare Python.

The lock is complete, so nothing is left to resolve: pip may neither look for what a package needs
(`--no-deps`) nor build anything (`--only-binary`), since both would ask the registry for the newest
release of something. `pip check` says afterwards whether the lock was complete. What pip said is in
VENV/install.log.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

PIP_INSTALL = [
    *("install", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
    *("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--requirement"),
]
SUPPORTED = range(11, 14)
SECONDS_BETWEEN_LINES = 10.0

ADVICE = (
    ("No space left", "make room on the disk, then run the same command again"),
    (
        "DO NOT MATCH THE HASHES",
        "a mirror or proxy serves other files than those that were locked: do not use it",
    ),
    (
        "No matching distribution",
        "the index that pip uses lacks this release for this Python and system",
    ),
    (
        "Could not find a version",
        "the index that pip uses lacks this release for this Python and system",
    ),
    ("must have their versions pinned", "the lock is not complete: run `make lock`"),
    ("which is not installed", "the lock is not complete: run `make lock`"),
    ("Retrying", "no package index answers: check the network, or name a mirror in PIP_INDEX_URL"),
)
"""What to do about a failure, by words in what pip said; the first that fits holds."""


class Progress:
    """One line in a terminal that says how far it is; elsewhere a new line every ten seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = self._last = time.monotonic()
        self._in_terminal = sys.stdout.isatty()

    def show(self, count: int, what: str) -> None:
        now = time.monotonic()
        line = f"  [{count:>3}/{self._total}] {what} ({now - self._began:.0f} s)"
        if self._in_terminal:
            print(f"\r\033[K{line}", end="", flush=True)
        elif now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            print(line, flush=True)

    def end(self) -> None:
        if self._in_terminal:
            print("\r\033[K", end="")


def fail(step: str, why: str, todo: str) -> NoReturn:
    """Ends with exit status 1 and what went wrong, where, and what to do."""
    sys.exit(f"\nSetting up failed at: {step}\n{why}\nWhat to do: {todo}.")


def advice(said: str) -> str:
    """What to do about a failure of pip that said this."""
    return next(
        (todo for words, todo in ADVICE if words in said),
        "read the lines above, then run the command again",
    )


def require_python() -> None:
    if sys.version_info[0] != 3 or sys.version_info[1] not in SUPPORTED:
        found = sys.version.split()[0]
        fail(
            "looking at Python",
            f"Yinqiao needs Python 3.11, 3.12 or 3.13; {sys.executable} is {found}",
            "name another one, such as `make setup PYTHON=python3.11`",
        )


def create_venv(venv: Path, log: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    venv.mkdir(exist_ok=True)
    log.write_text(made.stdout + made.stderr, encoding="utf-8")
    if made.returncode:
        missing = "ensurepip" in made.stdout + made.stderr
        todo = (
            "install Python's venv module (Debian: apt-get install python3-venv)"
            if missing
            else "see the lines above"
        )
        fail(f"creating {venv}", (made.stdout + made.stderr).strip(), todo)


def locked(lock: Path) -> int:
    """How many packages the lock names, for all systems together."""
    return len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))


def install(python: Path, lock: Path, log: Path) -> None:
    """Runs the one command that installs, shows how far it is, and keeps what it said in `log`."""
    total, done = locked(lock), 0
    progress = Progress(total)
    command = [str(python), "-m", "pip", *PIP_INSTALL, str(lock)]
    said = []
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as pip,
    ):
        for line in pip.stdout or ():
            file.write(line)
            said.append(line)
            package = re.match(r"Collecting (\S+)|Ignoring (\S+):", line)
            if package:
                done += 1
                progress.show(done, package[1] or f"{package[2]} (not for this system)")
            elif line.startswith("Installing"):
                progress.show(total, "unpacking")
    progress.end()
    if pip.returncode:
        words = [
            line for line in said if line.lstrip().startswith(("ERROR", "WARNING: Retrying"))
        ] or said[-5:]
        fail(
            f"installing the packages of {lock} (log: {log})",
            "".join(words[-8:]).rstrip(),
            advice("".join(said)),
        )


def check(python: Path, lock: Path) -> None:
    """Asks pip whether every installed package has what it needs."""
    checked = subprocess.run([str(python), "-m", "pip", "check"], capture_output=True, text=True)
    if checked.returncode:
        said = checked.stdout + checked.stderr
        fail(f"checking what {lock} installed", said.strip(), advice(said))


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy/install.py")
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    arguments = parser.parse_args()
    venv, lock = arguments.venv, arguments.lock
    require_python()
    began = time.monotonic()
    log, python = venv / "install.log", venv / "bin" / "python"
    print(
        f"Setting up {venv}, once: {locked(lock)} locked packages, one to three minutes.",
        flush=True,
    )
    try:
        create_venv(venv, log)
        install(python, lock, log)
        check(python, lock)
    except KeyboardInterrupt:
        sys.exit(
            "\nStopped. Run the command again: it goes on with what pip has already downloaded."
        )
    (venv / "installed").touch()
    print(f"  {venv} is ready ({time.monotonic() - began:.0f} s).", flush=True)


if __name__ == "__main__":
    main()
