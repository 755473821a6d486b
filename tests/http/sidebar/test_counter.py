"""The side panel as a counter: an RM looks at a voucher, writes it off once, and takes it back; whatever is wrong is
said in words and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import re

import httpx
import pytest

from rewards.vouchers import issuing, qr
from rewards.vouchers.rows import Voucher, find_vouchers
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import form_token
from tests.support.banks import open_bank
from tests.support.forms import PageForm, forms_of

COUNTER = "/sidebar/demo/counter"


@pytest.fixture
async def voucher(demo: Services, customer: httpx.AsyncClient, appid: str) -> Voucher:
    """What the customer claimed."""
    claim = f"/mp/{appid}/rewards/flash.voucher/claim"
    answer = await customer.post(claim, json={}, headers={"Idempotency-Key": "k"})
    bank = await open_bank(demo, "demo")
    found = await issuing.of_grant_id(bank, f"demo:{answer.json()['redemption']['id']}")
    assert found is not None
    return found


async def _code(demo: Services, voucher: Voucher) -> str:
    from rewards.vouchers import codes

    bank = await open_bank(demo, "demo")
    return codes.shown(codes.code_of(bank.vault, voucher["_id"], voucher["nth"]))


async def _look(rm: httpx.AsyncClient, shown: str) -> httpx.Response:
    form = _form((await rm.get(COUNTER)).text, "/look")
    return await rm.post(form.action, data={**form.sent(), "shown": shown})


def _form(page: str, end: str) -> PageForm:
    return next(one for one in forms_of(page) if one.action.endswith(end))


async def _left(demo: Services, voucher: Voucher) -> str:
    bank = await open_bank(demo, "demo")
    return (await find_vouchers(bank, [voucher["_id"]]))[voucher["_id"]]["state"]


async def test_a_typed_code_is_looked_at_written_off_once_and_taken_back(
    rm: httpx.AsyncClient, demo: Services, voucher: Voucher
) -> None:
    code = await _code(demo, voucher)
    looked = await _look(rm, code.lower().replace("-", " "))
    assert (looked.status_code, "二十元生活券" in looked.text) == (200, True)
    assert "待使用" in looked.text
    assert await _left(demo, voucher) in ("granted", "active")
    form = _form(looked.text, "/redeem")
    sent = form.sent()
    answers = await asyncio.gather(*(rm.post(form.action, data=sent) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    receipt = await rm.get(answers[0].headers["Location"])
    assert "核销成功" in receipt.text
    assert receipt.text.count("已核销") == 1
    assert await _left(demo, voucher) == "used"
    again = await _look(rm, code)
    assert re.search(r"已于.*深圳南山支行.*陈思远|深圳南山支行", again.text)
    assert [one for one in forms_of(again.text) if one.action.endswith("/redeem")] == []
    other = await rm.post(form.action, data={**sent, "key": "another"})
    assert other.status_code == 409
    undo = _form(receipt.text, "/undo")
    empty = await rm.post(undo.action, data={**undo.sent(), "reason": " "})
    assert (empty.status_code, "请写明原因" in empty.text) == (400, True)
    back = await rm.post(undo.action, data={**undo.sent(), "reason": "扫错了"}, follow_redirects=True)
    assert "已撤销，券可以再次使用" in back.text
    assert await _left(demo, voucher) == "active"
    trail = await demo.store.tenant("demo")["audit"].find({"action": {"$regex": "^voucher"}}, sort=[("_id", 1)])
    told = [(row["actor"], row["action"]) for row in trail]
    assert ("rm.chen", "voucher.used") in told
    assert ("rm.chen", "voucher.undone") in told


async def test_the_qr_code_that_was_scanned_is_good_once(
    rm: httpx.AsyncClient, demo: Services, voucher: Voucher
) -> None:
    bank = await open_bank(demo, "demo")
    said = qr.text(bank, voucher)
    looked = await _look(rm, said)
    form = _form(looked.text, "/redeem")
    assert "YQT" in str(form.sent()["ticket"])
    done = await rm.post(form.action, data=form.sent(), follow_redirects=True)
    assert "核销成功" in done.text
    undo = _form(done.text, "/undo")
    await rm.post(undo.action, data={**undo.sent(), "reason": "再来一次"})
    assert "二维码已经用过" in (await _look(rm, said)).text


@pytest.mark.parametrize(
    ("shown", "status", "said"),
    [
        ("0000-0000-0000", 400, "不是"),
        ("abc", 400, "不是"),
        ("   ", 400, "请扫码或输入券码"),
        ("'; db.dropDatabase() //", 404, "没有这张券"),
        ("https://example.org/", 404, "没有这张券"),
        ("YQAAAA", 404, "没有这张券"),
    ],
)
async def test_what_is_no_code_is_refused_in_words(
    rm: httpx.AsyncClient, demo: Services, voucher: Voucher, shown: str, status: int, said: str
) -> None:
    refused = await _look(rm, shown)
    assert (refused.status_code, said in refused.text) == (status, True)
    assert await _left(demo, voucher) in ("granted", "active")
    if shown.strip():
        assert await demo.store.tenant("demo")["audit"].count({"action": "voucher.refused"}) == 1


async def test_another_rm_takes_nothing_back_and_nobody_without_a_session_looks(
    http: httpx.AsyncClient, rm: httpx.AsyncClient, demo: Services, sandbox: Sandbox, voucher: Voucher
) -> None:
    form = _form((await _look(rm, await _code(demo, voucher))).text, "/redeem")
    receipt = await rm.post(form.action, data=form.sent(), follow_redirects=True)
    undo = _form(receipt.text, "/undo")
    there = await http.get(COUNTER)
    state = httpx.URL(there.headers["Location"]).params["state"]
    code = await sandbox.oauth_code("rm.li")
    page = await http.get("/sidebar/demo/oauth", params={"code": code, "state": state}, follow_redirects=True)
    assert page.url.path == COUNTER
    assert "今天还没有核销" in page.text
    sent = {"_xsrf": form_token(page.text), "reason": "不是我核销的"}
    refused = await http.post(undo.action, data=sent)
    assert refused.status_code == 409
    assert await _left(demo, voucher) == "used"
    http.cookies.clear()
    nobody = await http.post(f"{COUNTER}/look", data={"shown": "x"})
    assert nobody.status_code == 403


async def test_the_page_signs_its_own_address_for_the_camera(
    rm: httpx.AsyncClient, demo: Services, sandbox: Sandbox
) -> None:
    page = await rm.get(COUNTER)
    given = dict(re.findall(r'data-([a-z]+)="([^"]*)"', page.text))
    bank = await open_bank(demo, "demo")
    ticket = (await bank.wecom.members.get_agent_ticket())["ticket"]
    url = f"{demo.settings.url}{COUNTER}"
    signed = f"jsapi_ticket={ticket}&noncestr={given['nonce']}&timestamp={given['timestamp']}&url={url}"
    assert given["signature"] == hashlib.sha1(signed.encode(), usedforsecurity=False).hexdigest()
    assert ticket not in page.text
    assert "scan.js" in page.text
