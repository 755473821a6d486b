"""The clients of all banks in this process: one connection pool, one token store, one limiter."""

from __future__ import annotations

import httpx
from redis.asyncio import Redis

from config.settings import Settings
from services.limiter import Limiter
from services.observe.metrics import Metrics
from services.wechat.core.archive import ArchiveSource, HttpArchive
from services.wechat.core.client import OnUnknown, Wire, open_http
from services.wechat.core.crypto import Credentials
from services.wechat.core.tokens import TokenStore
from services.wechat.miniprogram import MiniProgramClient
from services.wechat.wecom import WeComClient


class Platform:
    """Makes each client once; opens no connection before the first call. `transport` is for
    tests."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        tokens: TokenStore,
        metrics: Metrics,
        *,
        on_unknown: OnUnknown,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._http = open_http(transport)
        self._tokens = tokens
        timeout = settings.platform_timeout
        self._to_wecom = Wire(settings.wecom_api_base, self._http, tokens, timeout, metrics)
        self._to_wechat = Wire(settings.wechat_api_base, self._http, tokens, timeout, metrics)
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

    def wecom(self, tenant: str, corp_id: str, agent_id: int, secret: str) -> WeComClient:
        key = (tenant, corp_id, agent_id, secret)
        if key not in self._wecom:
            self._wecom[key] = WeComClient(
                corp_id,
                agent_id,
                secret,
                self._to_wecom,
                tenant=tenant,
                open_base=self._settings.wechat_open_base,
            )
            self._wecom[key].guard(self.limiter, self._on_unknown)
        return self._wecom[key]

    def miniprogram(self, tenant: str, appid: str, secret: str) -> MiniProgramClient:
        key = (tenant, appid, secret)
        if key not in self._programs:
            self._programs[key] = MiniProgramClient(appid, secret, self._to_wechat, tenant=tenant)
            self._programs[key].guard(self.limiter, self._on_unknown)
        return self._programs[key]

    def archive(self, url: str, corp_id: str, secret: str) -> ArchiveSource:
        """The bank's message archive behind its gateway at `url`."""
        return HttpArchive(url, corp_id, secret, self._http)

    def credentials(self, token: str, aes_key: str, receiveid: str) -> Credentials:
        """A callback address's secrets with their AES key made once."""
        key = (token, aes_key, receiveid)
        if key not in self._credentials:
            self._credentials[key] = Credentials(*key)
        return self._credentials[key]

    async def close(self) -> None:
        await self._tokens.aclose()
        await self.limiter.close()
        await self._http.aclose()
