"""The console's pages of static lists: made, filled from a file, and the lines that name nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from customers.identity import resolution
from customers.identity.facts import Facts
from customers.lists import keeping, uploading
from customers.profiles import downloading, refreshing
from operations import profiling
from services.container import Services
from services.errors import Unavailable
from tests.http.conftest import Clerk, form_token, post_form
from tests.support import jobs
from tests.support.banks import open_bank

ALL, EVENT = "/console/lists", "/console/lists/event"


async def send(client: httpx.AsyncClient, data: bytes, mode: str) -> httpx.Response:
    token = form_token((await client.get(EVENT)).text)
    fields = {"_xsrf": token, "mode": mode}
    files = {"file": ("名单.csv", data, "text/csv")}
    return await client.post(f"{EVENT}/uploads", data=fields, files=files)


async def test_a_list_is_made_and_filled_and_what_names_nobody_is_told(clerk: Clerk, demo: Services) -> None:
    lin, audit = await clerk("lin"), await clerk("audit")
    made = await post_form(lin, ALL, ALL, list="event", name_zh="活动", name_en="Event")
    assert "活动" in made.text
    assert (await post_form(lin, ALL, ALL, list="event", name_zh="活动", name_en="Event")).status_code == 409
    assert '/uploads"' not in (await audit.get(EVENT)).text
    bank = await open_bank(demo, "demo")
    await resolution.identify(bank, Facts(external_userid="wmE", unionid="u1"), source="callback", proof="e1")
    assert (await send(lin, b"unionid\nu1\n", "burn")).status_code == 400
    sent = await send(lin, b"unionid\nu1\nu2\n", "add")
    if sent.has_redirect_location:
        sent = await lin.get(sent.headers["Location"])
    place = sent.url.path
    assert place.startswith(f"{EVENT}/uploads/"), sent.text
    assert "hx-get" in sent.text
    assert "<progress" in (await lin.get(f"{place}/progress")).text
    await jobs.run(bank, uploading.TASK)
    over = await lin.get(f"{place}/progress")
    assert over.headers["HX-Refresh"] == "true"
    page = (await lin.get(f"{place}?lang=en")).text
    assert "nobody is known by this" in page
    assert "hx-get" not in page
    lines = await lin.get(f"{place}/lines")
    assert lines.content.decode("utf-8-sig").splitlines()[1].startswith("3,")
    assert "1 customers are on it" in (await lin.get(f"{EVENT}?lang=en")).text
    assert (await lin.get("/console/lists/nothing")).status_code == 404


async def test_a_list_is_renamed_archived_brought_back_and_downloaded_by_right(clerk: Clerk, demo: Services) -> None:
    lin, zhao, audit = await clerk("lin"), await clerk("zhao"), await clerk("audit")
    await post_form(lin, ALL, ALL, list="event", name_zh="活动", name_en="Event")
    renamed = await post_form(lin, EVENT, f"{EVENT}/name", name_zh="晚宴", name_en="Dinner")
    assert "晚宴" in renamed.text
    segment = {"segment": "invited", "name_zh": "受邀", "name_en": "Invited", "rule": "list('event')"}
    await post_form(lin, "/console/segments/new", "/console/segments", **segment)
    await post_form(zhao, "/console/segments/invited", "/console/segments/invited/versions/1/approve")
    page = (await lin.get(f"{EVENT}?lang=en")).text
    assert 'href="/console/segments/invited"' in page
    assert f'action="{EVENT}/archive"' not in page
    refused = await post_form(lin, EVENT, f"{EVENT}/archive", reason="over")
    assert refused.status_code == 409
    assert "invited" in refused.text
    await post_form(lin, "/console/lists?lang=zh", ALL, list="old", name_zh="旧", name_en="Old")
    archived = await post_form(lin, "/console/lists/old", "/console/lists/old/archive", reason="over")
    assert "名单已归档" in archived.text
    assert '/console/lists/old/uploads"' not in archived.text
    assert "已归档" in (await lin.get(ALL)).text
    back = await post_form(lin, "/console/lists/old", "/console/lists/old/back")
    assert '/console/lists/old/uploads"' in back.text
    bank = await open_bank(demo, "demo")
    facts = Facts(external_userid="wmE", unionid="u1", name="欧阳娜娜")
    cid = await resolution.identify(bank, facts, source="callback", proof="e1")
    await send(lin, b"unionid\nu1\n", "add")
    await jobs.run(bank, uploading.TASK)
    await profiling.bring(bank, [cid])
    for place in (EVENT, "/console/segments/invited/members"):
        base = place.removesuffix("/members")
        address = f"{place}/download" if place == EVENT else f"{base}/members/download"
        file = await post_form(lin, place, address, reason="")
        assert file.content.decode("utf-8-sig").splitlines()[1:] == [f"{cid},,欧***,"]
        assert (file.headers["Cache-Control"], "event" in file.headers["Content-Disposition"]) == (
            "no-store",
            place == EVENT,
        )
        no_reason = await post_form(lin, place, address, clear="1", reason="")
        assert no_reason.status_code == 400
        clear = await post_form(lin, place, address, clear="1", reason="audit")
        assert "欧阳娜娜" in clear.text
        assert "/download" not in (await audit.get(place)).text
        assert (await post_form(audit, ALL, address)).status_code == 403


async def _takes(client: httpx.AsyncClient, demo: Services) -> dict[str, str]:
    """There is a list, and this is the form that downloads it."""
    bank = await open_bank(demo, "demo")
    await keeping.create(bank, "lin", "event", {"zh": "活动", "en": "Event"})
    return {"_xsrf": form_token((await client.get(EVENT)).text), "reason": ""}


async def test_a_table_that_cannot_be_gone_on_with_is_not_taken_for_whole(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> set[str]:
        raise Unavailable("store_unavailable", "the database does not answer")

    lin = await clerk("lin")
    form = await _takes(lin, demo)
    monkeypatch.setattr(refreshing, "matching", away)
    async with lin.stream("POST", f"{EVENT}/download", data=form) as answer:
        pieces = answer.aiter_bytes()
        assert (answer.status_code, await anext(pieces)) == (200, "\ufeffcid,number,name,phone\r\n".encode())
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    assert await demo.store.tenant("demo")["audit"].count({"action": "list.downloaded"}) == 0


async def test_nothing_more_is_read_for_whoever_went_away_and_it_is_no_fault_of_ours(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def endless(*_: object) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
        finally:
            ended.set()

    lin = await clerk("lin")
    form = await _takes(lin, demo)
    monkeypatch.setattr(downloading, "table", endless)
    async with lin.stream("POST", f"{EVENT}/download", data=form) as answer:
        assert await anext(answer.aiter_bytes())
    await asyncio.wait_for(ended.wait(), 30)
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == []
