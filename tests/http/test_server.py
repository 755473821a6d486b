"""The process: it drains, it says clearly why it does not start."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpserver import HTTPServer

from config.settings import Settings
from deploy.parts import Parts, environment
from deploy.processes import ROOT
from rewards import portal
from server import drain, make_app
from services.container import Services


async def test_requests_in_flight_are_finished_and_no_new_connection_is_taken(
    demo: Services, customer: httpx.AsyncClient, appid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> bytes:
        begun.set()
        await release.wait()
        return b'{"late": true}'

    monkeypatch.setattr(portal, "home", slow)
    app = make_app(demo)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        server, port = HTTPServer(app), listening.getsockname()[1]
        server.add_sockets([listening])
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=customer.headers, trust_env=False) as client:
            request = asyncio.create_task(client.get(f"/mp/{appid}/home"))
            await begun.wait()
            draining = asyncio.create_task(drain(server, app.settings["traffic"], 10.0))
            await asyncio.sleep(0)
            assert app.settings["traffic"].draining
            async with httpx.AsyncClient(base_url=url, trust_env=False) as late:
                with pytest.raises(httpx.ConnectError):
                    await late.get("/healthz")
            assert not draining.done()
            release.set()
            assert (await request).json() == {"late": True}
            await draining


async def test_a_draining_server_is_not_ready_and_closes_its_connections(
    server: Any, http: httpx.AsyncClient, demo: Services
) -> None:
    app = make_app(demo)
    app.settings["traffic"].draining = True
    listening = HTTPServer(app)
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.setblocking(False)
        listening.add_sockets([found])
        answer = await http.get(f"http://127.0.0.1:{found.getsockname()[1]}/readyz")
        listening.stop()
        await listening.close_all_connections()
    assert (answer.status_code, answer.headers["Connection"]) == (503, "close")
    assert answer.json()["parts"] == {
        "server": "draining",
        "store": "ok",
        "redis": "ok",
        "audience": "never ran",
        "mirror": "none here",
    }


async def test_sigterm_ends_the_process_with_success(settings: Settings, tmp_path: Path) -> None:
    with Parts(settings, tmp_path) as parts:
        parts.start("server")
        async with httpx.AsyncClient(base_url=settings.url, trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
            assert await asyncio.to_thread(parts.stop, "server") == 0


def test_a_busy_port_is_one_clear_line(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        changed = settings.model_copy(update={"port": port})
        ended = subprocess.run(
            [sys.executable, "server.py"],
            cwd=ROOT,
            env=environment(changed),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_production_refuses_to_start_with_all_that_is_wrong(settings: Settings) -> None:
    changed = settings.model_copy(update={"env": "production", "mongodb_uri": "", "redis_url": ""})
    ended = subprocess.run(
        [sys.executable, "server.py"],
        cwd=ROOT,
        env=environment(changed),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    told = [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("  - YINQIAO_")]
    assert {"YINQIAO_MASTER_KEY", "YINQIAO_MONGODB_URI", "YINQIAO_REDIS_URL"} <= set(told)
    assert len(told) > 6
    assert len(told) == len(set(told))
    assert "Traceback" not in ended.stderr
