"""How a run goes, on the terminal or in a log."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from sandbox.people.truth_file import Truth

SHOW_SECONDS = 5.0


class Screen:
    """How it goes: a line that moves in a terminal, plain lines otherwise."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._console = Console(highlight=False)
        self._next = 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, console=self._console, disable=not self._console.is_terminal
        )
        self._task: TaskID = self._progress.add_task("", total=truth.head.customers)

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self) -> None:
        """How far the run is; at most once a second, or once in five without a terminal."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        terminal = self._console.is_terminal
        self._next = now + (1.0 if terminal else SHOW_SECONDS)
        head = self._truth.head
        totals = self._truth.totals()
        came = totals["customers"] - totals["invited"]
        refused = sum(totals["refused"].values())
        told = f"{head.done} steps, {totals['granted']} granted, {refused} refused"
        self._progress.update(self._task, description=told, completed=came)
        if not terminal:
            self._console.print(f"{came} of {head.customers} customers, {told}")

    def say(self, text: str) -> None:
        self._console.print(text)
