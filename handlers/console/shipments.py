"""The console's pages of what is sent to customers: parcels by state, batches for a shipper, and the
numbers that come back."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from typing_extensions import override

from config.bounds import GivenReason, Name, Reason, RowId, ShipperFile, Word
from handlers.console.base import REFUSALS, Console, Decision, RejectForm
from handlers.http.pages import Form
from rewards.shipping import batches, shipments, tracking
from rewards.shipping.rows import STATES
from services.errors import YinqiaoError


class Asked(Form):
    state: Word = ""


class BatchForm(Form):
    """`key` makes the batch one, however often the form is sent; `reward` is empty for all."""

    reward: RowId | Literal[""] = ""
    key: Name


class FileForm(Form):
    kind: Word = "csv"


class NumbersForm(Form):
    """The shipper's file as text: a heading, and a line for each order."""

    text: ShipperFile = ""


class MarkForm(Form):
    state: Word
    reason: Reason = ""


class RevealForm(Form):
    reason: GivenReason


class Shipments(Console):
    """Parcels by state, and the batches; POST makes a batch of what is ready."""

    @override
    async def get(self) -> None:
        await self.show()

    async def show(self, error: YinqiaoError | None = None) -> None:
        state = self.asked(Asked).state if self.request.method == "GET" else ""
        view = await batches.overview(self.bank, self.actor, state)
        values = {"view": view, "states": STATES, "state": state, "key": secrets.token_hex(16)}
        self.render_page("shipments", error, **values)

    @override
    def form_address(self) -> str:
        return "/console/shipments"

    @override
    async def post(self) -> None:
        form = self.form(BatchForm)
        try:
            batch = await batches.submit(self.bank, self.actor, form.key, form.reward)
        except REFUSALS as error:
            await self.show(error)
            return
        self.redirect_to(f"/console/shipping/{batch}", done="shipping_submitted")


class Batch(Decision):
    """One batch: what is in it, its decision, its file and its numbers."""

    @property
    def batch(self) -> str:
        return self.path_kwargs["batch"]

    @override
    async def get(self, batch: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None, **more: Any) -> None:
        view = await batches.get(self.bank, self.actor, self.batch)
        self.render_page("shipping", error, batch=view, **{"report": None, **more})

    @override
    def address(self) -> str:
        return f"/console/shipping/{self.batch}"


class Approve(Batch):
    done = "shipping_approved"

    @override
    async def decide(self) -> None:
        await batches.approve(self.bank, self.actor, self.batch)


class Reject(Batch):
    done = "shipping_rejected"

    @override
    async def decide(self) -> None:
        await batches.reject(self.bank, self.actor, self.batch, self.form(RejectForm).reason)


class File(Batch):
    """The batch for the shipper, as CSV or XLSX."""

    @override
    async def post(self, **_: str) -> None:
        kind = self.form(FileForm).kind
        try:
            data, media = await batches.file(self.bank, self.actor, self.batch, kind)
        except REFUSALS as error:
            await self.show(error)
            return
        name = f"shipping-{self.bank.today():%Y%m%d}-{self.batch[-6:]}.{kind}"
        self.set_header("Content-Type", media)
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Cache-Control", "no-store")
        self.write(data)


class Numbers(Batch):
    """The shipper's numbers, line by line; what was not taken is said with its line."""

    @override
    async def post(self, **_: str) -> None:
        form = self.form(NumbersForm)
        try:
            report = await tracking.take(self.bank, self.actor, self.batch, form.text)
        except REFUSALS as error:
            await self.show(error)
            return
        await self.show(report=report)


class Shipment(Decision):
    """One parcel: where it is, to whom it goes (masked), and what may be said of it."""

    @property
    def shipment(self) -> str:
        return self.path_kwargs["shipment"]

    @override
    async def get(self, shipment: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None, **more: Any) -> None:
        view = await batches.shipment(self.bank, self.actor, self.shipment)
        self.render_page("shipment", error, view=view, **{"address": None, **more})

    @override
    def address(self) -> str:
        return f"/console/shipments/{self.shipment}"


class Mark(Shipment):
    done = "shipment_marked"

    @override
    async def decide(self) -> None:
        form = self.form(MarkForm)
        await shipments.mark(self.bank, self.actor, self.shipment, form.state, form.reason)


class Reveal(Shipment):
    """The address in clear, for a reason."""

    @override
    async def post(self, **_: str) -> None:
        reason = self.form(RevealForm).reason
        try:
            address = await shipments.reveal(self.bank, self.actor, self.shipment, reason)
        except REFUSALS as error:
            await self.show(error)
            return
        self.set_header("Cache-Control", "no-store")
        await self.show(address=address)
