"""The partners' API: look at a voucher, write it off, take that back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from typing_extensions import override

from customers.actors import PartnerActor
from handlers.http.base import read_model
from handlers.open.models import PlaceQuery, ReceiptAnswer, RedeemBody, UndoBody, VoucherAnswer
from handlers.open.signing import Open
from rewards import desk
from rewards.vouchers import redeem
from rewards.vouchers.redeem import Redeemer, VoucherView
from rewards.vouchers.rows import find_use
from services.errors import Conflict, Forbidden, InvalidInput, KeyReused, NotFound


class Vouchers(Open):
    actor: PartnerActor

    async def redeemer(self, place: PlaceQuery) -> Redeemer:
        """Who writes off, and at which of the partner's places. Raises InvalidInput `place_missing`,
        and Forbidden `place_not_yours`, which the audit trail keeps."""
        one = self.actor
        branch, merchant = place.branch or "", place.merchant or ""
        if bool(branch) == bool(merchant):
            own = [(known, "") for known in one.branches] + [("", known) for known in one.merchants]
            if branch or len(own) != 1:
                raise InvalidInput("place_missing", "say `branch` or `merchant`: where it is used")
            branch, merchant = own[0]
        if (branch and branch not in one.branches) or (merchant and merchant not in one.merchants):
            said = {"branch": branch} if branch else {"merchant": merchant}
            about = {"reason": "place_not_yours", **said}
            await self.bank.audit(f"partner:{one.partner}", "voucher.refused", "-", **about)
            raise Forbidden("place_not_yours", "this partner writes nothing off there")
        known_names = self.bank.branches if branch else self.bank.merchants
        name = known_names.get(branch or merchant, branch or merchant)
        return Redeemer("partner", one.partner, one.name, branch, merchant, name)

    def in_language(self, texts: Mapping[str, str]) -> str:
        return texts.get(self.lang) or texts.get("zh") or ""

    def time(self, at: datetime) -> str:
        """With the bank's offset."""
        return at.astimezone(self.bank.tz).isoformat(timespec="seconds")


class Look(Vouchers):
    @override
    async def get(self, code: str) -> None:
        place = read_model(PlaceQuery, self.query(), "invalid_query")
        by = await self.redeemer(place)
        self.answer(self._told(await redeem.look(self.bank, by, code)))

    def _told(self, seen: VoucherView) -> bytes:
        return (
            VoucherAnswer(
                voucher=seen.voucher,
                kind=seen.kind,
                title=self.in_language(seen.title),
                how=self.in_language(seen.how),
                face_value=seen.face_value,
                state=seen.state,
                uses=seen.uses,
                uses_per=seen.uses_per,
                left=seen.left,
                expires=self.time(seen.expires) if seen.expires else None,
                customer=seen.customer,
                may=seen.may,
                why=seen.why,
                shown=seen.ticket,
            )
            .model_dump_json()
            .encode()
        )


class Receipts(Vouchers):
    async def answer_receipt(self, by: Redeemer, use: str) -> None:
        """The receipt as its row says it: the same whenever it is asked for."""
        line, row = await desk.find(self.bank, by, use), await find_use(self.bank, use)
        if row is None:
            raise NotFound("use_unknown", "no such write-off")
        told = ReceiptAnswer(
            use=line.use,
            voucher=row["voucher"],
            title=self.in_language(line.title),
            face_value=line.face_value,
            uses=line.count,
            left=line.left,
            at=self.time(line.at),
            place=row["by"]["place"],
            undo_until=self.time(line.undo_until),
            undone=line.undone,
        )
        self.answer(told.model_dump_json().encode())


class Redeem(Receipts):
    @override
    async def post(self, code: str) -> None:
        key = self.idempotency_key()
        body = read_model(RedeemBody, self.request.body or b"{}")
        by = await self.redeemer(body)
        receipt = await desk.redeem(self.bank, by, self.actor.per_day, code, key, body.uses)
        if receipt.replayed:
            if (receipt.by["branch"], receipt.by["merchant"]) != (by.branch, by.merchant):
                raise KeyReused("idempotency_key_reused", "this key was used at another place")
            self.replayed()
        await self.answer_receipt(by, receipt.use)


class Undo(Receipts):
    """Asked again with the same reason, it answers as before."""

    @override
    async def post(self, code: str) -> None:
        body = self.body(UndoBody)
        by = Redeemer("partner", self.actor.partner, self.actor.name)
        line, use = await desk.find(self.bank, by, body.use), await find_use(self.bank, body.use)
        if use is None or not await self._is_of(code, use["voucher"]):
            raise NotFound("use_unknown", "no such write-off of this voucher")
        reason = body.reason.strip()
        if line.undone and line.reason == reason:
            self.replayed()
        else:
            await redeem.undo(self.bank, by, body.use, reason)
        await self.answer_receipt(by, body.use)

    async def _is_of(self, code: str, voucher: str) -> bool:
        """Whether the address names that voucher: by its id, a code, or a QR code, which may be over
        by now."""
        if code == voucher:
            return True
        try:
            by = Redeemer("partner", self.actor.partner, self.actor.name)
            return (await redeem.look(self.bank, by, code)).voucher == voucher
        except Conflict as error:
            if error.code != "qr_stale":
                raise
            return True
