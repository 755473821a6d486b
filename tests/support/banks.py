"""A bank in a test's hand, also one that was never applied."""

from __future__ import annotations

from customers.banks import apply, bank
from customers.banks.bank import Bank
from deploy.processes import ROOT
from services.container import Services
from services.errors import NotFound

DEMO_BANK = ROOT / "config" / "demo" / "tenant.yaml"
DEMO_CAMPAIGNS = ROOT / "config" / "demo" / "campaigns"


async def open_bank(services: Services, tenant: str) -> Bank:
    """The applied bank with that id, else one that has rows and keys and nothing else."""
    try:
        return await bank.open_bank(services, tenant)
    except NotFound:
        return Bank(services, tenant)


async def apply_demo(services: Services) -> None:
    """The demonstration bank with its campaigns."""
    from campaigns.publishing import versions

    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    for file in sorted(DEMO_CAMPAIGNS.glob("*.yaml")):
        await versions.apply(await open_bank(services, "demo"), file.read_text(encoding="utf-8"), file.name, "cli")
