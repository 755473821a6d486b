"""The portal as pages the size of a phone: what the mini-program shows, for a laptop without
WeChat. Not in production."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import orjson
from typing_extensions import override

from config.bounds import IdempotencyKey, LoginCode, ShortText, Word
from customers import consent
from customers.access import login, withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import bank_of_appid
from handlers.http import rates
from handlers.http.auth import CUSTOMER
from handlers.http.pages import Form, Page
from handlers.portal.resources import customer_of
from rewards import portal
from services import ids
from services.errors import Conflict, InvalidInput, KeyReused, NotSignedIn, YinqiaoError


class PhoneForm(Form):
    code: ShortText = ""
    consent: Word = ""


class ClaimForm(Form):
    key: IdempotencyKey


class Arrival(Form):
    """`code` is what wx.login gives."""

    code: LoginCode | Literal[""] = ""


def phone_consent() -> tuple[str, dict[str, str]]:
    """The version and the texts of the consent that is asked for now."""
    version = max(version for purpose, version in consent.TEXTS if purpose == "phone")
    return version, consent.TEXTS["phone", version]


class Preview(Page):
    """A cookie of its own for each mini-program, so that two of them can be open side by side."""

    folder: ClassVar[str] = "preview"
    actor: CustomerActor

    @property
    def appid(self) -> str:
        return self.path_kwargs["appid"]

    @property
    def cookie(self) -> str:
        return f"portal_{self.appid}"

    @override
    def face(self) -> str:
        return self.cookie

    @override
    def owner(self) -> str:
        return f"customer|{self.actor.tenant}|{self.actor.cid}|{self.appid}"

    @override
    def home(self) -> str:
        return f"/preview/{self.appid}/"

    @override
    def answer_sign_in(self, address: str) -> bool:
        self.remember_path(address)
        return False

    @override
    async def identify(self, permission: str) -> CustomerActor:
        token = self.get_cookie(self.session_cookie(self.cookie)) or ""
        return await customer_of(self.services, token, self.appid)

    @override
    async def redirect_to_sign_in(self) -> None:
        self.remember_next()
        self.redirect_to(self.home())

    async def names(self) -> dict[str, Any]:
        """What every page of the preview shows at its top."""
        bank = await bank_of_appid(self.services, self.appid)
        return {
            "program": bank.miniprograms[self.appid].name,
            "bank": bank.name,
            "base": f"/preview/{self.appid}",
        }

    async def show_home(self, error: YinqiaoError | None = None) -> None:
        """The home page, with what went wrong at the top of it."""
        view = orjson.loads(await portal.home(self.bank, self.actor, self.lang))
        view["customer"] = await login.profile(self.bank, self.actor)
        values = {
            **await self.names(),
            "view": view,
            "consent": phone_consent(),
            "new_key": ids.token,
        }
        self.render_page("home", error, **values)


class Arrive(Preview):
    """`?code=` signs in, as opening the mini-program does; without a session the page says how to
    get one."""

    @override
    async def get(self, appid: str) -> None:
        code = self.asked(Arrival).code
        try:
            if code:
                await self.sign_in(code)
                return
            await self.authenticate(CUSTOMER)
        except NotSignedIn as error:
            await self.show_ways_in(error if code else None)
            return
        await self.show_home()

    async def sign_in(self, code: str) -> None:
        bank = await bank_of_appid(self.services, self.appid)
        limits = rates.logins(self.client_ip(), self.appid)
        async with self.services.tries.trying(limits, NotSignedIn):
            done = await login.login(bank, self.appid, code)
        self.keep_session(self.cookie, done.token, samesite="Lax")
        self.redirect_to(self.next_path())

    async def show_ways_in(self, error: NotSignedIn | None) -> None:
        values = {**await self.names(), "sandbox": self.services.settings.sandbox_url}
        self.render_page("arrive", error, **values)


class Phone(Preview):
    @override
    async def post(self, appid: str) -> None:
        form = self.form(PhoneForm)
        try:
            limits = rates.phone_codes(rates.who_is(self.actor))
            async with self.services.tries.trying(limits, InvalidInput):
                await login.bind_phone(self.bank, self.actor, form.code.strip(), form.consent)
        except InvalidInput as error:
            await self.show_home(error)
            return
        self.redirect_to(self.home(), done="bound")


class Withdraw(Preview):
    """The customer takes back his consent; the page before it says what that means."""

    @override
    async def post(self, appid: str) -> None:
        try:
            await withdrawal.withdraw(self.bank, self.actor, withdrawal.PHONE)
        except Conflict as error:
            await self.show_home(error)
            return
        portal.invalidate_home(self.bank, self.actor)
        self.redirect_to(self.home(), done="withdrawn")


class Claim(Preview):
    @override
    async def post(self, appid: str, reward: str) -> None:
        form = self.form(ClaimForm)
        try:
            await portal.claim(self.bank, self.actor, reward, form.key, b"")
        except (Conflict, KeyReused) as error:
            await self.show_home(error)
            return
        self.redirect_to(f"/preview/{appid}/redemptions", done="claimed")


class Redemptions(Preview):
    @override
    async def get(self, appid: str) -> None:
        view = await portal.vouchers(self.bank, self.actor, self.lang)
        self.render_page("redemptions", **await self.names(), rows=view["redemptions"])


class Logout(Preview):
    keeps = False

    @override
    async def post(self, appid: str) -> None:
        await self.services.sessions.end(
            "customer", self.get_cookie(self.session_cookie(self.cookie)) or ""
        )
        self.forget_session(self.cookie)
        self.redirect_to(self.home())
