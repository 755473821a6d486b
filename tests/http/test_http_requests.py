"""What every request meets: ids, headers, limits, strict bodies."""

from __future__ import annotations

import httpx
import pytest

from tests.http.conftest import OTHER_APPID, form_token, sign_in


async def test_a_sane_request_id_is_kept_and_another_replaced(http: httpx.AsyncClient) -> None:
    kept = await http.get("/healthz", headers={"X-Request-ID": "gateway-0042"})
    assert kept.headers["X-Request-ID"] == "gateway-0042"
    made = await http.get("/healthz", headers={"X-Request-ID": "<script>alert(1)</script>"})
    assert made.headers["X-Request-ID"].isalnum()
    other = await http.get("/healthz")
    assert other.headers["X-Request-ID"] != made.headers["X-Request-ID"]


async def test_json_answers_carry_the_security_headers(http: httpx.AsyncClient) -> None:
    headers = (await http.get("/healthz")).headers
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "yinqiao"


async def test_pages_carry_a_policy_without_inline_code(http: httpx.AsyncClient) -> None:
    wecom = "https://work.weixin.qq.com https://*.work.weixin.qq.com"
    framed_by = {
        "/": "'none'",
        "/console/login": "'none'",
        "/preview/wx5ab0000000000001/": "'none'",
        "/h5/wx5ab0000000000001/": "'none'",
        "/sidebar/demo/oauth?code=x&state=y": wecom,
    }
    for path, ancestors in framed_by.items():
        policy = (await http.get(path)).headers["Content-Security-Policy"]
        assert policy == (
            "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            f"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
        )


async def test_a_body_that_is_not_what_it_should_be_is_refused(http: httpx.AsyncClient, appid: str) -> None:
    wrong = {
        b'{"code": {"$ne": null}}': "code",
        b'{"code": ["x"]}': "code",
        b'{"code": 7}': "code",
        b'{"code": ""}': "code",
        b'{"code": "' + b"x" * 257 + b'"}': "code",
        b"{}": "code",
        b"[]": "body",
        b"not json": "body",
        b"": "body",
    }
    for body, field in wrong.items():
        answer = await http.post(f"/mp/{appid}/login", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_body")
        assert list(answer.json()["error"]["fields"]) == [field]


async def test_a_body_over_a_mebibyte_is_not_read(http: httpx.AsyncClient, appid: str) -> None:
    with pytest.raises(httpx.HTTPError):
        (await http.post(f"/mp/{appid}/login", content=b"x" * (1024 * 1024 + 1))).raise_for_status()


async def test_static_files_are_kept_by_browsers_under_a_versioned_address(http: httpx.AsyncClient) -> None:
    page = (await http.get("/console/login")).text
    address = page.split('href="', 3)[2].split('"')[0]
    assert address.startswith("/static/vendor/bootstrap.min.css?v=")
    headers = (await http.get(address)).headers
    assert "max-age=315360000" in headers["Cache-Control"]
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_form_without_its_token_is_refused(http: httpx.AsyncClient) -> None:
    fields = {"bank": "demo", "name": "lin", "password": "yinqiao-demo"}
    refused = await http.post("/console/login", data=fields)
    assert refused.status_code == 403
    assert "yq_console" not in refused.cookies
    token = form_token((await http.get("/console/login")).text)
    foreign = await http.post(
        "/console/login", data={**fields, "_xsrf": token}, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    assert (await sign_in(http, "demo", "lin", "yinqiao-demo")).status_code == 303


@pytest.mark.parametrize(
    ("accepted", "shown"),
    [
        ("en-US,en;q=0.9", "en"),
        ("en", "en"),
        ("fr-FR,fr;q=0.9,en;q=0.5", "en"),
        ("zh;q=0.5, en;q=0.8", "en"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en;q=0.3,zh-Hans-CN;q=0.4", "zh-CN"),
        ("en;q=0", "zh-CN"),
        ("fr", "zh-CN"),
        ("*", "zh-CN"),
        ("", "zh-CN"),
        ("en;q=abc, ;;;, zh;q=0.001", "zh-CN"),
    ],
)
async def test_a_browser_gets_the_language_that_it_likes_best(
    http: httpx.AsyncClient, accepted: str, shown: str
) -> None:
    for path in ("/console/login", "/", "/nothing"):
        headers = {"Accept-Language": accepted, "Accept": "text/html"}
        page = await http.get(path, headers=headers)
        assert f'<html lang="{shown}">' in page.text
        assert "Accept-Language" in page.headers["Vary"]


async def test_the_language_that_somebody_chooses_is_remembered(http: httpx.AsyncClient) -> None:
    http.headers["Accept-Language"] = "zh-CN"
    assert '<html lang="en">' in (await http.get("/console/login?lang=en")).text
    assert '<html lang="en">' in (await http.get("/console/login")).text
    assert '<html lang="zh-CN">' in (await http.get("/console/login?lang=zh-HK")).text


async def test_an_unknown_path_is_json_for_programs_and_a_page_for_browsers(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nothing")).json()["error"]["code"] == "not_found"
    assert (await http.post("/nothing")).status_code == 404
    page = await http.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=UTF-8")


async def test_an_unknown_mini_program_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"/mp/{OTHER_APPID}/login", json={"code": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "miniprogram_unknown")
