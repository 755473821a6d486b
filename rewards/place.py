"""Whose a claim is: the channel by which the customer came, his RM and the RM's branch; and whether
he meets the reward's rule."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from customers import relationships
from customers.banks.bank import Bank
from customers.banks.staff import Staff, staff_member
from customers.identity import rows as identity
from customers.relationships import Relationship
from rewards import eligibility, offers
from rewards.rows import Limits, Place, Reward
from services.errors import NotFound

PLACED = frozenset({"channel", "branch", "staff"})
"""Quotas of which the place decides whose share a claim takes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a claim belongs, and the part of the reward's rule that it does not meet."""

    place: Place = field(default_factory=Place)
    unmet: str = ""


ANYWHERE = Standing()
"""Of a claim on a reward for which it does not matter where it belongs."""


async def manager(bank: Bank, cids: Sequence[str]) -> tuple[Relationship, Staff] | None:
    """The first of the customer's friends who works here."""
    return await _working(bank, await relationships.of_customer(bank, cids))


async def _working(
    bank: Bank, friends: Sequence[Relationship]
) -> tuple[Relationship, Staff] | None:
    for friend in friends:
        try:
            return friend, await staff_member(bank, friend["userid"])
        except NotFound:
            continue
    return None


async def standing(bank: Bank, reward: Reward, asked: str, cids: Sequence[str]) -> Standing:
    """Where the customer's claim on `reward` belongs: by his offer of the reward that he `asked`
    for, and else by his RM. Nothing is read for a reward whose limits do not ask for it."""
    limits = reward.get("limits") or Limits()
    rule = limits.get("eligible", "")
    if not rule and not any(one["per"] in PLACED for one in limits.get("quotas", ())):
        return ANYWHERE
    friends, offered = await asyncio.gather(
        relationships.of_customer(bank, cids), offers.place_of(bank, asked, cids)
    )
    place = await _place(bank, friends, offered)
    if not rule:
        return Standing(place)
    scene = await _scene(bank, cids, place, friend=bool(friends))
    return Standing(place, eligibility.unmet(rule, limits.get("codes", {}), scene))


async def _place(bank: Bank, friends: Sequence[Relationship], offered: Place | None) -> Place:
    if offered is not None:
        branch = offered.get("branch") or await _branch_of(bank, offered.get("staff", ""))
        return _known({**offered, "branch": branch})
    found = await _working(bank, friends)
    if found is None:
        return Place()
    friend, staff = found
    return _known(
        {"channel": friend.get("state", ""), "branch": staff.branch, "staff": staff.userid}
    )


async def _branch_of(bank: Bank, userid: str) -> str:
    try:
        return (await staff_member(bank, userid)).branch if userid else ""
    except NotFound:
        return ""


def _known(place: Place) -> Place:
    return cast("Place", {name: value for name, value in place.items() if value})


async def _scene(
    bank: Bank, cids: Sequence[str], place: Place, *, friend: bool
) -> eligibility.Scene:
    rows = await identity.read_customers(bank, list(cids))
    row = rows.get(cids[0])
    return eligibility.Scene(
        cid=cids[0],
        now=datetime.fromtimestamp(bank.now(), bank.tz),
        channel=place.get("channel", ""),
        branch=place.get("branch", ""),
        staff=place.get("staff", ""),
        friend=friend,
        bound=row is not None and bool(row.get("phone")),
        tags=row["tags"] if row is not None else (),
    )
