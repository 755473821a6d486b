"""A customer who claims, and the code of what he has: for the tests of those who write it off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from rewards.vouchers import codes, issuing
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import APPID
from tests.support.banks import open_bank

Make = Callable[[], Awaitable[httpx.AsyncClient]]
Grant = Callable[[], Awaitable[str]]


@pytest.fixture
def grant(demo: Services, clients: Make, sandbox: Sandbox) -> Grant:
    """A new customer claims the flash voucher through the mini-program; its code."""

    async def make() -> str:
        client, bank = await clients(), await open_bank(demo, "demo")
        opened = await sandbox.open(await sandbox.person("刘敏"), APPID)
        signed_in = await client.post(f"/mp/{APPID}/login", json={"code": opened})
        headers = {"Authorization": f"Bearer {signed_in.json()['token']}", "Idempotency-Key": "k"}
        claimed = await client.post(f"/mp/{APPID}/rewards/flash.voucher/claim", headers=headers)
        assert claimed.status_code == 200, claimed.text
        row = await issuing.of_grant_id(bank, f"demo:{claimed.json()['redemption']['id']}")
        assert row is not None
        return codes.shown(codes.code_of(bank.vault, row["_id"], row["nth"]))

    return make
