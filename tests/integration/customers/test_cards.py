"""A loss, from the customer's deletion to the answered card, through WeCom's own callbacks (contract/wechat B10, C4)."""

from __future__ import annotations

from typing import Any

import pytest

from customers.alerts import cards
from customers.handover import departures
from services.clock import Clock, system_clock
from services.container import Services
from services.store.mongo import Doc
from tests.conftest import Sandbox, Server
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.waiting import until

SEND = "/cgi-bin/message/send"


@pytest.fixture
def clock() -> Clock:
    """The true time: WeCom's callbacks carry it."""
    return system_clock


async def _work(services: Services) -> None:
    await jobs.handle_inbox(await open_bank(services, "demo"))
    await jobs.send_effects(await open_bank(services, "demo"))


async def _lost(server: Server, sandbox: Sandbox, userid: str = "rm.li") -> dict[str, Any]:
    """A customer of the member who has just deleted him, and nothing is handled but his coming."""
    person = await sandbox.person("欧阳娜娜")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": userid})
    await _work(server.services)
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": userid})
    return person


async def _cards(sandbox: Sandbox, userid: str) -> list[dict[str, Any]]:
    return list((await sandbox.control("GET", f"members/{userid}/cards"))["cards"])


async def _sent(server: Server, sandbox: Sandbox, userid: str) -> dict[str, Any]:
    """The member's card, once workers have sent it."""

    async def there() -> bool:
        await _work(server.services)
        return bool(await _cards(sandbox, userid))

    await until(there)
    (card,) = await _cards(sandbox, userid)
    return card


async def _alarm(server: Server) -> Doc:
    (row,) = await server.services.store.tenant("demo")["alarms"].find({})
    return row


async def test_a_loss_is_told_to_the_rm_and_the_head_and_one_of_them_deals_with_it(
    server: Server, sandbox: Sandbox
) -> None:
    await _lost(server, sandbox)
    card = await _sent(server, sandbox, "rm.li")
    head = await _sent(server, sandbox, "rm.chen")
    assert card["task_id"] != head["task_id"]
    assert "欧***" in repr(card)
    assert "欧阳娜娜" not in repr(card)
    assert list(card["keys"]) == ["seen", "contact"]
    row = await _alarm(server)
    assert (row["kind"], row["state"], row["userids"]) == ("customer.lost", "open", ["rm.li", "rm.chen"])
    clicked = await sandbox.control("POST", f"members/rm.li/cards/{card['task_id']}/click", {"key": "contact"})
    assert clicked["delivered"] is True
    await _work(server.services)
    row = await _alarm(server)
    assert (row["state"], row["handled_by"], row["how"]) == ("handled", "rm.li", "contact")

    async def answered() -> bool:
        await _work(server.services)
        updates = await server.services.store.tenant("demo")["outbox"].find({"kind": "card_update"})
        return [update["state"] for update in updates] == ["done"]

    await until(answered)


async def test_who_is_no_longer_staff_answers_no_card_that_he_still_has(server: Server, sandbox: Sandbox) -> None:
    await _lost(server, sandbox)
    card = await _sent(server, sandbox, "rm.li")
    bank = await open_bank(server.services, "demo")
    await departures.left(bank, "rm.li", bank.now())
    await sandbox.control("POST", f"members/rm.li/cards/{card['task_id']}/click", {"key": "contact"})
    await _work(server.services)
    lost = await bank.db["alarms"].find({"kind": "customer.lost"})
    assert [row["state"] for row in lost] == ["open"]


async def test_a_customer_whom_the_rm_deleted_is_told_as_that(server: Server, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.li"})
    await _work(server.services)
    await sandbox.control("POST", f"people/{person['id']}/deleted-by", {"userid": "rm.li"})
    card = await _sent(server, sandbox, "rm.chen")
    assert "客户经理删除了客户" in repr(card)
    assert (await _alarm(server))["kind"] == "customer.removed"


async def test_a_card_whose_answer_was_lost_is_not_sent_twice(server: Server, sandbox: Sandbox) -> None:
    await _lost(server, sandbox, "rm.chen")
    fault = {"target": "api", "kind": "timeout_after_success", "path": SEND, "times": 1}
    await sandbox.control("POST", "faults", fault)
    outbox = server.services.store.tenant("demo")["outbox"]

    async def done() -> bool:
        await _work(server.services)
        return await outbox.count({"kind": "card", "state": "done"}) > 0

    await until(done, 60.0)
    (row,) = await outbox.find({"kind": "card", "state": "done"})
    assert row["attempts"] == 2
    assert len(await _cards(sandbox, "rm.chen")) == 1


def test_a_card_has_its_lines_and_buttons() -> None:
    message = cards.button_card("alarm-1", "标题", "说明", [("客户", "欧***")], cards.BUTTONS)
    card = message["template_card"]
    assert (message["msgtype"], message["enable_duplicate_check"]) == ("template_card", 1)
    assert card["button_list"] == [
        {"text": "已知悉", "style": 1, "key": "seen"},
        {"text": "我来联系", "style": 2, "key": "contact"},
    ]
    assert card["horizontal_content_list"] == [{"keyname": "客户", "value": "欧***"}]
