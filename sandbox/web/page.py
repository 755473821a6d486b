"""The visitor's page and the pictures of live codes."""

from __future__ import annotations

import io
from pathlib import Path

import segno
from tornado.web import HTTPError, RequestHandler
from typing_extensions import override

from sandbox.core.media import content_type
from sandbox.core.sandbox import Sandbox

WEB = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'"
)


def harden(handler: RequestHandler) -> None:
    """Headers of every page: nothing from elsewhere, nothing inline, no framing."""
    handler.set_header(
        "Content-Security-Policy", f"{POLICY}; form-action 'none'; frame-ancestors 'none'"
    )
    handler.set_header("X-Content-Type-Options", "nosniff")
    handler.set_header("Referrer-Policy", "no-referrer")


class Page(RequestHandler):
    """`/`: people, live codes, phones, links and logs; its script drives the control plane."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    def set_default_headers(self) -> None:
        harden(self)

    @override
    async def get(self) -> None:
        await self.render("index.html", corp=self.box.world.corp)


class BankPage(Page):
    """`/bank`: the bank's core system, likewise."""

    @override
    async def get(self) -> None:
        await self.render("bank.html", corp=self.box.world.corp)


class QrCode(RequestHandler):
    """`/qr/{config_id}.svg`: the picture that a branch would print."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    async def get(self, config_id: str) -> None:
        if config_id not in self.box.state.ways and config_id not in self.box.state.join_ways:
            raise HTTPError(404)
        picture = io.BytesIO()
        action = "scan" if config_id in self.box.state.ways else "join"
        address = f"{self.request.protocol}://{self.request.host}/?{action}={config_id}"
        segno.make(address, error="m").save(picture, kind="svg", scale=4, border=2, xmldecl=False)
        self.set_header("Content-Type", "image/svg+xml")
        self.set_header("Cache-Control", "max-age=3600")
        await self.finish(picture.getvalue())


class Picture(RequestHandler):
    """`/pictures/{id}`: a picture that an app uploaded for good (B10, uploadimg)."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    async def get(self, name: str) -> None:
        content = self.box.files.pictures.get(name)
        if content is None:
            raise HTTPError(404)
        self.set_header("Content-Type", content_type(content))
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.finish(content)
