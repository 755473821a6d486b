"""Fixtures of the customers' tests.

clock     seconds UTC that a test may move; `services` here runs on it
bank      services with the demo bank applied, against the sandbox, without campaigns
other     the same store with a second bank, `other`, which has people with the same userids
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from config.settings import Settings
from customers import directory
from services.container import Services, open_services
from tests.conftest import DEMO_BANK, Sandbox

BANK, LIFE = "wx5ab0000000000001", "wx5ab0000000000002"


class Clock:
    """The time, which passes a millisecond each time somebody looks, so that no two things happen at once."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    opened = await open_services(settings, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def bank(services: Services, sandbox: Sandbox) -> Services:
    await directory.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    return services


def other_bank() -> str:
    """The demo bank's file with another id and other mini-programs."""
    text = DEMO_BANK.read_text(encoding="utf-8").replace("id: demo", "id: other", 1)
    return text.replace("wx5ab000000000000", "wx5ab999999999999")


@pytest.fixture
async def other(bank: Services) -> Services:
    await directory.apply_tenant(bank, other_bank(), "other.yaml")
    return bank
