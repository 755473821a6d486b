"""Frequency limits, blocks and concurrency (contract/wechat D1, F5, B1)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from sandbox.core.clock import Clock
from sandbox.core.errors import ApiError
from sandbox.core.limits import DAY, HOUR, MONTH, Limits, Plan, Rule, Window

GET = "/cgi-bin/externalcontact/get_follow_user_list"
OTHER = "/cgi-bin/department/list"
NOW = 1_800_000_000.0


def limits(**plan: Any):
    clock = Clock(lambda: NOW)
    return Limits(clock, Plan(**plan)), clock


def call(limits, path=GET, *, family="wecom", owner="ww1", app="1", ip="10.0.0.1"):
    """The errcode of one call that is answered at once."""
    try:
        limits.leave(limits.enter(family, owner, app, path, ip))
    except ApiError as error:
        return error.errcode
    return 0


def codes(limits, count, **which: Any):
    return [call(limits, **which) for _ in range(count)]


async def test_over_the_minute_every_call_is_45009_until_the_block_ends(playing):
    """D1: a minute's rule blocks for 60 s from the overrun, this API only."""
    async with playing() as play:
        token = (await play.wecom_token())["access_token"]

        async def ask(path):
            return (await play.get(f"/wecom{path}", access_token=token))["errcode"]

        await play.control("/limits", {"scale": 0.0005, "ip": []})
        assert [await ask(GET) for _ in range(7)] == [0] * 5 + [45009] * 2
        assert await ask(OTHER) == 0
        await play.control("/clock", {"advance": 59})
        assert await ask(GET) == 45009
        await play.control("/clock", {"advance": 1})
        assert await ask(GET) == 0
        shown = await play.control("/limits")
        row = next(r for r in shown["paths"] if r["path"] == GET)
        assert (row["allowed"], row["refused"], row["blocks"]) == (6, 3, 1)
        assert shown["blocked"] == []


def test_real_figures_are_in_force_from_the_start():
    """D1: 10,000 a minute and 150,000 an hour per corp and API, 20,000 and 600,000 per address."""
    found = Limits(Clock())
    call(found)
    gate, ip = found._gates["ww1", GET], found._ips["10.0.0.1"]
    assert [(w.limit, w.seconds) for w in gate.windows] == [(10_000, 60), (150_000, 3600)]
    assert [(w.limit, w.seconds) for w in ip.windows] == [(20_000, 60), (600_000, 3600)]
    assert found.plan.concurrency == 10


def test_ten_thousand_calls_a_minute_pass_and_the_next_does_not():
    found, _ = limits()
    assert set(codes(found, 10_000)) == {0}
    assert call(found) == 45009
    assert set(codes(found, 9_999, path=OTHER)) == {0}
    assert call(found, OTHER) == 0, "the address has taken 20,000 now"
    assert call(found, "/cgi-bin/user/get") == 45009
    assert call(found, "/cgi-bin/user/get", ip="10.0.0.2") == 0


def test_refused_calls_do_not_count():
    found, clock = limits(rules=[{"path": "*", "limit": 3, "seconds": 10}], block=1.0)
    assert codes(found, 50) == [0] * 3 + [45009] * 47
    clock.advance(10)
    assert codes(found, 4) == [0] * 3 + [45009]


def test_hour_rule_blocks_for_an_hour():
    """D1: 60 min after an hour's overrun."""
    found, clock = limits(
        rules=[{"path": "*", "limit": 100, "seconds": 60}, {"path": "*", "limit": 5, "seconds": 3600}]
    )
    for _ in range(5):
        clock.advance(600)
        assert call(found) == 0
    clock.advance(599)
    assert call(found) == 45009
    clock.advance(3599)
    assert call(found) == 45009
    clock.advance(1)
    assert call(found) == 0


def test_sliding_window_counts_any_stretch_of_its_length():
    window = Window(Rule(limit=2, seconds=10), Plan(kind="sliding"))
    used = []
    for at in (0.0, 9.0, 9.9, 10.0, 18.9, 19.0):
        used.append(window.used(NOW + at))
        window.take(NOW + at)
    assert used == [0, 1, 2, 2, 3, 3]


def test_fixed_window_begins_anew_with_the_clock():
    window = Window(Rule(limit=2, seconds=10), Plan(kind="fixed"))
    used = []
    for at in (8.0, 9.9, 10.0, 19.9, 20.0):
        used.append(window.used(NOW + at))
        window.take(NOW + at)
    assert used == [0, 1, 0, 1, 0]


