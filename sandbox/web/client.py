"""WeCom's client as a page of an app meets it: the app's own page, with the bridge of the client in it
(contract/jssdk 7).

The side panel is fetched from the product and handed on under the sandbox's own address, with one
script added: `window.WeixinJSBridge`. Nothing else of the page is changed, so its policy holds.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
from tornado.web import HTTPError, RequestHandler, StaticFileHandler
from typing_extensions import override

from sandbox.core.sandbox import Sandbox

ASKED = ("Accept", "Accept-Language", "Content-Type", "Cookie", "User-Agent", "HX-Request")
"""What of a request goes on to the product."""
OWN = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding", "date"})
BRIDGE = b'<head>\n  <script src="/static/bridge.js"></script>'
UNREACHABLE = "银行的系统没有回答 the bank's system does not answer"


def product(box: Sandbox) -> SplitResult:
    """Where the product's pages are; raises HTTPError 404 where the sandbox was not told."""
    address = box.options.sidebar_url or box.options.portal_url
    if not address:
        raise HTTPError(404)
    return urlsplit(address)


async def hand_on(handler: RequestHandler, box: Sandbox) -> None:
    """Answers with what the product answers to the same request."""
    there = product(box)
    origin = f"{there.scheme}://{there.netloc}"
    request = handler.request
    headers = {name: request.headers[name] for name in ASKED if name in request.headers}
    if request.method == "POST":
        headers["Origin"] = origin
    try:
        answer = await box.product.request(
            request.method or "GET",
            f"{origin}{request.uri}",
            headers=headers,
            content=request.body or None,
        )
    except httpx.HTTPError as error:
        raise HTTPError(502, UNREACHABLE) from error
    handler.set_status(answer.status_code)
    for name, value in answer.headers.multi_items():
        if name.lower() not in OWN:
            handler.add_header(name, value.replace(f"{origin}/sidebar/", "/sidebar/"))
    handler.clear_header("Server")
    body = answer.content
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        body = body.replace(b"<head>", BRIDGE, 1)
    handler.write(body)


class Panel(RequestHandler):
    """`/sidebar/…`: the side panel as WeCom's client shows it."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    async def get(self) -> None:
        await hand_on(self, self.box)

    @override
    async def post(self) -> None:
        await hand_on(self, self.box)


class Files(StaticFileHandler):
    """The sandbox's own files, and those that the product's pages ask for."""

    @override
    def initialize(self, path: str, box: Sandbox, **more: Any) -> None:  # type: ignore[override]
        super().initialize(path, **more)
        self.box = box

    @override
    async def get(self, path: str, include_body: bool = True) -> None:
        try:
            await super().get(path, include_body)
        except HTTPError as error:
            if error.status_code != 404 or not self.box.options.sidebar_url:
                raise
            await hand_on(self, self.box)
