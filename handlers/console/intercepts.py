"""The console's pages of the blocked words. A change takes two clerks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import override

from config.bounds import MOST_DEPARTMENTS, DepartmentId, LongText, Text, Word
from customers import intercepts
from handlers.console.base import REFUSALS, Decision, RejectForm
from handlers.http.pages import Form
from services.errors import InvalidInput, YinqiaoError
from services.wechat.core.errors import PlatformError

_DEPARTMENTS: TypeAdapter[tuple[int, ...]] = TypeAdapter(
    Annotated[tuple[DepartmentId, ...], Field(max_length=MOST_DEPARTMENTS)]
)


class RuleForm(Form):
    """`words` are one a line; `userids` and `departments` are apart by spaces or commas; the last
    three are ticked or not."""

    change: Word = intercepts.PUT
    name: Word = ""
    kind: Word = "block"
    words: LongText = ""
    userids: LongText = ""
    departments: Text = ""
    phone: Word = ""
    mail: Word = ""
    packet: Word = ""

    def rule(self) -> intercepts.Rule:
        """Raises InvalidInput for a department that is no number."""
        words = tuple(line.strip() for line in self.words.splitlines() if line.strip())
        try:
            departments = _DEPARTMENTS.validate_python(_apart(self.departments))
        except ValidationError as error:
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


class Rules(Decision):
    """The rules and their changes; POST proposes one."""

    @override
    async def get(self) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None, **more: Any) -> None:
        rules, changes = await intercepts.overview(self.bank, self.actor)
        shown = {"rules": rules, "changes": changes, "form": RuleForm(), "compared": None, **more}
        self.render_page("archive_rules", error, **shown)

    @override
    def address(self) -> str:
        return "/console/intercepts"

    @override
    async def post(self, **_: str) -> None:
        form = self.form(RuleForm)
        try:
            if form.change == intercepts.END:
                await intercepts.submit_end(self.bank, self.actor, form.name)
            else:
                await intercepts.submit(self.bank, self.actor, form.rule())
        except REFUSALS as error:
            await self.show(error, form=form)
            return
        self.redirect_to(self.address(), done="intercept_submitted")


class Compare(Rules):
    """What WeCom has otherwise."""

    @override
    async def get(self) -> None:
        try:
            compared = await intercepts.differences(self.bank, self.actor)
        except PlatformError as error:
            await self.show(error)
            return
        await self.show(compared=compared)


class Change(Rules):
    """A step of a change that was proposed."""

    @override
    async def post(self, **_: str) -> None:
        await Decision.post(self)


class Approve(Change):
    done = "intercept_done"

    @override
    async def decide(self) -> None:
        await intercepts.approve(self.bank, self.actor, self.path_kwargs["change"])


class Reject(Change):
    done = "intercept_rejected"

    @override
    async def decide(self) -> None:
        change, reason = self.path_kwargs["change"], self.form(RejectForm).reason
        await intercepts.reject(self.bank, self.actor, change, reason)


class Bring(Change):
    done = "intercept_brought"

    @override
    async def decide(self) -> None:
        await intercepts.bring(self.bank, self.actor)
