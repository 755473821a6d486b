"""The mini-program's JSON. Who the customer is comes from the bearer token alone (promise P4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from typing_extensions import override

from config.bounds import KEY_LENGTH
from customers.access import login, withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import bank_of_appid
from customers.messaging import poster_codes, subscriptions
from handlers.http import rates
from handlers.http.api import Api
from handlers.http.base import read_model
from handlers.portal.models import (
    AcceptBody,
    AddressBody,
    GiftBody,
    LoginBody,
    PhoneBody,
    PointsAsked,
    SubscriptionsBody,
)
from rewards import portal
from rewards.points import spending, statement
from services.container import Services
from services.errors import Forbidden, InvalidInput, NotSignedIn


async def customer_of(services: Services, token: str, appid: str) -> CustomerActor:
    """The customer of a session that may be used at `appid`: the bank's mini-programs share their
    customers.

    Raises NotSignedIn, NotFound for an unknown appid, Forbidden `other_bank`.
    """
    actor = await login.read_session(services, token)
    bank = await login.bank_of(services, actor)
    if appid not in bank.miniprograms:
        await bank_of_appid(services, appid)
        raise Forbidden("other_bank", "this session belongs to another bank")
    return replace(actor, appid=appid)


class Portal(Api):
    """`Authorization: Bearer TOKEN` on every route that asks for a customer."""

    actor: CustomerActor

    def token(self) -> str:
        """Raises NotSignedIn when the request carries no bearer token."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("not_signed_in", "sign in first: POST /mp/{appid}/login")
        return token

    @override
    async def identify(self, permission: str) -> CustomerActor:
        return await customer_of(self.services, self.token(), self.path_kwargs["appid"])

    def idempotency_key(self) -> str:
        """Raises InvalidInput when the key is missing or longer than 255 characters."""
        key = self.request.headers.get("Idempotency-Key", "")
        if not key:
            raise InvalidInput("idempotency_key_missing", "this needs an Idempotency-Key header")
        if len(key) > KEY_LENGTH:
            raise InvalidInput("idempotency_key_too_long", f"at most {KEY_LENGTH} characters")
        return key

    def lang(self) -> Literal["zh", "en"]:
        return "en" if self.request.headers.get("Accept-Language", "").startswith("en") else "zh"


class Login(Portal):
    @override
    async def post(self, appid: str) -> None:
        body = self.body(LoginBody)
        bank = await bank_of_appid(self.services, appid)
        limits = rates.logins(self.client_ip(), appid)
        async with self.services.tries.trying(limits, NotSignedIn):
            done = await login.login(bank, appid, body.code)
        self.answer({"token": done.token, "expires_in": done.expires_in, "customer": done.customer})


class Logout(Portal):
    @override
    async def post(self, appid: str) -> None:
        await self.services.sessions.end("customer", self.token())
        self.set_status(204)


class Tickets(Portal):
    @override
    async def post(self, appid: str) -> None:
        ticket = await login.open_ticket(self.bank, self.actor, self.token())
        base = self.services.settings.url.rstrip("/")
        self.answer(
            {
                "ticket": ticket,
                "expires_in": login.TICKET_SECONDS,
                "url": f"{base}/h5/{appid}/enter?ticket={ticket}",
            }
        )


class Phone(Portal):
    @override
    async def post(self, appid: str) -> None:
        body = self.body(PhoneBody)
        limits = rates.phone_codes(rates.who_is(self.actor))
        async with self.services.tries.trying(limits, InvalidInput):
            profile = await login.bind_phone(self.bank, self.actor, body.code, body.consent)
        portal.invalidate_home(self.bank, self.actor)
        self.answer(profile)


class Consents(Portal):
    @override
    async def get(self, appid: str) -> None:
        found = await withdrawal.list_consents(self.bank, self.actor.cid)
        self.answer({"consents": found})


class Withdrawal(Portal):
    @override
    async def post(self, appid: str, purpose: str) -> None:
        await withdrawal.withdraw(self.bank, self.actor, purpose)
        portal.invalidate_home(self.bank, self.actor)
        self.answer(await login.profile(self.bank, self.actor))


class Home(Portal):
    @override
    async def get(self, appid: str) -> None:
        self.answer(await portal.home(self.bank, self.actor, self.lang()))


class Rewards(Portal):
    @override
    async def get(self, appid: str) -> None:
        self.answer(await portal.list_rewards(self.bank, self.actor, self.lang()))


class Claim(Portal):
    @override
    async def post(self, appid: str, reward: str) -> None:
        key = self.idempotency_key()
        claimed = await portal.claim(
            self.bank,
            self.actor,
            reward,
            key,
            self.request.body,
            self.lang(),
        )
        if claimed.replayed:
            self.set_header("Idempotency-Hit", "true")
        self.answer(claimed.view)


class Disclosure(Portal):
    @override
    async def get(self, appid: str, reward: str) -> None:
        self.answer(await portal.read_disclosure(self.bank, self.actor, reward))

    @override
    async def post(self, appid: str, reward: str) -> None:
        said = self.body(AcceptBody).disclosure
        self.answer(await portal.accept_disclosure(self.bank, self.actor, reward, said))


class Redemptions(Portal):
    @override
    async def get(self, appid: str) -> None:
        self.answer(await portal.vouchers(self.bank, self.actor, self.lang()))


class Address(Portal):
    @override
    async def put(self, appid: str, redemption: str) -> None:
        body = self.body(AddressBody)
        fields = body.model_dump(exclude={"consent"})
        view = await portal.put_address(self.bank, self.actor, redemption, fields, body.consent)
        self.answer(view)


class Redemption(Portal):
    @override
    async def get(self, appid: str, redemption: str) -> None:
        self.answer(await portal.voucher(self.bank, self.actor, redemption, self.lang()))


class OfferGift(Portal):
    @override
    async def post(self, appid: str, redemption: str) -> None:
        self.answer(await portal.offer(self.bank, self.actor, redemption))


class WithdrawGift(Portal):
    @override
    async def post(self, appid: str, redemption: str) -> None:
        await portal.withdraw_offer(self.bank, self.actor, redemption)
        self.set_status(204)


class TakeGift(Portal):
    @override
    async def post(self, appid: str) -> None:
        code = self.body(GiftBody).code
        self.answer(await portal.take(self.bank, self.actor, code, self.lang()))


class Points(Portal):
    @override
    async def get(self, appid: str) -> None:
        asked = read_model(PointsAsked, self.query())
        told = await statement.view(
            self.bank, self.actor.cid, self.lang(), asked.before, asked.limit
        )
        self.answer(told)


class PointsTransfer(Portal):
    """Refused: points are nobody else's."""

    @override
    async def post(self, appid: str) -> None:
        await spending.transfer(self.bank, self.actor)


class Subscriptions(Portal):
    @override
    async def post(self, appid: str) -> None:
        body = self.body(SubscriptionsBody)
        answers = {template: answer == "accept" for template, answer in body.answers.items()}
        counted = await subscriptions.report(
            self.bank,
            self.actor,
            answers,
            self.idempotency_key(),
        )
        self.answer({"counted": counted})


class Scene(Portal):
    @override
    async def get(self, appid: str, scene: str) -> None:
        self.answer(
            await poster_codes.read(await bank_of_appid(self.services, appid), appid, scene)
        )
