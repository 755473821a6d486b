"""The console's pages of tags: corp tags and those of rule groups, with who has and who uses them. One
clerk makes, sorts and renames; a merge or a deletion takes two."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from campaigns.corp_tags import acts, desk
from config.bounds import GivenReason, LongText, Word
from handlers.console.base import Console, Decision, RejectForm
from handlers.http.pages import Form
from services import sheets
from services.errors import InvalidInput, YinqiaoError

MOST_ORDER = 2**32 - 1
"""What WeCom takes for the place of a tag."""


class NewTagsForm(Form):
    """`names` are one a line; `strategy` is a rule group's number, empty for corp tags."""

    group: Word = ""
    names: LongText = ""
    strategy: Word = ""


class NameForm(Form):
    name: Word = ""


class OrderForm(Form):
    order: Word = ""


class EndForm(Form):
    """Merged into another tag, or deleted where there is none; `force` is ticked: although it
    is used."""

    into: Word = ""
    reason: GivenReason
    force: Word = ""


def _number(text: str) -> int:
    """The number in a field, 0 for an empty one; raises InvalidInput `not_a_count`."""
    read = sheets.cell(text) or "0"
    if not (read.isascii() and read.isdigit() and int(read[:11]) <= MOST_ORDER):
        raise InvalidInput("not_a_count", f"a whole number up to {MOST_ORDER}")
    return int(read)


class Tags(Decision):
    """All tags, and what is done with them; POST makes some."""

    @override
    async def get(self, **_: str) -> None:
        await self.show()

    def in_words(self, error: YinqiaoError | None) -> YinqiaoError | None:
        """The error with campaigns and segments by their names."""
        if error is not None and "by" in error.data:
            called = [self.called(one) for one in error.data["by"].split(", ")]
            error.data["by"] = ", ".join(called)
        return error

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        shown = await desk.overview(self.bank)
        self.render_page(
            "tags",
            self.in_words(error),
            shown=shown,
            most=desk.MOST,
            acts=await acts.shown(self.bank),
        )

    @override
    def address(self) -> str:
        return "/console/tags"

    @override
    async def decide(self) -> str | None:
        form = self.form(NewTagsForm)
        names = [line for line in form.names.splitlines() if line.strip()]
        made = await desk.create(self.bank, self.actor, form.group, names, _number(form.strategy))
        return "tags_made" if made else "tags_there"


class Progress(Console):
    """The part of the page that htmx fetches again and again."""

    @override
    async def get(self) -> None:
        self.render_page("tags_progress", acts=await acts.shown(self.bank))


class Tag(Tags):
    """One tag or group: who has it, who uses it, and what may be done with it."""

    @property
    def subject(self) -> str:
        return self.path_kwargs["tag"]

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        shown = await desk.overview(self.bank)
        found = desk.found_in(shown, self.subject)
        values: dict[str, Any] = {"found": found, "groups": shown.groups}
        self.render_page("tag", self.in_words(error), **values)

    @override
    def address(self) -> str:
        return f"/console/tags/{self.subject}"


class Rename(Tag):
    done = "tag_renamed"

    @override
    async def decide(self) -> str | None:
        await acts.rename(self.bank, self.actor, self.subject, self.form(NameForm).name)
        return self.done


class Reorder(Tag):
    done = "tag_reordered"

    @override
    async def decide(self) -> str | None:
        order = _number(self.form(OrderForm).order)
        await desk.reorder(self.bank, self.actor, self.subject, order)
        return self.done


class End(Tag):
    """Asks another clerk to agree to a merge or a deletion."""

    done = "tag_asked"

    @override
    async def decide(self) -> str | None:
        form = self.form(EndForm)
        forced = bool(form.force)
        await acts.ask(
            self.bank, self.actor, self.subject, form.reason, into=form.into, force=forced
        )
        return self.done


class Approve(Tags):
    done = "tag_act_approved"

    @override
    async def decide(self) -> str | None:
        await acts.approve(self.bank, self.actor, self.path_kwargs["act"])
        return self.done


class Reject(Tags):
    done = "tag_act_rejected"

    @override
    async def decide(self) -> str | None:
        reason = self.form(RejectForm).reason
        await acts.reject(self.bank, self.actor, self.path_kwargs["act"], reason)
        return self.done


class Cancel(Tags):
    done = "tag_act_cancelled"

    @override
    async def decide(self) -> str | None:
        await acts.cancel(self.bank, self.actor, self.path_kwargs["act"])
        return self.done
