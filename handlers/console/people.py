"""The console's pages about who is who: finding a customer, how we know him, merges, questions.
Every right is checked on the server, and what changes who is who takes two clerks."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from customers.identity import review
from handlers.console.pages import Console
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable, YinqiaoError

REFUSALS = (Conflict, Forbidden, InvalidInput, NotFound, Unavailable)


class SearchForm(BaseModel):
    model_config = ConfigDict(strict=True)

    q: str = Field("", max_length=128, repr=False)


class DecisionForm(BaseModel):
    """`cid` is whose page the form is on."""

    model_config = ConfigDict(strict=True)

    cid: str = Field(min_length=1, max_length=128)
    answer: str = Field("", max_length=16)
    reason: str = Field("", max_length=500)


class People(Console):
    """An exact search, and the questions that wait. The form is posted, so that no phone number is
    in an address."""

    @override
    async def get(self) -> None:
        await self.show(self.get_query_argument("q", ""))

    @override
    async def post(self) -> None:
        await self.show(self.form(SearchForm).q)

    async def show(self, wanted: str) -> None:
        found = await review.search(self.bank, self.actor, wanted)
        questions = await review.list_questions(self.bank, self.actor)
        self.page("people", wanted=wanted, found=found, questions=questions)


class Person(Console):
    """One customer: his ids with where each came from, the merges that he was in, the questions
    about him."""

    @override
    async def get(self, cid: str) -> None:
        await self.show_person(cid)

    async def show_person(self, cid: str, error: YinqiaoError | None = None) -> None:
        view = await review.explain(self.bank, self.actor, cid)
        if error is None:
            self.page("people_customer", person=view)
        else:
            self.refused(error, "people_customer", person=view)


class Decision(Person):
    """A step of two clerks' decision; refused, the page says why."""

    done: ClassVar[str]

    async def decide(self, subject: str, form: DecisionForm) -> None:
        """The one use-case."""
        raise NotImplementedError

    @override
    async def post(self, **subject: str) -> None:
        form = self.form(DecisionForm)
        try:
            await self.decide(next(iter(subject.values())), form)
        except REFUSALS as error:
            await self.show_person(form.cid, error)
            return
        self.see(f"/console/people/{form.cid}", done=self.done)


class UndoMerge(Decision):
    done = "undo_asked"

    @override
    async def decide(self, subject: str, form: DecisionForm) -> None:
        await review.undo(self.bank, self.actor, subject, form.reason)


class ApproveUndo(Decision):
    done = "merge_undone"

    @override
    async def decide(self, subject: str, form: DecisionForm) -> None:
        await review.approve_undo(self.bank, self.actor, subject)


class KeepMerge(Decision):
    done = "merge_kept"

    @override
    async def decide(self, subject: str, form: DecisionForm) -> None:
        await review.keep(self.bank, self.actor, subject)


class Propose(Decision):
    done = "answer_proposed"

    @override
    async def decide(self, subject: str, form: DecisionForm) -> None:
        await review.propose(
            self.bank,
            self.actor,
            subject,
            form.answer,
            form.reason,
        )


class Agree(Decision):
    done = "answer_agreed"

    @override
    async def decide(self, subject: str, form: DecisionForm) -> None:
        await review.agree(self.bank, self.actor, subject)
