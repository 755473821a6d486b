"""The console's pages of vouchers: found by code, customer or campaign, with what became of each; and
what two clerks do with them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from typing_extensions import override

from config.bounds import Reason, RowId, ShortText, Word
from customers.identity import resolution, review
from handlers.console.base import Console, Decision, RejectForm
from handlers.http.pages import Form
from rewards.vouchers import acts, search
from rewards.vouchers.rows import STATES
from rewards.vouchers.search import Wanted
from services.errors import InvalidInput, NotFound, YinqiaoError

OF_ONE = Literal["undo", "recall", "refund", "make_good"]


class SearchForm(Form):
    """A voucher's code, or a customer's phone, number or id."""

    q: ShortText = Field("", repr=False)


class Shown(Form):
    """Which vouchers the list shows."""

    customer: Word = ""
    campaign: Word = ""
    state: Word = ""
    before: Word = ""


class ActForm(Form):
    """`use` is the write-off that is taken back."""

    act: OF_ONE
    use: RowId | Literal[""] = ""
    reason: Reason = ""


class RecallForm(Form):
    campaign: Word
    reason: Reason = ""


class Vouchers(Decision):
    """The list; POST finds a voucher by its code, or a customer's."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    def address(self) -> str:
        return "/console/vouchers"

    @override
    async def show(self, error: YinqiaoError | None = None, found: Any = None) -> None:
        asked = self.asked(Shown) if self.request.method == "GET" else Shown()
        cids: tuple[str, ...] = ()
        if asked.customer:
            person = await resolution.customer(self.bank, asked.customer)
            cids = tuple(person.cids)
        try:
            wanted = Wanted(cids, asked.campaign, asked.state, asked.before)
            page = await search.listed(self.bank, wanted)
        except InvalidInput as refusal:
            error, page = refusal, search.Found([], "")
        self.render_page(
            "vouchers",
            error,
            page=page,
            asked=asked,
            found=found,
            acts=await acts.waiting(self.bank),
            campaigns=await search.campaigns(self.bank),
            states=STATES,
        )

    @override
    async def post(self, **_: str) -> None:
        wanted = self.form(SearchForm).q.strip()
        if not wanted:
            self.redirect_to(self.address())
            return
        try:
            found = [] if search.is_own_code(self.bank, wanted) else await self.customers(wanted)
            if len(found) == 1:
                self.redirect_to(f"{self.address()}?customer={found[0]['cid']}")
            elif found:
                await self.show(found=found)
            else:
                voucher = await search.by_code(self.bank, self.actor, wanted)
                self.redirect_to(f"{self.address()}/{voucher}")
        except YinqiaoError as error:
            await self.show(error)

    async def customers(self, wanted: str) -> list[dict[str, Any]]:
        """The customers with exactly this phone, number or id: who looks for them guesses no
        code."""
        return await review.search(self.bank, self.actor, wanted)


class Recall(Vouchers):
    """Asks for all unused vouchers of a campaign to be recalled."""

    done = "voucher_asked"

    @override
    async def post(self, **_: str) -> None:
        await Decision.post(self)

    @override
    async def decide(self) -> None:
        form = self.form(RecallForm)
        await acts.ask(self.bank, self.actor, "recall_campaign", form.campaign, form.reason)


class Approve(Recall):
    done = "voucher_act_approved"

    @override
    async def decide(self) -> None:
        await acts.approve(self.bank, self.actor, self.path_kwargs["act"])


class Reject(Recall):
    done = "voucher_act_rejected"

    @override
    async def decide(self) -> None:
        reason = self.form(RejectForm).reason
        await acts.reject(self.bank, self.actor, self.path_kwargs["act"], reason)


class Progress(Console):
    """The part of the page that htmx fetches again and again."""

    @override
    async def get(self) -> None:
        self.render_page("vouchers_progress", acts=await acts.waiting(self.bank))


class Voucher(Decision):
    """One voucher and what became of it; POST asks another clerk to agree to something with it."""

    done = "voucher_asked"

    @property
    def voucher(self) -> str:
        return self.path_kwargs["voucher"]

    @override
    async def get(self, voucher: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        life = await search.life_of(self.bank, self.voucher)
        values = {"life": life, "voucher": life.voucher, "kind_text": self.kind_text}
        self.render_page("voucher", error, **values)

    def kind_text(self, kind: str) -> str:
        """What a kind of the timeline is called."""
        return self.locale.translate(f"kind:{kind}")

    @override
    def address(self) -> str:
        return f"/console/vouchers/{self.voucher}"

    @override
    async def decide(self) -> None:
        form = self.form(ActForm)
        if form.act == "undo":
            life = await search.life_of(self.bank, self.voucher)
            if form.use not in [use["_id"] for use in life.uses]:
                raise NotFound("use_unknown", "no such write-off of this voucher")
        subject = form.use if form.act == "undo" else self.voucher
        await acts.ask(self.bank, self.actor, form.act, subject, form.reason)
