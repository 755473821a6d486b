"""What WeCom and WeChat push. An acknowledged callback is stored (promise P3); the work happens
elsewhere."""

from __future__ import annotations

from typing_extensions import override

from handlers.http import rates
from handlers.http.api import Api
from operations.events import receive
from services.wechat.core.errors import CallbackRefused, CallbackUnreadable

EVENT = "X-Event-Id"
"""The answer's header that says under which id the console shows the event: a rehearsal's sandbox
leads there, and the platforms read no headers."""


class Callback(Api):
    """What does not verify is counted for its sender's address; what does never is."""

    @override
    async def serve_method(self) -> None:
        try:
            await super().serve_method()
        except (CallbackRefused, CallbackUnreadable):
            await self.services.throttle.take(rates.FORGERIES, self.client_ip())
            raise


class WeComCallback(Callback):
    """`/wecom/{tenant}/callback` (contract/wechat C)."""

    @override
    async def get(self, tenant: str) -> None:
        self.answer_text(await receive.check_wecom_url(self.services, tenant, self.query()))

    @override
    async def post(self, tenant: str) -> None:
        query, body = self.query(), self.request.body
        received = await receive.receive_wecom(self.services, tenant, query, body)
        self.set_header(EVENT, received.event)


class WeChatCallback(Callback):
    """`/wechat/{appid}/callback` (contract/wechat A7)."""

    @override
    async def get(self, appid: str) -> None:
        self.answer_text(await receive.check_wechat_url(self.services, appid, self.query()))

    @override
    async def post(self, appid: str) -> None:
        query, body = self.query(), self.request.body
        received = await receive.receive_wechat(self.services, appid, query, body)
        self.set_header(EVENT, received.event)
        self.answer_text(received.answer)
