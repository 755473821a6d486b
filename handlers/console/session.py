"""A clerk signs in to the console, and out."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from customers.banks import clerks
from handlers.console.base import Console, Form
from services.errors import NotSignedIn, TooMany

TRIES, TRY_SECONDS = 30, 300


class SignInForm(Form):
    bank: str = Field("", max_length=64)
    name: str = Field("", max_length=64)
    password: str = Field("", max_length=256, repr=False)


class SignIn(Console):
    @override
    async def get(self) -> None:
        self.render_page("login", bank_id=self.get_query_argument("bank", ""), name="")

    @override
    async def post(self) -> None:
        form = self.form(SignInForm)
        bank, name = form.bank.strip(), form.name.strip()
        try:
            await self.services.sessions.count_attempt(
                f"ip|{self.client_ip()}", limit=TRIES, seconds=TRY_SECONDS
            )
            clerk = await clerks.check_clerk(self.services, bank, name, form.password)
        except (NotSignedIn, TooMany) as error:
            self.render_page("login", error, bank_id=bank, name=name)
            return
        await self.services.sessions.end("clerk", self.token)
        session = {
            "tenant": bank,
            "login": clerk.login,
            "name": clerk.name,
            "permissions": sorted(clerk.permissions),
        }
        self.keep_session(
            "console", await self.services.sessions.open("clerk", session), samesite="Strict"
        )
        self.redirect_to(self.home())


class SignOut(Console):
    @override
    async def post(self) -> None:
        await self.services.sessions.end("clerk", self.token)
        self.forget_session("console")
        self.redirect_to("/console/login")
