"""The side panel as a counter: the RM scans a customer's voucher with WeCom's camera or types its code,
looks what it is, writes it off, and takes it back within ten minutes."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import override

from config.bounds import IdempotencyKey, Reason, ShortText, Word
from customers.access import panel
from customers.banks import staff
from handlers.http.pages import Form
from handlers.sidebar.pages import Sidebar
from rewards import catalogue
from rewards.vouchers import redeem
from rewards.vouchers.redeem import Redeemer, VoucherView
from services import ids
from services.errors import InvalidInput, YinqiaoError


class LookForm(Form):
    """What was scanned or typed."""

    shown: ShortText = ""


class RedeemForm(Form):
    """The ticket of what was looked at, and how many uses of it."""

    ticket: ShortText
    uses: Word = "1"
    key: IdempotencyKey


class UndoForm(Form):
    reason: Reason = ""


class Done(Form):
    """The use that was just written off."""

    use: Word | Literal[""] = ""


class Counter(Sidebar):
    """A form for a code, a camera where WeCom's client has one, and what this RM wrote off today."""

    @override
    async def get(self, tenant: str) -> None:
        await self.show(done_use=self.asked(Done).use)

    async def redeemer(self) -> Redeemer:
        member = await staff.staff_member(self.bank, self.actor.userid)
        place = self.bank.branches.get(member.branch, member.branch)
        return Redeemer("rm", member.userid, member.name, branch=member.branch, place=place)

    async def show(
        self,
        error: YinqiaoError | None = None,
        *,
        view: VoucherView | None = None,
        shown: str = "",
        done_use: str = "",
    ) -> None:
        """The page, with the voucher that was looked at, or with what went wrong."""
        by = await self.redeemer()
        values: dict[str, Any] = {
            "view": view,
            "shown": shown,
            "why": self.explain(view.why, **dict(view.data)) if view and not view.may else "",
            "uses": await redeem.today(self.bank, by),
            "done_use": done_use,
            "undo_after": self.bank.utc() - redeem.UNDO,
            "rewards": await catalogue.all_rewards(self.bank),
            "signed": await self.signature(),
            "new_key": ids.token,
        }
        self.render_page("counter", error, **await self.names(), **values)

    async def signature(self) -> panel.Signed | None:
        """By which WeCom's client lets this page use the camera; None when WeCom does not answer,
        since codes can be typed."""
        address = self.services.settings.url.rstrip("/") + (self.request.uri or "")
        try:
            return await panel.sign(self.bank, address)
        except YinqiaoError:
            return None

    @override
    def form_address(self) -> str:
        return f"/sidebar/{self.tenant}/counter"


class Look(Counter):
    keeps = False

    @override
    async def post(self, tenant: str) -> None:
        shown = self.form(LookForm).shown.strip()
        try:
            if not shown:
                raise InvalidInput("voucher_code_missing", "scan the code or type it")
            view = await redeem.look(self.bank, await self.redeemer(), shown)
        except YinqiaoError as error:
            if error.status >= 500:
                raise
            await self.show(error, shown=shown)
            return
        await self.show(view=view)


class Redeem(Counter):
    keeps = False

    @override
    async def post(self, tenant: str) -> None:
        form = self.form(RedeemForm)
        uses = int(form.uses) if form.uses.isdecimal() and len(form.uses) < 5 else 0
        try:
            receipt = await redeem.redeem(
                self.bank, await self.redeemer(), form.ticket, form.key, uses
            )
        except YinqiaoError as error:
            if error.status >= 500:
                raise
            await self.show(error)
            return
        self.redirect_to(self.form_address(), done="voucher_used", use=receipt.use)


class Undo(Counter):
    @override
    async def post(self, tenant: str, use: str) -> None:
        form = self.form(UndoForm)
        try:
            await redeem.undo(self.bank, await self.redeemer(), use, form.reason)
        except YinqiaoError as error:
            if error.status >= 500:
                raise
            await self.show(error)
            return
        self.redirect_to(self.form_address(), done="voucher_undone")
