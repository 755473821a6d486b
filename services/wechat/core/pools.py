"""Connections to the platforms: each bank has a pool of its own for each platform, so that nobody
waits behind another's slow answers.

A pool lets `EACH` calls be under way. The lanes before keep places in it, as they do in the limits
(services/limiter): mass work takes half of a pool at most, and a welcome finds the last one. All
pools together have `TOTAL`, and every pool has its first `SURE` ones in any case. Who finds no place
waits for `WAIT_SECONDS` at most, and is told at once when too many wait already: his call was never
sent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import httpx

from config.settings import Exit
from services.limiter import lane_now
from services.limiter.limits import LANES
from services.wechat.core.errors import NotSent

EACH, SURE, TOTAL = 16, 2, 256
MOST = (EACH, EACH - 2, EACH // 2)
"""By lane, how many calls of a pool may be under way when one of that lane begins."""
KEPT_SECONDS = 30.0
"""How long a connection is kept that nobody uses."""
WAIT_SECONDS = 2.0
QUEUE = 64
"""So many wait for a place of one pool, and no more."""


def authorities(ca: str) -> ssl.SSLContext:
    """The authorities that every client trusts, and those of the PEM file `ca`, if there is one."""
    context = httpx.create_ssl_context(trust_env=False)
    if ca:
        context.load_verify_locations(ca)
    return context


def open_http(leaves: Exit, trusted: ssl.SSLContext) -> httpx.AsyncClient:
    """A client for one of the bank's own systems, whose calls leave and whom they believe as those
    to the platforms do.

    httpx logs whole addresses, which carry secrets, at INFO: that is turned off here.
    """
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    over_tls = trusted if httpx.URL(leaves.proxy).scheme == "https" else None
    return httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=EACH, keepalive_expiry=KEPT_SECONDS),
        proxy=httpx.Proxy(leaves.proxy, ssl_context=over_tls) if leaves.proxy else None,
        verify=trusted,
    )


def open_session(leaves: Exit, trusted: ssl.SSLContext) -> aiohttp.ClientSession:
    """A session of a platform's, whose calls leave through the proxy that `leaves` names (none:
    directly) and believe whom `trusted` says, the proxy too. Nothing of that comes from the
    environment, no cookie is kept, no answer is decompressed, and nothing is sent a second time."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=EACH, keepalive_timeout=KEPT_SECONDS, ssl=trusted),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_once,),
        proxy=leaves.proxy or None,
        auto_decompress=False,
        trust_env=False,
    )


class Broken(Exception):  # noqa: N818 - what has become of a call, for client.py alone
    """A connection broke when some of a call may have left."""


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends a GET once more after errors that it knows; ours is none of them."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken(type(error).__name__) from None


class Pool:
    """The connections of one bank to one platform; none is there before the first call."""

    def __init__(
        self, open_: Callable[[], aiohttp.ClientSession], pools: Pools | None = None
    ) -> None:
        self._open = open_
        self._session: aiohttp.ClientSession | None = None
        self._pools = pools
        self._taken = 0
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque(), deque())

    @asynccontextmanager
    async def place(self, path: str) -> AsyncIterator[aiohttp.ClientSession]:
        """The session, while a place is held. Raises NotSent when there is none soon."""
        await self._take(LANES.index(lane_now()), path)
        try:
            if self._session is None:
                self._session = self._open()
            yield self._session
        finally:
            self._give()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _room(self, lane: int) -> bool:
        if self._taken >= MOST[lane]:
            return False
        return self._taken < SURE or self._pools is None or self._pools.taken < TOTAL

    def _grab(self) -> None:
        self._taken += 1
        if self._pools is not None:
            self._pools.taken += 1

    async def _take(self, lane: int, path: str) -> None:
        ahead = any(self._waiting[earlier] for earlier in range(lane + 1))
        if not ahead and self._room(lane):
            self._grab()
            return
        if len(self._waiting[lane]) >= QUEUE:
            raise NotSent(None, "too many calls of this bank wait for the platform", path)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give()  # it came at the last moment
            elif turn in self._waiting[lane]:
                self._waiting[lane].remove(turn)
            if isinstance(error, TimeoutError):
                why = "the platform is slow: every connection of this bank to it is taken"
                raise NotSent(None, why, path) from None
            raise

    def _give(self) -> None:
        self._taken -= 1
        if self._pools is not None:
            self._pools.taken -= 1
        self.look()
        if self._pools is not None:
            self._pools.look(self)

    def look(self) -> None:
        """Hands free places to those who wait, the first lanes first."""
        for lane, queue in enumerate(self._waiting):
            while queue and self._room(lane):
                turn = queue.popleft()
                if not turn.done():
                    self._grab()
                    turn.set_result(None)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return any(self._waiting)


class Pools:
    """Every bank's connections in this process, opened when first asked for: to the platforms, and
    to the bank's own systems. `leaves` says how calls get out, by platform."""

    def __init__(self, leaves: Callable[[str], Exit] = lambda _: Exit()) -> None:
        self._leaves = leaves
        self._trusted: dict[str, ssl.SSLContext] = {}
        self._pools: dict[tuple[str, str], Pool] = {}
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}
        self.taken = 0

    def of(self, tenant: str, platform: str) -> Pool:
        """The bank's connections to one platform."""
        key = tenant, platform
        if key not in self._pools:
            leaves = self._leaves(platform)
            opens = partial(open_session, leaves, self._authorities(leaves))
            self._pools[key] = Pool(opens, self)
        return self._pools[key]

    def own(self, tenant: str, name: str) -> httpx.AsyncClient:
        """The connections to one of the bank's own systems."""
        key = tenant, name
        if key not in self._clients:
            leaves = self._leaves(name)
            self._clients[key] = open_http(leaves, self._authorities(leaves))
        return self._clients[key]

    def _authorities(self, leaves: Exit) -> ssl.SSLContext:
        """Reading them takes some 10 ms: all banks share them."""
        if leaves.ca not in self._trusted:
            self._trusted[leaves.ca] = authorities(leaves.ca)
        return self._trusted[leaves.ca]

    def look(self, but: Pool) -> None:
        """A place of the total is free: another pool may want it."""
        for pool in self._pools.values():
            if pool is not but and pool.wanted:
                pool.look()

    async def close(self) -> None:
        clients = (client.aclose() for client in self._clients.values())
        await asyncio.gather(*(pool.close() for pool in self._pools.values()), *clients)
