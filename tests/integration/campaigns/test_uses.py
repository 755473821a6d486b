"""What live segments and published campaigns name is known by who names it."""

from __future__ import annotations

from campaigns import uses
from campaigns.uses import Use
from customers.segments import document, versions
from operations import profiling
from services.container import Services
from tests.integration.campaigns.test_corp_tags import LIN, ZHAO
from tests.support.banks import open_bank


async def test_segments_and_campaigns_are_told_by_what_they_name(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    rules = {"rich": "customer.balance_band == 'A'", "best": "segment('rich') and rfm.m == 5 and customer.bound"}
    for key, rule in rules.items():
        words = await profiling.vocabulary(bank)
        segment = document.read(key, {"name": {"zh": key, "en": key}, "rule": rule})
        number = await versions.submit(bank, LIN, key, segment, words)
        if key == "rich":
            assert ("field", "customer.balance_band") not in await uses.uses(bank)  # nobody agreed to it yet
        await versions.approve(bank, ZHAO, key, number, words)
    found = await uses.uses(bank)
    best, rich, acquisition = Use("segment", "best"), Use("segment", "rich"), Use("campaign", "acq-branch")
    assert found["field", "customer.balance_band"] == [rich]
    assert found["segment", "rich"] == [best]
    assert found["field", "rfm.m"] == [best]
    assert found["field", "customer.bound"] == [best]
    assert found["field", "customer.name"] == [acquisition]
    assert found["codes", "branch-q1"] == [acquisition]