def test_bucket_fills_again_while_it_is_used():
    found, clock = limits(rules=[{"path": "*", "limit": 10, "seconds": 10}], kind="bucket", block=0.0)
    assert codes(found, 11) == [0] * 10 + [45009]
    clock.advance(3)
    assert codes(found, 4) == [0] * 3 + [45009]


def test_one_rule_may_name_one_path():
    found, _ = limits(rules=[{"path": "externalcontact/get_follow_user_list", "limit": 1, "seconds": 60}])
    assert codes(found, 2) == [0, 45009]
    assert set(codes(found, 100, path=OTHER)) == {0}


def test_app_messages_and_sign_ins_are_outside_the_base_frequency():
    """D1, B1."""
    found, _ = limits(scale=0.0001)
    for path in ("/cgi-bin/message/send", "/cgi-bin/auth/getuserinfo"):
        assert set(codes(found, 10, path=path, ip=path)[:2]) == {0}
        assert found._gates["ww1", path].windows == []


def test_tickets_are_few_for_a_corp_and_fewer_for_an_app():
    """D1: 400 an hour for the corp, 100 for an app."""
    found, _ = limits()
    path = "/cgi-bin/get_jsapi_ticket"
    assert codes(found, 101, path=path, app="1") == [0] * 100 + [45009]
    assert codes(found, 101, path=path, app="2") == [0] * 100 + [45009]
    assert [w.limit for w in found._gates["ww1", path].windows if w.seconds == HOUR] == [150_000, 400]


def test_long_rules_have_their_own_lengths():
    """D1: id conversion per hour, day and month; pictures per day and month; moments per minute and month."""
    plan = Plan()
    found = [(r.limit, r.seconds) for r in plan.of("wecom", "/cgi-bin/idconvert/unionid_to_external_userid")]
    assert found[2:] == [(100_000, HOUR), (480_000, DAY), (7_500_000, MONTH)]
    assert [(r.limit, r.seconds) for r in plan.of("wecom", "/cgi-bin/media/uploadimg")][2:] == [
        (1000, DAY),
        (3000, MONTH),
    ]
    moments = plan.of("wecom", "/cgi-bin/externalcontact/add_moment_task")
    assert [(r.limit, r.seconds) for r in moments][2:] == [(10, 60), (100_000, MONTH)]


async def test_eleventh_call_at_once_is_45033(playing):
    """F5: latency keeps calls inside; what is refused holds no place."""
    async with playing(clock=Clock()) as play:
        token = (await play.wecom_token())["access_token"]
        await play.control("/faults", {"target": "api", "kind": "latency", "seconds": 0.5, "path": "user/get"})
        asked = {"access_token": token, "userid": "rm.chen"}
        answers = await asyncio.gather(*(play.get("/wecom/cgi-bin/user/get", **asked) for _ in range(14)))
        assert sorted(a["errcode"] for a in answers) == [0] * 10 + [45033] * 4
        row = next(r for r in (await play.control("/limits"))["paths"] if r["path"].endswith("user/get"))
        assert (row["peak"], row["crowded"], row["allowed"]) == (10, 4, 10)
        assert (await play.get("/wecom/cgi-bin/user/get", **asked))["errcode"] == 0


async def test_place_is_free_again_after_a_time_out_and_a_closed_connection(playing):
    """F5: a call that was done but never answered is not inside."""
    async with playing(clock=Clock()) as play:
        await play.control("/limits", {"concurrency": 1})
        token = (await play.wecom_token())["access_token"]
        asked = {"access_token": token, "userid": "rm.chen"}
        for kind in ("timeout_after_success", "close"):
            await play.control("/faults", {"target": "api", "kind": kind, "times": 1, "path": "user/get"})
            with pytest.raises(httpx.HTTPError):
                await play.http.get("/wecom/cgi-bin/user/get", params=asked, timeout=0.3)
            assert (await play.get("/wecom/cgi-bin/user/get", **asked))["errcode"] == 0


def test_mini_program_apis_have_limits_of_their_own():
    """D1: getwxacodeunlimit 5000 a minute of each appid, the classic token 2000 a day; nothing for the rest."""
    found, _ = limits()
    which = {"family": "wechat", "owner": "wx1"}
    assert codes(found, 5001, path="/wxa/getwxacodeunlimit", **which)[-2:] == [0, 45009]
    assert call(found, "/wxa/getwxacodeunlimit", family="wechat", owner="wx2") == 0
    assert set(codes(found, 30_000, path="/wxa/business/getuserphonenumber", **which)) == {0}
    assert codes(found, 2001, path="/cgi-bin/token", **which)[-2:] == [0, 45009]


