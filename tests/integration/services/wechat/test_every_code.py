"""Every code of contract/wechat D2 at every call that we make: each comes out as its class, with what to do about it, and none
is taken for an outage. The codes are read from the contract, the calls from the tables of requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest

from deploy.processes import ROOT
from sandbox.core.errors import MESSAGES
from services.wechat.core import errors
from tests.integration.services.wechat import test_miniprogram_calls, test_wecom_calls

CONTRACT = (ROOT / "docs" / "contract" / "wechat.md").read_text(encoding="utf-8")
CLASSES = {
    "refresh token once, then retry once": errors.TokenRejected,
    "bad config, page a human": errors.BadConfig,
    "slow down": errors.SlowDown,
    "transient": errors.Transient,
    "subject state": errors.SubjectState,
    "try later": errors.TryLater,
    "bug in our request": errors.BadRequest,
}


def codes_of(cell: str) -> Iterator[int]:
    """The codes of a cell of D2: numbers, spans of them, and what a span leaves out."""
    cell = cell.replace("40001 and 40125 on the token call, ", "40125, ").replace("47001-like", "")
    spans, _, without = cell.partition(" without ")
    left_out = {int(number) for number in re.findall(r"\d{5,6}", without)}
    for first, last in re.findall(r"(-1|\d{4,6})(?:–(\d{5,6}))?", spans):
        yield from (code for code in range(int(first), int(last or first) + 1) if code not in left_out)


def documented(family: str) -> dict[int, type[errors.PlatformError]]:
    rows = CONTRACT.partition("### D2.")[2].partition("### D3.")[0]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines() if row.startswith("| ")]
    return {
        code: CLASSES[row[0]]
        for row in cells
        if row[0] in CLASSES
        for code in codes_of(row[1 if family == "wechat" else 2])
    }


CODES = {family: documented(family) for family in ("wechat", "wecom")}
CALLS: list[tuple[str, str, str, tuple[Any, ...], dict[str, Any]]] = [
    *(
        ("wecom", f"/cgi-bin/{path.replace('EC/', 'externalcontact/')}", name, args, kwargs)
        for _, path, name, args, kwargs, _ in test_wecom_calls.CALLS
    ),
    *(("wechat", path, name, args, kwargs) for _, path, name, args, kwargs, _ in test_miniprogram_calls.CALLS),
    ("wechat", "/sns/jscode2session", "code_to_session", ("c",), {}),
    ("wechat", "/wxa/business/getuserphonenumber", "get_phone_number", ("p",), {}),
    ("wechat", "/wxa/checksession", "check_session", ("o1", "key"), {}),
    ("wecom", "/cgi-bin/auth/getuserinfo", "members.get_user_info", ("c",), {}),
    ("wecom", "/cgi-bin/auth/getuserdetail", "members.get_user_detail", ("t",), {}),
]
IS_AN_ANSWER = {("customers.list", 84061), ("check_session", 87009)}
"""Codes that a method reads as an answer."""


def test_the_contract_is_read():
    assert len(CODES["wechat"]) > 30
    assert len(CODES["wecom"]) > 60
    assert (CODES["wecom"][90507], CODES["wecom"][90510], CODES["wecom"][90509]) == (
        errors.TryLater,
        errors.BadConfig,
        errors.SubjectState,
    )


@pytest.mark.parametrize("family", ["wechat", "wecom"])
def test_every_documented_code_has_its_class(family):
    found = {code: type(errors.platform_error(family, code, "", "/p")) for code in CODES[family]}
    assert {code: kind for code, kind in found.items() if not issubclass(kind, CODES[family][code])} == {}


def test_every_code_that_the_sandbox_says_is_known():
    """What the sandbox can answer to either family, we have classified for one of them."""
    unknown = {code for code in MESSAGES if not any(errors.is_known(each, code) for each in ("wechat", "wecom"))}
    assert unknown == set()


@pytest.mark.parametrize(("family", "path", "name", "args", "kwargs"), CALLS, ids=[f"{c[0]}:{c[2]}" for c in CALLS])
async def test_each_call_says_of_each_code_what_it_is(rig, family, path, name, args, kwargs):
    async with rig() as r:
        client = r.mini if family == "wechat" else r.wecom
        call = attrgetter(name)(client)
        wrong = {}
        for code, kind in CODES[family].items():
            if (name, code) in IS_AN_ANSWER:
                continue
            r.platform.answers[path] = {"errcode": code, "errmsg": "so it is"}
            await r.tokens.retry_secret(client._app.tenant, client._app.id)
            try:
                wrong[code] = await call(*args, **kwargs)
            except errors.PlatformError as error:
                if not isinstance(error, kind) or error.errcode != code:
                    wrong[code] = error
        assert wrong == {}


@pytest.mark.parametrize("code", [40999, 99999, 123456789])
@pytest.mark.parametrize("family", ["wechat", "wecom"])
def test_an_unknown_code_above_zero_is_an_answer_and_no_outage(family, code):
    error = errors.platform_error(family, code, "", "/p")
    assert (type(error), error.action) == (errors.UnknownCode, "give_up")
    assert errors.to_whoever_waits(family, error).status == 502


@pytest.mark.parametrize("family", ["wechat", "wecom"])
def test_an_unknown_code_below_zero_is_the_platforms_own_trouble(family):
    error = errors.platform_error(family, -7, "", "/p")
    assert (type(error), error.action, errors.is_known(family, -7)) == (errors.Transient, "retry", False)
    assert errors.to_whoever_waits(family, error).status == 503


@pytest.mark.parametrize("family", ["wechat", "wecom"])
@pytest.mark.parametrize("kind", [errors.TokenRejected, errors.SlowDown, errors.TryLater, errors.UnknownOutcome])
def test_what_may_pass_is_told_as_an_outage(family, kind):
    assert errors.to_whoever_waits(family, kind(None, "", "/p")).status == 503
