"""The message archive: every message once, whoever is killed; what cannot be read holds up nothing; the lag is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.archive import pull as archive
from customers.archive.messages import Directory, party_index, read_message
from customers.banks import apply
from customers.identity import resolution
from customers.wecom_mirror import members
from operations import scheduler
from services.clock import utc
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Collection, Doc
from services.wechat import events
from services.wechat.core.archive import AnswerTooLarge, HttpArchive, Record, Unreadable
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.customers import archived
from tests.integration.customers.archived import friend, kept, pull, pull_row, say, texts
from tests.integration.customers.dump import of_store
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

CLERK = ClerkActor("demo", "audit", "周审", frozenset())


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def bank(services: Services, sandbox: Sandbox) -> Services:
    await archived.give_key(sandbox, 1)
    await archived.apply(services, sandbox)
    return services


async def told(services: Services, at: float) -> None:
    """WeCom's notification of that second."""
    event = events.ArchiveNotified(corp_id="ww", create_time=utc(at), agent_id=2000004)
    await archive.notified(await open_bank(services, "demo"), {"_id": f"demo:{at}", "at": utc(at)}, event)


async def test_messages_are_kept_sealed_with_who_and_when(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(sandbox)
    cid = await resolution.identify(
        await open_bank(bank, "demo"), resolution.Facts(external_userid=person["external_userid"])
    )
    await say(sandbox, person, "我想买理财")
    await sandbox.control("POST", "members/rm.chen/write", {"person": person["id"], "text": "好的"})
    await pull(bank)
    first, second = await kept(bank)
    assert await texts(bank) == ["我想买理财", "好的"]
    assert [(row["_id"], row["seq"], row["state"], row["msgtype"], row["action"]) for row in (first, second)] == [
        (f"demo:{seq:020d}", seq, "read", "text", "send") for seq in (1, 2)
    ]
    index = party_index(await open_bank(bank, "demo"), person["external_userid"])
    assert [(row["userids"], row["customers"], row["cids"]) for row in (first, second)] == [
        (["rm.chen"], [index], [cid])
    ] * 2
    assert person["external_userid"] not in str(first)
    assert "理财" not in str(first)
    assert abs(first["at"].timestamp() - bank.clock()) < 60


async def test_a_second_pull_brings_only_what_is_new(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(sandbox)
    await say(sandbox, person, "一")
    await pull(bank)
    await pull(bank)
    await say(sandbox, person, "二")
    await pull(bank)
    assert await texts(bank) == ["一", "二"]


async def test_pages_follow_each_other_to_the_end(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await friend(sandbox)
    for number in range(7):
        await say(sandbox, person, str(number))
    monkeypatch.setattr(archive, "PAGE", 2)
    await pull(bank)
    assert await texts(bank) == [str(number) for number in range(7)]
    row = await pull_row(bank)
    assert (row["more"], row["owner"], row["reason"]) == (False, None, "")


async def test_a_notification_of_wecom_brings_the_message(demo: Services, sandbox: Sandbox, server: object) -> None:
    await archived.give_key(sandbox, 1)
    await archived.apply(demo, sandbox)
    await say(sandbox, await friend(sandbox), "您好")

    async def arrived() -> bool:
        await jobs.handle_inbox(await open_bank(demo, "demo"))
        await jobs.pull_archive(await open_bank(demo, "demo"))
        return await texts(demo) == ["您好"]

    await until(arrived)


@pytest.mark.parametrize("fatal", range(1, 9))
async def test_killed_before_any_write_no_message_is_lost_or_doubled(
    bank: Services, second: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    person = await friend(sandbox)
    for number in range(5):
        await say(sandbox, person, str(number))
    monkeypatch.setattr(archive, "PAGE", 2)
    await archived.due(bank)
    writes = 0

    def dying(name: str) -> None:
        real = getattr(Collection, name)

        async def write(self: Collection, *args: Any, **kwargs: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise Killed
            return await real(self, *args, **kwargs)

        monkeypatch.setattr(Collection, name, write)

    for name in ("append", "update", "update_many", "delete"):
        dying(name)
    try:
        await jobs.pull_archive(await open_bank(bank, "demo"))
    except Killed:
        pass
    assert writes >= fatal
    monkeypatch.undo()
    await pull(second)
    assert await texts(second) == [str(number) for number in range(5)]


async def test_without_the_order_a_page_that_was_cut_short_loses_messages_and_with_it_none(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unordered, a store may have done the last of a page and not the first; what is before the cursor is never asked for again.
    In order it can only have done a beginning."""
    person = await friend(sandbox)
    for number in range(4):
        await say(sandbox, person, str(number))
    rows, found = bank.store.tenant("demo")["archive"], list[Doc]()

    async def seen(self: Collection, docs: Sequence[Doc]) -> int:
        found.extend(docs)
        raise Killed

    monkeypatch.setattr(Collection, "append", seen)
    with pytest.raises(Killed):
        await pull(bank)
    monkeypatch.undo()
    await rows.insert_new([found[0], found[2]])
    await pull(bank)
    assert await texts(bank) == ["0", "2", "3"]
    await rows.delete({})
    for done in range(5):
        await rows.append(found[:done])
        await pull(bank)
        assert await texts(bank) == ["0", "1", "2", "3"]
        await rows.delete({})


async def test_workers_that_pull_at_once_keep_every_message_once(
    bank: Services, second: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even without a lease between them."""
    person = await friend(sandbox)
    for number in range(30):
        await say(sandbox, person, str(number))
    monkeypatch.setattr(archive, "PAGE", 3)

    async def pulling(services: Services) -> None:
        await pull(services)

    await asyncio.gather(*(pulling(one) for one in (bank, second) * 4))
    await pull(bank)
    assert await texts(bank) == [str(number) for number in range(30)]


async def test_a_message_of_an_unknown_key_holds_up_nothing_and_is_read_when_the_key_comes(
    bank: Services, sandbox: Sandbox
) -> None:
    person = await friend(sandbox)
    await say(sandbox, person, "一")
    await archived.give_key(sandbox, 2)
    await say(sandbox, person, "二")
    await pull(bank)
    assert await texts(bank) == ["一"]
    assert [(row["state"], row["reason"], row["body"] is None) for row in await kept(bank)] == [
        ("read", "", False),
        ("kept", "archive_key_unknown", True),
    ]
    assert await archive.retry(await open_bank(bank, "demo"), "cli") == (0, 1)
    await archived.apply(bank, sandbox, versions=(1, 2))
    assert await archive.retry(await open_bank(bank, "demo"), "cli") == (1, 0)
    assert await texts(bank) == ["一", "二"]
    assert [(row["state"], row["reason"], row["record"]) for row in await kept(bank)] == [("read", "", None)] * 2


async def test_a_wrong_key_and_a_message_that_is_none_are_kept_with_their_reason(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await friend(sandbox)
    await archived.give_key(sandbox, 2)
    await say(sandbox, person, "用第二把钥匙")
    keys = {1: archived.pem(1), 2: archived.pem(1)}
    await archived.apply(bank, sandbox, private_keys=keys)
    await pull(bank)
    (row,) = await kept(bank)
    assert (row["state"], row["reason"]) in [("kept", "archive_key_wrong"), ("kept", "archive_message_unreadable")]

    async def unreadable(self: HttpArchive, key: str, record: Record) -> dict[str, Any]:
        raise Unreadable("archive_message_unreadable")

    await archived.apply(bank, sandbox, versions=(1, 2))
    monkeypatch.setattr(HttpArchive, "decrypt", unreadable)
    await say(sandbox, person, "坏的")
    await pull(bank)
    assert (await kept(bank))[1]["reason"] == "archive_message_unreadable"
    monkeypatch.undo()
    assert await archive.retry(await open_bank(bank, "demo"), "cli") == (2, 0)
    assert await texts(bank) == ["用第二把钥匙", "坏的"]


async def test_a_gateway_that_is_away_is_asked_again_and_nothing_is_skipped(bank: Services, sandbox: Sandbox) -> None:
    await say(sandbox, await friend(sandbox), "一")
    await archived.apply(bank, sandbox, url=f"{sandbox.url}/nowhere")
    await pull(bank)
    row = await pull_row(bank)
    assert (await kept(bank), row["reason"], row["failures"], row["owner"]) == ([], "archive_unavailable", 1, None)
    await archived.apply(bank, sandbox)
    await pull(bank)
    row = await pull_row(bank)
    assert (await texts(bank), row["reason"], row["failures"]) == (["一"], "", 0)


async def test_a_message_that_ends_the_gateway_each_time_is_kept_unread_and_the_next_are_read(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await friend(sandbox)
    for text in ("一", "二", "三"):
        await say(sandbox, person, text)
    real = HttpArchive.decrypt

    async def deadly(self: HttpArchive, key: str, record: Record) -> dict[str, Any]:
        if record.seq == 2:
            raise Unavailable("archive_unavailable", "it is gone")
        return await real(self, key, record)

    monkeypatch.setattr(HttpArchive, "decrypt", deadly)
    for _ in range(archive.CAREFUL + (archive.RETRY.tries or 0) + 2):
        await pull(bank)
    assert await texts(bank) == ["一", "三"]
    assert [row["reason"] for row in await kept(bank)] == ["", "archive_gateway_failed", ""]


async def test_a_page_that_is_too_large_for_an_answer_is_asked_for_in_parts(bank: Services, sandbox: Sandbox) -> None:
    """301058: every message comes, once and in order, whatever fits into an answer."""
    person = await friend(sandbox)
    written = [f"第{n}条" for n in range(9)]
    for text in written:
        await say(sandbox, person, text)
    await sandbox.control("POST", "switches", {"archive_answer_bytes": 1500})
    await pull(bank)
    assert await texts(bank) == written
    assert (await pull_row(bank))["reason"] == ""


async def test_one_message_that_is_too_large_is_told_and_asked_for_again(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await friend(sandbox)
    await say(sandbox, person, "很长的一条")
    asked: list[int] = []

    async def refuse(_: HttpArchive, __: int, limit: int) -> list[Record]:
        asked.append(limit)
        raise AnswerTooLarge("archive_refused", "the archive's gateway answers 301058")

    with monkeypatch.context() as patch:
        patch.setattr(HttpArchive, "pull", refuse)
        await pull(bank)
    assert (asked[0], asked[-1], (await pull_row(bank))["reason"]) == (archive.PAGE, 1, "archive_refused")
    await pull(bank)
    assert await texts(bank) == ["很长的一条"]


async def test_the_lag_runs_from_the_notification_until_its_message_is_here(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    person = await friend(sandbox)
    await say(sandbox, person, "一")
    await pull(bank)
    assert archive.lag(await open_bank(bank, "demo"), await pull_row(bank)) == 0.0
    clock.advance(3600.0)
    await archived.apply(bank, sandbox, url=f"{sandbox.url}/nowhere")
    since = bank.clock()
    await told(bank, since)
    await told(bank, since + 30.0)
    clock.advance(899.0)
    await archived.due(bank)
    assert 899 <= archive.lag(await open_bank(bank, "demo"), await pull_row(bank)) < 920
    assert await alarms.list_alarms(await open_bank(bank, "demo"), CLERK) == []
    clock.advance(60.0)
    await archive.keep_going(await open_bank(bank, "demo"))
    await archive.keep_going(await open_bank(bank, "demo"))
    (alarm,) = await alarms.list_alarms(await open_bank(bank, "demo"), CLERK)
    assert alarm["kind"] == "archive_lag"
    await archive.measure(bank)
    assert bank.metrics.archive_lag.labels("demo")._value.get() > 950


async def test_the_lag_is_over_when_the_messages_are_here(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(sandbox)
    await pull(bank)
    await say(sandbox, person, "一")
    await told(bank, bank.clock())
    assert (await pull_row(bank))["behind_since"] is not None
    await pull(bank)
    assert (await pull_row(bank))["behind_since"] is None
    assert await texts(bank) == ["一"]


async def test_a_gateway_that_answers_nothing_although_wecom_tells_of_messages_lags(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    await told(bank, bank.clock())
    await pull(bank)
    clock.advance(1000.0)
    await pull(bank)
    await archive.keep_going(await open_bank(bank, "demo"))
    at_bank = await open_bank(bank, "demo")
    assert [alarm["kind"] for alarm in await alarms.list_alarms(at_bank, CLERK)] == ["archive_lag"]


async def test_a_bank_keeps_messages_as_long_as_it_says_and_the_cursor_for_good(
    bank: Services, sandbox: Sandbox, clock: MovedClock
) -> None:
    person = await friend(sandbox)
    for text in ("一", "二"):
        await say(sandbox, person, text)
    await pull(bank)
    clock.advance(40 * 86400.0)
    await pull(bank)
    assert await texts(bank) == ["一", "二"]
    await archived.apply(bank, sandbox, retention_days=30)
    await pull(bank)
    await pull(bank)
    assert await texts(bank) == ["二"]
    rows = await bank.store.tenant("demo")["audit"].find({"action": "archive.expired"})
    assert [(row["actor"], row["data"]) for row in rows] == [("retention", {"messages": 1, "days": 30})]


async def test_a_bank_without_an_archive_pulls_nothing(bank: Services, sandbox: Sandbox) -> None:
    await pull(bank)
    await archived.apply(bank, sandbox)
    await apply.apply_tenant(bank, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    await pull(bank)
    assert (await pull_row(bank))["open"] is False
    await told(bank, bank.clock())
    assert (await pull_row(bank))["open"] is False


def test_a_recall_names_what_it_takes_back_and_a_strange_message_is_read_as_far_as_it_goes() -> None:
    customer = "wmMadeUpCustomer000000000000001"
    message = {"from": customer, "tolist": ["rm.chen", 7], "msgtime": 1_800_000_000_123, "msgtype": "revoke"}
    head = read_message({**message, "action": "recall", "revoke": {"pre_msgid": "m1"}}, 5.0)
    assert (head.at, head.userids, head.customers, head.recalls) == (
        1_800_000_000.123,
        ("rm.chen",),
        (customer,),
        "m1",
    )
    odd = read_message({"msgtime": "soon", "tolist": "x", "msgtype": 4, "revoke": [], "user": "rm.li"}, 5.0)
    assert (odd.at, odd.userids, odd.customers, odd.kind, odd.recalls) == (5.0, ("rm.li",), (), "", "")


C12 = {
    "msgid": "m1", "action": "send", "from": "wmj", "tolist": ["wmMadeUpCustomer000000000000001"], "roomid": "",
    "msgtime": 1700000000000, "msgtype": "text", "text": {"content": "您好"},
}  # fmt: skip


@pytest.mark.parametrize("userid", ["wmj", "wbl", "wo.jia", "wmAnEmployeeWithAVeryLongUserid01"])
async def test_a_member_is_known_by_the_directory_and_not_by_how_his_userid_begins(
    bank: Services, sandbox: Sandbox, userid: str
) -> None:
    await sandbox.control("POST", "members", {"userid": userid, "name": "贾明", "department": 3})
    at_bank = await open_bank(bank, "demo")
    await members.read_member(at_bank, userid, bank.clock())
    person = await friend(sandbox, userid=userid)
    await say(sandbox, person, "您好", userid)
    await sandbox.control("POST", f"members/{userid}/write", {"person": person["id"], "text": "好的"})
    await pull(bank)
    first, second = await kept(bank)
    index = party_index(at_bank, person["external_userid"])
    assert [(row["sender"], row["userids"], row["customers"]) for row in (first, second)] == [
        ("", [userid], [index]), (userid, [userid], [index]),
    ]  # fmt: skip


@pytest.mark.parametrize("userid", ["wmj", "wbl", "wo.jia"])
def test_a_short_userid_is_no_customers_id_whoever_knows_of_it(userid: str) -> None:
    head = read_message({**C12, "from": userid}, 5.0)
    assert (head.sender, head.userids, head.customers) == (userid, (userid,), ("wmMadeUpCustomer000000000000001",))


def test_a_member_is_told_in_wecoms_spelling() -> None:
    directory = Directory(members={"WMJ": "wmj"})
    head = read_message({**C12, "from": "WMJ"}, 5.0, directory)
    assert (head.sender, head.userids) == ("wmj", ("wmj",))


async def test_nothing_of_a_message_is_kept_in_clear(bank: Services, sandbox: Sandbox) -> None:
    person = await friend(sandbox, "司马相如卓文君")
    await say(sandbox, person, "请帮我办理大额存单业务")
    await archived.give_key(sandbox, 2)
    await say(sandbox, person, "另外一句不能解读的话")
    await pull(bank)
    assert [row["state"] for row in await kept(bank)] == ["read", "kept"]
    dumped = of_store(bank)
    assert {"archive", "archive_pulls", "tenants"} <= set(dumped)
    words = ["大额存单", "不能解读", person["external_userid"], archived.SECRET, archived.pem(1)[40:100]]
    assert [(word, name) for word in words for name in dumped if word.encode() in dumped[name]] == []


async def test_the_scheduler_opens_the_pull_and_rings_for_it(bank: Services, sandbox: Sandbox) -> None:
    await scheduler.tick(await open_bank(bank, "demo"))
    row = await pull_row(bank)
    assert (row["open"], row["owner"]) == (True, None)
    await archived.due(bank)
    ticks = bank.store.system("ticks")
    await ticks.update({"_id": "demo:tick"}, {"$set": {"due": 0.0}})
    assert "customers.archive" in await scheduler.tick(await open_bank(bank, "demo"))
