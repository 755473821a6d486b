"""A customer signs in from a mini-program and binds his phone (contract/wechat A2, A3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from customers import consent, happenings, timeline
from customers.access import withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import Bank, open_bank
from customers.identity import conversion, resolution, review_tasks
from customers.identity.facts import Origin
from customers.identity.rows import cids_with_phone
from customers.identity.sealing import phone_index
from customers.identity.unmerging import session_subject
from services import ids, phones
from services.container import Services
from services.errors import InvalidInput, NotFound, NotSignedIn
from services.wechat.core.errors import PlatformError, SubjectState, to_whoever_waits
from services.wechat.miniprogram.login import LoginSession

log = logging.getLogger("yinqiao.access")
BLOCKED = 40226
MOST_SUGGESTED = 5
TICKET, TICKET_SECONDS = "ticket", 60


@dataclass(frozen=True)
class Login:
    """`expires_in` is in seconds; `customer` is what the mini-program may show, masked."""

    token: str
    expires_in: int
    customer: dict[str, Any]


async def login(bank: Bank, appid: str, code: str) -> Login:
    """Exchanges a `wx.login` code for a session of ours; the same person on every mini-program of
    the bank (unionid).

    Raises NotSignedIn `login_code_invalid` for a used, unknown or foreign code, `login_refused` for
    a user whom WeChat blocks, NotFound for an unknown mini-program, Unavailable when WeChat does
    not answer, PlatformRefused `wechat_refused` when it does and will not. WeChat's session_key is
    not kept.
    """
    session = await _exchange(bank, appid, code)
    facts = resolution.Facts(unionid=session.unionid or "", openids={appid: session.openid})
    proof = ids.fingerprint(code.encode())
    cid = await resolution.identify(bank, facts, source="login", proof=f"login:{proof[:16]}")
    await timeline.record(bank, cid, "customer.login", proof, appid=appid)
    await happenings.tell(bank, "customer.login", cid, proof)
    await conversion.ask(bank, await resolution.customer(bank, cid), appid)
    actor = CustomerActor(bank.id, cid, appid)
    return await _open_session(bank, actor)


async def _exchange(bank: Bank, appid: str, code: str) -> LoginSession:
    try:
        return await bank.miniprogram(appid).code_to_session(code)
    except SubjectState as error:
        kind = "login_refused" if error.errcode == BLOCKED else "login_code_invalid"
        fields = {"tenant": bank.id, "appid": appid, "why": kind}
        log.warning("a customer's sign-in failed", extra={"fields": fields})
        raise NotSignedIn(kind, "the login code is used, expired or unknown") from error
    except PlatformError as error:
        raise to_whoever_waits("wechat", error) from error


async def _open_session(bank: Bank, actor: CustomerActor) -> Login:
    sessions = bank.services.sessions
    known = {"tenant": bank.id, "cid": actor.cid, "appid": actor.appid}
    subject = session_subject(bank.id, actor.cid)
    token = await sessions.open("customer", known, subject=subject)
    return Login(token, sessions.seconds, await profile(bank, actor))


async def open_ticket(bank: Bank, actor: CustomerActor, token: str) -> str:
    """An entry ticket by which the mini-program's web-view shows our pages to the customer who is signed in
    under `token`: good once, for TICKET_SECONDS, and only while that session is (contract/jssdk
    6.3)."""
    known = {"tenant": bank.id, "appid": actor.appid, "token": token}
    return await bank.services.sessions.open(TICKET, known, seconds=TICKET_SECONDS)


async def enter(bank: Bank, appid: str, ticket: str) -> Login:
    """A session of its own for the browser that brings a ticket of this mini-program; raises
    NotSignedIn `ticket_invalid` for one that is used, over or of elsewhere, or whose customer signed
    out meanwhile. Of two who bring it at once, one is let in."""
    known = await bank.services.sessions.take(TICKET, ticket)
    if known is None or (known["tenant"], known["appid"]) != (bank.id, appid):
        raise NotSignedIn("ticket_invalid", "the ticket is used, expired or unknown")
    try:
        actor = await read_session(bank.services, known["token"])
    except NotSignedIn as error:
        raise NotSignedIn("ticket_invalid", "the ticket is used, expired or unknown") from error
    return await _open_session(bank, CustomerActor(bank.id, actor.cid, appid))


async def read_session(services: Services, token: str) -> CustomerActor:
    """The customer of a session token; raises NotSignedIn."""
    session = await services.sessions.read("customer", token) if token else None
    if session is None:
        raise NotSignedIn("session_invalid", "sign in again")
    return CustomerActor(session["tenant"], session["cid"], session["appid"])


async def bank_of(services: Services, actor: CustomerActor) -> Bank:
    """The customer's bank; raises NotSignedIn when it is no more, or has given up the mini-program
    in which he signed in."""
    try:
        bank = await open_bank(services, actor.tenant)
    except NotFound as error:
        raise NotSignedIn("session_invalid", "sign in again") from error
    if actor.appid not in bank.miniprograms:
        raise NotSignedIn("session_invalid", "sign in again")
    return bank


async def profile(bank: Bank, actor: CustomerActor) -> dict[str, Any]:
    """What the customer sees of himself: name, masked phone, whether it is bound."""
    customer = await resolution.customer(bank, actor.cid)
    return {
        "name": resolution.mask_name(customer.name),
        "phone": resolution.mask_phone(customer.phone),
        "bound": bool(customer.phone),
    }


async def bind_phone(
    bank: Bank, actor: CustomerActor, code: str, consent_version: str
) -> dict[str, Any]:
    """Binds the phone behind a phone-button code, with the consent that was shown; returns the
    profile.

    Raises InvalidInput `consent_missing` or `consent_unknown` before anything is asked of WeChat,
    `phone_code_invalid` for a used, expired or foreign code, and `phone_invalid` when WeChat tells
    what is no phone; Unavailable and PlatformRefused as `login` does.
    """
    text = consent.text_of("phone", consent_version)
    phone = await _phone_behind(bank, actor.appid, code)
    customer = await resolution.customer(bank, actor.cid)
    await consent.give(bank, customer.cid, "phone", consent_version, text, f"mp:{actor.appid}")
    facts = resolution.Facts(customer.external_userid, customer.unionid, customer.openids, phone)
    digest = ids.fingerprint(code.encode())
    proof = f"phone:{digest[:16]}"
    cid = await resolution.identify(bank, facts, source="phone", proof=proof)
    await _suggest(bank, cid, phone, proof)
    if await withdrawal.was_withdrawn(bank, cid):  # by another hand, while this one wrote
        return await profile(bank, CustomerActor(bank.id, cid, actor.appid))
    await timeline.record(bank, cid, "phone.bound", digest, appid=actor.appid)
    await happenings.tell(bank, "phone.bound", cid, digest)
    return await profile(bank, CustomerActor(bank.id, cid, actor.appid))


async def _phone_behind(bank: Bank, appid: str, code: str) -> phones.Phone:
    try:
        told = await bank.miniprogram(appid).get_phone_number(code)
    except SubjectState as error:
        raise InvalidInput(
            "phone_code_invalid", "the phone code is used, expired or unknown"
        ) from error
    except PlatformError as error:
        raise to_whoever_waits("wechat", error) from error
    return phones.of_wechat(told.number, told.pure_number, told.country_code)


async def _suggest(bank: Bank, cid: str, phone: phones.Phone, proof: str) -> None:
    """Others with the same phone may be the same person, or share it: a clerk is asked, nothing is
    merged."""
    index = phone_index(bank, phone)
    for other in await cids_with_phone(bank, index, MOST_SUGGESTED, closed=False):
        if other != cid:
            both = sorted((cid, other))
            await review_tasks.ask(bank, review_tasks.SAME_PHONE, both, Origin("phone", proof))
            await withdrawal.was_withdrawn(bank, other)  # he may have withdrawn meanwhile
