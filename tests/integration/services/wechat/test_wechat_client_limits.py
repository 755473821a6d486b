"""Every call passes the limiter, is told to the trace, and is written down when nobody knows its code."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import PlatformLimits
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.limiter import Limiter, lane
from services.observe import trace
from services.wechat.core import errors
from services.wechat.core.client import ANSWER_LIMIT, UPLOAD_LIMIT
from services.wechat.core.unknown_codes import COLLECTION, without_ids

GET = "/cgi-bin/externalcontact/get"
OK = {"errcode": 0, "errmsg": "ok"}


def limiter(**apis: int) -> Limiter:
    """A limiter of this process alone, with so many calls an hour for the paths that end so."""
    figures = {f"*/{name}": [(calls, 3600.0)] for name, calls in apis.items()}
    return Limiter(None, PlatformLimits(apis=figures), share=1.0, patience=0.2)


def ignore(*_: object) -> None:
    """Nobody wants to know of unknown codes here."""


async def test_a_call_without_a_turn_is_slow_down_and_is_not_sent(rig) -> None:
    async with rig() as r:
        r.platform.answers[GET] = OK
        r.wecom.guard(limiter(get=1), ignore)
        with trace.collect() as story:
            await r.wecom.customers.get("wm1")
            with pytest.raises(errors.SlowDown) as refused:
                await r.wecom.customers.get("wm1")
        assert len(r.platform.of(GET)) == 1
    assert (refused.value.errcode, refused.value.path) == (None, GET)
    assert 3590 <= refused.value.retry_after <= 3625
    (note,) = story.notes
    assert (note["kind"], note["path"], note["lane"]) == ("limiter.refused", GET, "normal")
    assert note["retry_after"] == refused.value.retry_after


async def test_token_calls_take_their_turn_too(rig) -> None:
    async with rig() as r:
        r.wecom.guard(limiter(gettoken=1), ignore)
        r.mini.guard(limiter(stable_token=1), ignore)
        for client in (r.wecom, r.mini):
            assert await client.token() == "T1"
            with pytest.raises(errors.SlowDown):
                await r.tokens.refresh(client._app, reject="T1")
        assert len(r.platform.of("/cgi-bin/gettoken")) == len(r.platform.of("/cgi-bin/stable_token")) == 1


async def test_a_token_that_bulk_asks_for_does_not_wait_in_the_bulk_lane(rig) -> None:
    async with rig() as r:
        tight = PlatformLimits(address=[(1, 3600.0)])
        r.wecom.guard(Limiter(None, tight, share=1.0, patience=0.1, bulk_patience=60.0), ignore)
        assert await r.wecom.token() == "T1"
        with lane("bulk"), pytest.raises(errors.SlowDown) as refused:
            await r.tokens.refresh(r.wecom._app, reject="T1")
    assert refused.value.path == "/cgi-bin/gettoken"
    assert "lane welcome" in refused.value.errmsg


async def test_a_repeated_call_after_a_rejected_token_takes_a_turn_of_its_own(rig) -> None:
    async with rig() as r:
        r.platform.answers["/cgi-bin/gettoken"] = [{**OK, "access_token": t, "expires_in": 7200} for t in ("T1", "T2")]
        r.platform.answers[GET] = {"errcode": 42001}
        r.wecom.guard(limiter(get=1), ignore)
        with pytest.raises(errors.SlowDown):
            await r.wecom.customers.get("wm1")
        assert len(r.platform.of(GET)) == 1


async def test_another_companys_address_has_no_turns(rig, serve_platform) -> None:
    async with rig() as r, serve_platform() as other:
        other.answers["/elsewhere/get"] = OK
        r.mini.guard(limiter(get=1), ignore)
        for _ in range(2):
            assert await r.mini.get(f"{other.base}/elsewhere/get") == OK


async def test_a_trace_has_every_call_with_what_it_came_to(rig) -> None:
    async with rig() as r:
        r.platform.answers[GET] = [OK, {"errcode": 84061, "errmsg": "not a customer"}, (502, {}, b"")]
        with trace.collect() as story:
            await r.wecom.customers.get("wm1")
            with pytest.raises(errors.SubjectState):
                await r.wecom.customers.get("wm1")
            with pytest.raises(errors.UnknownOutcome):
                await r.wecom.customers.get("wm1")
    assert [(call["path"], call["errcode"]) for call in story.calls] == [
        ("/cgi-bin/gettoken", 0),
        (GET, 0),
        (GET, 84061),
        (GET, "platform_unknown_outcome"),
    ]
    assert all(call["ms"] > 0 for call in story.calls)


async def test_an_unknown_code_is_told_with_its_bank_and_platform(rig) -> None:
    heard: list[tuple[str, str, int | None]] = []
    async with rig() as r:
        r.platform.answers[GET] = [{"errcode": 99999}, {"errcode": 84061}]
        r.wecom.guard(limiter(), lambda tenant, family, error: heard.append((tenant, family, error.errcode)))
        with pytest.raises(errors.UnknownCode):
            await r.wecom.customers.get("wm1")
        with pytest.raises(errors.SubjectState):
            await r.wecom.customers.get("wm1")
    assert heard == [("bank", "wecom", 99999)]


async def test_unknown_codes_are_counted_in_one_row_without_ids(settings, serve_platform) -> None:
    async with serve_platform() as platform:
        text = "no such thing wmAAAAAAAAAAAAAAAAAAAA of 13800138000, hint: [1700000000_1], from ip: 10.1.2.3, more info at x"
        platform.answers[GET] = {"errcode": 99999, "errmsg": text}
        services = await open_services(
            settings.model_copy(update={"wecom_api_base": platform.base}), COLLECTIONS, QUEUES
        )
        client = services.platform.wecom("bank", "ww1", 1, "s")
        for _ in range(2):
            with pytest.raises(errors.UnknownCode):
                await client.customers.get("wm1")
            await settle(services)
        (row,) = await services.store.tenant("bank")[COLLECTION].find()
        await services.close()
    assert row["_id"].startswith("bank:")
    assert (row["family"], row["path"], row["errcode"], row["count"]) == ("wecom", GET, 99999, 2)
    assert row["errmsg"] == "no such thing … of …"
    assert row["first"] < row["last"]


async def settle(services: Services) -> None:
    """Waits for what runs behind answers."""
    while services.groups._background:
        await asyncio.gather(*services.groups._background)


@pytest.mark.parametrize(
    ("errmsg", "kept"),
    [
        ("invalid userid rid: 6123abcd-0000", "invalid userid"),
        ("not allow to access from your ip, hint: [x]", "not allow to access from your ip"),
        ("ip 203.0.113.7 refused", "ip … refused"),
        ("user oGZUI0egBJY1zhBYw2KhdUfwVJJE gone", "user … gone"),
        ("x " * 300, ("x " * 300)[:200]),
    ],
)
def test_texts_are_kept_without_what_may_name_somebody(errmsg: str, kept: str) -> None:
    assert without_ids(errmsg) == kept


async def test_a_file_may_be_larger_than_an_answer_and_begin_like_one(rig) -> None:
    path = "/cgi-bin/media/get"
    large = b'{"a":1}' + b"x" * ANSWER_LIMIT
    named = {"Content-Disposition": 'attachment; filename="a.json"', "Content-Type": "application/json"}
    async with rig() as r:
        r.platform.answers[path] = [(200, named, large), {"errcode": 40007, "errmsg": "invalid media_id"}]
        assert await r.wecom.get("media/get", params={"media_id": "m"}) == large
        with pytest.raises(errors.PlatformError) as refused:
            await r.wecom.get("media/get", params={"media_id": "m"})
    assert refused.value.errcode == 40007


async def test_a_file_over_its_own_limit_is_cut_off(rig) -> None:
    async with rig() as r:
        r.platform.answers["/cgi-bin/media/get"] = (200, {"Content-Disposition": "x"}, b"x" * (UPLOAD_LIMIT + 1))
        with pytest.raises(errors.UnknownOutcome, match=f"more than {UPLOAD_LIMIT} bytes"):
            await r.wecom.get("media/get", params={"media_id": "m"})
