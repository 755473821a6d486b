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
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + (1.0 if self._console.is_terminal else SHOW_SECONDS)
        totals, head = self._truth.totals(), self._truth.head
        came = totals["customers"] - totals["invited"]
        told = f"{head.done} steps, {totals['granted']} granted, {sum(totals['refused'].values())} refused"
        self._progress.update(self._task, description=told, completed=came)
        if not self._console.is_terminal:
            self._console.print(f"{came} of {head.customers} customers, {told}")

    def say(self, text: str) -> None:
        self._console.print(text)
