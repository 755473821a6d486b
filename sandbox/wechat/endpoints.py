"""Every path of the mini-program server API."""

from __future__ import annotations

from sandbox.core.api import Endpoint
from sandbox.wechat import (
    content_check,
    media,
    mini_program,
    service_messages,
    subscribe_messages,
    wxacode,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *mini_program.ENDPOINTS,
    *subscribe_messages.ENDPOINTS,
    *service_messages.ENDPOINTS,
    *wxacode.ENDPOINTS,
    *content_check.ENDPOINTS,
    *media.ENDPOINTS,
)
