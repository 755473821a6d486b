"""The console's pages of hand-overs: customers and groups that go to another RM."""

from __future__ import annotations

import secrets
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field
from typing_extensions import override

from config.bounds import LISTS_FORM_FIELDS, Name, RowId, Text, Word
from customers.handover import batches
from customers.wecom_mirror import groups
from handlers.console.base import REFUSALS, Console, Decision, RejectForm
from handlers.http.pages import Form
from services.errors import YinqiaoError
from services.wechat.core.errors import PlatformError


class HandoverForm(Form):
    """`customers` and `groups` say whether all, none or the chosen ones (fields `cid` and `chat`)
    go over."""

    mode: Literal["onjob", "resigned"]
    giver: Name
    taker: Name
    customers: Literal["all", "chosen", "none"] = "none"
    groups: Literal["all", "chosen", "none"] = "none"
    message: Text = ""
    key: Word = Field(min_length=8)


class Beginning(Form):
    """Whose customers a new hand-over is about."""

    mode: Word = "onjob"
    giver: Word = ""


class Handovers(Console):
    """All batches, and what members who left have left behind; POST hands a new one in."""

    @override
    async def get(self) -> None:
        rows = await batches.list_batches(self.bank, self.actor)
        left: dict[str, int] | None
        try:
            left = await batches.unassigned(self.bank, self.actor)
        except PlatformError:
            left = None
        self.render_page("handovers", rows=rows, left=left)

    @override
    def form_address(self) -> str:
        form = self.form(Beginning)
        return f"/console/handover/new?{urlencode({'mode': form.mode, 'giver': form.giver})}"

    @override
    async def post(self) -> None:
        form = self.form(HandoverForm)
        wanted = batches.Wanted(
            form.mode,
            form.giver,
            form.taker,
            form.key,
            cids=self.chosen(form.customers, "cid", RowId),
            chat_ids=self.chosen(form.groups, "chat", Name),
            message=form.message.replace("\r\n", "\n").strip(),
        )
        try:
            await batches.check_groups(self.bank, wanted)
            batch = await batches.start(self.bank, self.actor, wanted)
        except REFUSALS as error:
            await self.show_form(form.mode, form.giver, error)
            return
        self.redirect_to(f"/console/handover/{batch}", done="handover_submitted")

    def chosen(self, which: str, field: str, one: Any) -> tuple[str, ...] | None:
        """The ids that were ticked, each a `one`; None for all, none for none."""
        if which == "all":
            return None
        return self.ticked(field, one, LISTS_FORM_FIELDS) if which == "chosen" else ()

    async def group_names(self, choices: dict[str, Any] | None) -> dict[str, str]:
        """chat_id → name of the groups that could go over."""
        found = await groups.by_chat_id(self.bank, choices["groups"] if choices else [])
        return {chat: groups.name_of(self.bank, row) for chat, row in found.items()}

    async def show_form(self, mode: str, giver: str, error: YinqiaoError | None = None) -> None:
        """The form for what `giver` has; empty at WeCom's mercy: what cannot be listed cannot be
        chosen one by one."""
        choices = None
        if giver:
            try:
                choices = await batches.choices(self.bank, self.actor, giver)
            except PlatformError as refusal:
                error = error or refusal
        values = {
            "mode": mode,
            "giver": giver,
            "choices": choices,
            "groups": await self.group_names(choices),
            "key": secrets.token_hex(16),
        }
        people = await batches.people(self.bank, self.actor)
        values["groups"] = await self.group_names(choices)
        self.render_page("handover_new", error, people=people, **values)


class NewHandover(Handovers):
    @override
    async def get(self) -> None:
        asked = self.asked(Beginning)
        await self.show_form("resigned" if asked.mode == "resigned" else "onjob", asked.giver)


class Handover(Decision):
    """One batch: what was asked, and what became of every item."""

    @property
    def batch(self) -> str:
        return self.path_kwargs["batch"]

    @override
    async def get(self, batch: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await batches.batch_view(self.bank, self.actor, self.batch)
        self.render_page("handover", error, batch=view)

    @override
    def address(self) -> str:
        return f"/console/handover/{self.batch}"


class Approve(Handover):
    done = "handover_approved"

    @override
    async def decide(self) -> None:
        await batches.approve(self.bank, self.actor, self.batch)


class Reject(Handover):
    done = "handover_rejected"

    @override
    async def decide(self) -> None:
        await batches.reject(self.bank, self.actor, self.batch, self.form(RejectForm).reason)
