"""The web process: open, listen, serve, drain. `python server.py`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from config.bounds import HEADER_BYTES
from config.logging import keep_files_private, setup_logging
from config.settings import ProductionRefused, load
from customers.banks import apply
from handlers.http.base import Traffic
from handlers.http.door import LINGER_BYTES, Door
from handlers.http.modules import MODULES
from handlers.http.openapi import DOCUMENT, document
from handlers.http.pages import StaticFiles, load_locale
from handlers.routes import ROUTES
from operations import columnar
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services, tune_collector
from services.store.installation import WrongInstallation

logger = logging.getLogger("yinqiao.server")

WEB = Path(__file__).parent / "web"
LIMITS = {
    "max_body_size": LINGER_BYTES,
    "max_header_size": HEADER_BYTES,
}
LAG_SECONDS = 0.2


def make_app(services: Services) -> Door:
    """The application over services that are open; opens nothing itself."""
    load_locale(WEB / "locale")
    traffic = Traffic()
    services.cache.of(DOCUMENT).update(document(ROUTES))
    secure = services.settings.secure
    return Door(
        ROUTES,
        services,
        traffic,
        log_function=lambda handler: None,
        template_path=str(WEB / "templates"),
        ui_modules=MODULES,
        static_path=str(WEB / "static"),
        static_handler_class=StaticFiles,
        xsrf_cookies=True,
        xsrf_cookie_name="__Host-yq_xsrf" if secure else "yq_xsrf",
        xsrf_cookie_kwargs={"httponly": True, "samesite": "Strict", "secure": secure},
        cross_origin_protection=True,
        secure=secure,
    )


async def measure_lag(services: Services) -> None:
    """Keeps the gauges of how late the event loop is (promise P10), until cancelled."""
    loop, worst, metrics = asyncio.get_running_loop(), 0.0, services.metrics
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        late = max(0.0, loop.time() - due)
        worst = max(worst, late)
        metrics.loop_lag.set(late)
        metrics.loop_lag_max.set(worst)


async def drain(server: HTTPServer, traffic: Traffic, seconds: float) -> None:
    """Not ready, no new connections, and at most `seconds` for the requests in flight."""
    traffic.draining = True
    server.stop()
    try:
        await asyncio.wait_for(traffic.idle.wait(), seconds)
    except TimeoutError:
        logger.warning("%s requests did not finish in %s s", traffic.in_flight, seconds)
    await server.close_all_connections()


async def serve() -> int:
    """Runs until SIGTERM or SIGINT; the exit status."""
    settings = load()
    setup_logging(settings.log_level)
    try:
        sockets = bind_sockets(settings.port, settings.address)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {settings.address}:{settings.port}: {error.strerror}\n")
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    services = await open_services(settings, COLLECTIONS, QUEUES)
    await apply.check_banks(services)
    app = make_app(services)
    server = HTTPServer(app, **LIMITS)
    server.conn_params.header_timeout = None  # app.patience waits, at a tenth of the price
    server.add_sockets(sockets)
    beside = [
        asyncio.create_task(measure_lag(services)),
        asyncio.create_task(columnar.watch(services)),
        asyncio.create_task(app.patience.look_always()),
    ]
    tune_collector()
    logger.info("listening on http://%s:%s", *sockets[0].getsockname()[:2])
    await stop.wait()
    for task in beside:
        task.cancel()
    await drain(server, app.settings["traffic"], settings.drain_seconds)
    await services.close()
    return 0


def main() -> None:
    keep_files_private()
    try:
        status = asyncio.run(serve())
    except (ProductionRefused, WrongInstallation) as error:
        sys.stderr.write(f"{error}\n")
        status = 1
    raise SystemExit(status)


if __name__ == "__main__":
    main()
