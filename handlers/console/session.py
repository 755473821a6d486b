"""A clerk signs in to the console, and out."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from config.bounds import Address, Password, Word
from customers.access import clerk
from customers.banks.clerks import SESSION
from handlers.console.base import Console
from handlers.http.pages import Form, own_path
from services.errors import NotSignedIn, TooMany


class SignInForm(Form):
    bank: Word = ""
    name: Word = ""
    password: Password = Field("", repr=False)
    next: Address = ""


class Asked(Form):
    """The bank whose clerk wants to sign in, and where he wants to go."""

    bank: Word = ""
    next: Address = ""


class SignIn(Console):
    keeps = False

    @override
    async def get(self) -> None:
        asked = self.asked(Asked)
        next_path = own_path(asked.next or self.remembered(), self.home())
        self.render_page("login", **self.sign_in_values(next_path, asked.bank))

    @override
    async def post(self) -> None:
        form = self.form(SignInForm)
        bank, name = form.bank.strip(), form.name.strip()
        try:
            token = await clerk.sign_in(self.services, bank, name, form.password, self.origin())
        except (NotSignedIn, TooMany) as error:
            next_path = own_path(form.next, self.home())
            self.render_page("login", error, **self.sign_in_values(next_path, bank, name))
            return
        await self.services.sessions.end(SESSION, self.token)
        self.keep_session("console", token, samesite="Strict")
        self.redirect_to(self.next_path(form.next))


class SignOut(Console):
    keeps = False

    @override
    async def post(self) -> None:
        await clerk.sign_out(self.services, self.token, self.origin())
        self.forget_session("console")
        self.redirect_to("/console/login")
