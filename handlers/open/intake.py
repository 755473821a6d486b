"""What the bank's own systems send: events, and what the bank knows of customers. An item is accepted
or refused by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from typing_extensions import override

from customers.actors import SystemActor
from customers.intake import receiving
from customers.intake.checking import Wrong
from customers.intake.receiving import Checked, Sent
from customers.intake.rows import CUSTOMERS, EVENTS, Kind
from handlers.open.signing import Open
from services.errors import Forbidden, InvalidInput

ACCEPTED = {"status": "accepted"}


class Intake(Open):
    """A request of a system's."""

    actor: SystemActor
    kind: Kind

    def check_may(self) -> None:
        """Raises Forbidden `system_may_not` for what the bank's file does not let this system
        send."""
        if self.kind not in self.actor.may:
            raise Forbidden(
                "system_may_not", f"the bank's file lets this system send no {self.kind}"
            )

    async def take(self, items: Sequence[Any], body: bytes = b"") -> None:
        """Stores what is good of these items, and answers each. Of all that was read, nothing is held
        while the row is on its way."""
        name = self.signed.sha256 if self.kind == EVENTS else self.signed.nonce
        sent = Sent(self.actor.system, self.kind, name, body)
        checked = receiving.check(self.bank, self.kind, items)
        row, answer = receiving.row_of(self.bank, sent, checked), _answer(checked)
        del items, checked, sent
        await receiving.store(self.bank, row)
        self.answer(answer)


def _answer(checked: Checked) -> bytes:
    if not checked.wrong and "id" in checked.items[0]:
        return _all_accepted([item["id"] for item in checked.items])
    refused = len(checked.wrong)
    items = list(_answers(checked.items, checked.wrong))
    told = {"accepted": len(items) - refused, "refused": refused, "items": items}
    return orjson.dumps(told)


def _all_accepted(ids: Sequence[str]) -> bytes:
    """The usual answer, put together from ids that need no quoting (customers/intake/checking.py)."""
    items = '"},{"status":"accepted","id":"'.join(ids)
    told = f'"accepted":{len(ids)},"refused":0,"items":[{{"status":"accepted","id":"{items}"}}]'
    return f"{{{told}}}".encode()


def _answers(items: Sequence[Any], wrong: Any) -> Iterator[dict[str, str]]:
    for place, item in enumerate(items):
        found: Wrong | None = wrong.get(place)
        if found is not None:
            yield _known_id(item) | {"status": "refused", "code": found[0], "field": found[1]}
        elif "id" in item:
            yield {"id": item["id"], "status": "accepted"}
        else:
            yield ACCEPTED


def _known_id(item: Any) -> dict[str, str]:
    given = item.get("id") if isinstance(item, dict) else None
    return {"id": given[:64]} if isinstance(given, str) else {}


class _Batch(Intake):
    @override
    async def post(self) -> None:
        self.check_may()
        body = self.request.body
        await self.take(receiving.read_items(body, self.kind), body)


class Events(_Batch):
    kind: Kind = EVENTS


class Customers(_Batch):
    kind: Kind = CUSTOMERS


class Customer(Intake):
    """One customer by the bank's number; the answer has one item."""

    kind: Kind = CUSTOMERS

    @override
    async def put(self, number: str) -> None:
        self.check_may()
        try:
            said = orjson.loads(self.request.body)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict) or "customer" in said:
            raise InvalidInput(
                "invalid_body",
                "the request cannot be read as what it should be",
                fields={"body": 'expected {"fields": {...}}'},
            )
        await self.take([{**said, "customer": {"number": number}}])
