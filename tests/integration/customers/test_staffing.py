from __future__ import annotations

import pytest

from customers import relationships
from customers.access import rm
from customers.actors import StaffActor
from customers.alerts import alarms
from customers.handover import departures
from customers.identity import resolution
from services.clock import utc
from services.container import Services
from services.errors import NotFound, NotSignedIn
from services.security.sessions import LOCAL_SECONDS
from services.store.mongo import Doc
from services.wechat.events import ExternalContactDeleted, FollowUserDeleted
from tests.support.banks import open_bank
from tests.support.clock import StillClock

CHEN, LI = StaffActor("demo", "rm.chen"), StaffActor("demo", "rm.li")
BEFORE = 1_700_000_000.0


async def _friend(services: Services, userid: str, name: str, tenant: str = "demo") -> str:
    cid = await resolution.identify(
        await open_bank(services, tenant), resolution.Facts(external_userid=f"wm{name}", name=name)
    )
    await relationships.changed(await open_bank(services, tenant), userid, cid, at=BEFORE, active=True)
    return cid


async def _alarms(services: Services, tenant: str = "demo") -> list[tuple[str, list[str]]]:
    rows = await services.store.tenant(tenant)["alarms"].find({}, sort=[("at", 1)])
    return [(row["kind"], row["userids"]) for row in rows]


async def _audited(services: Services, action: str) -> list[Doc]:
    return await services.store.tenant("demo")["audit"].find({"action": action})


def _row(services: Services, number: int = 1) -> Doc:
    return {"_id": f"demo:{number}", "tenant": "demo", "at": utc(services.clock())}


async def test_a_leavers_sessions_are_over_in_every_process(
    bank: Services, second: Services, clock: StillClock
) -> None:
    at_bank = await open_bank(bank, "demo")
    tokens = [await rm.open_session(at_bank, CHEN) for _ in range(2)]
    colleague = await rm.open_session(await open_bank(bank, "demo"), LI)
    for services in (bank, second):
        for token in tokens:
            assert await rm.actor_of(await open_bank(services, "demo"), token) == CHEN
    await departures.left(await open_bank(bank, "demo"), "rm.chen", clock())
    for token in tokens:
        with pytest.raises(NotSignedIn):
            await rm.actor_of(await open_bank(bank, "demo"), token)
    clock.now += LOCAL_SECONDS
    for token in tokens:
        with pytest.raises(NotSignedIn):
            await rm.actor_of(await open_bank(second, "demo"), token)
    assert await rm.actor_of(await open_bank(second, "demo"), colleague) == LI


async def test_a_session_that_was_opened_while_he_left_opens_nothing(bank: Services, clock: StillClock) -> None:
    """Without the look at the list of staff, whoever signs in in that moment would stay for hours."""
    await departures.left(await open_bank(bank, "demo"), "rm.chen", clock())
    late = await rm.open_session(await open_bank(bank, "demo"), CHEN)
    assert await bank.sessions.read("staff", late) is not None
    with pytest.raises(NotSignedIn) as refused:
        await rm.actor_of(await open_bank(bank, "demo"), late)
    assert refused.value.code == "not_staff"


async def test_whoever_leaves_customers_behind_is_told_to_the_head_of_his_branch_once(
    bank: Services, clock: StillClock
) -> None:
    await _friend(bank, "rm.li", "刘敏")
    at = clock()
    for _ in range(3):
        await departures.left(await open_bank(bank, "demo"), "rm.li", at)
    await departures.left(await open_bank(bank, "demo"), "rm.li", at + 5.0)
    assert await _alarms(bank) == [("staff.left", ["rm.chen"])]
    (row,) = await _audited(bank, "staff.left")
    assert (row["actor"], row["object"], row["data"]) == ("wecom", "rm.li", {"sessions": 0, "customers": 1})


async def test_who_leaves_nobody_behind_alarms_nobody(bank: Services, clock: StillClock) -> None:
    await departures.left(await open_bank(bank, "demo"), "rm.li", clock())
    assert await _alarms(bank) == []
    assert len(await _audited(bank, "staff.left")) == 1


async def test_a_head_who_leaves_himself_is_on_the_console_alone(bank: Services, clock: StillClock) -> None:
    await _friend(bank, "rm.chen", "刘敏")
    await departures.left(await open_bank(bank, "demo"), "rm.chen", clock())
    assert await _alarms(bank) == [("staff.left", [])]


