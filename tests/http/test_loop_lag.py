"""Nothing that somebody sends keeps the loop from others: each of these took seconds, or would without
its bound. The server runs in the test's own loop, so that its lag is measured and not its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from config.bounds import BODY_BYTES
from tests.http.conftest import APPID, Clerk, form_token

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MOST_SECONDS = 2.0
"""What the machine's own business may take; unbounded they took 5 to 27 seconds."""


class Lag:
    """The longest that the loop kept somebody waiting who asked each 10 ms."""

    worst = 0.0


@contextlib.asynccontextmanager
async def measured() -> AsyncIterator[Lag]:
    loop, lag = asyncio.get_running_loop(), Lag()

    async def tick() -> None:
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            lag.worst = max(lag.worst, loop.time() - due)

    ticking = asyncio.create_task(tick())
    try:
        await asyncio.sleep(0.05)
        yield lag
        await asyncio.sleep(0.05)
    finally:
        ticking.cancel()


HANDOVER = "mode=onjob&giver=rm.chen&taker=rm.li&customers=chosen&groups=chosen&key=0123456789abcdef"
FORMS = {
    "twenty thousand unknown keys in a document": (
        "/console/campaigns", "campaign=&text=" + quote("kind: campaign/v1\n" + "\n".join(f"k{n}: 1" for n in range(7_000)))
    ),
    "a base-60 number": ("/console/campaigns", "campaign=&text=" + quote("a: " + "1:" * 30_000 + "1")),
    "nested lists": ("/console/campaigns", "campaign=&text=" + "%5B" * 20_000),
    "aliases": (
        "/console/campaigns",
        "campaign=&text=" + quote("\n".join(["a0: &a0 [x,x]"] + [f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]" for n in range(1, 60)])),
    ),
    "many steps": (
        "/console/campaigns",
        "campaign=&text=" + quote("kind: campaign/v1\nsteps:\n" + "".join(f"- {{id: s{n}, exit: x}}\n" for n in range(2_500))),
    ),
    "a form of separators": ("/console/people", "&" * 60_000),
    "a form of one name": ("/console/people", "q=1&" * 15_000),
    "a search without end": ("/console/people", "q=" + "9" * 60_000),
    "percent signs": ("/console/people", "q=" + "%" * 60_000),
    "ten thousand ticks": ("/console/handover", HANDOVER + "".join(f"&cid=demo%3A{n:032x}" for n in range(9_000))),
    "ten thousand groups": ("/console/handover", HANDOVER + "".join(f"&chat=wr{n:030x}" for n in range(9_000))),
    "words without end": ("/console/intercepts", "name=x&words=" + "%0A".join(["词"] * 1) + "a%0A" * 9_000),
    "departments without end": ("/console/intercepts", "name=x&words=a&departments=" + "9" * 1_999),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
async def test_a_form_does_not_keep_others_waiting(clerk: Clerk, name: str) -> None:
    path, form = FORMS[name]
    lin = await clerk("lin")
    token = form_token((await lin.get("/console/people")).text)
    async with measured() as lag:
        answer = await lin.post(path, content=f"_xsrf={quote(token)}&{form}", headers=FORM)
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert lag.worst < MOST_SECONDS


BODIES = {
    "brackets": b"[" * BODY_BYTES,
    "objects": b'{"a":' * 10_000,
    "digits": b'{"code":' + b"9" * 60_000 + b"}",
    "keys": b"{" + b",".join(b'"%d":1' % number for number in range(6_000)) + b"}",
    "escapes": b'{"code":"' + b"\\u0041" * 10_000 + b'"}',
    "claim": b'{"a":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "long": b" " * (5 * 1024 * 1024),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_json_body_does_not_keep_others_waiting(customer: httpx.AsyncClient, name: str) -> None:
    async with measured() as lag:
        for path in ("login", "phone", "subscriptions", "rewards/flash.coffee/claim"):
            headers = {"Idempotency-Key": f"lag {name}"}
            answer = await customer.post(f"/mp/{APPID}/{path}", content=BODIES[name], headers=headers)
            assert 400 <= answer.status_code < 500, answer.text[:500]
    assert lag.worst < MOST_SECONDS


async def test_a_query_does_not_keep_others_waiting(http: httpx.AsyncClient) -> None:
    async with measured() as lag:
        for query in ("&" * 4_000, "a=1&" * 1_000, "q=" + "%" * 4_000, "q=" + "9" * 4_000, "&" * 12_000):
            for path in ("/console/login", f"/mp/{APPID}/home", "/static/desk.css", "/wecom/demo/callback"):
                answer = await http.get(f"{path}?{query}")
                assert answer.status_code < 500
    assert lag.worst < MOST_SECONDS


async def test_groups_that_are_not_the_givers_are_refused(clerk: Clerk) -> None:
    lin = await clerk("lin")
    token = form_token((await lin.get("/console/people")).text)
    fields = f"_xsrf={quote(token)}&{HANDOVER.replace('customers=chosen', 'customers=none')}&chat=wr-made-up"
    answer = await lin.post("/console/handover", content=fields, headers=FORM)
    assert (answer.status_code, "这个群不属于这位成员" in answer.text) == (404, True)
