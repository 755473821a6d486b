"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> Callable[[], None]:
    """What a child runs before exec, so that the kernel ends it when `parent` dies, however that
    dies (Linux).

    The kernel watches the thread that forked: start children from a thread that stays. On other
    systems this does nothing, and only an orderly end of the parent ends the child.
    """

    def arrange() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange


def open_log(path: Path, mode: str) -> IO[Any]:
    """A log that nobody but its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = open(
        path,
        mode,
        encoding=None if "b" in mode else "utf-8",
        opener=lambda name, flags: os.open(name, flags, 0o600),
    )  # noqa: SIM115
    os.fchmod(file.fileno(), 0o600)
    return file


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    with_signal: int = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Starts `command` from the project's folder, in a session of its own, tied to this process.

    Its output is appended to `log`, or goes where ours goes. A Ctrl-C in our terminal does not
    reach it.
    """
    output = None if log is None else open_log(log, "ab")
    try:
        return subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid(), with_signal),  # noqa: PLW1509
        )
    finally:
        if output is not None:
            output.close()


def kill_group(group: int) -> None:
    """Ends what is left of a process group, at once."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def end(process: subprocess.Popen[bytes], patience: float = 10.0) -> int:
    """Asks a spawned process to stop, insists after `patience` seconds, and leaves none of its
    group; its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    status = process.wait()
    kill_group(process.pid)
    return status


def kill9(process: subprocess.Popen[bytes]) -> None:
    """Kills a spawned process and its children in one stroke, as a power cut would."""
    kill_group(process.pid)
    process.wait()


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
