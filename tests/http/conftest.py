"""Fixtures of the HTTP tests: people who are signed in, each through the real way in.

appid       a mini-program of the demo bank
customer    httpx client of a customer signed in to `appid`: the bearer token is on every request
clerk       makes an httpx client of a signed-in clerk: `await clerk("lin")`
rm          httpx client of the relationship manager rm.chen, signed in to the side panel
other_bank  a second bank, with its own mini-program, side panel and clerk
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from customers.banks import apply
from services.container import Services
from tests.conftest import Sandbox, Server

APPID = "wx5ab0000000000001"
OTHER_APPID = "wx5ab0000000000009"
PASSWORD = "yinqiao-demo"
OTHER_BANK = f"""
kind: tenant/v1
id: other
name: {{zh: 另一家银行, en: Another Bank}}
wecom: {{corp_id: ww0c0ffee000000002, agent_id: 7, secret: s, token: t, aes_key: {"B" * 43}}}
miniprograms: [{{appid: {OTHER_APPID}, name: 另一家, secret: s}}]
branches: [{{id: one, name: 一}}]
staff: [{{userid: rm.other, name: 别人, branch: one}}]
clerks: [{{login: eve, name: 夏, roles: [operations], password: {PASSWORD}}}]
"""

Clerk = Callable[[str], Awaitable[httpx.AsyncClient]]


def form_token(page: str) -> str:
    """The anti-forgery token of a page's form."""
    found = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert found is not None, "the page has no form"
    return found.group(1)


async def post_form(
    client: httpx.AsyncClient, page: str, action: str, follow: bool = True, **fields: str
) -> httpx.Response:
    """Posts `fields` to `action` with the token that `page` shows."""
    token = form_token((await client.get(page)).text)
    return await client.post(action, data={"_xsrf": token, **fields}, follow_redirects=follow)


async def sign_in(client: httpx.AsyncClient, bank: str, name: str, password: str) -> httpx.Response:
    """The console's answer to its own sign-in form."""
    fields = {"bank": bank, "name": name, "password": password}
    return await post_form(client, "/console/login", "/console/login", follow=False, **fields)


@pytest.fixture
def appid() -> str:
    return APPID


@pytest.fixture
async def other_bank(demo: Services) -> str:
    await apply.apply_tenant(demo, OTHER_BANK, "other.yaml")
    return "other"


@pytest.fixture
async def clients(server: Server) -> AsyncIterator[Callable[[], Awaitable[httpx.AsyncClient]]]:
    """Makes clients with cookies of their own."""
    async with AsyncExitStack() as stack:

        async def make() -> httpx.AsyncClient:
            client = httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0)
            return await stack.enter_async_context(client)

        yield make


@pytest.fixture
async def customer(
    clients: Callable[[], Awaitable[httpx.AsyncClient]], sandbox: Sandbox, appid: str
) -> httpx.AsyncClient:
    client = await clients()
    code = await sandbox.open(await sandbox.person(), appid)
    answer = await client.post(f"/mp/{appid}/login", json={"code": code})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return client


@pytest.fixture
def clerk(clients: Callable[[], Awaitable[httpx.AsyncClient]]) -> Clerk:
    async def make(name: str) -> httpx.AsyncClient:
        client = await clients()
        answer = await sign_in(client, "demo", name, PASSWORD)
        assert answer.status_code == 303, answer.text
        return client

    return make


@pytest.fixture
async def rm(clients: Callable[[], Awaitable[httpx.AsyncClient]], sandbox: Sandbox) -> httpx.AsyncClient:
    client = await clients()
    there = await client.get("/sidebar/demo/")
    state = httpx.URL(there.headers["Location"]).params["state"]
    code = await sandbox.oauth_code("rm.chen")
    await client.get("/sidebar/demo/oauth", params={"code": code, "state": state})
    return client
