"""The counter: a teller or one of a merchant's people signs in, looks at a voucher, writes it off and
takes it back. Everything works without a script; the camera needs one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from config.bounds import GivenReason, IdempotencyKey, Password, ShortText, Word
from customers.access import counter
from customers.access import sign_in as signing
from customers.actors import CounterActor
from customers.banks import accounts
from customers.banks.bank import open_bank
from customers.banks.counters import COUNTER
from handlers.http.base import Refusal
from handlers.http.kept_forms import Sent
from handlers.http.pages import Form, Page
from handlers.http.route import Op
from rewards import desk
from rewards.desk import Line
from rewards.vouchers import redeem
from rewards.vouchers.redeem import Redeemer, VoucherView
from services import ids
from services.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    KeyReused,
    NotFound,
    NotSignedIn,
    TooMany,
    Unavailable,
    YinqiaoError,
)

REFUSALS = (Conflict, InvalidInput, KeyReused, NotFound, TooMany)
"""What a page says itself, beside the field; all else is a page of its own."""
SHOWN_FIRST = 3
"""So many of today's write-offs stand below the field."""
Uses = Annotated[str, Field(max_length=4, pattern=r"^[0-9]{1,4}$")]


class SignInForm(Form):
    name: Word = ""
    password: Password = Field("", repr=False)


class PasswordForm(Form):
    old: Password = Field("", repr=False)
    new: Password = Field("", repr=False)
    again: Password = Field("", repr=False)


class CodeForm(Form):
    """A code typed or scanned, or a QR code's text."""

    code: ShortText = ""


class RedeemForm(Form):
    """`shown` is what the look at it gave; `key` makes a second click the same write-off."""

    shown: ShortText
    key: IdempotencyKey
    uses: Uses = "1"


class UndoForm(Form):
    reason: GivenReason


class PasswordMustChange(Forbidden):
    """The password is not its owner's own yet: it came from the bank's file."""

    def __init__(self) -> None:
        super().__init__("password_must_change", "choose a password of your own first")


class Counter(Page):
    """Somebody at a counter, by a session of this face; what he may do is asked anew at each
    request."""

    folder: ClassVar[str] = "counter"
    actor: CounterActor
    before_change: ClassVar[bool] = False
    """Whether who must change his password, or has no place yet, may come here."""

    @property
    def tenant(self) -> str:
        return self.path_kwargs["tenant"]

    @override
    def home(self) -> str:
        return f"/counter/{self.tenant}/"

    @override
    def face(self) -> str:
        return f"counter_{self.tenant}"

    @override
    def owner(self) -> str:
        return f"counter|{self.actor.tenant}|{self.actor.login}"

    @property
    def token(self) -> str:
        return self.get_cookie(self.session_cookie(self.face())) or ""

    @override
    async def identify(self, permission: str) -> CounterActor:
        actor, found = await counter.actor_of(self.services, self.tenant, self.token)
        if not self.before_change:
            if found.must_change:
                raise PasswordMustChange
            if not actor.branch and not actor.merchant:
                raise Forbidden("counter_waiting", "this account waits for a clerk's approval")
        return actor

    @override
    async def _authorise(self, wanted: Op) -> None:
        try:
            await super()._authorise(wanted)
        except PasswordMustChange:
            if self.request.method != "GET":
                raise
            self.redirect_to(f"{self.home()}account")

    @override
    async def redirect_to_sign_in(self) -> None:
        self.remember_next()
        self.redirect_to(f"{self.home()}sign-in")

    @override
    def answer_sign_in(self, address: str) -> bool:
        self.remember_path(address)
        page = self.render_string("counter/kept.html", **self.around(), address=address)
        self.write(page)
        return True

    @override
    def answer_refusal(self, refusal: Refusal) -> None:
        """A page of this face: as light as its others."""
        address = self.keep_posted() if refusal.status != 404 else ""
        if refusal.status == 401 and address and self.answer_sign_in(address):
            return
        text = self.explain(refusal.code, refusal.message)
        values = {"refusal": refusal, "text": text, **self.around()}
        self.write(self.render_string("counter/refused.html", **values))

    def around(self) -> dict[str, Any]:
        """What every page of this face shows; without a session, of nobody."""
        actor, bank = self.actor, getattr(self, "bank", None)
        return {
            "actor": actor,
            "base": self.home().rstrip("/"),
            "bank": bank.name if bank is not None else {},
            "place": self.redeemer().place if actor is not None and bank is not None else "",
            "money": self.money,
            "clock": self.clock,
        }

    def redeemer(self) -> Redeemer:
        """Who writes off, and where."""
        one = self.actor
        known = self.bank.branches if one.branch else self.bank.merchants
        place = known.get(one.branch or one.merchant, one.branch or one.merchant)
        kind = "teller" if one.branch else "merchant"
        return Redeemer(kind, one.login, one.name, one.branch, one.merchant, place)  # type: ignore[arg-type]

    def money(self, fen: int) -> str:
        return f"¥{fen // 100:,}.{fen % 100:02}"

    def clock(self, at: Any) -> str:
        """The time of the bank's day."""
        return self.format_time(at)[11:]

    async def show_desk(self, error: YinqiaoError | None = None) -> None:
        """The page with the field, the last write-offs below it."""
        by = self.redeemer()
        lines = await desk.today(self.bank, by)
        used = (await desk.used_today(self.bank, [by.counter])).get(by.counter, 0)
        values = {"lines": lines[:SHOWN_FIRST], "used": used, "sums": sums(lines)}
        self.render_page("desk", error, **self.around(), **values)


