"""The portal as pages the size of a phone: what a customer sees in the mini-program's web-view,
and in development also on a laptop without WeChat.

He gets in with a ticket that the mini-program asked for (`/mp/{appid}/tickets`), which works once;
under `/preview` also with the code of a login, as the sandbox gives it. Every page works without a
script.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field
from typing_extensions import override

from config.bounds import IdempotencyKey, LoginCode, ShortText, Word
from customers import consent
from customers.access import login, withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import bank_of_appid
from handlers.http import rates
from handlers.http.auth import CUSTOMER
from handlers.http.pages import Form, Page, own_path
from handlers.portal.resources import customer_of
from rewards import holdings, portal
from rewards.points import program, statement
from rewards.shipping import addresses
from services import ids
from services.errors import (
    Conflict,
    InvalidInput,
    KeyReused,
    NotFound,
    NotSignedIn,
    TooMany,
    YinqiaoError,
)


class PhoneForm(Form):
    code: ShortText = ""
    consent: Word = ""


class AddressForm(Form):
    name: Word = ""
    phone: Word = ""
    region: ShortText = ""
    detail: ShortText = ""
    postcode: Word = ""
    consent: Word = ""


class ClaimForm(Form):
    """`disclosure` is the hash of the rules that stood beside the button, and `accept` the tick that
    says so."""

    key: IdempotencyKey
    disclosure: Word = ""
    accept: Word = ""


class Arrival(Form):
    """`code` is what wx.login gives."""

    code: LoginCode | Literal[""] = ""


class LinesAsked(Form):
    """`before` is the cursor of the lines that were shown last."""

    before: Word = ""


class GiftForm(Form):
    """`code` is what the giver passed on."""

    code: ShortText = Field("", repr=False)


class Entering(Form):
    """`to` is the page below the face's start to which the mini-program leads."""

    ticket: LoginCode | Literal[""] = ""
    to: Word = ""


def phone_consent() -> tuple[str, dict[str, str]]:
    """The version and the texts of the consent that is asked for now."""
    version = max(version for purpose, version in consent.TEXTS if purpose == "phone")
    return version, consent.TEXTS["phone", version]


class PortalPage(Page):
    """A cookie of its own for each mini-program, so that two of them can be open side by side."""

    folder: ClassVar[str] = "h5"
    error_page: ClassVar[str] = "h5/refused.html"
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

    @property
    def base(self) -> str:
        """Where the pages are, as the visitor came to them: under `/h5`, or `/preview`."""
        return f"/{self.route.path.split('/')[1]}/{self.appid}"

    @override
    def home(self) -> str:
        return f"{self.base}/"

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
        """What every page shows at its top; `plays`: the sandbox plays WeChat."""
        bank = await bank_of_appid(self.services, self.appid)
        return {
            "program": bank.miniprograms[self.appid].name,
            "bank": bank.name,
            "base": self.base,
            "plays": self.route.dev,
            "has_points": await program.find_live(bank) is not None,
        }

    async def show_ways_in(self, error: NotSignedIn | None) -> None:
        sandbox = self.services.settings.sandbox_url if self.route.dev else ""
        self.render_page("arrive", error, **await self.names(), sandbox=sandbox)

    async def show_home(self, error: YinqiaoError | None = None) -> None:
        """The home page, with what went wrong at the top of it."""
        view = orjson.loads(await portal.home(self.bank, self.actor, self.lang))
        view["customer"] = await login.profile(self.bank, self.actor)
        values = {
            **await self.names(),
            "view": view,
            "consent": phone_consent(),
            "accepted": await portal.accepted(
                self.bank, self.actor, [one["id"] for one in view["rewards"]]
            ),
            "new_key": ids.token,
        }
        self.render_page("home", error, **values)

    async def show_list(self, error: YinqiaoError | None = None) -> None:
        """All that the customer holds, with what went wrong at the top of it."""
        view = await portal.vouchers(self.bank, self.actor, self.lang)
        self.render_page("redemptions", error, **await self.names(), rows=view["redemptions"])


class Arrive(PortalPage):
    """The customer's home; without a session the page says how to get one. Under `/preview`,
    `?code=` signs in, as opening the mini-program does."""

    @override
    async def get(self, appid: str) -> None:
        code = self.asked(Arrival).code if self.route.dev else ""
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


class Enter(PortalPage):
    """Where the mini-program's web-view begins: the ticket in the address is used up, and a cookie
    takes its place, so that no address of a page signs anybody in."""

    @override
    async def get(self, appid: str) -> None:
        wanted = self.asked(Entering)
        bank = await bank_of_appid(self.services, appid)
        limits = rates.logins(self.client_ip(), appid)
        try:
            async with self.services.tries.trying(limits, NotSignedIn):
                done = await login.enter(bank, appid, wanted.ticket)
        except NotSignedIn as error:
            await self.show_ways_in(error)
            return
        self.keep_session(self.cookie, done.token, samesite="Lax")
        self.redirect_to(own_path(f"{self.base}/{wanted.to}", self.home()))


class Phone(PortalPage):
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


class Withdraw(PortalPage):
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


