"""The tour's people, each with a client of his own, as a phone or a browser would be: they know
HTTP and nothing else."""

from __future__ import annotations

import html
import re
import uuid
from types import TracebackType
from typing import Any

import httpx

from deploy.errors import DeployError

_XSRF = re.compile(r'name="_xsrf" value="([^"]+)"')
_COUNT = re.compile(r'class="[^"]*funnel-count[^"]*"[^>]*>\s*(\d+)')
_TEXT = re.compile(r"<textarea[^>]*>\n?(.*?)</textarea>", re.DOTALL)
_HIDDEN = re.compile(r'name="(_xsrf|shown|key|uses)" value="([^"]*)"')
_CARD = re.compile(r'href="(/sidebar/[^"]+/customers/[^"]+)"')


class TourFailed(DeployError):
    """Something that the tour promises did not happen."""


def expect(fact: object, sentence: str) -> None:
    """Raises TourFailed with the sentence unless `fact` holds."""
    if not fact:
        raise TourFailed(sentence)


class Visitor:
    """Somebody with a browser or a phone: one cookie jar, redirects followed, ten seconds for an
    answer."""

    def __init__(self, base: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=base, follow_redirects=True, trust_env=False, timeout=10.0
        )

    async def ask(
        self, method: str, path: str, expected: int = 200, **options: Any
    ) -> httpx.Response:
        """The answer; TourFailed when its status is not the expected one."""
        answer = await self._client.request(method, path, **options)
        reason = f"{method} {answer.request.url} answered {answer.status_code}, not {expected}: {answer.text[:300]}"
        expect(answer.status_code == expected, reason)
        return answer

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, at: TracebackType | None
    ) -> None:
        await self._client.aclose()


class Sandbox:
    """Control of the simulated WeChat: what its people do."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    async def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return (await self._visitor.ask(method, f"/control/{path}", json=body)).json()


class Phone:
    """A customer's mini-program: JSON with a bearer token."""

    def __init__(self, visitor: Visitor, appid: str) -> None:
        self._visitor = visitor
        self._appid = appid
        self._token = ""

    async def login(self, code: str) -> dict[str, Any]:
        answer = await self._visitor.ask("POST", f"/mp/{self._appid}/login", json={"code": code})
        self._token = answer.json()["token"]
        return dict(answer.json()["customer"])

    async def call(
        self, method: str, path: str, expected: int = 200, **options: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}", **options.pop("headers", {})}
        return await self._visitor.ask(
            method, f"/mp/{self._appid}/{path}", expected, headers=headers, **options
        )

    async def claim(self, reward: str, key: str) -> httpx.Response:
        return await self.call("POST", f"rewards/{reward}/claim", headers={"Idempotency-Key": key})

    @staticmethod
    def new_key() -> str:
        return str(uuid.uuid4())


class Manager:
    """A relationship manager in WeCom's side panel, signed in through OAuth as `userid`."""

    def __init__(self, visitor: Visitor, tenant: str, userid: str) -> None:
        self._visitor = visitor
        self._home = f"/sidebar/{tenant}/"
        self._userid = userid

    async def open_panel(self) -> list[str]:
        """Goes through WeCom's OAuth page; the addresses of his customers' cards."""
        asked = await self._visitor.ask("GET", self._home, 302, follow_redirects=False)
        page = httpx.URL(asked.headers["Location"]).copy_remove_param("sandbox_userid")
        answer = await self._visitor.ask(
            "GET", str(page.copy_add_param("sandbox_userid", self._userid))
        )
        expect(
            answer.url.path == self._home, f"after the sign-in the panel showed {answer.url.path}"
        )
        return _CARD.findall(answer.text)

    async def card(self, address: str) -> str:
        return (await self._visitor.ask("GET", address)).text


class Clerk:
    """A clerk at the console, with a session cookie and the form token of the page he looks at."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    async def page(self, path: str) -> str:
        return (await self._visitor.ask("GET", f"/console/{path}")).text

    async def send(self, page: str, path: str, expected: int = 200, **fields: str) -> str:
        """Submits a form of `page` to `path`; the page that follows."""
        token = _XSRF.search(await self.page(page))
        if token is None:
            raise TourFailed(f"/console/{page} has no form")
        data = {"_xsrf": html.unescape(token[1]), **fields}
        return (await self._visitor.ask("POST", f"/console/{path}", expected, data=data)).text

    async def sign_in(self, bank: str, name: str, password: str) -> None:
        page = await self.send("login", "login", bank=bank, name=name, password=password)
        expect("/console/logout" in page, f"{name} could not sign in to the console")

    async def text_of(self, campaign: str) -> str:
        found = _TEXT.search(await self.page(f"campaigns/{campaign}/edit"))
        expect(found, f"the console shows no text to edit for {campaign}")
        return html.unescape(found[1]) if found else ""

    async def funnel(self, campaign: str) -> list[int]:
        return [
            int(count) for count in _COUNT.findall(await self.page(f"campaigns/{campaign}/funnel"))
        ]


class Counter:
    """Somebody at a counter, with a session cookie and the form token of the page he looks at."""

    def __init__(self, visitor: Visitor, tenant: str) -> None:
        self._visitor = visitor
        self._home = f"/counter/{tenant}/"

    async def sign_in(self, name: str, password: str) -> None:
        page = await self._send("sign-in", "sign-in", name=name, password=password)
        expect('id="code"' in page, f"{name} could not sign in to the counter")

    async def look(self, code: str) -> str:
        """The page that says what the voucher is, and whether it may be used here."""
        return await self._send("", "look", code=code)

    async def redeem(self, page: str) -> str:
        """Confirms what the page of a look shows; the receipt."""
        fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(page)}
        expect("shown" in fields, "the counter offers no write-off of the voucher")
        answer = await self._visitor.ask("POST", f"{self._home}redeem", data=fields)
        expect("/uses/" in answer.url.path, "the write-off has no receipt")
        return answer.text

    async def _send(self, page: str, path: str, **fields: str) -> str:
        token = _XSRF.search((await self._visitor.ask("GET", f"{self._home}{page}")).text)
        if token is None:
            raise TourFailed(f"{self._home}{page} has no form")
        data = {"_xsrf": html.unescape(token[1]), **fields}
        return (await self._visitor.ask("POST", f"{self._home}{path}", data=data)).text
