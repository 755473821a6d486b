"""A clerk signs in to the console, and out."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from config.bounds import Password, Word
from customers.access import clerk
from customers.banks.clerks import SESSION
from handlers.console.base import Console
from handlers.http.pages import Form
from services.errors import NotSignedIn, TooMany


class SignInForm(Form):
    bank: Word = ""
    name: Word = ""
    password: Password = Field("", repr=False)


class Asked(Form):
    """The bank whose clerk wants to sign in."""

    bank: Word = ""


class SignIn(Console):
    @override
    async def get(self) -> None:
        self.render_page("login", bank_id=self.asked(Asked).bank, name="")

    @override
    async def post(self) -> None:
        form = self.form(SignInForm)
        bank, name = form.bank.strip(), form.name.strip()
        try:
            token = await clerk.sign_in(self.services, bank, name, form.password, self.origin())
        except (NotSignedIn, TooMany) as error:
            self.render_page("login", error, bank_id=bank, name=name)
            return
        await self.services.sessions.end(SESSION, self.token)
        self.keep_session("console", token, samesite="Strict")
        self.redirect_to(self.home())


class SignOut(Console):
    @override
    async def post(self) -> None:
        await clerk.sign_out(self.services, self.token, self.origin())
        self.forget_session("console")
        self.redirect_to("/console/login")
