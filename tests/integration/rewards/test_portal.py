"""The customer's home: who his manager is, at a bank that is not the first of its installation."""

from __future__ import annotations

import orjson

from customers import relationships
from customers.actors import CustomerActor
from customers.banks import apply
from customers.banks.bank import Bank, open_bank
from customers.identity import resolution
from customers.identity.facts import Facts
from rewards import portal
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.integration.customers.conftest import other_bank

APPID = "wx5ab9999999999991"


async def _home_of_a_friend(bank: Bank, userid: str) -> dict[str, object]:
    cid = await resolution.identify(bank, Facts(external_userid="wmA"))
    await relationships.changed(bank, userid, cid, at=bank.now(), active=True)
    answer: dict[str, object] = orjson.loads(await portal.home(bank, CustomerActor(bank.id, cid, APPID), "zh"))
    return answer


async def test_the_manager_works_at_a_branch_of_the_customers_own_bank(services: Services) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "demo.yaml")
    renamed = other_bank().replace("深圳南山支行", "另一家南山支行")
    await apply.apply_tenant(services, renamed, "other.yaml")
    ours, theirs = [await _home_of_a_friend(await open_bank(services, name), "rm.chen") for name in ("demo", "other")]
    assert ours["rm"] == {"name": "陈思远", "branch": "深圳南山支行"}
    assert theirs["rm"] == {"name": "陈思远", "branch": "另一家南山支行"}
