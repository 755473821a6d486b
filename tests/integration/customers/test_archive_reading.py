"""Reading the archive: only with the right, only for a case, and never without a row in the audit trail."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.archive import reading
from customers.wecom_mirror import details
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, YinqiaoError
from tests.conftest import Sandbox
from tests.integration.customers import archived
from tests.integration.customers.archived import friend, pull, say
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

READER = ClerkActor("demo", "audit", "周审", frozenset({"archive.see", "archive.read"}))
OTHER = ClerkActor("demo", "lin", "林晓", frozenset({"archive.see"}))
CASE = "2026-C-017"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def bank(services: Services, sandbox: Sandbox) -> Services:
    """Two messages between rm.chen and a customer whom we know, one to rm.li."""
    await archived.give_key(sandbox, 1)
    await archived.apply(services, sandbox)
    person = await friend(sandbox, "刘小敏")
    await details.fetch(await open_bank(services, "demo"), person["external_userid"])
    await say(sandbox, person, "我想买理财")
    await sandbox.control("POST", "members/rm.chen/write", {"person": person["id"], "text": "好的"})
    await say(sandbox, await friend(sandbox, "周浩", "rm.li"), "别人", "rm.li")
    await pull(services)
    return services


def today(services: Services) -> str:
    return datetime.fromtimestamp(services.clock(), timezone(timedelta(hours=8))).date().isoformat()


async def audited(services: Services) -> list[tuple[str, str, str, dict[str, Any]]]:
    rows = await services.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)], limit=None)
    return [
        (row["actor"], row["action"], row["object"], row["data"])
        for row in rows
        if row["action"].startswith("archive.")
    ]


async def test_a_search_shows_who_wrote_and_no_word_of_it(bank: Services) -> None:
    day = today(bank)
    found = await reading.search(await open_bank(bank, "demo"), READER, CASE, "rm.chen", day)
    assert [(one["sender"], one["customers"], one["msgtype"], one["recalled"], one["group"]) for one in found] == [
        ("", ["刘**"], "text", False, False),
        ("rm.chen", ["刘**"], "text", False, False),
    ]
    assert "理财" not in str(found)
    assert await audited(bank) == [("audit", "archive.searched", CASE, {"userid": "rm.chen", "day": day, "found": 2})]
    yesterday = (datetime.fromisoformat(day) - timedelta(days=1)).date().isoformat()
    assert await reading.search(await open_bank(bank, "demo"), READER, CASE, "rm.chen", yesterday) == []


async def test_every_message_that_is_opened_is_in_the_audit_trail(bank: Services) -> None:
    found = await reading.search(await open_bank(bank, "demo"), READER, CASE, "rm.chen", today(bank))
    at_bank = await open_bank(bank, "demo")
    shown = [await reading.read(at_bank, READER, CASE, one["id"]) for one in found]
    assert [(one["sender"], one["to"], one["content"]) for one in shown] == [
        ("刘**", ["陈思远"], "我想买理财"),
        ("陈思远", ["刘**"], "好的"),
    ]
    assert [(row[1], row[2], row[3]) for row in (await audited(bank))[1:]] == [
        ("archive.revealed", one["id"], {"case": CASE, "members": ["rm.chen"]}) for one in found
    ]


async def test_a_message_is_not_shown_when_the_audit_trail_does_not_take_it(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, *_) = await reading.search(await open_bank(bank, "demo"), READER, CASE, "rm.chen", today(bank))
    opened: list[str] = []
    monkeypatch.setattr(reading, "open_body", lambda *given: opened.append("opened"))

    async def away(*given: Any, **more: Any) -> None:
        raise Conflict("audit", "away")

    monkeypatch.setattr(type(bank.audit), "record", away)
    with pytest.raises(Conflict):
        await reading.read(await open_bank(bank, "demo"), READER, CASE, one["id"])
    assert opened == []


async def test_who_may_not_read_is_refused_and_written_down(bank: Services) -> None:
    with pytest.raises(Forbidden, match="not_permitted"):
        await reading.search(await open_bank(bank, "demo"), OTHER, CASE, "rm.chen", today(bank))
    with pytest.raises(Forbidden, match="not_permitted"):
        await reading.read(await open_bank(bank, "demo"), OTHER, CASE, "demo:1")
    assert await audited(bank) == [("lin", "archive.refused", "rm.chen", {}), ("lin", "archive.refused", "demo:1", {})]


@pytest.mark.parametrize(
    ("case", "day", "code"),
    [("", "2026-11-22", "case_invalid"), ("a b c d", "2026-11-22", "case_invalid"), (CASE, "soon", "archive_day")],
)
async def test_without_a_case_or_a_day_nothing_is_shown(bank: Services, case: str, day: str, code: str) -> None:
    with pytest.raises(InvalidInput, match=code):
        await reading.search(await open_bank(bank, "demo"), READER, case, "rm.chen", day)
    assert await audited(bank) == []


async def test_what_is_not_there_or_not_read_yet_is_refused(bank: Services, sandbox: Sandbox) -> None:
    await archived.give_key(sandbox, 2)
    await say(sandbox, await friend(sandbox, "孙雨"), "新的钥匙")
    await pull(bank)
    refused: list[tuple[type[YinqiaoError], str, str]] = [
        (NotFound, "message_unknown", "demo:99"),
        (Conflict, "message_unread", (await archived.kept(bank))[3]["_id"]),
    ]
    for error, code, message in refused:
        with pytest.raises(error, match=code):
            await reading.read(await open_bank(bank, "demo"), READER, CASE, message)
    assert await audited(bank) == []


async def test_a_message_that_was_taken_back_is_still_there_and_says_so(bank: Services) -> None:
    rows = bank.store.tenant("demo")["archive"]
    first, *_ = await archived.kept(bank)
    recall = {
        **first,
        "_id": "demo:9",
        "seq": 9,
        "msgid": "r",
        "action": "recall",
        "msgtype": "revoke",
        "recalls": first["msgid"],
    }
    await rows.insert(recall)
    found = await reading.search(await open_bank(bank, "demo"), READER, CASE, "rm.chen", today(bank))
    assert [one["recalled"] for one in found if one["id"] == first["_id"]] == [True]
    shown = await reading.read(await open_bank(bank, "demo"), READER, CASE, first["_id"])
    assert (shown["content"], shown["recalled"]) == ("我想买理财", True)


async def test_the_state_says_what_there_is_and_what_is_not_read(bank: Services, sandbox: Sandbox) -> None:
    await archived.give_key(sandbox, 2)
    await say(sandbox, await friend(sandbox, "孙雨"), "新的钥匙")
    await pull(bank)
    told = await reading.status(await open_bank(bank, "demo"), OTHER)
    assert told is not None
    assert (told["seq"], told["lag"], told["unread"], told["keys"], told["retention_days"]) == (
        4, 0.0, {"archive_key_unknown": 1}, [1], None,
    )  # fmt: skip
    assert told["consents"] == {"agreed": 1}
