"""Errors become HTTP in one place (handlers/http/base.py)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from handlers.http.base import INTERNAL, refusal_of
from rewards import portal
from services.errors import Conflict, InvalidInput, PlatformRefused, TooMany, Unavailable, YinqiaoError
from services.wechat.core import errors as platform

SECRET = "password=hunter2 at mongodb://10.0.0.1"


async def _break(*args: Any) -> bytes:
    raise RuntimeError(SECRET)


async def test_a_plain_exception_is_a_500_that_says_nothing(
    customer: httpx.AsyncClient, appid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "home", _break)
    answer = await customer.get(f"/mp/{appid}/home", headers={"X-Request-ID": "test-request-1"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": {"code": "internal", "message": "something went wrong on our side", "request_id": "test-request-1"}
    }


async def test_a_plain_exception_behind_a_page_is_a_page_that_says_nothing(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("customers.banks.bank.list_banks", _break)
    answer = await http.get("/")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "我们这边出了问题" in answer.text
    assert "hunter2" not in answer.text


async def test_an_error_while_a_page_is_written_still_becomes_a_page(http: httpx.AsyncClient) -> None:
    answer = await http.get("/console/nothing?lang=%ff")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    page = await http.get("/console/nothing?lang=%ff", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "没有这个页面" in page.text


async def test_an_unavailable_part_says_when_to_try_again(
    customer: httpx.AsyncClient, appid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any) -> bytes:
        raise Unavailable("store_unavailable", "the database does not answer", retry_after=3)

    monkeypatch.setattr(portal, "home", away)
    answer = await customer.get(f"/mp/{appid}/home")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert answer.json()["error"]["code"] == "store_unavailable"


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Conflict("sold_out"), 409, None),
        (InvalidInput("bad", fields={"code": "missing"}), 400, None),
        (TooMany("too_many_attempts", retry_after=900), 429, 900),
        (Unavailable("busy"), 503, 1),
        (PlatformRefused("wechat_refused"), 502, None),
        (platform.UnknownCode(99999, SECRET, "/p"), 502, None),
        (platform.SlowDown(45009, SECRET, "/p", retry_after=60), 503, 60),
    ],
)
def test_each_class_of_error_has_its_status(error: YinqiaoError, status: int, retry_after: int | None) -> None:
    refusal = refusal_of(error, 500)
    assert (refusal.status, refusal.code, refusal.fields) == (status, error.code, error.fields)
    assert refusal.retry_after == retry_after
    assert "hunter2" not in refusal.message


def test_a_fault_of_ours_is_never_told() -> None:
    assert refusal_of(YinqiaoError("callback_bad_key", SECRET), 500) == INTERNAL
    assert refusal_of(ValueError(SECRET), 500) == INTERNAL


async def test_a_method_that_a_path_does_not_have_is_405(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/healthz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("address", ["http://[", "//["])
async def test_a_part_of_a_page_from_an_address_that_is_none_is_refused(http: httpx.AsyncClient, address: str) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": address}
    answer = await http.get("/console/sync/progress", headers=headers)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/console/")
    assert answer.text