async def test_cleared_quota_lets_calls_through_again(playing):
    """A1: quota/get tells the day's limit and use of an API that has one; clear_quota begins anew."""
    async with playing() as play:
        await play.control("/limits", {"scale": 0.001})
        asked = {"grant_type": "client_credential", "appid": play.mini.appid, "secret": play.mini.secret}
        token = (await play.stable_token())["access_token"]
        answers = [(await play.get("/wechat/cgi-bin/token", **asked)).get("errcode", 0) for _ in range(3)]
        assert answers == [0, 0, 45009]
        path = {"cgi_path": "/cgi-bin/token"}
        shown = await play.post("/wechat/cgi-bin/openapi/quota/get", path, access_token=token)
        assert shown["quota"] == {"daily_limit": 2, "used": 2, "remain": 0}
        cleared = await play.post("/wechat/cgi-bin/clear_quota", {"appid": play.mini.appid}, access_token=token)
        assert cleared["errcode"] == 0
        assert "access_token" in await play.get("/wechat/cgi-bin/token", **asked)


def test_one_user_of_a_mini_program_logs_in_a_hundred_times_a_minute():
    """A2: 45011 for him alone."""
    found, clock = limits()
    for _ in range(100):
        found.user("jscode2session", "o1")
    with pytest.raises(ApiError) as refused:
        found.user("jscode2session", "o1")
    assert refused.value.errcode == 45011
    found.user("jscode2session", "o2")
    clock.advance(60)
    found.user("jscode2session", "o1")


async def test_login_over_the_limit_of_a_user_is_45011(playing):
    """A2: 100 a minute, here 2 by the scale; another user is not concerned."""
    async with playing() as play:
        await play.control("/limits", {"scale": 0.02})
        people = [await play.person(f"客{n}") for n in range(2)]

        async def log_in(person):
            code = (await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid}))["code"]
            return (await play.session(code)).get("errcode", 0)

        assert [await log_in(people[0]) for _ in range(3)] == [0, 0, 45011]
        assert await log_in(people[1]) == 0


async def test_burst_of_wrong_token_calls_blocks_the_corp(playing):
    """B1: about 2000 an hour, then an hour's block, for the right secret too."""
    async with playing() as play:
        await play.control("/limits", {"scale": 0.002})
        answers = [(await play.wecom_token("wrong-secret"))["errcode"] for _ in range(5)]
        assert answers == [40001] * 4 + [45009]
        assert (await play.wecom_token())["errcode"] == 45009
        await play.control("/clock", {"advance": 3600})
        assert (await play.wecom_token())["errcode"] == 0


async def test_share_is_what_of_the_allowance_was_used(playing):
    async with playing() as play:
        await play.control("/limits", {"rules": [{"path": "department/list", "limit": 4, "seconds": 10}]})
        token = (await play.wecom_token())["access_token"]
        for _ in range(3):
            for _ in range(4):
                await play.get(f"/wecom{OTHER}", access_token=token)
            await play.control("/clock", {"advance": 10})
        row = next(r for r in (await play.control("/limits"))["paths"] if r["path"] == OTHER)
        assert (row["allowed"], row["refused"], row["blocks"], row["share"]) == (12, 0, 0, 1.0)


@pytest.mark.parametrize(
    "body",
    [
        {"scale": 0},
        {"rules": [{"path": "*", "limit": 0, "seconds": 1}]},
        {"rules": [{"limit": 1}]},
        {"kind": "leaky"},
        {"concurrency": -1},
        {"block": "never"},
        {"unknown": 1},
    ],
)
async def test_senseless_limits_change_nothing(playing, body):
    async with playing() as play:
        assert (await play.control("/limits", body, status=400))["error"]["code"] == "bad_limits"
        assert (await play.control("/limits"))["plan"] == Plan().model_dump()


async def test_limits_go_back_to_the_real_figures(playing):
    """DELETE and reset."""
    async with playing() as play:
        for undo in (lambda: play.http.delete("/control/limits"), lambda: play.http.post("/control/reset", json={})):
            await play.control("/limits", {"scale": 0.0001, "concurrency": 3})
            assert (await undo()).status_code == 200
            shown = await play.control("/limits")
            assert (shown["plan"], shown["paths"]) == (Plan().model_dump(), [])


def test_a_call_costs_little():
    """The limiter's own cost must not show beside that of a request: it keeps no list that is walked."""
    found = Limits(Clock(time.time), Plan(scale=1000))
    for _ in range(30_000):
        call(found)
    gate = found._gates["ww1", GET]
    assert gate.allowed == 30_000
    assert len(found._gates) == len(found._ips) == 1
