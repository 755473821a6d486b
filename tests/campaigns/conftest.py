"""Here the services' clock can be moved, and a second process of the product is at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from config.settings import Settings
from services.container import Services, open_services
from tests.rewards.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def services(settings: Settings, clock: MovedClock) -> AsyncIterator[Services]:
    opened = await open_services(settings, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def second(settings: Settings, clock: MovedClock) -> AsyncIterator[Services]:
    """Another process on the same stores."""
    opened = await open_services(settings, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()