def _claimed(form: ClaimForm) -> bytes:
    """The form as the body of a claim."""
    return orjson.dumps({"disclosure": form.disclosure}) if form.disclosure else b""


class Claim(PortalPage):
    @override
    async def post(self, appid: str, reward: str) -> None:
        form = self.form(ClaimForm)
        try:
            if form.disclosure and not form.accept:
                raise Conflict("disclosure_required", "accept the rules first")
            await portal.claim(self.bank, self.actor, reward, form.key, _claimed(form), self.lang)
        except (Conflict, KeyReused) as error:
            await self.show_home(error)
            return
        self.redirect_to(f"{self.base}/redemptions", done="claimed")


class Redemptions(PortalPage):
    @override
    async def get(self, appid: str) -> None:
        await self.show_list()


class Voucher(PortalPage):
    """One voucher, with the QR code of this minute."""

    template: ClassVar[str] = "voucher"

    @override
    async def get(self, appid: str, redemption: str) -> None:
        await self.show(redemption)

    async def show(self, redemption: str, error: YinqiaoError | None = None) -> None:
        try:
            view = await portal.voucher(self.bank, self.actor, redemption, self.lang)
        except NotFound:
            await self.show_list(NotFound("voucher_elsewhere", "this voucher is not yours"))
            return
        values = {
            "row": view["redemption"],
            "uses": await holdings.uses_of(self.bank, redemption),
            "time_left": self.time_left,
            "gift_seconds": self.gift_seconds,
        }
        self.render_page(self.template, error, **await self.names(), **values)

    def gift_seconds(self, until: str) -> int:
        """For how long the code of a gift is still good."""
        return max(0, int((datetime.fromisoformat(until) - self.bank.utc()).total_seconds()))

    def time_left(self, seconds: int) -> str:
        """How long a voucher is still good, as people say it."""
        if seconds >= 2 * 86_400:
            return self.locale.translate("%d days left") % (seconds // 86_400)
        if seconds >= 2 * 3_600:
            return self.locale.translate("%d hours left") % (seconds // 3_600)
        return self.locale.translate("%d minutes left") % -(-seconds // 60)


class VoucherNow(Voucher):
    """The part of it that changes: its state, the QR code, and the time that is left."""

    template = "voucher_now"


class OfferGift(Voucher):
    """The customer asks for a code with which another customer takes the voucher."""

    @override
    async def post(self, appid: str, redemption: str) -> None:
        try:
            await portal.offer(self.bank, self.actor, redemption)
        except (Conflict, NotFound) as error:
            await self.show(redemption, error)
            return
        self.redirect_to(f"{self.base}/redemptions/{redemption}", done="gift_offered")


class WithdrawGift(Voucher):
    """The voucher is offered to nobody any more."""

    @override
    async def post(self, appid: str, redemption: str) -> None:
        try:
            await portal.withdraw_offer(self.bank, self.actor, redemption)
        except NotFound as error:
            await self.show(redemption, error)
            return
        self.redirect_to(f"{self.base}/redemptions/{redemption}", done="gift_withdrawn")


class TakeGift(PortalPage):
    """The code that another customer passed on, and his voucher is this one's."""

    @override
    async def get(self, appid: str) -> None:
        self.render_page("gift", **await self.names())

    @override
    async def post(self, appid: str) -> None:
        code = self.form(GiftForm).code
        try:
            view = await portal.take(self.bank, self.actor, code, self.lang)
        except (Conflict, NotFound, TooMany) as error:
            self.render_page("gift", error, **await self.names())
            return
        address = f"{self.base}/redemptions/{view['redemption']['id']}"
        self.redirect_to(address, done="gift_taken")


class Delivery(PortalPage):
    """Where a physical reward goes: its form, until it is exported."""

    @override
    async def get(self, appid: str, redemption: str) -> None:
        await self.show_form(redemption)

    async def show_form(self, redemption: str, error: YinqiaoError | None = None) -> None:
        view = await portal.delivery(self.bank, self.actor, redemption, self.lang)
        shown = {"view": view, "consent": addresses.consent_text(), "wrong": {}}
        if error is not None:
            shown["wrong"] = error.fields
        self.render_page("address", error, **await self.names(), **shown)

    @override
    async def post(self, appid: str, redemption: str) -> None:
        form = self.form(AddressForm)
        fields = form.model_dump(exclude={"consent"})
        try:
            await portal.put_address(self.bank, self.actor, redemption, fields, form.consent)
        except (Conflict, InvalidInput) as error:
            await self.show_form(redemption, error)
            return
        self.redirect_to(f"{self.base}/redemptions", done="address")


class Points(PortalPage):
    """The customer's points: what he has, what expires, how more are earned, and each line."""

    @override
    async def get(self, appid: str) -> None:
        before = self.asked(LinesAsked).before
        view = await statement.view(self.bank, self.actor.cid, self.lang, before)
        self.render_page("points", **await self.names(), view=view, first=not before)


class Logout(PortalPage):
    keeps = False

    @override
    async def post(self, appid: str) -> None:
        await self.services.sessions.end(
            "customer", self.get_cookie(self.session_cookie(self.cookie)) or ""
        )
        self.forget_session(self.cookie)
        self.redirect_to(self.home())