async def test_a_leaving_that_was_cut_short_is_told_by_the_next(
    bank: Services, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _friend(bank, "rm.li", "刘敏")
    token = await rm.open_session(await open_bank(bank, "demo"), LI)
    at = clock()

    async def dies(*_: object, **__: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(alarms, "raise_alarm", dies)
        with pytest.raises(ConnectionResetError):
            await departures.left(await open_bank(bank, "demo"), "rm.li", at)
    with pytest.raises(NotSignedIn):
        await rm.actor_of(await open_bank(bank, "demo"), token)
    assert await _audited(bank, "staff.left") == []
    await departures.left(await open_bank(bank, "demo"), "rm.li", at)
    assert await _alarms(bank) == [("staff.left", ["rm.chen"])]
    assert len(await _audited(bank, "staff.left")) == 1


async def test_a_leaving_that_is_older_than_his_joining_again_changes_nothing(
    bank: Services, clock: StillClock
) -> None:
    joined = clock()
    await bank.store.tenant("demo")["staff"].update({"userid": "rm.li"}, {"$set": {"changed_at": utc(joined)}})
    token = await rm.open_session(await open_bank(bank, "demo"), LI)
    await departures.left(await open_bank(bank, "demo"), "rm.li", joined - 60.0)
    assert await rm.actor_of(await open_bank(bank, "demo"), token) == LI
    assert await _audited(bank, "staff.left") == []


async def test_a_stranger_who_leaves_is_nobodys_business(bank: Services, clock: StillClock) -> None:
    await departures.left(await open_bank(bank, "demo"), "nobody", clock())
    assert await _audited(bank, "staff.left") == []
    assert await bank.store.tenant("demo")["staff"].count({"active": True}) == 6


async def test_a_leaver_of_one_bank_stays_at_the_other(other: Services, clock: StillClock) -> None:
    token = await rm.open_session(await open_bank(other, "other"), StaffActor("other", "rm.chen"))
    await departures.left(await open_bank(other, "demo"), "rm.chen", clock())
    assert await rm.actor_of(await open_bank(other, "other"), token) == StaffActor("other", "rm.chen")


def _lost(userid: str, name: str) -> FollowUserDeleted:
    return FollowUserDeleted(corp_id="ww1", create_time=None, userid=userid, external_userid=f"wm{name}")


def _deleted(userid: str, name: str, source: str | None = None) -> ExternalContactDeleted:
    return ExternalContactDeleted(
        corp_id="ww1", create_time=None, userid=userid, external_userid=f"wm{name}", source=source
    )


async def _ended(services: Services, userid: str, name: str) -> str:
    cid = await _friend(services, userid, name)
    await relationships.changed(await open_bank(services, "demo"), userid, cid, at=services.clock(), active=False)
    return cid


async def test_a_lost_customer_is_told_to_the_rm_and_the_head_once(bank: Services) -> None:
    cid = await _ended(bank, "rm.li", "刘敏")
    for _ in range(3):
        await departures.lost(await open_bank(bank, "demo"), _row(bank), _lost("rm.li", "刘敏"), cid)
    assert await _alarms(bank) == [("customer.lost", ["rm.li", "rm.chen"])]


async def test_a_customer_whom_the_rm_deleted_is_another_alarm(bank: Services) -> None:
    cid = await _ended(bank, "rm.chen", "刘敏")
    await departures.lost(await open_bank(bank, "demo"), _row(bank), _deleted("rm.chen", "刘敏"), cid)
    assert await _alarms(bank) == [("customer.removed", ["rm.chen"])]


async def test_a_customer_who_was_handed_over_is_not_lost(bank: Services) -> None:
    cid = await _ended(bank, "rm.li", "刘敏")
    await departures.lost(
        await open_bank(bank, "demo"), _row(bank), _deleted("rm.li", "刘敏", departures.TRANSFERRED), cid
    )
    assert await _alarms(bank) == []


async def test_a_customer_who_is_a_friend_again_is_not_lost(bank: Services) -> None:
    cid = await _friend(bank, "rm.li", "刘敏")
    await departures.lost(await open_bank(bank, "demo"), _row(bank), _lost("rm.li", "刘敏"), cid)
    assert await _alarms(bank) == []


async def test_a_customer_lost_to_a_leaver_is_told_to_the_head_alone(bank: Services, clock: StillClock) -> None:
    cid = await _ended(bank, "rm.li", "刘敏")
    await departures.left(await open_bank(bank, "demo"), "rm.li", clock())
    await departures.lost(await open_bank(bank, "demo"), _row(bank), _lost("rm.li", "刘敏"), cid)
    assert ("customer.lost", ["rm.chen"]) in await _alarms(bank)


async def test_the_old_rm_has_no_access_after_the_end(bank: Services) -> None:
    cid = await _ended(bank, "rm.li", "刘敏")
    with pytest.raises(NotFound):
        await rm.access_customer(await open_bank(bank, "demo"), LI, cid)
