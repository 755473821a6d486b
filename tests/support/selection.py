"""Which tests a run has, and what it says about those that it leaves out; what its workers must not share."""

from __future__ import annotations

from typing import Any

import pytest

from deploy import ports
from tests.browser import chromium
from tests.support.alone import ALONE
from tests.support.stores import are_others, worker_number

KILLS_STORE = "kills_store"
LEFT_OUT = pytest.StashKey[set[str]]()


def share_ports(config: pytest.Config) -> None:
    """A range of its own for each worker, since a port is found free some time before somebody listens there."""
    config.stash[LEFT_OUT] = set()
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    ports.BELOW_EPHEMERAL = ports.BELOW_EPHEMERAL[worker_number(config) :: workers]


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long forms run with --soak only and alone; others' stores are not killed.

    First those for which all workers stand still: the longer tests that they would wait for begin later.
    """
    soak = config.getoption("soak")
    chosen = [item for item in items if (item.get_closest_marker("soak") is not None) == soak]
    if are_others(config):
        killing = [item for item in chosen if item.get_closest_marker(KILLS_STORE) is not None]
        config.stash[LEFT_OUT].update(item.nodeid for item in killing)
        chosen = [item for item in chosen if item not in killing]
    dropped = set(items) - set(chosen)
    if dropped:
        config.hook.pytest_deselected(items=[item for item in items if item in dropped])
        items[:] = chosen
    items.sort(key=lambda item: item.get_closest_marker(ALONE) is None)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = sorted(config.stash[LEFT_OUT])


def heard_from_worker(node: Any) -> None:
    node.config.stash[LEFT_OUT].update(getattr(node, "workeroutput", {}).get("left_out", ()))


def tell(reporter: pytest.TerminalReporter) -> None:
    """Loudly, at the end, what did not run and why."""
    left_out = sorted(reporter.config.stash[LEFT_OUT])
    if left_out:
        reporter.write_sep(
            "!", f"STORES OF YOUR OWN: {len(left_out)} TESTS THAT KILL A STORE DID NOT RUN", red=True, bold=True
        )
        for name in left_out:
            reporter.write_line(name)
        reporter.write_line("Run them on the embedded stores: make test")
    if chromium.find() is None:
        reporter.write_sep("!", "NO CHROMIUM: the browser walk did not run", red=True, bold=True)
        reporter.write_line("Install it (Debian: apt-get install chromium fonts-noto-cjk) and run again.")
