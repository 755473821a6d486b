"""Handing customers over, on the job and after somebody left (contract/wechat B9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.core import events, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError, Impossible
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Transfer
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Friend, Message, Person
from sandbox.wecom.contacts import EC

CUSTOMERS_MOST = 100
MESSAGE_MOST = 200
AGREES_AFTER = DAY_SECONDS
OFTEN, OFTEN_SECONDS = 2, 90 * DAY_SECONDS
RESULTS_A_PAGE = 1000
DONE, WAITING, REFUSED, TAKER_FULL, NO_RECORD = 1, 2, 3, 4, 5
ADD_WAY_ASSIGNED = 202
NOT_ACTIVE = 40098
"""For members who have not logged in for a year, or left that long ago; no code of its own is
published."""
YEAR_SECONDS = 365 * DAY_SECONDS
PAGED_MOST = 50_000


def _pair(call: Call) -> tuple[str, str]:
    """Who gives and who takes. Raises ApiError 40058, 60111, 84074 for a taker without the
    permission, 40130."""
    giver = call.text("handover_userid", missing=40058)
    taker = call.text("takeover_userid", missing=40058)
    member = call.box.world.member(taker)
    if member is None:
        raise ApiError(60111)
    if not member.contact:
        raise ApiError(84074)
    if giver.lower() == taker.lower():
        raise ApiError(40130)
    return giver, member.userid


@dataclass(frozen=True, slots=True)
class Handover:
    """One customer whom a member, the giver, is asked to hand over to another, the taker."""

    external_userid: str
    giver: str
    taker: str
    message: str = ""
    """What the customer reads from the taker when it is done."""
    resigned: bool = False
    """Whether the giver has left the corp."""


def transfer(call: Call) -> dict[str, Any]:
    """B9, 92125: ask for up to 100 customers; each has 24 hours to refuse. An errcode per
    customer."""
    giver, taker = _pair(call)
    member = call.box.world.member(giver)
    if member is None:
        raise ApiError(60111)
    message = call.text("transfer_success_msg", most=MESSAGE_MOST)
    asked = [Handover(e, member.userid, taker, message) for e in _wanted(call)]
    return {"customer": _ask_all(call, asked)}


def transfer_resigned(call: Call) -> dict[str, Any]:
    """B9, 94081: the same for the customers of somebody who left; 40097 while he is still there."""
    giver, taker = _pair(call)
    if call.box.world.member(giver):
        raise ApiError(40097)
    if "transfer_success_msg" in call.body:
        raise ApiError(40058, "invalid Request Parameter: transfer_success_msg")
    asked = [Handover(e, giver, taker, resigned=True) for e in _wanted(call)]
    return {"customer": _ask_all(call, asked)}


def _wanted(call: Call) -> list[str]:
    wanted = call.strings("external_userid")
    if not 1 <= len(wanted) <= CUSTOMERS_MOST:
        raise ApiError(40058, "external_userid: 1 to 100 are expected")
    return list(dict.fromkeys(wanted))


def _ask_all(call: Call, asked: list[Handover]) -> list[dict[str, Any]]:
    before = _by_customer(call.box)
    rows = []
    for ask in asked:
        errcode = _objection(call.box, ask, before.get(ask.external_userid, []))
        if not errcode:
            _start(call.box, ask)
        rows.append({"external_userid": ask.external_userid, "errcode": errcode})
    return rows


def _start(box: Sandbox, ask: Handover) -> None:
    """The hand-over waits, and the customer is asked."""
    new = Transfer(
        handover_userid=ask.giver,
        takeover_userid=ask.taker,
        external_userid=ask.external_userid,
        resigned=ask.resigned,
        at=box.seconds(),
        message=ask.message,
    )
    box.state.records.transfers.append(new)
    person = box.state.by_external(ask.external_userid)
    if person:
        content = {"takeover_userid": ask.taker}
        question = Message(time=new.at, sender=ask.giver, kind="handover", text="", content=content)
        person.inbox.append(question)
    box.changed()


def _objection(box: Sandbox, ask: Handover, mine: list[Transfer]) -> int:
    """The errcode of a customer who cannot be handed over, or 0; `mine` are his hand-overs so
    far."""
    person = box.state.by_external(ask.external_userid)
    if person is None:
        return 40096
    if any(t.status == WAITING for t in mine):
        return 40129
    if {ask.giver, ask.taker} & set(box.switches.idle_members) or _left_long_ago(box, ask):
        return NOT_ACTIVE
    if ask.resigned:
        theirs = ask.external_userid in box.state.unassigned.get(ask.giver, {})
    else:
        theirs = ask.giver in person.friends
    if not theirs:
        return 40131
    if not ask.resigned and _lately(box, mine) >= OFTEN:
        return 40128
    full = len(box.state.followers(ask.taker)) >= box.switches.customers_most
    return 40099 if full else 0


def _left_long_ago(box: Sandbox, ask: Handover) -> bool:
    """Whether the giver left over a year ago."""
    left = box.state.unassigned.get(ask.giver, {}).get(ask.external_userid)
    return ask.resigned and left is not None and box.seconds() - left.at > YEAR_SECONDS


def _lately(box: Sandbox, mine: list[Transfer]) -> int:
    """How many on-job hand-overs of a customer there were within 90 days."""
    since = box.seconds() - OFTEN_SECONDS
    return sum(not t.resigned and t.at > since for t in mine)


def _by_customer(box: Sandbox) -> dict[str, list[Transfer]]:
    """Every hand-over so far, by customer."""
    found: dict[str, list[Transfer]] = {}
    for known in box.state.records.transfers:
        found.setdefault(known.external_userid, []).append(known)
    return found


def run_due(box: Sandbox) -> None:
    """Complete the transfers that nobody refused within 24 hours."""
    for transfer_ in box.state.records.transfers:
        if transfer_.status == WAITING and box.seconds() >= transfer_.at + AGREES_AFTER:
            complete(box, transfer_)


def complete(box: Sandbox, transfer_: Transfer) -> None:
    """The customer moves to the taker; the events are those of C4, the former's with Source
    DELETE_BY_TRANSFER."""
    person = box.state.by_external(transfer_.external_userid)
    taker = transfer_.takeover_userid
    if person is None or box.world.member(taker) is None:
        refuse(box, transfer_, "customer_refused")
    elif len(box.state.followers(taker)) >= box.switches.customers_most:
        refuse(box, transfer_, "customer_limit_exceed")
    else:
        _move(box, transfer_, person)


def _move(box: Sandbox, transfer_: Transfer, person: Person) -> None:
    giver = transfer_.handover_userid
    taker = transfer_.takeover_userid
    external = person.external_userid
    now = box.seconds()
    transfer_.status = DONE
    transfer_.takeover_time = now
    known = _take_from(box, person, giver)
    if taker not in person.friends:
        box.state.befriend(person, _handed_on(known, taker, now))
        if not _handed_on_before(box, transfer_):
            event = events.contact("add_external_contact", taker, external, now)
            box.sender.send_in_background(event)
    if not transfer_.resigned:
        source = {"Source": "DELETE_BY_TRANSFER"}
        box.sender.send_in_background(
            events.contact("del_external_contact", giver, external, now, **source)
        )
    if transfer_.message:
        person.inbox.append(Message(time=now, sender=taker, kind="text", text=transfer_.message))
    box.changed()


def _handed_on_before(box: Sandbox, transfer_: Transfer) -> bool:
    """Whether the taker once handed this customer on, so that WeCom tells of no addition (B9)."""
    return any(
        past.status == DONE
        and past.external_userid == transfer_.external_userid
        and past.handover_userid == transfer_.takeover_userid
        for past in box.state.records.transfers
    )


def _handed_on(known: Friend, taker: str, now: int) -> Friend:
    """The relation that the taker gets: with the giver's notes and tags, and a beginning of its
    own."""
    fresh = {"createtime": now, "number": 0, "add_way": ADD_WAY_ASSIGNED, "talked": 0}
    return known.model_copy(update={"userid": taker, **fresh})


def _take_from(box: Sandbox, person: Person, giver: str) -> Friend:
    """What the giver knew of the customer: his notes and tags go along."""
    left = box.state.unassigned.get(giver, {}).pop(person.external_userid, None)
    if left:
        return left.friend
    return box.state.unfriend(person, giver) or Friend(userid=giver, createtime=box.seconds())


def refuse(box: Sandbox, transfer_: Transfer, reason: str) -> None:
    """It came to nothing (`transfer_fail`, told of the taker): customer_refused or
    customer_limit_exceed."""
    if transfer_.status != WAITING:
        raise Impossible("the transfer is over")
    transfer_.status = REFUSED if reason == "customer_refused" else TAKER_FULL
    taker = transfer_.takeover_userid
    customer = transfer_.external_userid
    box.sender.send_in_background(
        events.contact("transfer_fail", taker, customer, box.seconds(), FailReason=reason)
    )
    box.changed()


def _results(call: Call, resigned: bool) -> dict[str, Any]:
    run_due(call.box)
    giver = call.text("handover_userid", missing=40058).lower()
    taker = call.text("takeover_userid", missing=40058).lower()
    latest: dict[str, Transfer] = {}
    for transfer in call.box.state.records.transfers:
        pair = (transfer.handover_userid.lower(), transfer.takeover_userid.lower())
        if pair == (giver, taker) and transfer.resigned is resigned:
            latest[transfer.external_userid] = transfer
    page, more = paging.page(call, "transfers", list(latest.values()), RESULTS_A_PAGE)
    return {"customer": [_result(transfer) for transfer in page], "next_cursor": more}


def _result(transfer: Transfer) -> dict[str, Any]:
    row = {"external_userid": transfer.external_userid, "status": transfer.status}
    if transfer.takeover_time:
        row["takeover_time"] = transfer.takeover_time
    return row


def transfer_result(call: Call) -> dict[str, Any]:
    """B9, 94088: 1 done, 2 waiting, 3 refused, 4 the taker's list is full."""
    return _results(call, resigned=False)


