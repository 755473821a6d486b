"""A bank in a test's hand, also one that was never applied."""

from __future__ import annotations

from customers.banks import bank
from customers.banks.bank import Bank
from services.container import Services
from services.errors import NotFound


async def open_bank(services: Services, tenant: str) -> Bank:
    """The applied bank with that id, else one that has rows and keys and nothing else."""
    try:
        return await bank.open_bank(services, tenant)
    except NotFound:
        return Bank(services, tenant)
