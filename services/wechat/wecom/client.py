"""All areas of WeCom in one client, on top of wechatpy's (contract/wechat B)."""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import urlencode

from wechatpy.work import WeChatClient

from services.wechat.core.client import AsyncClientMixin, Wire
from services.wechat.core.errors import Family
from services.wechat.core.tokens import App, Grant, mark_of
from services.wechat.wecom.acquisition import Acquisition
from services.wechat.wecom.archive import Archive
from services.wechat.wecom.broadcast import Broadcast
from services.wechat.wecom.customers import Customers
from services.wechat.wecom.groups import Groups
from services.wechat.wecom.handover import Handover
from services.wechat.wecom.intercept import Intercept
from services.wechat.wecom.media import Media
from services.wechat.wecom.members import Members
from services.wechat.wecom.messages import Messages
from services.wechat.wecom.moments import Moments
from services.wechat.wecom.tags import Tags
from services.wechat.wecom.ways import ContactWays
from services.wechat.wecom.welcome import Welcome

WECOM_BASE = "https://qyapi.weixin.qq.com"
OPEN_BASE = "https://open.weixin.qq.com"
_STATE = re.compile(r"[A-Za-z0-9]{1,128}")


class WeComClient(AsyncClientMixin, WeChatClient):  # type: ignore[misc]
    """wechatpy's work client, awaited, with every call of the contract in an area of ours."""

    family: ClassVar[Family] = "wecom"
    platform_origin: ClassVar[str] = WECOM_BASE

    def __init__(
        self,
        corp_id: str,
        agent_id: int,
        secret: str,
        wire: Wire,
        *,
        tenant: str = "",
        open_base: str = OPEN_BASE,
    ) -> None:
        self.corp_id = self.appid = corp_id
        self.agent_id = agent_id
        self.secret = secret
        self.open_base = open_base.rstrip("/")
        self._set_up(
            wire, App(tenant, f"wecom:{corp_id}:{agent_id}", self._fetch_token, mark_of(secret))
        )
        self.members = Members(self)
        self.customers = Customers(self)
        self.tags = Tags(self)
        self.ways = ContactWays(self)
        self.links = Acquisition(self)
        self.groups = Groups(self)
        self.broadcasts = Broadcast(self)
        self.welcome = Welcome(self)
        self.moments = Moments(self)
        self.handover = Handover(self)
        self.messages = Messages(self)
        self.files = Media(self)
        self.archive = Archive(self)
        self.intercept = Intercept(self)

    async def _fetch_token(self, _rejected: str | None) -> Grant:
        """B1: the same token is answered again while WeCom holds it valid."""
        params = {"corpid": self.corp_id, "corpsecret": self.secret}
        return await self._fetch_grant("get", "/cgi-bin/gettoken", params=params)

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """Where a member's browser gets a code (91022, snsapi_base); `state` is 1-128 of a-zA-Z0-9,
        else ValueError."""
        if not _STATE.fullmatch(state):
            raise ValueError("an OAuth state is 1 to 128 letters and digits")
        query = urlencode(
            {
                "appid": self.corp_id,
                "redirect_uri": redirect_uri,
                "response_type": "code",
                "scope": "snsapi_base",
                "agentid": self.agent_id,
                "state": state,
            }
        )
        return f"{self.open_base}/connect/oauth2/authorize?{query}#wechat_redirect"
