"""The URL table and the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from sandbox.control import scheduler
from sandbox.control.frame import ControlHandler
from sandbox.control.routes import ROUTES
from sandbox.core.api import ApiHandler
from sandbox.core.options import Options
from sandbox.core.sandbox import Sandbox
from sandbox.core.world import World
from sandbox.web.client import Files, Panel
from sandbox.web.oauth import OAuthPage
from sandbox.web.page import WEB, BankPage, Page, Picture, QrCode
from sandbox.wechat import endpoints as wechat
from sandbox.wecom import endpoints as wecom
from sandbox.wecom.message_archive import ArchiveLibrary

MOST_BODY = 24 << 20
Rule = tuple[str, type[RequestHandler], dict[str, Any]]
PAGES: list[tuple[str, type[RequestHandler]]] = [
    ("/open/connect/oauth2/authorize", OAuthPage),
    (r"/qr/([0-9a-f]{32})\.svg", QrCode),
    (r"/pictures/([0-9a-f]{32})", Picture),
    (r"/archive/(getchatdata|decryptdata)", ArchiveLibrary),
    (r"/sidebar/.*", Panel),
    ("/bank", BankPage),
    ("/", Page),
]
FAMILIES = {"wechat": wechat.ENDPOINTS, "wecom": wecom.ENDPOINTS}


def _no_log(_handler: RequestHandler) -> None:
    """The journal is the log; a line per request would only slow the sandbox down."""


def make_app(box: Sandbox) -> Application:
    """All faces of one sandbox: /wechat, /wecom, /open, /control, the visitor's page, and the side
    panel as WeCom's client shows it."""
    rules: list[Rule] = []
    for base, endpoints in FAMILIES.items():
        by_path = {endpoint.path: endpoint for endpoint in endpoints}
        rules.append((f"/{base}/.*", ApiHandler, {"box": box, "base": base, "endpoints": by_path}))
    for path, answers in ROUTES:
        rules.append((f"/control{path}", ControlHandler, {"box": box, **answers}))
    for path, handler in PAGES:
        rules.append((path, handler, {"box": box}))
    return Application(
        rules,
        template_path=str(WEB),
        static_path=str(WEB / "static"),
        static_handler_class=Files,
        static_handler_args={"box": box},
        log_function=_no_log,
    )


async def serve(
    world: World,
    options: Options,
    *,
    port: int,
    address: str = "127.0.0.1",
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    """Serve until `stop` is set. Port 0 picks a free one; `ready` learns which.

    Raises OSError when the port is taken.
    """
    sockets = bind_sockets(port, address)
    box = Sandbox(world, options)
    server = HTTPServer(make_app(box), max_body_size=MOST_BODY)
    server.add_sockets(sockets)
    ready(sockets[0].getsockname()[1])
    due_work = asyncio.create_task(scheduler.run_forever(box))
    await stop.wait()
    due_work.cancel()
    server.stop()
    await server.close_all_connections()
    await box.close()
