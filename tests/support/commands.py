"""Commands of manage.py in a thread of the test's process: a process of their own would import the product first, which
costs more than what most of them do. tests/deploy/test_manage.py starts real ones."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from config.settings import Settings
from deploy.parts import environment
from manage import app


@dataclass(frozen=True)
class Ended:
    """A command that ended, with what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def manage(settings: Settings, *words: str) -> Ended:
    """The command with these settings; raises what it let pass."""
    results: list[Any] = []
    with _as_before():
        work = threading.Thread(
            target=lambda: results.append(CliRunner().invoke(app, words, env=environment(settings)))
        )
        work.start()
        work.join()
    (result,) = results
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


@contextmanager
def _as_before() -> Iterator[None]:
    """What a command makes of its process is undone: its log, and who may read its files."""
    root = logging.getLogger()
    handlers, level, mask = root.handlers[:], root.level, os.umask(0o022)
    os.umask(mask)
    try:
        yield
    finally:
        root.handlers[:], _ = handlers, os.umask(mask)
        root.setLevel(level)
