"""What operators are told, who they are, and that metrics name nothing that a caller made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tornado.httpserver import HTTPServer

from deploy.ports import free_port
from handlers.routes import ROUTES
from server import make_app
from services.container import Services
from services.errors import Unavailable
from tests.conftest import Server
from tests.http.conftest import APPID

TOKEN = "prometheus-of-the-bank"
PATHS = ("/metrics", "/readyz", "/openapi.json", "/healthz")


@asynccontextmanager
async def served(demo: Services, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with other settings."""
    settings = demo.settings.model_copy(update=changed)
    listening, port = HTTPServer(make_app(replace(demo, settings=settings))), free_port()
    listening.listen(port, "127.0.0.1")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        listening.stop()
        await listening.close_all_connections()


async def _statuses(client: httpx.AsyncClient, **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for path in PATHS]


async def test_on_a_laptop_the_machine_itself_is_told(http: httpx.AsyncClient) -> None:
    assert await _statuses(http) == [200, 200, 200, 200]
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        proxied = await http.get("/metrics", headers={header: "127.0.0.1"})
        assert (proxied.status_code, proxied.json()["error"]["code"]) == (403, "metrics_closed")
        assert (await http.get("/readyz", headers={header: "127.0.0.1"})).json() == {"ready": True}


async def test_in_production_nobody_is_told_without_the_token(demo: Services) -> None:
    async with served(demo, env="production") as client:
        assert await _statuses(client) == [403, 200, 403, 200]
        assert (await client.get("/readyz")).json() == {"ready": True}
    async with served(demo, env="production", metrics_token=SecretStr(TOKEN)) as client:
        assert await _statuses(client) == [401, 200, 401, 200]
        assert await _statuses(client, Authorization=f"Bearer {TOKEN}x") == [401, 200, 401, 200]
        assert await _statuses(client, Authorization=f"Basic {TOKEN}") == [401, 200, 401, 200]
        odd = await client.get("/metrics", headers=[(b"Authorization", b"Bearer \xe9\xff")])
        assert odd.status_code == 401
        assert await _statuses(client, Authorization=f"Bearer {TOKEN}") == [200, 200, 200, 200]
        told = await client.get("/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
        assert told.json()["parts"] == {
            "server": "ok",
            "store": "ok",
            "redis": "ok",
            "audience": "never ran",
            "mirror": "none here",
        }


async def test_with_a_token_the_machine_itself_brings_it_too(demo: Services) -> None:
    async with served(demo, metrics_token=SecretStr(TOKEN)) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"})).status_code == 200


def _labels(services: Services) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every sample's name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for metric in services.metrics.registry.collect()
        for sample in metric.samples
    }


MADE_UP = "madeup"


def _flood(round_: int) -> list[tuple[str, str, dict[str, str]]]:
    """Requests with everything made up that a caller can make up."""
    name = f"{MADE_UP}{round_}"
    return [
        (name.upper(), "/healthz", {}),
        (name.upper(), "/console/login", {}),
        (name.upper(), "/static/desk.css", {}),
        (name.upper(), f"/{name}", {}),
        ("GET", f"/{name}", {}),
        ("GET", f"/static/{name}.css", {}),
        ("GET", f"/mp/{name}/home", {"Authorization": f"Bearer {name}"}),
        ("POST", f"/mp/{name}/login", {}),
        ("POST", f"/mp/{APPID}/rewards/{name}/claim", {"Idempotency-Key": name}),
        ("GET", f"/sidebar/{name}/", {}),
        ("GET", f"/sidebar/{name}/oauth?code={name}&state={name}", {}),
        ("GET", f"/preview/{name}/", {}),
        ("GET", f"/console/campaigns/{name}", {"Host": f"{name}.example"}),
        ("GET", f"/wecom/{name}/callback?echostr={name}", {}),
        ("POST", f"/wecom/{name}/callback?nonce={name}", {}),
        ("POST", f"/wechat/{name}/callback", {}),
        ("POST", f"/wecom/demo/callback?msg_signature={name}", {}),
        ("GET", "/healthz", {"X-Request-ID": f"{name}-{name}", "User-Agent": name}),
    ]


async def test_no_metric_names_what_a_caller_made_up(http: httpx.AsyncClient, server: Server) -> None:
    async def sent(round_: int) -> None:
        for method, path, headers in _flood(round_):
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code < 500, (method, path)

    await sent(0)
    before = _labels(server.services)
    for round_ in range(1, 40):
        await sent(round_)
    after = _labels(server.services)
    assert after == before
    assert not any(MADE_UP in value.lower() for _, labels in after for _, value in labels)


async def test_where_the_store_is_away_an_address_is_not_named_either(
    http: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise Unavailable("store_unavailable")

    monkeypatch.setattr("operations.events.receive.open_bank", away)
    monkeypatch.setattr("operations.events.receive.bank_of_appid", away)
    for number in range(20):
        assert (await http.post(f"/wecom/{MADE_UP}{number}/callback")).status_code == 503
        assert (await http.post(f"/wechat/{MADE_UP}{number}/callback")).status_code == 503
    values = {value for _, labels in _labels(server.services) for _, value in labels}
    assert not any(MADE_UP in value for value in values)


async def test_routes_and_methods_are_the_only_labels_of_requests(http: httpx.AsyncClient, server: Server) -> None:
    for method in ("GET", "POST", "BREW", "TRACE"):
        await http.request(method, "/console/login")
    routes = {route.path for route in ROUTES} | {"(unknown)", "/static/"}
    for name, labels in _labels(server.services):
        if name.startswith("yinqiao_http_requests"):
            told = dict(labels)
            assert told["route"] in routes
            assert told["method"] in {"GET", "POST", "HEAD", "other"}


async def test_others_are_served_while_the_metrics_are_printed(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    printing, release = threading.Event(), threading.Event()

    def slow(*_: Any) -> bytes:
        printing.set()
        assert release.wait(10)
        return b"printed"

    monkeypatch.setattr("handlers.health._print", slow)
    asked = [asyncio.create_task(http.get("/metrics")) for _ in range(3)]
    await asyncio.to_thread(printing.wait, 10)
    assert (await http.get("/healthz")).status_code == 200
    assert not any(one.done() for one in asked)
    release.set()
    assert [(await one).text for one in asked] == ["printed"] * 3
