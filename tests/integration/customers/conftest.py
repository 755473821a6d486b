"""Fixtures of the customers' tests.

clock     seconds UTC that a test may move; `services` here runs on it
bank      services with the demo bank applied, against the sandbox, without campaigns
other     the same store with a second bank, `other`, which has people with the same userids
"""

from __future__ import annotations

import pytest

from customers.banks import apply
from services.container import Services
from tests.conftest import DEMO_BANK, Sandbox
from tests.support.beginnings import Beginnings
from tests.support.clock import StillClock

BANK, LIFE = "wx5ab0000000000001", "wx5ab0000000000002"


@pytest.fixture
def clock() -> StillClock:
    """A millisecond passes each time somebody looks, so that no two things happen at once."""
    return StillClock(step=0.001)


@pytest.fixture
async def bank(services: Services, sandbox: Sandbox, beginnings: Beginnings) -> Services:
    text = DEMO_BANK.read_text(encoding="utf-8")
    await beginnings.begin("bank", services, sandbox, lambda: apply.apply_tenant(services, text, DEMO_BANK.name))
    return services


def other_bank() -> str:
    """The demo bank's file with another id and other mini-programs."""
    text = DEMO_BANK.read_text(encoding="utf-8").replace("id: demo", "id: other", 1)
    return text.replace("wx5ab000000000000", "wx5ab999999999999")


@pytest.fixture
async def other(bank: Services) -> Services:
    await apply.apply_tenant(bank, other_bank(), "other.yaml")
    return bank
