"""Here the services' clock can be moved."""

from __future__ import annotations

import pytest

from tests.support.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()
