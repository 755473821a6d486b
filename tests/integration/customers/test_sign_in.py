"""Failures lock out whoever fails, and nobody else; what was tried is in the audit trail and in the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from argon2 import PasswordHasher

from customers.access import clerk
from customers.access import sign_in as signing
from customers.access.clerk import check_clerk, sign_in
from customers.access.origin import Origin, device_of
from customers.access.sign_in import ADDRESS_FAILURES, LOCK_SECONDS, NAME_FAILURES
from customers.banks import accounts, apply
from services.container import Services
from services.errors import NotSignedIn, TooMany
from services.security import tries
from services.security.tries import Limit, LockedOut
from tests.conftest import DEMO_BANK

PASSWORD = "yinqiao-demo"
DESK, ATTACKER = Origin("10.1.2.3", "Chrome 130, Windows"), Origin("203.0.113.9", "Firefox 131, Linux")
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
async def bank(services: Services, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The demo bank, with hashes that take no time."""
    monkeypatch.setattr(accounts, "PasswordHasher", lambda: FAST)
    monkeypatch.setattr(accounts, "NOBODY", FAST.hash("nobody's"))
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml")
    return services


async def _fail(bank: Services, login: str, origin: Origin) -> type[Exception]:
    with pytest.raises((NotSignedIn, TooMany)) as refused:
        await check_clerk(bank, "demo", login, "not-the-password", origin)
    return refused.type


async def _actions(bank: Services) -> list[tuple[str, str]]:
    rows = await bank.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)])
    passwords = {"clerk.password_set", "counter.password_set", "partner.secret_set", "system.secret_set"}
    return [(row["action"], row["object"]) for row in rows if row["action"] not in ("tenant.applied", *passwords)]


async def test_good_sign_ins_lock_nobody_out(bank: Services) -> None:
    for _ in range(3 * NAME_FAILURES):
        assert (await check_clerk(bank, "demo", "lin", PASSWORD, DESK)).login == "lin"


async def test_a_good_sign_in_makes_up_for_the_failures_before_it(bank: Services) -> None:
    for _ in range(3):
        for _ in range(NAME_FAILURES - 1):
            assert await _fail(bank, "lin", DESK) is NotSignedIn
        await check_clerk(bank, "demo", "lin", PASSWORD, DESK)


async def test_an_attacker_locks_himself_out_and_not_the_clerk(bank: Services) -> None:
    for _ in range(NAME_FAILURES):
        assert await _fail(bank, "lin", ATTACKER) is NotSignedIn
    for _ in range(60):
        assert await _fail(bank, "lin", ATTACKER) is LockedOut
    with pytest.raises(TooMany) as refused:
        await check_clerk(bank, "demo", "lin", PASSWORD, ATTACKER)
    assert LOCK_SECONDS - 60 < refused.value.retry_after <= LOCK_SECONDS
    assert (await check_clerk(bank, "demo", "lin", PASSWORD, DESK)).login == "lin"
    assert (await check_clerk(bank, "demo", "zhao", PASSWORD, ATTACKER)).login == "zhao"


async def test_a_made_up_name_locks_nobody_out_where_he_sits(bank: Services) -> None:
    """What is typed as a name may look like another's name and address."""
    await sign_in(bank, "demo", "lin", PASSWORD, DESK)
    for number in range(2 * NAME_FAILURES):
        await _fail(bank, f"lin|{DESK.address}", Origin(f"198.51.100.{number}"))
        await _fail(bank, f"{DESK.address}|lin", Origin(f"198.51.101.{number}"))
    assert (await check_clerk(bank, "demo", "lin", PASSWORD, DESK)).login == "lin"


