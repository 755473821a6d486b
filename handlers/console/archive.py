"""The console's pages of the message archive and of the words that members may not write. Every
right is checked on the server; each opened message is in the audit trail, and a change of the words
takes two clerks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from customers import intercepts
from customers.archive import reading
from customers.handover import batches
from handlers.console.pages import Console, RejectForm
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, YinqiaoError
from services.wechat.core.errors import PlatformError

REFUSALS = (Conflict, Forbidden, InvalidInput, NotFound, PlatformError)


class SearchForm(BaseModel):
    model_config = ConfigDict(strict=True)

    case: str = Field("", max_length=64)
    userid: str = Field("", max_length=64)
    day: str = Field("", max_length=16)


class CaseForm(BaseModel):
    model_config = ConfigDict(strict=True)

    case: str = Field("", max_length=64)


class _ArchivePage(Console):
    async def found(self) -> dict[str, Any]:
        people = await batches.people(self.bank, self.actor)
        return {
            "status": await reading.status(self.bank, self.actor),
            "people": people,
        }


class Archive(_ArchivePage):
    """How the archive goes; POST looks for a member's messages of a day, for a case."""

    @override
    async def get(self) -> None:
        self.page("archive", **await self.found(), wanted=SearchForm(), messages=None)

    @override
    async def post(self) -> None:
        wanted = self.form(SearchForm)
        try:
            messages = await reading.search(
                self.bank,
                self.actor,
                wanted.case.strip(),
                wanted.userid,
                wanted.day,
            )
        except REFUSALS as error:
            self.refused(error, "archive", **await self.found(), wanted=wanted, messages=None)
            return
        self.page("archive", **await self.found(), wanted=wanted, messages=messages)


class Message(_ArchivePage):
    """One message, opened for a case."""

    @override
    async def post(self, message: str) -> None:
        case = self.form(CaseForm).case.strip()
        try:
            shown = await reading.read(self.bank, self.actor, case, message)
        except REFUSALS as error:
            self.refused(
                error, "archive", **await self.found(), wanted=SearchForm(case=case), messages=None
            )
            return
        self.page("archive_message", message=shown, case=case)


class RuleForm(BaseModel):
    """`words` are one a line; `userids` and `departments` are apart by spaces or commas; the last
    three are ticked or not."""

    model_config = ConfigDict(strict=True)

    change: str = Field(intercepts.PUT, max_length=8)
    name: str = Field("", max_length=64)
    kind: str = Field("block", max_length=8)
    words: str = Field("", max_length=20_000)
    userids: str = Field("", max_length=20_000)
    departments: str = Field("", max_length=2_000)
    phone: str = Field("", max_length=8)
    mail: str = Field("", max_length=8)
    packet: str = Field("", max_length=8)

    def rule(self) -> intercepts.Rule:
        """Raises InvalidInput for a department that is no number."""
        words = tuple(line.strip() for line in self.words.splitlines() if line.strip())
        try:
            departments = tuple(int(one) for one in _apart(self.departments))
        except ValueError as error:
            raise InvalidInput(
                "intercept_rule", "numbers", fields={"departments": "numbers"}
            ) from error
        ticked = zip(intercepts.SEMANTICS, (self.phone, self.mail, self.packet), strict=True)
        semantics = tuple(number for number, on in ticked if on)
        userids = tuple(_apart(self.userids))
        kind: Literal["block", "warn"] = "warn" if self.kind == "warn" else "block"
        return intercepts.Rule(self.name.strip(), kind, words, userids, departments, semantics)


def _apart(text: str) -> list[str]:
    return text.replace(",", " ").replace("，", " ").split()


class _Rules(Console):
    async def show(self, error: YinqiaoError | None = None, **more: Any) -> None:
        rules, changes = await intercepts.overview(self.bank, self.actor)
        shown = {"rules": rules, "changes": changes, "form": RuleForm(), "compared": None, **more}
        if error is None:
            self.page("archive_rules", **shown)
        else:
            self.refused(error, "archive_rules", **shown)


class Rules(_Rules):
    """The rules and their changes; POST proposes one."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def post(self) -> None:
        form = self.form(RuleForm)
        try:
            if form.change == intercepts.END:
                await intercepts.submit_end(self.bank, self.actor, form.name)
            else:
                await intercepts.submit(self.bank, self.actor, form.rule())
        except REFUSALS as error:
            await self.show(error, form=form)
            return
        self.see("/console/intercepts", done="intercept_submitted")


class CompareRules(_Rules):
    """What WeCom has otherwise."""

    @override
    async def get(self) -> None:
        try:
            compared = await intercepts.differences(self.bank, self.actor)
        except PlatformError as error:
            await self.show(error)
            return
        await self.show(compared=compared)


class _Decision(_Rules):
    done: ClassVar[str]

    async def decide(self, change: str) -> None:
        """The one use-case."""
        raise NotImplementedError

    @override
    async def post(self, change: str = "") -> None:
        try:
            await self.decide(change)
        except REFUSALS as error:
            await self.show(error)
            return
        self.see("/console/intercepts", done=self.done)


class ApproveRule(_Decision):
    done = "intercept_done"

    @override
    async def decide(self, change: str) -> None:
        await intercepts.approve(self.bank, self.actor, change)


class RejectRule(_Decision):
    done = "rejected"

    @override
    async def decide(self, change: str) -> None:
        await intercepts.reject(
            self.bank,
            self.actor,
            change,
            self.form(RejectForm).reason,
        )


class BringRules(_Decision):
    done = "intercept_brought"

    @override
    async def decide(self, change: str) -> None:
        await intercepts.bring(self.bank, self.actor)
