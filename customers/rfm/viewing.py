"""In which fifths of the bank's customers somebody is, as people see it who may see his fields."""

from __future__ import annotations

from dataclasses import dataclass

from customers.access import rm
from customers.actors import ClerkActor, StaffActor
from customers.banks.bank import Bank
from customers.fields import viewing
from customers.identity.rows import root
from customers.profiles import refreshing
from customers.profiles.vocabulary import RFM
from customers.rfm.cuts import FIFTHS
from services.texts import Language, sentence

LANGUAGES: tuple[Language, Language] = ("zh", "en")


@dataclass(frozen=True, slots=True)
class FifthView:
    """One of recency, frequency and value: what it is called and in which fifth he is, in both
    languages."""

    name: dict[str, str]
    said: dict[str, str]


async def of_friend(bank: Bank, actor: StaffActor, cid: str) -> list[FifthView]:
    """His fifths as his RM sees them; none of who is not ranked. Raises NotFound for who is no friend
    of this RM's now."""
    customer, _ = await rm.access_customer(bank, actor, cid)
    return await _of(bank, customer.cid)


async def of_customer(bank: Bank, actor: ClerkActor, cid: str) -> list[FifthView]:
    """The same on the console; none for a clerk who may not see fields. Raises NotFound."""
    if viewing.READ not in actor.permissions:
        return []
    return await _of(bank, (await root(bank, cid))["_id"])


async def _of(bank: Bank, cid: str) -> list[FifthView]:
    profile = await refreshing.find(bank, cid)
    fifths = {} if profile is None else profile.get("rfm", {})
    return [
        FifthView(
            name=dict(name.titles),
            said={
                one: sentence("rule_out_of", one, n=fifths[name.path[-1]], of=FIFTHS)
                for one in LANGUAGES
            },
        )
        for name in RFM
        if name.path[-1] in fifths
    ]
