from __future__ import annotations

from typing import Any

import pytest

from config.settings import Settings
from customers.actors import ClerkActor
from customers.alerts import alarms, cards
from customers.identity import resolution
from services.clock import utc
from services.container import Services
from services.errors import Conflict, NotFound
from services.store.mongo import Doc
from services.wechat.core.errors import Transient
from services.wechat.events import CardClicked
from services.wechat.wecom.messages import Messages
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import StillClock

LIN = ClerkActor("demo", "lin", "林晓", frozenset({"alarms.read", "alarms.handle"}))


class Wire:
    """What was sent to members, instead of WeCom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.updated: list[tuple[list[str], str, str]] = []
        self.fails: list[Exception] = []
        wire = self

        async def message_send(_: Any, userids: list[str], message: dict[str, Any]) -> dict[str, Any]:
            if wire.fails:
                raise wire.fails.pop()
            wire.sent.append((userids[0], message["template_card"]))
            return {"errcode": 0}

        async def update(_: Any, userids: list[str], code: str, *, replace_name: str = "") -> dict[str, Any]:
            wire.updated.append((userids, code, replace_name))
            return {"errcode": 0}

        monkeypatch.setattr(Messages, "send", message_send)
        monkeypatch.setattr(Messages, "update_card", update)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


async def _customer(services: Services, name: str) -> str:
    return await resolution.identify(
        await open_bank(services, "demo"), resolution.Facts(external_userid=f"wm{name}", name=name)
    )


async def _lost(services: Services, key: str, cid: str = "", userids: tuple[str, ...] = ("rm.chen",)) -> bool:
    return await alarms.raise_alarm(
        await open_bank(services, "demo"), "customer.lost", key, userids=userids, cid=cid, userid="rm.chen"
    )


async def _audited(services: Services) -> list[tuple[str, str, Doc]]:
    rows = await services.store.tenant("demo")["audit"].find({"action": "alarm.handled"}, sort=[("seq", 1)])
    return [(row["actor"], row["object"], row["data"]) for row in rows]


async def _rows(services: Services) -> list[Doc]:
    return await services.store.tenant("demo")["alarms"].find({}, sort=[("at", 1)])


async def _send(services: Services, clock: StillClock, seconds: float = 3.0) -> None:
    clock.now += seconds
    await jobs.send_effects(await open_bank(services, "demo"))


def _click(card: dict[str, Any], userid: str, key: str = "seen", code: str = "rc1") -> CardClicked:
    return CardClicked(
        corp_id="ww1", create_time=None, userid=userid, event_key=key, task_id=card["task_id"],
        card_type="button_interaction", response_code=code, agent_id=1000002, selected={},
    )  # fmt: skip


def _row(services: Services, number: int = 1) -> Doc:
    return {"_id": f"demo:{number}", "tenant": "demo", "at": utc(services.clock())}


async def test_an_alarm_is_raised_once_and_told_once(bank: Services, clock: StillClock, wire: Wire) -> None:
    cid = await _customer(bank, "欧阳娜娜")
    assert await _lost(bank, "e1", cid, ("rm.chen", "rm.wang", "rm.chen"))
    assert not await _lost(bank, "e1", cid, ("rm.chen", "rm.wang"))
    (row,) = await _rows(bank)
    assert (row["state"], row["cid"], row["userids"]) == ("open", cid, ["rm.chen", "rm.wang"])
    await _send(bank, clock)
    await _send(bank, clock, 120.0)
    assert sorted(userid for userid, _ in wire.sent) == ["rm.chen", "rm.wang"]
    card = wire.sent[0][1]
    assert card["main_title"]["title"] == "客户删除了客户经理"
    assert card["horizontal_content_list"] == [{"keyname": "欧***", "value": "陈思远"}]
    assert [button["key"] for button in card["button_list"]] == ["seen", "contact"]


async def test_a_storm_of_losses_is_two_cards_and_nobody_is_left_out(
    bank: Services, clock: StillClock, wire: Wire
) -> None:
    """contract/wechat D1: WeCom drops the 31st app message to a member within a minute without a word."""
    clock.now = 1_800_000_000.0 // 60 * 60
    for number in range(40):
        await _lost(bank, f"first{number}")
    await _send(bank, clock)
    assert len(wire.sent) == 1
    for number in range(40):
        await _lost(bank, f"second{number}")
    await _send(bank, clock, 5.0)
    assert len(wire.sent) == 1
    await _send(bank, clock, 60.0)
    assert [card["main_title"]["desc"] for _, card in wire.sent] == ["共40条", "共40条"]
    assert wire.sent[0][1]["task_id"] != wire.sent[1][1]["task_id"]
    assert wire.sent[0][1]["horizontal_content_list"][-1]["value"] == "另有35条，请在控制台查看"
    assert not await alarms.untold(await open_bank(bank, "demo"), "rm.chen")


async def test_a_card_that_failed_is_the_same_card_when_it_is_tried_again(
    bank: Services, clock: StillClock, wire: Wire
) -> None:
    clock.now = 1_800_000_000.0 // 60 * 60
    await _lost(bank, "e1")
    wire.fails = [Transient(-1, "busy", "message/send")]
    await _send(bank, clock)
    assert wire.sent == []
    await _lost(bank, "e2")
    await _send(bank, clock, 5.0)
    assert [card["main_title"]["title"] for _, card in wire.sent] == ["客户删除了客户经理"]
    await _send(bank, clock, 60.0)
    assert len(wire.sent) == 2


async def test_whoever_was_told_marks_it_handled_and_his_card_says_so(
    bank: Services, clock: StillClock, wire: Wire
) -> None:
    cid = await _customer(bank, "刘敏")
    await _lost(bank, "e1", cid)
    await _send(bank, clock)
    click = _click(wire.sent[0][1], "rm.chen", "contact")
    await cards.card_clicked(await open_bank(bank, "demo"), _row(bank), click)
    (row,) = await _rows(bank)
    assert (row["state"], row["handled_by"], row["how"]) == ("handled", "rm.chen", "contact")
    story = await bank.store.tenant("demo")["timeline"].find({"cid": cid, "kind": "alarm.handled"})
    assert [entry["data"] for entry in story] == [{"by": "rm.chen", "how": "contact"}]
    assert await _audited(bank) == [
        ("rm.chen", row["_id"], {"how": "contact", "kinds": ["customer.lost"], "alarms": 1})
    ]
    await _send(bank, clock, 1.0)
    assert wire.updated == [(["rm.chen"], "rc1", "我来联系")]


async def test_a_click_that_is_delivered_twice_changes_the_card_once(
    bank: Services, clock: StillClock, wire: Wire
) -> None:
    await _lost(bank, "e1", await _customer(bank, "刘敏"))
    await _send(bank, clock)
    for _ in range(3):
        await cards.card_clicked(await open_bank(bank, "demo"), _row(bank), _click(wire.sent[0][1], "rm.chen"))
    await cards.card_clicked(
        await open_bank(bank, "demo"), _row(bank, 2), _click(wire.sent[0][1], "rm.chen", "contact", code="")
    )
    await _send(bank, clock, 1.0)
    (row,) = await _rows(bank)
    assert (row["handled_by"], row["how"]) == ("rm.chen", "seen")
    assert len(wire.updated) == 1
    assert await bank.store.tenant("demo")["timeline"].count({"kind": "alarm.handled"}) == 1
    assert len(await _audited(bank)) == 1


async def test_one_click_on_a_card_of_several_alarms_is_one_row_of_the_trail(
    bank: Services, clock: StillClock, wire: Wire
) -> None:
    for key in ("e1", "e2", "e3"):
        await _lost(bank, key)
    await _send(bank, clock)
    await cards.card_clicked(await open_bank(bank, "demo"), _row(bank), _click(wire.sent[0][1], "rm.chen"))
    told = {"how": "seen", "kinds": ["customer.lost"], "alarms": 3}
    assert await _audited(bank) == [("rm.chen", _row(bank)["_id"], told)]


async def test_handling_that_was_cut_short_is_finished_by_whoever_asks_again(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = await _customer(bank, "刘敏")
    await _lost(bank, "e1", cid)
    (row,) = await _rows(bank)

    async def killed(*_: object, **__: object) -> int:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(bank.audit, "record", killed)
        with pytest.raises(ConnectionResetError):
            await alarms.handle_by_clerk(await open_bank(bank, "demo"), LIN, row["_id"])
    assert await _audited(bank) == []
    await alarms.handle_by_clerk(await open_bank(bank, "demo"), LIN, row["_id"])
    assert [(actor, subject) for actor, subject, _ in await _audited(bank)] == [("lin", row["_id"])]
    assert await bank.store.tenant("demo")["timeline"].count({"cid": cid, "kind": "alarm.handled"}) == 1
    with pytest.raises(Conflict):
        await alarms.handle_by_clerk(await open_bank(bank, "demo"), LIN, row["_id"])


@pytest.mark.parametrize("stranger", ["rm.li", "nobody", ""])
async def test_a_click_of_somebody_who_was_not_asked_changes_nothing(
    bank: Services, clock: StillClock, wire: Wire, stranger: str
) -> None:
    await _lost(bank, "e1")
    await _send(bank, clock)
    before = await _rows(bank)
    await cards.card_clicked(await open_bank(bank, "demo"), _row(bank), _click(wire.sent[0][1], stranger))
    await _send(bank, clock, 1.0)
    assert await _rows(bank) == before
    assert wire.updated == []


@pytest.mark.parametrize(
    ("task_id", "key"), [("other-1", "seen"), ("alarm-0", "seen"), ("", "seen"), (None, "delete_everything")]
)
async def test_an_unknown_card_or_button_is_harmless(
    bank: Services, clock: StillClock, wire: Wire, task_id: str | None, key: str
) -> None:
    await _lost(bank, "e1")
    await _send(bank, clock)
    card = dict(wire.sent[0][1])
    if task_id is not None:
        card["task_id"] = task_id
    before = await _rows(bank)
    await cards.card_clicked(await open_bank(bank, "demo"), _row(bank), _click(card, "rm.chen", key))
    assert await _rows(bank) == before


async def test_a_clerk_handles_an_alarm_once_and_the_second_is_told_so(bank: Services) -> None:
    await _lost(bank, "e1", await _customer(bank, "刘敏"))
    (row,) = await alarms.list_alarms(await open_bank(bank, "demo"), LIN)
    assert row["name"] == "刘*"
    await alarms.handle_by_clerk(await open_bank(bank, "demo"), LIN, row["_id"])
    assert await alarms.list_alarms(await open_bank(bank, "demo"), LIN) == []
    zhao = ClerkActor("demo", "zhao", "赵敏", LIN.permissions)
    with pytest.raises(Conflict) as refused:
        await alarms.handle_by_clerk(await open_bank(bank, "demo"), zhao, row["_id"])
    assert refused.value.code == "alarm_handled"
    (handled,) = await alarms.list_alarms(await open_bank(bank, "demo"), LIN, alarms.HANDLED)
    assert (handled["handled_by"], handled["how"]) == ("lin", "console")
    audit = await bank.store.tenant("demo")["audit"].find({"action": "alarm.handled"})
    assert [(entry["actor"], entry["object"]) for entry in audit] == [("lin", row["_id"])]


async def test_another_banks_alarm_is_unknown(other: Services) -> None:
    await _lost(other, "e1")
    (row,) = await _rows(other)
    eve = ClerkActor("other", "eve", "夏", LIN.permissions)
    with pytest.raises(NotFound) as refused:
        await alarms.handle_by_clerk(await open_bank(other, "other"), eve, row["_id"])
    assert refused.value.code == "alarm_unknown"
    assert await _rows(other) == [row]
    assert await alarms.list_alarms(await open_bank(other, "other"), eve) == []


@pytest.mark.parametrize("spread", [False, True])
async def test_a_card_keeps_off_the_minutes_in_which_everybody_sends(
    bank: Services, clock: StillClock, wire: Wire, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    """The alarm itself is there at once; what came meanwhile is on the same card."""
    monkeypatch.setattr(Settings, "spreads_messages", spread)
    clock.now = 1_800_000_000.0
    assert (clock.now // 60) % 30 == 0
    await _lost(bank, "first")
    assert len(await _rows(bank)) == 1
    await _send(bank, clock, 50.0)
    assert len(wire.sent) == (0 if spread else 1)
    await _lost(bank, "second")
    for _ in range(5):
        await _send(bank, clock, 60.0)
    assert sum(len(card["horizontal_content_list"]) for _, card in wire.sent) == 2
    assert len(wire.sent) == (1 if spread else 2)
