"""The console's pages of code pools: a file comes in, lines are refused, codes are taken back and found."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from rewards.pools import importing, keeping
from services.container import Services
from tests.http.conftest import Clerk, form_token, post_form
from tests.integration.rewards import pool_world
from tests.support import jobs
from tests.support.banks import open_bank

PAGE = "/console/pools"
POOL = f"{PAGE}/coffee"
NEW = {"pool": "coffee", "name_zh": "咖啡券", "name_en": "Coffee", "supplier": "咖啡公司", "low": "5"}


async def send(client: httpx.AsyncClient, data: bytes, page: str = POOL, name: str = "codes.csv") -> httpx.Response:
    """Sends a file by the form of the pool's page."""
    token = form_token((await client.get(page)).text)
    answer = await client.post(f"{page}/uploads", data={"_xsrf": token}, files={"file": (name, data, "text/csv")})
    return await client.get(answer.headers["Location"]) if answer.status_code == 303 else answer


async def import_all(demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    while await bank.db["code_uploads"].count({"open": True}):
        await jobs.run(bank, importing.TASK)


@pytest.fixture
async def lin(clerk: Clerk) -> httpx.AsyncClient:
    client = await clerk("lin")
    answer = await post_form(client, PAGE, PAGE, **NEW)
    assert "咖啡券" in answer.text
    return client


async def test_a_file_comes_in_and_its_codes_are_there(lin: httpx.AsyncClient, demo: Services) -> None:
    page = await send(lin, pool_world.file(40_000))
    assert page.status_code == 200
    assert "文件已收到" in page.text
    assert "等待导入" in page.text
    progress = re.search(r'hx-get="([^"]+)"', page.text)
    assert progress is not None
    waiting = await lin.get(progress[1])
    assert "HX-Refresh" not in waiting.headers
    assert 'value="0"' in waiting.text
    await import_all(demo)
    over = await lin.get(progress[1])
    assert over.headers["HX-Refresh"] == "true"
    assert "已导入" in over.text
    assert "40,000" in (await lin.get(f"{POOL}?lang=en")).text
    again = await send(lin, pool_world.file(40_000))
    assert "This very file was sent before" in again.text


async def test_lines_that_cannot_be_taken_are_shown_and_left_out(lin: httpx.AsyncClient, demo: Services) -> None:
    page = await send(lin, b"code\nAAAA-0001\nAAAA-0001\nabc\nAAAA-0002\n")
    await import_all(demo)
    page = await lin.get(str(page.url))
    assert "券码在文件里重复，首次出现在第 2 行" in page.text
    assert "券码应为 4 至 128 个字符" in page.text
    assert "AAAA" not in page.text
    listed = await lin.get(f"{page.url}/lines")
    assert listed.headers["Content-Disposition"].startswith("attachment")
    assert listed.text.splitlines()[1:] == [
        "3,code_twice,券码在文件里重复，首次出现在第 2 行",
        "4,code_length,券码应为 4 至 128 个字符",
    ]
    await post_form(lin, str(page.url), f"{page.url}/skip")
    await import_all(demo)
    assert "已导入" in (await lin.get(str(page.url))).text
    assert (await pool_world.counts(await open_bank(demo, "demo"), "coffee"))["left"] == 2


async def test_a_spreadsheet_and_a_file_that_is_none(lin: httpx.AsyncClient, demo: Services) -> None:
    await send(lin, pool_world.sheet([["券码"], ["AAAA-0001"]]), name="券码.xlsx")
    page = await send(lin, bytes(range(256)))
    await import_all(demo)
    assert "无法识别" in (await lin.get(str(page.url))).text or "GBK" in (await lin.get(str(page.url))).text
    assert "券码.xlsx" in (await lin.get(POOL)).text


async def test_codes_are_taken_back_and_leave_with_two_clerks(
    lin: httpx.AsyncClient, clerk: Clerk, demo: Services
) -> None:
    await send(lin, pool_world.file(1) + b"\n-2+3+cmd|' /C calc'!A0\n@SUM(A1)")
    await import_all(demo)
    page = await post_form(lin, POOL, f"{POOL}/recall", what="all", reason="供应商停业")
    assert "券码已收回" in page.text
    found = re.search(r'action="([^"]+)/ask"', page.text)
    assert found is not None
    recall = found[1]
    assert (await post_form(lin, POOL, f"{recall}/file")).status_code == 409
    await post_form(lin, POOL, f"{recall}/ask")
    refused = await post_form(lin, POOL, f"{recall}/approve")
    assert refused.status_code == 403
    assert (await post_form(lin, POOL, f"{recall}/file")).status_code == 409
    zhao = await clerk("zhao")
    await post_form(zhao, POOL, f"{recall}/approve")
    file = await post_form(lin, POOL, f"{recall}/file")
    assert file.content.decode("utf-8-sig").splitlines() == [
        "code,expires",
        "KOPI000000,",
        "'-2+3+cmd|' /C calc'!A0,",
        "'@SUM(A1),",
    ], "whatever a supplier called a code, none is a formula for whoever opens the file"
    bank = await open_bank(demo, "demo")
    assert await bank.db["audit"].count({"action": "pool.exported"}) == 1
    again = await post_form(lin, POOL, f"{POOL}/recall", what="all", reason="once more")
    assert again.status_code == 409


async def test_a_code_in_the_hand_is_found(lin: httpx.AsyncClient, demo: Services) -> None:
    await send(lin, pool_world.file(3))
    await import_all(demo)
    page = await post_form(lin, PAGE, f"{PAGE}/search", code=" kopi000001 ")
    assert "没有券码池有这个券码" in page.text
    page = await post_form(lin, PAGE, f"{PAGE}/search", code=" KOPI000001 ")
    assert "未发出" in page.text


async def test_who_guesses_codes_of_pools_is_told_nothing_for_a_while(
    lin: httpx.AsyncClient, clerk: Clerk, demo: Services
) -> None:
    await send(lin, pool_world.file(3))
    await import_all(demo)
    for n in range(100, 100 + keeping.FAILURES):
        assert (await post_form(lin, PAGE, f"{PAGE}/search", code=pool_world.code(n))).status_code == 200
    shut = await post_form(lin, PAGE, f"{PAGE}/search", code=pool_world.code(1))
    assert (shut.status_code, "未发出" in shut.text) == (429, False)
    told = await post_form(await clerk("zhao"), PAGE, f"{PAGE}/search", code=pool_world.code(1))
    assert "未发出" in told.text


async def test_who_may_only_read_cannot_send(lin: httpx.AsyncClient, clerk: Clerk, demo: Services) -> None:
    auditor = await clerk("audit")
    assert (await auditor.get(POOL)).status_code == 200
    token = form_token((await auditor.get(POOL)).text)
    files = {"file": ("a.csv", pool_world.file(3), "text/csv")}
    answer = await auditor.post(f"{POOL}/uploads", data={"_xsrf": token}, files=files)
    assert answer.status_code == 403
    bank = await open_bank(demo, "demo")
    assert await bank.db["code_files"].count() == 0


async def nothing_kept(demo: Services) -> bool:
    bank = await open_bank(demo, "demo")
    return not await bank.db["code_files"].count() and not await bank.db["code_uploads"].count()


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 403), ({"_xsrf": "2|aaaaaaaa|bbbb|1700000000"}, 403)],
)
async def test_a_form_that_nobody_made_brings_nothing(
    lin: httpx.AsyncClient, demo: Services, fields: dict[str, str], status: int
) -> None:
    files = {"file": ("a.csv", pool_world.file(60_000), "text/csv")}
    answer = await lin.post(f"{POOL}/uploads", data=fields, files=files)
    assert answer.status_code == status
    assert await nothing_kept(demo)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"file=abc"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
        ),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"a" * 40_000),
    ],
)
async def test_a_body_that_is_no_such_form_is_refused(
    lin: httpx.AsyncClient, demo: Services, kind: str, body: bytes
) -> None:
    answer = await lin.post(f"{POOL}/uploads", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 403)
    assert await nothing_kept(demo)
    assert (await lin.get(POOL)).status_code == 200


