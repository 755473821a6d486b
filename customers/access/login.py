"""A customer signs in from a mini-program and binds his phone (contract/wechat A2, A3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from customers import consent, timeline
from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.identity import conversion, resolution, review_tasks
from customers.identity.collections import CUSTOMERS
from customers.identity.rows import phone_index
from customers.identity.unmerging import session_subject
from services import ids
from services.container import Services
from services.errors import InvalidInput, NotSignedIn, Unavailable
from services.wechat.core.errors import PlatformError, SubjectState

CODE_USED = 40029
MOST_SUGGESTED = 5


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
    not answer. WeChat's session_key is not kept.
    """
    try:
        session = await bank.miniprogram(appid).code_to_session(code)
    except SubjectState as error:
        kind = "login_code_invalid" if error.errcode == CODE_USED else "login_refused"
        raise NotSignedIn(kind, "the login code is used, expired or unknown") from error
    except PlatformError as error:
        raise Unavailable(
            "wechat_unavailable", "WeChat does not answer; try again", retry_after=2
        ) from error
    facts = resolution.Facts(unionid=session.unionid or "", openids={appid: session.openid})
    proof = ids.fingerprint(code.encode())
    cid = await resolution.identify(bank, facts, source="login", proof=f"login:{proof[:16]}")
    await timeline.record(bank, cid, "customer.login", proof, appid=appid)
    await conversion.ask(bank, await resolution.customer(bank, cid), appid)
    known = {"tenant": bank.id, "cid": cid, "appid": appid}
    token = await bank.services.sessions.open(
        "customer", known, subject=session_subject(bank.id, cid)
    )
    return Login(
        token,
        bank.services.sessions.seconds,
        await profile(bank, CustomerActor(bank.id, cid, appid)),
    )


async def read_session(services: Services, token: str) -> CustomerActor:
    """The customer of a session token; raises NotSignedIn."""
    session = await services.sessions.read("customer", token) if token else None
    if session is None:
        raise NotSignedIn("session_invalid", "sign in again")
    return CustomerActor(session["tenant"], session["cid"], session["appid"])


async def profile(bank: Bank, actor: CustomerActor) -> dict[str, Any]:
    """What the customer sees of himself: name, masked phone, whether it is bound."""
    person = await resolution.customer(bank, actor.cid)
    return {
        "name": resolution.mask_name(person.name),
        "phone": resolution.mask_phone(person.phone),
        "bound": bool(person.phone),
    }


async def bind_phone(
    bank: Bank, actor: CustomerActor, code: str, consent_version: str
) -> dict[str, Any]:
    """Binds the phone behind a phone-button code, with the consent that was shown; returns the
    profile.

    Raises InvalidInput `consent_missing` or `consent_unknown` before anything is asked of WeChat,
    and `phone_code_invalid` for a used, expired or foreign code.
    """
    text = consent.text_of("phone", consent_version)
    try:
        number = await bank.miniprogram(actor.appid).get_phone_number(code)
    except SubjectState as error:
        raise InvalidInput(
            "phone_code_invalid", "the phone code is used, expired or unknown"
        ) from error
    except PlatformError as error:
        raise Unavailable(
            "wechat_unavailable", "WeChat does not answer; try again", retry_after=2
        ) from error
    person = await resolution.customer(bank, actor.cid)
    await consent.give(bank, person.cid, "phone", consent_version, text, f"mp:{actor.appid}")
    facts = resolution.Facts(
        person.external_userid, person.unionid, person.openids, number.pure_number
    )
    proof = ids.fingerprint(code.encode())
    cid = await resolution.identify(bank, facts, source="phone", proof=f"phone:{proof[:16]}")
    await timeline.record(bank, cid, "phone.bound", proof, appid=actor.appid)
    await _suggest(bank, cid, number.pure_number, f"phone:{proof[:16]}")
    return await profile(bank, CustomerActor(bank.id, cid, actor.appid))


async def _suggest(bank: Bank, cid: str, phone: str, proof: str) -> None:
    """Others with the same phone may be the same person, or share it: a clerk is asked, nothing is
    merged."""
    same = {"phone_index": phone_index(bank, phone), "merged_into": None}
    found = await bank.db[CUSTOMERS].find(same, fields={"_id": 1}, limit=MOST_SUGGESTED)
    for row in found:
        if row["_id"] != cid:
            pair = sorted((cid, row["_id"]))
            await review_tasks.ask(bank, "same_phone", pair, source="phone", proof=proof)