def resigned_result(call: Call) -> dict[str, Any]:
    """B9, 94082."""
    return _results(call, resigned=True)


def unassigned(call: Call) -> dict[str, Any]:
    """B9, 92124: the customers of members who left, until they are handed over; pages by cursor or
    by page_id."""
    run_due(call.box)
    size = paging.limit(call, 1000, 1000, name="page_size")
    found = _leftovers(call.box)
    page_id = call.integer("page_id", 0)
    if page_id * size >= PAGED_MOST:
        raise ApiError(40058, "page_id x page_size: less than 50,000 is expected; use the cursor")
    if page_id:
        end = (page_id + 1) * size
        page = found[page_id * size : end]
        return {"info": page, "is_last": end >= len(found), "next_cursor": ""}
    page, more = paging.page(call, "unassigned", found, size)
    return {"info": page, "is_last": not more, "next_cursor": more}


def _leftovers(box: Sandbox) -> list[dict[str, Any]]:
    rows = []
    for userid, customers in box.state.unassigned.items():
        for external_userid, leftover in customers.items():
            row = {
                "handover_userid": userid,
                "external_userid": external_userid,
                "dimission_time": leftover.at,
            }
            rows.append(row)
    return rows


ENDPOINTS = (
    Endpoint("POST", f"{EC}/transfer_customer", transfer, contact=True),
    Endpoint("POST", f"{EC}/transfer_result", transfer_result, contact=True),
    Endpoint("POST", f"{EC}/resigned/transfer_customer", transfer_resigned, contact=True),
    Endpoint("POST", f"{EC}/resigned/transfer_result", resigned_result, contact=True),
    Endpoint("POST", f"{EC}/get_unassigned_list", unassigned, contact=True),
)
