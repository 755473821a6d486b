"""The URL table and the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from sandbox import (
    acquisition,
    archive,
    broadcast,
    cards,
    contacts,
    control,
    control_acquisition,
    control_bulk,
    control_corp,
    control_groups,
    control_limits,
    control_mini,
    control_people,
    control_work,
    due,
    group_welcome,
    groups,
    handover,
    intercept,
    join_ways,
    media,
    members,
    messages,
    moments,
    safety,
    service_messages,
    subscribe,
    tags,
    ways,
    wechat,
    wecom,
    welcome,
    wxacode,
)
from sandbox.api import ApiHandler, Endpoint
from sandbox.control import ControlHandler
from sandbox.core import Options, Sandbox
from sandbox.oauth import OAuthPage
from sandbox.page import WEB, Page, Picture, QrCode
from sandbox.world import World

MOST_BODY = 24 << 20
FAMILIES: dict[str, tuple[Endpoint, ...]] = {
    "wechat": (
        *wechat.ENDPOINTS,
        *subscribe.ENDPOINTS,
        *service_messages.ENDPOINTS,
        *wxacode.ENDPOINTS,
        *safety.ENDPOINTS,
        *media.WECHAT_ENDPOINTS,
    ),
    "wecom": (
        *wecom.ENDPOINTS,
        *members.ENDPOINTS,
        *contacts.ENDPOINTS,
        *tags.ENDPOINTS,
        *ways.ENDPOINTS,
        *acquisition.ENDPOINTS,
        *groups.ENDPOINTS,
        *join_ways.ENDPOINTS,
        *welcome.ENDPOINTS,
        *broadcast.ENDPOINTS,
        *group_welcome.ENDPOINTS,
        *moments.ENDPOINTS,
        *handover.ENDPOINTS,
        *messages.ENDPOINTS,
        *cards.ENDPOINTS,
        *media.WECOM_ENDPOINTS,
        *archive.ENDPOINTS,
        *intercept.ENDPOINTS,
    ),
}
CONTROL: control.Routes = [
    *control_acquisition.ROUTES,
    *control_bulk.ROUTES,
    *control_corp.ROUTES,
    *control_groups.ROUTES,
    *control_limits.ROUTES,
    *control_mini.ROUTES,
    *control_work.ROUTES,
    ("/health", {"get": control.health}),
    ("/config", {"get": control.config}),
    ("/calls", {"get": control.calls}),
    ("/deliveries", {"get": control.deliveries}),
    ("/welcomes", {"get": control.welcomes}),
    (
        "/faults",
        {"get": control.list_faults, "post": control.add_fault, "delete": control.clear_faults},
    ),
    ("/tokens/revoke", {"post": control.revoke_tokens}),
    ("/clock", {"post": control.advance_clock}),
    ("/callback/check", {"post": control.check_callback}),
    ("/reset", {"post": control.reset}),
    ("/ways", {"get": control_people.list_ways}),
    ("/members", {"get": control_people.list_members, "post": control_corp.add_member}),
    ("/members/([^/]+)/window", {"get": control_people.get_member}),
    ("/members/([^/]+)/oauth", {"post": control_people.member_oauth}),
    ("/people", {"get": control_people.list_people, "post": control_people.add_person}),
    ("/people/([^/]+)", {"get": control_people.get_person}),
    ("/people/([^/]+)/scan", {"post": control_people.scan}),
    ("/people/([^/]+)/add", {"post": control_people.add}),
    ("/people/([^/]+)/half-add", {"post": control_people.half_add}),
    ("/people/([^/]+)/delete", {"post": control_people.delete}),
    ("/people/([^/]+)/deleted-by", {"post": control_people.deleted_by}),
    ("/people/([^/]+)/edited-by", {"post": control_people.edited_by}),
    ("/people/([^/]+)/message", {"post": control_people.message}),
    ("/people/([^/]+)/open", {"post": control_people.open_mini_program}),
    ("/people/([^/]+)/phone", {"post": control_people.phone}),
]


def _no_log(_handler: RequestHandler) -> None:
    """The journal is the log; a line per request would only slow the sandbox down."""


def make_app(box: Sandbox) -> Application:
    """All faces of one sandbox: /wechat, /wecom, /open, /control and the visitor's page."""
    rules: list[tuple[str, type[RequestHandler], dict[str, Any]]] = []
    for base, endpoints in FAMILIES.items():
        by_path = {e.path: e for e in endpoints}
        rules.append((f"/{base}/.*", ApiHandler, {"box": box, "base": base, "endpoints": by_path}))
    rules += [
        (f"/control{path}", ControlHandler, {"box": box, **answers}) for path, answers in CONTROL
    ]
    rules += [
        ("/open/connect/oauth2/authorize", OAuthPage, {"box": box}),
        (r"/qr/([0-9a-f]{32})\.svg", QrCode, {"box": box}),
        (r"/pictures/([0-9a-f]{32})", Picture, {"box": box}),
        (r"/archive/(getchatdata|decryptdata)", archive.StandIn, {"box": box}),
        ("/", Page, {"box": box}),
    ]
    return Application(
        rules,
        template_path=str(WEB),
        static_path=str(WEB / "static"),
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
    settling = asyncio.create_task(due.keep_settling(box))
    await stop.wait()
    settling.cancel()
    server.stop()
    await server.close_all_connections()
    await box.close()
