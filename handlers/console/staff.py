"""The console's pages about RMs: handing customers over, and alarms. Every right is checked on the
server."""

from __future__ import annotations

import secrets
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from customers.alerts import alarms
from customers.handover import batches
from handlers.console.pages import Console, RejectForm
from services.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable, YinqiaoError
from services.wechat.core.errors import PlatformError

REFUSALS = (Conflict, Forbidden, InvalidInput, NotFound, Unavailable, PlatformError)


class HandoverForm(BaseModel):
    """`customers` and `groups` say whether all, none or the chosen ones (fields `cid` and `chat`)
    go over."""

    model_config = ConfigDict(strict=True)

    mode: Literal["onjob", "resigned"]
    giver: str = Field(min_length=1, max_length=64)
    taker: str = Field(min_length=1, max_length=64)
    customers: Literal["all", "chosen", "none"] = "none"
    groups: Literal["all", "chosen", "none"] = "none"
    message: str = Field("", max_length=2000)
    key: str = Field(min_length=8, max_length=64)


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
        self.page("handovers", rows=rows, left=left)

    @override
    async def post(self) -> None:
        form = self.form(HandoverForm)
        wanted = batches.Wanted(
            form.mode,
            form.giver,
            form.taker,
            form.key,
            cids=self.chosen(form.customers, "cid"),
            chat_ids=self.chosen(form.groups, "chat"),
            message=form.message.replace("\r\n", "\n").strip(),
        )
        try:
            batch = await batches.start(self.bank, self.actor, wanted)
        except REFUSALS as error:
            await self.show_form(form.mode, form.giver, error)
            return
        self.see(f"/console/handover/{batch}", done="handover_submitted")

    def chosen(self, which: str, field: str) -> tuple[str, ...] | None:
        """The ids that were ticked; None for all, none for none."""
        return (
            None
            if which == "all"
            else tuple(self.get_body_arguments(field))
            if which == "chosen"
            else ()
        )

    async def show_form(self, mode: str, giver: str, error: YinqiaoError | None = None) -> None:
        """The form for what `giver` has; empty at WeCom's mercy: what cannot be listed cannot be
        chosen one by one."""
        choices = None
        if giver:
            try:
                choices = await batches.choices(self.bank, self.actor, giver)
            except PlatformError as refusal:
                error = error or refusal
        values = {"mode": mode, "giver": giver, "choices": choices, "key": secrets.token_hex(16)}
        people = await batches.people(self.bank, self.actor)
        if error is None:
            self.page("handover_new", people=people, **values)
        else:
            self.refused(error, "handover_new", people=people, **values)


class NewHandover(Handovers):
    @override
    async def get(self) -> None:
        mode = self.get_query_argument("mode", "onjob")
        await self.show_form(
            "resigned" if mode == "resigned" else "onjob", self.get_query_argument("giver", "")
        )


class Handover(Console):
    """One batch: what was asked, and what became of every item."""

    @override
    async def get(self, batch: str) -> None:
        await self.show(batch)

    async def show(self, batch: str, error: YinqiaoError | None = None) -> None:
        view = await batches.batch_view(self.bank, self.actor, batch)
        if error is None:
            self.page("handover", batch=view)
        else:
            self.refused(error, "handover", batch=view)


class Decision(Handover):
    done: ClassVar[str]

    async def decide(self, batch: str) -> None:
        """The one use-case."""
        raise NotImplementedError

    @override
    async def post(self, batch: str) -> None:
        try:
            await self.decide(batch)
        except (Conflict, Forbidden, InvalidInput, Unavailable) as error:
            await self.show(batch, error)
            return
        self.see(f"/console/handover/{batch}", done=self.done)


class ApproveHandover(Decision):
    done = "approved"

    @override
    async def decide(self, batch: str) -> None:
        await batches.approve(self.bank, self.actor, batch)


class RejectHandover(Decision):
    done = "rejected"

    @override
    async def decide(self, batch: str) -> None:
        await batches.reject(
            self.bank,
            self.actor,
            batch,
            self.form(RejectForm).reason,
        )


class Alarms(Console):
    @override
    async def get(self) -> None:
        await self.show(
            alarms.HANDLED
            if self.get_query_argument("state", "") == alarms.HANDLED
            else alarms.OPEN
        )

    async def show(self, state: str, error: YinqiaoError | None = None) -> None:
        rows = await alarms.list_alarms(self.bank, self.actor, state)
        if error is None:
            self.page("alarms", rows=rows, state=state, label=self.label)
        else:
            self.refused(error, "alarms", rows=rows, state=state, label=self.label)

    def label(self, name: str) -> str:
        """A field of an alarm in the clerk's language."""
        return self.locale.translate(f"data:{name}").removeprefix("data:")


class HandleAlarm(Alarms):
    @override
    async def post(self, alarm: str) -> None:
        try:
            await alarms.handle_by_clerk(self.bank, self.actor, alarm)
        except (Conflict, NotFound) as error:
            await self.show(alarms.OPEN, error)
            return
        self.see("/console/alarms", done="alarm_handled")
