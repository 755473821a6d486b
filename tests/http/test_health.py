"""Alive, ready, counted."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import Server


@pytest.mark.kills_store
async def test_ready_says_which_part_is_missing(http: httpx.AsyncClient, stores: object, server: Server) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "ready": True,
            "parts": {"server": "ok", "store": "ok", "redis": "ok", "audience": "never ran", "mirror": "none here"},
        },
    )
    stores.kill9("redis")  # type: ignore[attr-defined]
    missing = await http.get("/readyz")
    assert missing.status_code == 503
    assert missing.json() == {
        "ready": False,
        "parts": {
            "server": "ok",
            "store": "ok",
            "redis": "not reachable",
            "audience": "never ran",
            "mirror": "none here",
        },
    }
    assert (await http.get("/healthz")).status_code == 200


async def test_requests_are_counted_by_route_not_by_address(http: httpx.AsyncClient, appid: str) -> None:
    await http.get(f"/mp/{appid}/home")
    await http.get("/mp/some-other/home")
    await http.get("/nothing/13912345678")
    text = (await http.get("/metrics")).text
    assert 'yinqiao_http_requests_total{method="GET",route="/mp/{appid}/home",status="401"} 2.0' in text
    assert 'yinqiao_http_requests_total{method="GET",route="(unknown)",status="404"} 1.0' in text
    assert "13912345678" not in text
