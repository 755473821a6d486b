"""A phone: the two hosts that a customer's actions reach, and the mini-program on it, which does
not give up easily."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from sandbox.people.truth_file import Customer, Truth

CONTROL_SECONDS = 30.0
PATIENCE = 90.0
"""Seconds for which a customer tries again what was not answered."""
PAUSE = 0.3
HANGS_UP = 0.02
"""Seconds after which somebody impatient hangs up."""
AGAIN = frozenset({429, 500, 502, 503, 504})
CONSENT = "phone/2026-11"
REFUSING = frozenset({400, 403, 404, 409, 422})


class CouldNot(Exception):
    """The step makes no sense now: he is nobody's friend, or the sandbox says that it is
    impossible."""


class Hosts:
    """The sandbox's control plane and the product's public address, for all phones together."""

    def __init__(self, sandbox: str, truth: Truth) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
        self._box = httpx.AsyncClient(
            base_url=f"{sandbox}/control/", trust_env=False, timeout=CONTROL_SECONDS, limits=limits
        )
        self.bank = httpx.AsyncClient(trust_env=False, timeout=10.0, limits=limits)
        self.truth = truth
        self.stopping = asyncio.Event()
        self.corp_id = self.callback = self.push = ""
        self.rewards: dict[str, None] = {}
        """Every reward that anybody was shown, which is what hunters tell each other."""

    async def control(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any
    ) -> Any:
        """The sandbox's answer. Raises CouldNot where it says that somebody cannot do that now."""
        answer = await self._box.request(method, path, json=body, params=query)
        if answer.status_code in (400, 404, 409):
            raise CouldNot(code_of(answer))
        answer.raise_for_status()
        return answer.json()

    async def look(self, portal: str) -> None:
        """Learns from the sandbox where the product is: at `portal`, or where its callbacks go."""
        config = await self.control("GET", "config")
        self.corp_id = config["corp_id"]
        self.callback = config["callback_urls"][0]
        called = httpx.URL(self.callback)
        base = portal or str(called.copy_with(path="/", query=None)).rstrip("/")
        if portal:
            self.callback = base + called.path
        self.push = base + "/wechat/{appid}/callback"
        self.bank.base_url = httpx.URL(base)

    async def close(self) -> None:
        await self._box.aclose()
        await self.bank.aclose()


class Phone:
    """One customer's mini-programs. Every request is repeated, claims under the same key, until it
    has an answer."""

    def __init__(self, hosts: Hosts, customer: Customer) -> None:
        self.hosts = hosts
        self.customer = customer
        self.tokens: dict[str, str] = {}
        self.used: dict[str, str] = {}
        """The last login code of each mini-program, which is void."""
        self.pressed: dict[str, str] = {}
        """The last code of the phone button, which is void."""

    async def sign_in(self, appid: str) -> None:
        """Opens the mini-program, with a new code for each try."""
        attempt = partial(self._try_sign_in, appid)
        answer = await self._until(attempt, lambda status: status == httpx.codes.OK)
        if answer is None:
            raise CouldNot("login")
        self.tokens[appid] = answer.json()["token"]
        self.customer.logins += 1
        if appid not in self.customer.signed_in:
            self.customer.signed_in.append(appid)

    async def _try_sign_in(self, appid: str) -> httpx.Response:
        path = f"people/{self.customer.person}/open"
        opened = await self.hosts.control("POST", path, {"appid": appid})
        self.used[appid] = opened["code"]
        self.customer.login_tries += 1
        return await self.hosts.bank.post(f"/mp/{appid}/login", json={"code": self.used[appid]})

    async def ask(
        self, appid: str, method: str, path: str, **options: Any
    ) -> httpx.Response | None:
        """The answer to a request with his session, which is made anew when it is over; None after
        PATIENCE."""
        headers = options.pop("headers", {})

        async def attempt() -> httpx.Response:
            if appid not in self.tokens:
                await self.sign_in(appid)
            signed = {**headers, "Authorization": f"Bearer {self.tokens[appid]}"}
            answer = await self.hosts.bank.request(
                method, f"/mp/{appid}/{path}", headers=signed, **options
            )
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self.tokens.pop(appid, None)
            return answer

        return await self._until(
            attempt, lambda status: status not in AGAIN and status != httpx.codes.UNAUTHORIZED
        )

    async def _until(self, attempt: Any, answered: Callable[[int], bool]) -> httpx.Response | None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer: httpx.Response = await attempt()
            except httpx.HTTPError as error:
                self.hosts.truth.trouble(type(error).__name__)
            else:
                if answered(answer.status_code):
                    return answer
                self.hosts.truth.trouble(str(answer.status_code))
            if self.hosts.stopping.is_set():
                break
            await asyncio.sleep(PAUSE)
        return None

    async def rewards(self, appid: str) -> list[str]:
        """The rewards that his home shows and he has not got."""
        home = await self.ask(appid, "GET", "home")
        if home is None or home.status_code != httpx.codes.OK:
            raise CouldNot("home")
        return [
            one["id"] for one in home.json()["rewards"] if one["state"] in ("claimable", "sold_out")
        ]

    async def claim(
        self, appid: str, reward: str, key: str, body: dict[str, Any] | None = None
    ) -> None:
        """Claims, and writes down what he read. Without an answer the claim may have been
        granted."""
        headers = {"Idempotency-Key": key}
        try:
            answer = await self.ask(
                appid, "POST", f"rewards/{reward}/claim", headers=headers, json=body or {}
            )
        except (
            CouldNot
        ):  # his session is over and there is no new one: an earlier try may have been granted
            answer = None
        if answer is None:
            self.customer.unanswered.append(reward)
        elif answer.status_code == httpx.codes.OK:
            told = answer.json()["redemption"]
            self.customer.acknowledge(told["reward"], key, told["id"])
        else:
            self.customer.refuse(reward, code_of(answer))

    async def claim_and_hang_up(self, appid: str, reward: str, key: str) -> None:
        """Claims and does not wait for the answer; what comes of it the next claim under this key
        tells."""
        headers = {"Idempotency-Key": key, "Authorization": f"Bearer {self.tokens[appid]}"}
        path = f"/mp/{appid}/rewards/{reward}/claim"
        try:
            await self.hosts.bank.post(path, headers=headers, json={}, timeout=HANGS_UP)
        except httpx.HTTPError as error:
            self.hosts.truth.trouble(f"hung up ({type(error).__name__})")

    async def bind(self, appid: str) -> None:
        """Presses the phone button, and agrees; with a new code for each try."""
        attempt = partial(self._try_bind, appid)
        answer = await self._until(
            attempt, lambda status: status == httpx.codes.OK or status in REFUSING
        )
        if answer is not None and answer.status_code == httpx.codes.OK:
            self.customer.bound = True
        elif answer is None and not self.customer.bound:
            self.customer.bound = None

    async def _try_bind(self, appid: str) -> httpx.Response:
        if appid not in self.tokens:
            await self.sign_in(appid)
        path = f"people/{self.customer.person}/phone"
        pressed = await self.hosts.control("POST", path, {"appid": appid})
        self.pressed[appid] = pressed["code"]
        body = {"code": self.pressed[appid], "consent": CONSENT}
        headers = {"Authorization": f"Bearer {self.tokens[appid]}"}
        answer = await self.hosts.bank.post(f"/mp/{appid}/phone", json=body, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self.tokens.pop(appid, None)
        return answer


def code_of(answer: httpx.Response) -> str:
    """The reason of a refusal."""
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return f"status_{answer.status_code}"
