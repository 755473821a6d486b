"""The room in which tests run: together, or one by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.support.alone import Room


def _overlap(folder: Path, *, alone: bool) -> tuple[int, list[str]]:
    """The most that were in the room while the last of four was in it, and the order in which they went in."""
    inside, most, order = 0, 0, []
    counting = threading.Lock()

    def stay(name: str, by_himself: bool, seconds: float) -> None:
        nonlocal inside, most
        with Room(folder).held(alone=by_himself):
            with counting:
                inside += 1
                order.append(name)
                most = max(most, inside) if by_himself or not alone else most
            time.sleep(seconds)
            with counting:
                inside -= 1

    people = [("a", False, 0.2), ("b", False, 0.2), ("alone", alone, 0.1), ("late", False, 0.1)]
    threads = [threading.Thread(target=stay, args=person) for person in people]
    for thread in threads:
        thread.start()
        time.sleep(0.03)
    for thread in threads:
        thread.join(5)
    return most, order


@pytest.mark.parametrize(("alone", "most"), [(True, 1), (False, 4)], ids=["by himself", "together"])
def test_who_wants_to_be_alone_is(tmp_path: Path, alone: bool, most: int) -> None:
    assert _overlap(tmp_path, alone=alone)[0] == most


def test_nobody_enters_before_who_waits_to_be_alone(tmp_path: Path) -> None:
    assert _overlap(tmp_path, alone=True)[1] == ["a", "b", "alone", "late"]
