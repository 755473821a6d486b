"""The whole URL table, face by face, with the permission beside each path: reading it is the security
review."""

from __future__ import annotations

from config.bounds import CALLBACK_BYTES
from handlers import callbacks, health
from handlers.console.routes import ROUTES as CONSOLE
from handlers.counter.routes import ROUTES as COUNTER
from handlers.dev.routes import ROUTES as DEV
from handlers.h5.routes import ROUTES as H5
from handlers.http import openapi
from handlers.http.auth import PUBLIC
from handlers.http.route import Route, json_route, op
from handlers.open.routes import ROUTES as OPEN
from handlers.portal.routes import ROUTES as PORTAL
from handlers.sidebar.routes import ROUTES as SIDEBAR

CALLBACKS = (
    Route(
        "/wecom/{tenant}/callback",
        callbacks.WeComCallback,
        {
            "GET": op(PUBLIC, "WeCom checks the address"),
            "POST": op(PUBLIC, "WeCom delivers an event", most=CALLBACK_BYTES),
        },
    ),
    Route(
        "/wechat/{appid}/callback",
        callbacks.WeChatCallback,
        {
            "GET": op(PUBLIC, "WeChat checks the address"),
            "POST": op(PUBLIC, "WeChat delivers a message", most=CALLBACK_BYTES),
        },
    ),
)

OPERATION = (
    json_route(
        "/healthz",
        health.Alive,
        get=op(PUBLIC, "The process is alive", answers=health.HealthAnswer),
    ),
    json_route(
        "/readyz", health.Ready, get=op(PUBLIC, "The process can serve", answers=health.ReadyAnswer)
    ),
    Route("/metrics", health.Prometheus, {"GET": op(PUBLIC, "Counters for Prometheus")}),
    json_route("/openapi.json", openapi.OpenApi, get=op(PUBLIC, "This document")),
)

PROGRAMS: tuple[Route, ...] = CALLBACKS + PORTAL + OPEN + OPERATION
BROWSERS: tuple[Route, ...] = DEV + H5 + SIDEBAR + COUNTER + CONSOLE
ROUTES: tuple[Route, ...] = PROGRAMS + BROWSERS
