"""The console's pages of static lists: made, filled from a file, and the lines that name nobody."""

from __future__ import annotations

import httpx

from customers.identity import resolution
from customers.identity.facts import Facts
from customers.lists import keeping
from services.container import Services
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
    await jobs.run(bank, keeping.TASK)
    over = await lin.get(f"{place}/progress")
    assert over.headers["HX-Refresh"] == "true"
    page = (await lin.get(f"{place}?lang=en")).text
    assert "nobody is known by this" in page
    assert "hx-get" not in page
    lines = await lin.get(f"{place}/lines")
    assert lines.content.decode("utf-8-sig").splitlines()[1].startswith("3,")
    assert "1 customers are on it" in (await lin.get(f"{EVENT}?lang=en")).text
    assert (await lin.get("/console/lists/nothing")).status_code == 404
