"""The side panel as the sandbox's WeCom client shows it: the product's own page with the client's bridge, let in by its
signature alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import Sandbox, Server
from tests.support.forms import forms_of

CHAT = "wmSomebody"


@pytest.fixture
async def client(server: Server, sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """The client's window of rm.chen beside a chat."""
    async with httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=15.0, follow_redirects=True) as window:
        window.cookies.set("sandbox_member", "rm.chen", path="/open")
        window.cookies.set("sandbox_client", f"rm.chen|{CHAT}", path="/")
        yield window


async def _invoke(client: httpx.AsyncClient, name: str, params: dict[str, Any] | None = None, **more: str) -> Any:
    body = {"name": name, "params": params or {}, "page": "/sidebar/demo/counter", "member": "rm.chen"}
    return (await client.post("/control/client/invoke", json={**body, **more})).json()


def _given(page: str) -> dict[str, Any]:
    """What the page shows the client to be let in."""
    data = dict(re.findall(r'data-([a-z]+)="([^"]*)"', page))
    names = {
        "corp": "corpid",
        "agent": "agentid",
        "timestamp": "timestamp",
        "nonce": "nonceStr",
        "signature": "signature",
    }
    return {name: data[one] for one, name in names.items()}


async def test_the_panel_is_the_products_own_under_the_clients_address(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    page = await client.get("/sidebar/demo/counter")
    assert (page.status_code, page.url.path) == (200, "/sidebar/demo/counter")
    assert str(page.url).startswith(sandbox.url)
    assert page.text.count('<script src="/static/bridge.js"></script>') == 1
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert (await client.get(address)).status_code == 200, address
    form = next(one for one in forms_of(page.text) if one.action.endswith("/look"))
    typed = await client.post(form.action, data={**form.sent(), "shown": "nonsense"})
    assert (typed.status_code, "没有这张券" in typed.text) == (404, True)
    assert (await client.get("/static/nothing.css")).status_code == 404


async def test_only_the_signature_of_this_very_page_lets_it_in(client: httpx.AsyncClient) -> None:
    given = _given((await client.get("/sidebar/demo/counter")).text)
    assert await _invoke(client, "agentConfig", given) == {"err_msg": "agentConfig:ok"}
    assert await _invoke(client, "agentConfig", given, page="/sidebar/demo/counter#scan") == {
        "err_msg": "agentConfig:ok"
    }
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**given, "corpid": "ww1"}, "e=40013"),
        ({**given, "agentid": "7"}, "e=40013"),
        ({**given, "signature": "0" * 40}, "e=40093"),
        ({**given, "timestamp": given["timestamp"] + "000"}, "e=40093"),
        ({}, "e=40013"),
    ]
    for params, said in wrong:
        assert said in (await _invoke(client, "agentConfig", params))["err_msg"]
    assert "e=40093" in (await _invoke(client, "agentConfig", given, page="/sidebar/demo/"))["err_msg"]
    assert "allow list" in (await _invoke(client, "agentConfig", given, member="nobody"))["err_msg"]


async def test_the_client_says_whose_chat_it_is_and_what_the_camera_sees(
    client: httpx.AsyncClient, sandbox: Sandbox, appid: str
) -> None:
    assert (await _invoke(client, "getCurExternalContact", external_userid=CHAT))["userId"] == CHAT
    assert "without context" in (await _invoke(client, "getCurExternalContact"))["err_msg"]
    assert (await _invoke(client, "scanQRCode"))["err_msg"] == "scanQRCode:cancel"
    assert (await _invoke(client, "launchRockets"))["err_msg"] == "launchRockets:function not exist"
    person = await sandbox.person("刘敏")
    at = f"people/{person['id']}"
    shown = await sandbox.control("GET", f"{at}/wallet", appid=appid)
    assert "flash.voucher" in {reward["id"] for reward in shown["rewards"]}
    claimed = await sandbox.control("POST", f"{at}/claim", {"appid": appid, "reward": "flash.voucher"})
    held = claimed["redemption"]["id"]
    out = await sandbox.control("POST", f"{at}/show", {"appid": appid, "redemption": held})
    assert (await _invoke(client, "scanQRCode"))["resultStr"] == out["qr"]["text"]
    refused = await client.post(f"/control/{at}/claim", json={"appid": appid, "reward": "flash.voucher"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "quota_customer")
