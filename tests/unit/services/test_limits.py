"""The table of contract/wechat D1, and what a bank may say instead."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from config.settings import PlatformLimits, Settings
from services.limiter.limits import Limits

DAY, MONTH = 86400.0, 31 * 86400.0


def windows(family: str, path: str, **own: Any) -> list[tuple[float, int]]:
    api = Limits(PlatformLimits(**own)).api(family, path)
    return [] if api is None else [(rule.seconds, rule.most[0]) for rule in api.rules]


@pytest.mark.parametrize(
    ("family", "path", "known"),
    [
        ("wecom", "/cgi-bin/externalcontact/get", [(6, 10_000), (60, 10_000), (3600, 150_000)]),
        ("wecom", "/cgi-bin/gettoken", [(6, 10_000), (60, 10_000), (3600, 150_000)]),
        ("wecom", "/cgi-bin/get_jsapi_ticket", [(3600, 100)]),
        ("wecom", "/cgi-bin/ticket/get", [(3600, 100)]),
        (
            "wecom",
            "/cgi-bin/idconvert/unionid_to_external_userid",
            [(6, 10_000), (60, 10_000), (3600, 100_000), (DAY, 480_000), (MONTH, 7_500_000)],
        ),
        ("wecom", "/cgi-bin/media/uploadimg", [(DAY, 1000), (MONTH, 3000)]),
        ("wecom", "/cgi-bin/externalcontact/add_moment_task", [(60, 10), (MONTH, 100_000)]),
        ("wechat", "/cgi-bin/token", [(DAY, 2000)]),
        ("wechat", "/cgi-bin/stable_token", [(6, 10_000), (60, 10_000), (DAY, 500_000)]),
        ("wechat", "/wxa/getwxacodeunlimit", [(6, 5000), (60, 5000)]),
        ("wechat", "/wxa/msg_sec_check", [(6, 4000), (60, 4000), (DAY, 2_000_000)]),
        ("wechat", "/wxa/media_check_async", [(6, 2000), (60, 2000), (DAY, 200_000)]),
        ("wechat", "/cgi-bin/message/subscribe/send", [(DAY, 10_000_000)]),
        ("wechat", "/cgi-bin/clear_quota", [(MONTH, 10)]),
        ("wechat", "/sns/jscode2session", []),
    ],
)
def test_every_limit_of_d1_is_known(family: str, path: str, known: list[tuple[float, int]]) -> None:
    assert windows(family, path) == known


def test_schemes_and_links_share_their_day() -> None:
    limits = Limits(PlatformLimits())
    names = {limits.api("wechat", path).name for path in ("/wxa/generatescheme", "/wxa/generate_urllink")}  # type: ignore[union-attr]
    assert names == {"links"}


def test_concurrency_is_limited_for_wecom_alone() -> None:
    limits = Limits(PlatformLimits(concurrency=7))
    wecom, wechat = limits.api("wecom", "/cgi-bin/x"), limits.api("wechat", "/cgi-bin/token")
    assert wecom is not None
    assert wechat is not None
    assert (wecom.at_once, wechat.at_once) == (7, 0)


def test_the_source_address_is_limited_for_wecom_alone() -> None:
    limits = Limits(PlatformLimits())
    assert [(rule.seconds, rule.most[0]) for rule in limits.address("wecom")] == [
        (6, 20_000),
        (60, 20_000),
        (360, 600_000),
        (3600, 600_000),
    ]
    assert limits.address("wechat") == ()


def test_a_factor_holds_for_everything_that_is_not_given() -> None:
    own = {"scale": 2, "apis": {"wecom/cgi-bin/externalcontact/*": [(300, 20), (50, 2)]}}
    assert windows("wecom", "/cgi-bin/user/get", **own)[1:] == [(60, 20_000), (3600, 300_000)]
    assert windows("wecom", "/cgi-bin/externalcontact/get", **own) == [(2, 50), (2, 300), (20, 300)]
    assert windows("wecom", "/cgi-bin/user/get", scale=0.00001)[0] == (60, 1)


def test_a_window_is_never_without_any_call_for_bulk() -> None:
    for limit in (1, 5, 199, 200, 1000):
        api = Limits(PlatformLimits(apis={"wecom*": [(limit, 60.0)]})).api("wecom", "/x")
        assert api is not None
        assert all(rule.most[0] >= rule.most[1] >= rule.most[2] >= 1 for rule in api.rules)


def test_lanes_leave_a_part_and_take_their_time() -> None:
    limits = Limits(PlatformLimits())
    api = limits.api("wecom", "/cgi-bin/externalcontact/get")
    assert api is not None
    assert [rule.most for rule in (*api.rules, *limits.address("wecom"))] == [
        (10_000, 1200, 1100),
        (10_000, 9850, 9700),
        (150_000, 147_750, 143_250),
        (20_000, 2400, 2200),
        (20_000, 19_700, 19_400),
        (600_000, 600_000, 66_000),
        (600_000, 591_000, 573_000),
    ]


def test_limits_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YINQIAO_PLATFORM_LIMITS", '{"apis": {"wecom/cgi-bin/user/*": [[100, 2.5]]}, "concurrency": 3}')
    own = Settings().platform_limits
    assert (own.apis, own.concurrency, own.scale) == ({"wecom/cgi-bin/user/*": [(100, 2.5)]}, 3, 1.0)


@pytest.mark.parametrize(
    "wrong", ['{"scale": 0}', '{"limits": {}}', '{"apis": {"wecom*": [[0, 60]]}}', '{"concurrency": 0}']
)
def test_limits_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("YINQIAO_PLATFORM_LIMITS", wrong)
    with pytest.raises(ValidationError):
        Settings()