def sums(lines: list[Line]) -> dict[str, int]:
    """How many write-offs stand, and what they are worth (fen)."""
    stand = [line for line in lines if not line.undone]
    return {"n": len(stand), "fen": sum(line.face_value * line.count for line in stand)}


class SignIn(Counter):
    keeps = False

    @override
    async def get(self, tenant: str) -> None:
        bank = await open_bank(self.services, tenant)
        self.render_page("sign_in", **{**self.around(), "bank": bank.name}, name="")

    @override
    async def post(self, tenant: str) -> None:
        form, bank = self.form(SignInForm), await open_bank(self.services, tenant)
        name = form.name.strip()
        try:
            token = await counter.sign_in(self.services, tenant, name, form.password, self.origin())
        except (NotSignedIn, TooMany) as error:
            values = {**self.around(), "bank": bank.name}
            self.render_page("sign_in", error, **values, name=name)
            return
        await self.services.sessions.end(counter.SESSION, self.token)
        self.keep_session(self.face(), token, samesite="Strict")
        self.redirect_to(self.next_path())


class SignOut(Counter):
    keeps = False
    before_change: ClassVar[bool] = True

    @override
    async def post(self, tenant: str) -> None:
        await counter.sign_out(self.services, tenant, self.token, self.origin())
        self.forget_session(self.face())
        self.redirect_to(f"{self.home()}sign-in")


class Account(Counter):
    """Oneself. Whoever changes his password signs in with it."""

    keeps = False
    before_change: ClassVar[bool] = True

    @override
    async def get(self, tenant: str) -> None:
        await self.show()

    async def show(self, error: YinqiaoError | None = None) -> None:
        _, found = await counter.actor_of(self.services, self.tenant, self.token)
        last = await signing.last_sign_in(self.services, COUNTER, self.token)
        values = {"must_change": found.must_change, "last": last}
        self.render_page("account", error, **self.around(), **values)

    @override
    async def post(self, tenant: str) -> None:
        form, login = self.form(PasswordForm), self.actor.login
        try:
            if form.new != form.again:
                raise InvalidInput("passwords_differ", "the new password was not typed twice alike")
            await accounts.change_password(self.bank, COUNTER, login, form.old, form.new)
        except (InvalidInput, TooMany) as error:
            await self.show(error)
            return
        self.forget_session(self.face())
        self.redirect_to(f"{self.home()}sign-in", done="password_changed")


class Desk(Counter):
    @override
    async def get(self, tenant: str) -> None:
        await self.show_desk()


class Look(Counter):
    """What was shown, and whether it may be used here; nothing is done yet."""

    @override
    async def get(self, tenant: str) -> None:
        self.redirect_to(self.home())

    refills = True

    @override
    def with_form(self, page: str, form: Sent) -> str:
        """A code with a wrong character comes back, to be corrected; after anything else the field
        is empty, since a hand scanner types behind what is there."""
        return super().with_form(page, form) if self.refills else page

    @override
    async def post(self, tenant: str) -> None:
        code = self.form(CodeForm).code.strip()
        try:
            if not code:
                raise InvalidInput("code_missing", "type or scan a code")
            seen = await redeem.look(self.bank, self.redeemer(), code)
        except REFUSALS as error:
            self.refills = error.code == "voucher_code_wrong"
            await self.show_desk(error)
            return
        self.show_voucher(seen, ids.token())

    def show_voucher(self, seen: VoucherView, key: str) -> None:
        why = self.explain(seen.why, seen.why, **seen.data) if seen.why else ""
        self.render_page("voucher", **self.around(), seen=seen, why=why, key=key)


class Redeem(Counter):
    """Writes off what was looked at. The same form sent twice is one write-off."""

    keeps = False

    @override
    async def get(self, tenant: str) -> None:
        self.redirect_to(self.home())

    @override
    async def post(self, tenant: str) -> None:
        form = self.form(RedeemForm)
        try:
            receipt = await desk.redeem(
                self.bank,
                self.redeemer(),
                self.actor.per_day,
                form.shown,
                form.key,
                int(form.uses),
            )
        except REFUSALS as error:
            await self.show_desk(error)
            return
        except Unavailable as error:
            self.render_page("again", error, **self.around(), form=form)
            return
        self.redirect_to(f"{self.home()}uses/{receipt.use}", done="redeemed")


class Use(Counter):
    """The receipt of a write-off, which may be taken back here for ten minutes."""

    @override
    async def get(self, tenant: str, use: str) -> None:
        await self.show(use)

    async def show(self, use: str, error: YinqiaoError | None = None) -> None:
        line = await desk.find(self.bank, self.redeemer(), use)
        self.render_page("receipt", error, **self.around(), line=line)


class Undo(Use):
    @override
    def form_address(self) -> str:
        return f"{self.home()}uses/{self.path_kwargs['use']}"

    @override
    async def get(self, tenant: str, use: str) -> None:
        self.redirect_to(self.form_address())

    @override
    async def post(self, tenant: str, use: str) -> None:
        by = self.redeemer()
        await desk.find(self.bank, by, use)
        try:
            reason = self.form(UndoForm).reason.strip()
            await redeem.undo(self.bank, by, use, reason)
        except InvalidInput:
            await self.show(use, InvalidInput("reason_missing", "say why"))
            return
        except Conflict as error:
            await self.show(use, error)
            return
        self.redirect_to(self.form_address(), done="undone")


class Today(Counter):
    @override
    async def get(self, tenant: str) -> None:
        by = self.redeemer()
        lines = await desk.today(self.bank, by)
        used = (await desk.used_today(self.bank, [by.counter])).get(by.counter, 0)
        values: dict[str, Any] = {"lines": lines, "sums": sums(lines), "used": used}
        self.render_page("today", **self.around(), **values)
