"""What customers write and show is judged by WeChat; what cannot be judged is never let through (contract/wechat A6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.access import login
from customers.actors import CustomerActor
from customers.messaging import content_check, subscriptions
from customers.messaging.content_check import Verdict
from services.clock import utc
from services.container import Services
from services.errors import Conflict, NotFound, Unavailable
from services.store.mongo import Doc
from services.wechat import events
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.support.banks import open_bank
from tests.support.clock import StillClock

CHECK, PICTURE = "/wxa/msg_sec_check", "https://bank.example/p/1.jpg"


@pytest.fixture
async def actor(bank: Services, sandbox: Sandbox) -> CustomerActor:
    signed_in = await login.login(
        await open_bank(bank, "demo"), BANK, await sandbox.open(await sandbox.person("刘敏"), BANK)
    )
    return await login.read_session(bank, signed_in.token)


async def _text(services: Services, actor: CustomerActor, text: str) -> Verdict:
    return await content_check.check_text(await open_bank(services, "demo"), BANK, actor.cid, text)


async def _fault(sandbox: Sandbox, path: str, **fault: Any) -> None:
    await sandbox.control("POST", "faults", {"target": "api", "path": path, **fault})


async def test_a_text_passes_is_risky_or_is_for_a_person(
    bank: Services, sandbox: Sandbox, actor: CustomerActor
) -> None:
    await sandbox.control("POST", "safety", {"risky": ["刷单"], "review": ["加微信"]})
    assert await _text(bank, actor, "咖啡很好喝") == Verdict("pass", "", 100)
    assert await _text(bank, actor, "兼职刷单日结") == Verdict("risky", "content_risky", 20008)
    assert await _text(bank, actor, "加微信领红包") == Verdict("review", "content_review", 10001)


async def test_a_text_of_somebody_who_was_not_here_lately_is_for_a_person(
    bank: Services, sandbox: Sandbox, actor: CustomerActor
) -> None:
    await _fault(sandbox, CHECK, kind="errcode", errcode=61010)
    assert await _text(bank, actor, "你好") == Verdict("review", "customer_inactive")


@pytest.mark.parametrize("fault", [{"kind": "http", "status": 502}, {"kind": "errcode", "errcode": 45009}])
async def test_without_a_verdict_nothing_is_let_through(
    bank: Services, sandbox: Sandbox, actor: CustomerActor, fault: Doc
) -> None:
    await _fault(sandbox, CHECK, **fault)
    with pytest.raises(Unavailable) as refused:
        await _text(bank, actor, "你好")
    assert refused.value.code == "wechat_unavailable"


async def test_who_was_never_in_the_mini_program_cannot_be_checked(bank: Services, actor: CustomerActor) -> None:
    for asked in (
        content_check.check_text(await open_bank(bank, "demo"), LIFE, actor.cid, "你好"),
        content_check.check_image(await open_bank(bank, "demo"), LIFE, actor.cid, PICTURE),
    ):
        with pytest.raises(Conflict) as refused:
            await asked
        assert refused.value.code == "no_openid"
    assert await bank.store.tenant("demo")["content_checks"].count() == 0


async def _told(services: Services, actor: CustomerActor, trace: str, suggest: str, label: int = 100) -> None:
    openid = await subscriptions.openid_of(await open_bank(services, "demo"), actor.cid, BANK)
    event = events.MediaChecked(
        corp_id=BANK, create_time=None, openid=openid, appid=BANK, trace_id=trace, suggest=suggest, label=label
    )
    await content_check.media_checked(
        await open_bank(services, "demo"), {"_id": "demo:event", "at": utc(services.clock())}, event
    )


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trace ids that WeChat answered."""
    from services.wechat.miniprogram import MiniProgramClient

    seen: list[str] = []
    ask = MiniProgramClient.media_check_async

    async def overheard(self: MiniProgramClient, *args: Any, **options: Any) -> Any:
        answer = await ask(self, *args, **options)
        seen.append(answer["trace_id"])
        return answer

    monkeypatch.setattr(MiniProgramClient, "media_check_async", overheard)
    return seen


@pytest.mark.parametrize(
    ("suggest", "label", "expected"),
    [
        ("pass", 100, Verdict("pass", "", 100)),
        ("risky", 20002, Verdict("risky", "content_risky", 20002)),
        ("review", 10001, Verdict("review", "content_review", 10001)),
        ("", 0, Verdict("review", "content_review", 0)),
    ],
)
async def test_a_pictures_verdict_comes_as_an_event(
    bank: Services, actor: CustomerActor, traces: list[str], suggest: str, label: int, expected: Verdict
) -> None:
    check = await content_check.check_image(await open_bank(bank, "demo"), BANK, actor.cid, PICTURE)
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == Verdict("waiting")
    for _ in range(2):
        await _told(bank, actor, traces[0], suggest, label)
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == expected


async def test_a_verdict_that_comes_before_the_question_was_written_down_counts(
    bank: Services, actor: CustomerActor, traces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.wechat.miniprogram import MiniProgramClient

    ask = MiniProgramClient.media_check_async

    async def quick(self: MiniProgramClient, *args: Any, **options: Any) -> Any:
        answer = await ask(self, *args, **options)
        await asyncio.create_task(_told(bank, actor, answer["trace_id"], "risky", 20008))
        return answer

    monkeypatch.setattr(MiniProgramClient, "media_check_async", quick)
    check = await content_check.check_image(await open_bank(bank, "demo"), BANK, actor.cid, PICTURE)
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == Verdict("risky", "content_risky", 20008)


async def test_after_half_an_hour_without_a_word_a_person_must_look(
    bank: Services, actor: CustomerActor, traces: list[str], clock: StillClock
) -> None:
    check = await content_check.check_image(await open_bank(bank, "demo"), BANK, actor.cid, PICTURE)
    clock.now += content_check.SECONDS - 1
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == Verdict("waiting")
    clock.now += 2
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == Verdict("review", "check_timed_out")
    await _told(bank, actor, traces[0], "risky", 20008)
    assert await content_check.verdict(await open_bank(bank, "demo"), check) == Verdict("risky", "content_risky", 20008)


async def test_an_event_about_no_picture_of_ours_is_no_check(bank: Services, actor: CustomerActor) -> None:
    await _told(bank, actor, "stray", "pass")
    (row,) = await bank.store.tenant("demo")["content_checks"].find({})
    for check in (row["_id"], "demo:nothing"):
        with pytest.raises(NotFound) as refused:
            await content_check.verdict(await open_bank(bank, "demo"), check)
        assert refused.value.code == "check_unknown"
