"""The console's pages of clerks: oneself with the own password, and who else there is with roles that
wait for another's word."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from config.bounds import Password
from customers.access import roles
from customers.banks import clerks
from handlers.console.base import Console, Decision, RejectForm
from handlers.http.pages import Form
from services.errors import InvalidInput, TooMany, YinqiaoError


class PasswordForm(Form):
    old: Password = Field("", repr=False)
    new: Password = Field("", repr=False)
    again: Password = Field("", repr=False)


class Account(Console):
    """Oneself. Whoever changes his password signs in with it."""

    keeps = False

    before_change: ClassVar[bool] = True

    @override
    async def get(self) -> None:
        await self.show()

    async def show(self, error: YinqiaoError | None = None) -> None:
        found = await clerks.clerk(self.bank, self.actor.login)
        self.render_page("account", error, must_change=found.must_change)

    @override
    async def post(self) -> None:
        form = self.form(PasswordForm)
        try:
            if form.new != form.again:
                raise InvalidInput("passwords_differ", "the new password was not typed twice alike")
            await clerks.change_password(self.bank, self.actor.login, form.old, form.new)
        except (InvalidInput, TooMany) as error:
            await self.show(error)
            return
        self.forget_session("console")
        self.redirect_to("/console/login", bank=self.bank.id, done="password_changed")


class SignOutEverywhere(Console):
    """Ends every session of the clerk, this one too."""

    keeps = False

    before_change: ClassVar[bool] = True

    @override
    async def post(self) -> None:
        await self.bank.audit(
            self.actor.login, "clerk.signed_out", self.actor.login, everywhere=True
        )
        await clerks.sign_out_everywhere(self.bank, self.actor.login)
        self.forget_session("console")
        self.redirect_to("/console/login")


class Clerks(Decision):
    """Everybody with his roles; those for whom something waits first."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        rows = await roles.list_clerks(self.bank, self.actor)
        self.render_page("clerks", error, rows=rows)

    @override
    def address(self) -> str:
        return "/console/clerks"


class ApproveRoles(Clerks):
    done = "roles_granted"

    @override
    async def decide(self) -> None:
        await roles.approve(self.bank, self.actor, self.path_kwargs["login"])


class RejectRoles(Clerks):
    done = "roles_refused"

    @override
    async def decide(self) -> None:
        reason = self.form(RejectForm).reason
        await roles.reject(self.bank, self.actor, self.path_kwargs["login"], reason)