async def test_a_connection_that_ends_in_the_middle_leaves_nothing(lin: httpx.AsyncClient, demo: Services) -> None:
    token = form_token((await lin.get(POOL)).text)
    head = (
        f'--x\r\nContent-Disposition: form-data; name="_xsrf"\r\n\r\n{token}\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    ).encode()
    url = httpx.URL(str(lin.base_url))
    _, writer = await asyncio.open_connection(url.host, url.port)
    cookies = "; ".join(f"{name}={value}" for name, value in lin.cookies.items())
    lines = [
        f"POST {POOL}/uploads HTTP/1.1", f"Host: {url.host}:{url.port}", f"Cookie: {cookies}",
        "Content-Type: multipart/form-data; boundary=x", "Content-Length: 9000000", "", "",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode() + head + b"A" * 3_000_000)
    await writer.drain()
    bank = await open_bank(demo, "demo")
    for _ in range(100):
        if await bank.db["code_files"].count():
            break
        await asyncio.sleep(0.05)
    assert await bank.db["code_files"].count()
    writer.close()
    for _ in range(100):
        if await nothing_kept(demo):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("pieces of a file stayed")


async def test_a_file_that_says_it_is_too_large_is_not_taken(lin: httpx.AsyncClient, demo: Services) -> None:
    url = httpx.URL(str(lin.base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    cookies = "; ".join(f"{name}={value}" for name, value in lin.cookies.items())
    lines = [
        f"POST {POOL}/uploads HTTP/1.1", f"Host: {url.host}:{url.port}", f"Cookie: {cookies}",
        "Content-Type: multipart/form-data; boundary=x", "Content-Length: 900000000", "", "",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    assert b" 413 " in await reader.readline()
    writer.close()
    assert await nothing_kept(demo)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("pool", "Kaffee!", "小写字母"), ("name_zh", "  ", "名称"), ("low", "-1", "整数"), ("low", "1.5", "整数")],
)
async def test_a_pool_that_cannot_be_made_says_why(clerk: Clerk, field: str, value: str, said: str) -> None:
    client = await clerk("lin")
    answer = await post_form(client, PAGE, PAGE, **{**NEW, "name_en": "", field: value})
    assert answer.status_code == 400
    assert said in answer.text
