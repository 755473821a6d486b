"""The console's pages of customers: finding one, how we know him, merges, questions.

What changes who is who takes two clerks.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from typing_extensions import override

from config.bounds import Reason, RowId, ShortText, Word
from customers import timeline
from customers.access import withdrawal
from customers.fields import viewing
from customers.fields.viewing import FieldView
from customers.identity import resolution, review
from customers.rfm import viewing as rfm
from handlers.console.base import Console, Decision
from handlers.http.pages import Form
from services.errors import InvalidInput, NotFound, TooMany, YinqiaoError

EVENTS_SHOWN = 20


class SearchForm(Form):
    q: ShortText = Field("", repr=False)


class DecisionForm(Form):
    """`cid` is whose page the form is on."""

    cid: RowId
    answer: Word = ""
    reason: Reason = ""


class People(Console):
    """What was found, if anything was looked for, and the questions that wait."""

    async def show(
        self, found: list[dict[str, Any]] | None, error: YinqiaoError | None = None
    ) -> None:
        """The page; `found` is None where nothing was looked for."""
        questions = await review.list_questions(self.bank, self.actor)
        self.render_page("people", error, found=found, questions=questions)


class Customers(People):
    """An exact search, and the questions that wait. The form is posted and answered by the address of
    what was found, so that no phone number is in an address, and going back or reloading shows it
    again."""

    @override
    def form_address(self) -> str:
        return "/console/people"

    @override
    async def get(self) -> None:
        if self.asked(SearchForm).q:
            error = InvalidInput("search_in_address", "search with the form: addresses are kept")
            await self.show(None, error)
            return
        await self.show(None)

    @override
    async def post(self) -> None:
        wanted = self.form(SearchForm).q.strip()
        if not wanted:
            self.redirect_to("/console/people")
            return
        try:
            found = await review.search(self.bank, self.actor, wanted)
            if not found:
                review.check_readable(self.bank, wanted)
        except (TooMany, InvalidInput) as error:
            await self.show(None, error)
            return
        search = await review.keep_search(self.bank, self.actor, found)
        self.redirect_to(f"/console/people/search/{search}")


class Search(People):
    """What a search of this clerk's found."""

    @override
    async def get(self, search: str) -> None:
        try:
            found = await review.kept_search(self.bank, self.actor, search)
        except NotFound as error:
            await self.show(None, error)
            return
        await self.show(found)


class Customer(Decision):
    """One customer: his ids with where each came from, the merges that he was in, the questions
    about him."""

    @property
    def cid(self) -> str:
        return self.path_kwargs.get("cid") or self.form(DecisionForm).cid

    @override
    async def get(self, cid: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await review.explain(self.bank, self.actor, self.cid)
        agreed = await withdrawal.list_consents(self.bank, view["cid"])
        cids = await resolution.cids(self.bank, view["cid"])
        shown = {
            "fields": await self.fields(view["cid"]),
            "fifths": await rfm.of_customer(self.bank, self.actor, view["cid"]),
            "sent": await timeline.of_kinds(self.bank, cids, ["bank.event"], EVENTS_SHOWN),
        }
        self.render_page("people_customer", error, person=view, consents=agreed, **shown)

    async def fields(self, cid: str) -> list[FieldView]:
        """What the bank knows of him, as far as the clerk may see it."""
        if viewing.READ not in self.actor.permissions:
            return []
        return await viewing.of_customer(self.bank, self.actor, cid)

    @override
    def address(self) -> str:
        return f"/console/people/{self.cid}"


class WithdrawConsent(Customer):
    done = "consent_withdrawn"

    @override
    async def decide(self) -> None:
        reason, purpose = self.form(DecisionForm).reason, self.path_kwargs["purpose"]
        await withdrawal.withdraw_for(self.bank, self.actor, self.cid, purpose, reason)


class UndoMerge(Customer):
    done = "undo_asked"

    @override
    async def decide(self) -> None:
        reason = self.form(DecisionForm).reason
        await review.undo(self.bank, self.actor, self.path_kwargs["merge"], reason)


class ApproveUndo(Customer):
    done = "merge_undone"

    @override
    async def decide(self) -> None:
        await review.approve_undo(self.bank, self.actor, self.path_kwargs["merge"])


class KeepMerge(Customer):
    done = "merge_kept"

    @override
    async def decide(self) -> None:
        await review.stay_merged(self.bank, self.actor, self.path_kwargs["merge"])


class Propose(Customer):
    done = "answer_proposed"

    @override
    async def decide(self) -> None:
        form, question = self.form(DecisionForm), self.path_kwargs["question"]
        await review.propose(self.bank, self.actor, question, form.answer, form.reason)


class Agree(Customer):
    done = "answer_agreed"

    @override
    async def decide(self) -> None:
        await review.agree(self.bank, self.actor, self.path_kwargs["question"])
