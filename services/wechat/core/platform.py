"""The clients of all banks in this process: one token store, one limiter, and for each bank and
platform connections of their own (pools.py)."""

from __future__ import annotations

import httpx
from redis.asyncio import Redis

from config.settings import Exit, Settings, Side
from services.limiter import Limiter
from services.observe.metrics import Metrics
from services.wechat.core.archive import ArchiveSource, HttpArchive
from services.wechat.core.client import OnUnknown, Wire
from services.wechat.core.crypto import Credentials
from services.wechat.core.errors import Family
from services.wechat.core.pools import Pools
from services.wechat.core.tokens import TokenStore
from services.wechat.miniprogram import MiniProgramClient
from services.wechat.wecom import WeComClient

_SIDES: dict[str, Side] = {
    "wechat": "wechat",
    "wecom": "wecom",
    "archive": "bank",
    "webhook": "bank",
}


class Platform:
    """Makes each client once; opens no connection before the first call."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        tokens: TokenStore,
        metrics: Metrics,
        *,
        on_unknown: OnUnknown,
    ) -> None:
        self._settings = settings
        self._pools = Pools(self._leaves)
        self.tokens = tokens
        self._metrics = metrics
        self._on_unknown = on_unknown
        self.limiter = Limiter(
            redis,
            settings.platform_limits,
            metrics,
            source=settings.platform_address,
            share=settings.platform_share,
            patience=settings.platform_patience,
            bulk_patience=settings.platform_bulk_patience,
        )
        self._wecom: dict[tuple[str, str, int, str], WeComClient] = {}
        self._programs: dict[tuple[str, str, str], MiniProgramClient] = {}
        self._credentials: dict[tuple[str, str, str], Credentials] = {}

    def _leaves(self, platform: str) -> Exit:
        return self._settings.exit_to(_SIDES[platform.partition(":")[0]])

    def wecom(self, tenant: str, corp_id: str, agent_id: int, secret: str) -> WeComClient:
        key = (tenant, corp_id, agent_id, secret)
        if key not in self._wecom:
            self._wecom[key] = WeComClient(
                corp_id,
                agent_id,
                secret,
                self._wire(tenant, "wecom", self._settings.wecom_api_base),
                tenant=tenant,
                open_base=self._settings.wechat_open_base,
            )
            self._wecom[key].guard(self.limiter, self._on_unknown)
        return self._wecom[key]

    def miniprogram(self, tenant: str, appid: str, secret: str) -> MiniProgramClient:
        key = (tenant, appid, secret)
        if key not in self._programs:
            wire = self._wire(tenant, "wechat", self._settings.wechat_api_base)
            self._programs[key] = MiniProgramClient(appid, secret, wire, tenant=tenant)
            self._programs[key].guard(self.limiter, self._on_unknown)
        return self._programs[key]

    def archive(self, tenant: str, url: str, corp_id: str, secret: str) -> ArchiveSource:
        """The bank's message archive behind its gateway at `url`."""
        return HttpArchive(url, corp_id, secret, self._pools.own(tenant, "archive"))

    def bank_http(self, tenant: str, name: str) -> httpx.AsyncClient:
        """The connections to one of the bank's own systems: `name` is `webhook:ID`."""
        return self._pools.own(tenant, name)

    def _wire(self, tenant: str, family: Family, base: str) -> Wire:
        pool = self._pools.of(tenant, family)
        return Wire(base, pool, self.tokens, self._settings.platform_timeout, self._metrics)

    def credentials(self, token: str, aes_key: str, receiveid: str) -> Credentials:
        """A callback address's secrets with their AES key made once."""
        key = (token, aes_key, receiveid)
        if key not in self._credentials:
            self._credentials[key] = Credentials(*key)
        return self._credentials[key]

    async def close(self) -> None:
        await self.tokens.aclose()
        await self.limiter.close()
        await self._pools.close()