async def test_many_addresses_together_are_stopped_and_where_the_clerk_was_before_stays_open(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ALL_FAILURES", 25)
    await sign_in(bank, "demo", "lin", PASSWORD, DESK)
    ended = [await _fail(bank, "lin", Origin(f"198.51.{place}.{number}")) for place in range(7) for number in range(5)]
    assert ended == [NotSignedIn] * 25 + [LockedOut] * 10
    assert (await check_clerk(bank, "demo", "lin", PASSWORD, DESK)).login == "lin"
    with pytest.raises(TooMany):
        await check_clerk(bank, "demo", "lin", PASSWORD, Origin("192.0.2.1"))


async def test_an_address_that_tries_many_names_is_shut_for_new_ones(bank: Services) -> None:
    await sign_in(bank, "demo", "lin", PASSWORD, ATTACKER)
    for number in range(ADDRESS_FAILURES):
        assert await _fail(bank, f"clerk{number}", ATTACKER) is NotSignedIn
    assert await _fail(bank, "zhao", ATTACKER) is LockedOut
    assert (await check_clerk(bank, "demo", "lin", PASSWORD, ATTACKER)).login == "lin"
    assert (await check_clerk(bank, "demo", "zhao", PASSWORD, DESK)).login == "zhao"


async def test_of_many_tries_at_one_moment_no_more_are_judged_than_the_limit(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []
    verify = accounts.verify

    async def counted(hashed: str, password: str) -> bool:
        judged.append(password)
        await asyncio.sleep(0.01)
        return await verify(hashed, password)

    monkeypatch.setattr(accounts, "verify", counted)
    ended = await asyncio.gather(*(_fail(bank, "lin", ATTACKER) for _ in range(40)))
    assert (len(judged), ended.count(NotSignedIn), ended.count(LockedOut)) == (10, 10, 30)
    judged.clear()

    async def leave(self: tries.Tries, limits: list[Limit]) -> None:
        """What it is without the guard: each looks, and then all are judged."""

    monkeypatch.setattr(tries.Tries, "_wait_for_leave", leave)
    await asyncio.gather(*(_fail(bank, "zhao", ATTACKER) for _ in range(40)))
    assert len(judged) == 40


async def test_many_clerks_at_one_address_sign_in_at_one_moment(bank: Services) -> None:
    """Those under way fill no limit for good: the rest wait for how they end."""
    signing_in = (check_clerk(bank, "demo", ("lin", "zhao")[n % 2], PASSWORD, DESK) for n in range(40))
    assert len(await asyncio.gather(*signing_in)) == 40


async def test_a_try_that_was_cut_short_counts_for_nothing(bank: Services) -> None:
    limit = Limit("somebody", 1, 60)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with bank.tries.trying([limit], NotSignedIn):
                raise ZeroDivisionError
    with pytest.raises(NotSignedIn):
        async with bank.tries.trying([limit], NotSignedIn):
            raise NotSignedIn("login_refused")
    with pytest.raises(LockedOut):
        async with bank.tries.trying([limit], NotSignedIn):
            pass
    keys = await bank.redis.keys("yq:failures:*")
    assert [0 < await bank.redis.ttl(key) <= 60 for key in keys] == [True]
    assert not any(b"somebody" in key for key in keys)


async def test_what_was_tried_is_in_the_trail_with_address_and_device_and_no_name_that_was_typed(
    bank: Services, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "yinqiao.access"):
        token = await sign_in(bank, "demo", "lin", PASSWORD, DESK)
        await _fail(bank, "lin", ATTACKER)
        await _fail(bank, "my-secret-password", ATTACKER)
        for _ in range(NAME_FAILURES + 3):
            await _fail(bank, "zhao", ATTACKER)
        await clerk.sign_out(bank, token, DESK)
    tried = [("clerk.sign_in_failed", "zhao")] * NAME_FAILURES
    assert await _actions(bank) == [
        ("clerk.signed_in", "lin"),
        ("clerk.sign_in_failed", "lin"),
        ("clerk.sign_in_failed", "?"),
        *tried,
        ("clerk.locked_out", "zhao"),
        ("clerk.signed_out", "lin"),
    ]
    rows = await bank.store.tenant("demo")["audit"].find({}, sort=[("seq", 1)])
    signed_in, failed = rows[-NAME_FAILURES - 5]["data"], rows[-NAME_FAILURES - 4]["data"]
    assert (signed_in["address"], signed_in["device"]) == ("10.1.2.*", "Chrome 130, Windows")
    assert (failed["address"], failed["device"]) == ("203.0.113.*", "Firefox 131, Linux")
    assert failed["address_index"] == rows[-3]["data"]["address_index"] != signed_in["address_index"]
    said = str(rows) + "".join(str(record.__dict__) for record in caplog.records)
    assert not any(secret in said for secret in ("10.1.2.3", "203.0.113.9", "my-secret", "not-the-password"))
    told = [record.message for record in caplog.records]
    assert [
        told.count(text) for text in ("a clerk signed in", "a clerk signed out", "sign-ins are shut for a while")
    ] == [1, 1, 1]
    assert told.count("a sign-in to the console failed") == NAME_FAILURES + 2


async def test_a_name_that_nobody_has_costs_the_same_writes(bank: Services) -> None:
    written = []
    for login in ("lin", "nobody"):
        before = [await bank.store.tenant("demo")[name].count() for name in ("audit", "sign_ins")]
        await _fail(bank, login, ATTACKER)
        after = [await bank.store.tenant("demo")[name].count() for name in ("audit", "sign_ins")]
        written.append([one - other for one, other in zip(after, before, strict=True)])
    assert written == [[1, 1], [1, 1]]


async def test_who_signs_in_is_told_of_the_time_before_and_of_failures_since(bank: Services) -> None:
    first = await sign_in(bank, "demo", "lin", PASSWORD, DESK)
    assert await clerk.last_sign_in(bank, first) is None
    for _ in range(2):
        await _fail(bank, "lin", ATTACKER)
    second = await clerk.last_sign_in(bank, await sign_in(bank, "demo", "lin", PASSWORD, ATTACKER))
    assert second is not None
    assert (second.address, second.device, second.failed, second.failed_address) == (
        "10.1.2.*", "Chrome 130, Windows", 2, "203.0.113.*",
    )  # fmt: skip
    third = await clerk.last_sign_in(bank, await sign_in(bank, "demo", "lin", PASSWORD, DESK))
    assert third is not None
    assert (third.address, third.failed, third.failed_at) == ("203.0.113.*", 0, None)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("203.0.113.9", "203.0.113.*"),
        ("2001:db8:1:2::9", "2001:0db8:0001:*"),
        ("::ffff:203.0.113.9", "203.0.113.*"),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_an_address_is_told_without_its_end(address: str, masked: str) -> None:
    assert Origin(address).masked == masked


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 "
         "Edg/130.0.0.0", "Edge 130, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile wxwork/4.1.30 "
         "MicroMessenger/7.0.1", "WeCom 4, iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
         "Safari/605.1.15", "Safari 17, macOS"),
        ("<script>alert(1)</script>", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_device_is_told_by_its_browser_and_system(agent: str, device: str) -> None:
    assert device_of(agent) == device


async def test_those_who_wait_for_one_limit_ask_redis_one_at_a_time(bank: Services) -> None:
    """Each asked 20 times a second: a flood of 400 kept everybody's sign-in and Redis from others."""
    limit, asked, ended = Limit("everybody", 10, 60), [], asyncio.Event()
    begin = bank.tries._begin

    async def counted(**given: Any) -> Any:
        asked.append(given)
        return await begin(**given)

    async def trying() -> None:
        async with bank.tries.trying([limit], NotSignedIn):
            await ended.wait()

    bank.tries._begin = counted
    waiting = [asyncio.create_task(trying()) for _ in range(100)]
    await asyncio.sleep(2.0)
    assert len(asked) <= 100 + 2.0 / tries._POLL_SECONDS + 10
    ended.set()
    await asyncio.gather(*waiting)


async def test_who_comes_to_a_line_without_end_is_told_to_come_again(
    bank: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "MOST_WAITING", 5)
    limit, ended = Limit("everybody", 1, 60), asyncio.Event()

    async def trying() -> str:
        try:
            async with bank.tries.trying([limit], NotSignedIn):
                await ended.wait()
        except LockedOut:
            return "told"
        return "judged"

    tasks = [asyncio.create_task(trying()) for _ in range(20)]
    done, _ = await asyncio.wait(tasks, timeout=2.0)
    assert len(done) == 14
    ended.set()
    assert sorted(await asyncio.gather(*tasks)) == ["judged"] * 6 + ["told"] * 14
    assert bank.tries._lines == {}


async def test_a_process_hashes_few_passwords_at_once(bank: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 64 MB and four threads: thirty at once kept the loop for seconds."""
    under_way, most = 0, 0

    async def counted(hashed: str, password: str) -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return False

    monkeypatch.setattr(accounts, "verify", counted)
    await asyncio.gather(*(_fail(bank, f"clerk{number}", ATTACKER) for number in range(20)))
    assert most == 2
