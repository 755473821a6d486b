"""What bonus hunters and strangers try: each of it must be refused, and what was answered is
written down."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from sandbox.core import events
from sandbox.core.crypto import Envelope, signature
from sandbox.people.phone import CONSENT, CouldNot, Hosts, Phone, code_of
from sandbox.people.plan import Step
from sandbox.people.truth_file import Trick


def _noise(key: str, length: int) -> str:
    """Letters and digits that nobody has issued; the same for the same key."""
    return hashlib.sha256(key.encode()).hexdigest()[:length]


async def trick(phone: Phone, step: Step, key: str) -> None:
    """Tries one of `plan.TRICKS` once, without patience; a time-out tells nothing and is left."""
    appid = step.also[0]
    await phone.sign_in(appid)
    answer = await _TRICKS[step.which](phone, appid, key)
    status = answer.status_code
    if status >= 500:
        phone.hosts.truth.trouble(str(status))
        return
    if step.which == "for_another" and answer.is_success:
        # a reward that one may have several of: it is his own
        granted = answer.json()["redemption"]
        phone.customer.acknowledge(granted["reward"], key, granted["id"])
        return
    code = "" if answer.is_success else code_of(answer)
    told = Trick(trick=step.which, status=status, code=code, refused=400 <= status < 500)
    phone.customer.tricks.append(told)


async def _replayed_code(phone: Phone, appid: str, key: str) -> httpx.Response:
    """A login code that was used before."""
    return await phone.hosts.bank.post(f"/mp/{appid}/login", json={"code": phone.used[appid]})


async def _replayed_phone(phone: Phone, appid: str, key: str) -> httpx.Response:
    """A code of the phone button that was used before."""
    if appid not in phone.pressed:
        await phone.bind(appid)
    body = {"code": phone.pressed[appid], "consent": CONSENT}
    return await phone.hosts.bank.post(
        f"/mp/{appid}/phone", json=body, headers=_bearer(phone.tokens[appid])
    )


async def _ended_session(phone: Phone, appid: str, key: str) -> httpx.Response:
    """A session after its end."""
    token = phone.tokens.pop(appid)
    ended = await phone.hosts.bank.post(f"/mp/{appid}/logout", headers=_bearer(token))
    ended.raise_for_status()
    return await phone.hosts.bank.get(f"/mp/{appid}/home", headers=_bearer(token))


async def _made_up_session(phone: Phone, appid: str, key: str) -> httpx.Response:
    return await phone.hosts.bank.get(f"/mp/{appid}/home", headers=_bearer(_noise(key, 43)))


async def _for_another(phone: Phone, appid: str, key: str) -> httpx.Response:
    """A claim whose body names somebody else: the session alone says who claims, and he has had
    this one already."""
    reward = _granted_reward(phone)
    other = {"external_userid": "wm" + _noise(key, 30), "cid": "demo:" + _noise(key, 32)}
    return await _claim(phone, appid, reward, key, other)


async def _other_body(phone: Phone, appid: str, key: str) -> httpx.Response:
    """The key of an earlier claim with another body."""
    reward = _granted_reward(phone)
    known = next(one.key for one in phone.customer.granted if one.reward == reward)
    return await _claim(phone, appid, reward, known, {"amount": 1000})


def _granted_reward(phone: Phone) -> str:
    if not phone.customer.granted:
        raise CouldNot("nothing_granted")
    return phone.customer.granted[-1].reward


async def _claim(
    phone: Phone, appid: str, reward: str, key: str, body: Mapping[str, object]
) -> httpx.Response:
    headers = {**_bearer(phone.tokens[appid]), "Idempotency-Key": key}
    return await phone.hosts.bank.post(
        f"/mp/{appid}/rewards/{reward}/claim", headers=headers, json=body
    )


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


_TRICKS = {
    "replayed_code": _replayed_code,
    "replayed_phone": _replayed_phone,
    "ended_session": _ended_session,
    "made_up_session": _made_up_session,
    "for_another": _for_another,
    "other_body": _other_body,
}


async def forge(hosts: Hosts, step: Step, userid: str, key: str) -> None:
    """Posts a callback that no platform sent, of a customer whom nobody knows."""
    stranger = "wm" + _noise(key, 30)
    welcome_code = "forged" + _noise(key, 26)
    event = events.contact(
        "add_external_contact", userid, stranger, int(time.time()), WelcomeCode=welcome_code
    )
    callback = _callback(hosts, step, event, key)
    forged = hosts.truth.forged
    forged.sent += 1
    forged.external_userids.append(stranger)
    headers = {"Content-Type": "text/xml"}
    answer = await hosts.bank.post(
        callback.url, params=callback.query, content=callback.body, headers=headers
    )
    forged.accepted += answer.is_success
    status = str(answer.status_code)
    forged.statuses[status] = forged.statuses.get(status, 0) + 1


@dataclass(frozen=True, slots=True)
class Callback:
    """A forged callback: where it is posted, with what query and what body."""

    url: str
    query: dict[str, str]
    body: bytes


def _callback(hosts: Hosts, step: Step, event: events.Event, key: str) -> Callback:
    """One of `plan.FORGERIES`: of a mini-program's push, in plain text, signed with a key of the
    hunter's own, or with a signature of noise. Raises CouldNot when it has no address."""
    url = hosts.callback
    receiver = hosts.corp_id
    if step.which == "push":
        receiver = step.also[0]
        url = hosts.push.replace("{appid}", receiver)
    if not url:
        raise CouldNot("no_callback_address")
    if step.which == "plain":
        return Callback(url, {}, event.xml(receiver))
    own_key = base64.b64encode(hashlib.sha256(key.encode()).digest()).decode().rstrip("=")
    encrypted = Envelope("guessed", own_key).encrypt(event.xml(receiver), receiver)
    body = events.envelope_xml(receiver, "", encrypted)
    return Callback(url, _signed(step, event.create_time, key), body)


def _signed(step: Step, now: int, key: str) -> dict[str, str]:
    """The query of a forged callback."""
    timestamp = str(now)
    nonce = str(int(_noise(key, 8), 16))
    if step.which == "own_key":
        signed = signature("guessed", timestamp, nonce)
    else:
        signed = _noise(key + "s", 40)
    return {"msg_signature": signed, "signature": signed, "timestamp": timestamp, "nonce": nonce}
