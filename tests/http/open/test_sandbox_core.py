"""The sandbox's core system is believed: its own signing, sent to the real API under the demonstration bank's secret."""

from __future__ import annotations

from customers.fields import values
from customers.intake.rows import BANK_EVENTS, INTAKE
from customers.intake.splitting import event_id
from tests.conftest import Sandbox, Server
from tests.support.bank_systems import customer, split
from tests.support.banks import open_bank


async def test_the_sandbox_bank_is_believed_and_a_forger_is_not(server: Server, sandbox: Sandbox) -> None:
    bank = await open_bank(server.services, "demo")
    person = await sandbox.person(phone="13900000001")
    cid = await customer(bank, phone="+8613900000001", unionid=person["unionid"])
    at = f"people/{person['id']}/bank"
    await sandbox.control("POST", f"{at}/become", {"by": "unionid"})
    await sandbox.control("POST", f"{at}/open", {"product": "活期储蓄", "balance": 1_000_000})
    (login,) = (await sandbox.control("POST", f"{at}/login", {}))["sent"]
    assert (login["state"], login["answer"]["accepted"]) == ("answered", 1)
    (again,) = (await sandbox.control("POST", f"bank/sent/{login['id']}/again"))["sent"]
    assert again["state"] == "answered"
    await split(bank)
    kept = (await sandbox.control("GET", at))["customer"]
    wanted = {event_id("demo", "core", one["id"]): one["name"] for one in kept["events"]}
    rows = await bank.db[BANK_EVENTS].find({})
    assert {row["_id"]: row["name"] for row in rows} == wanted
    assert {row["cid"] for row in rows} == {cid}
    held = (await values.read(bank, {cid: [cid]}))[cid]
    assert {one.key: one.value for one in held} == kept["fields"]
    before = await bank.db[INTAKE].count({})
    (forged,) = (await sandbox.control("POST", f"{at}/forge"))["sent"]
    assert (forged["state"], forged["answer"]["error"]["code"]) == ("refused", "signature_wrong")
    assert await bank.db[INTAKE].count({}) == before


async def test_a_number_that_nobody_linked_waits(server: Server, sandbox: Sandbox) -> None:
    bank = await open_bank(server.services, "demo")
    person = await sandbox.person()
    at = f"people/{person['id']}/bank"
    (told,) = (await sandbox.control("POST", f"{at}/become", {"by": "number"}))["sent"]
    assert (told["method"], told["answer"]["accepted"]) == ("PUT", 1)
    await sandbox.control("POST", f"{at}/login", {})
    await split(bank)
    (row,) = await bank.db[BANK_EVENTS].find({})
    assert (row["by"], "cid" in row) == ("number", False)
