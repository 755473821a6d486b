"""The Procfile: what `make demo` runs is what the tests run, and every queue has a worker."""

from __future__ import annotations

import pytest
from honcho.environ import parse_procfile

from deploy import parts, stack
from deploy.processes import ROOT
from operations.jobs import QUEUES

PROCFILE: dict[str, str] = dict(parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8")).processes)


def test_it_runs_both_stores_the_sandbox_and_every_part() -> None:
    assert list(PROCFILE) == [*stack.COMMANDS, "sandbox", *parts.COMMANDS]


@pytest.mark.parametrize("name", parts.COMMANDS)
def test_a_part_is_started_as_the_tests_start_it_and_waits_for_the_stores(name: str) -> None:
    command = " ".join(["python", *parts.COMMANDS[name][1:]])
    assert PROCFILE[name] == f"exec python -m deploy.keep --stores -- {command}"


@pytest.mark.parametrize("name", stack.COMMANDS)
def test_a_store_stops_last(name: str) -> None:
    assert PROCFILE[name] == f"exec python -m deploy.keep --last -- python -m deploy.stack {name}"


def test_every_queue_has_a_worker_and_some_have_one_of_their_own() -> None:
    taken = {
        name: words[words.index("--queues") + 1]
        for name in ("worker", "files", "webhooks")
        if (words := PROCFILE[name].split())
    }
    assert taken == {"worker": "callback,staff,bank,effects", "files": "files", "webhooks": "webhooks"}
    assert {*",".join(taken.values()).split(",")} == {*QUEUES.values()}
