"""What the two clients can do: the bank's mini-program on a person's phone, and the functions that
WeCom's client gives to a page of the app (contract/jssdk 3, 7)."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

import httpx

from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.control.people import appid_of, person_of
from sandbox.core import ids
from sandbox.core.state import Person

Answered = dict[str, Any]


async def wallet(call: ControlCall) -> Any:
    """What the mini-program shows the person: rewards that he may claim, and what he has."""
    person, appid = person_of(call), call.query.get("appid", "")
    rewards = await _ask(call, person, appid, "GET", "rewards")
    held = await _ask(call, person, appid, "GET", "redemptions")
    return {"rewards": rewards["rewards"], "redemptions": held["redemptions"]}


async def claim(call: ControlCall) -> Any:
    """The person claims a reward."""
    reward = call.text("reward")
    headers = {"Idempotency-Key": ids.code("k")}
    return await _ask(
        call, person_of(call), appid_of(call), "POST", f"rewards/{reward}/claim", headers, {}
    )


async def show(call: ControlCall) -> Any:
    """The person holds a voucher out: its QR code is what a camera sees from now on."""
    path = f"redemptions/{call.text('redemption')}"
    answer = await _ask(call, person_of(call), appid_of(call), "GET", path)
    held = answer["redemption"]
    call.box.camera = (held.get("qr") or {}).get("text", "")
    return held


async def _ask(
    call: ControlCall,
    person: Person,
    appid: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: Answered | None = None,
) -> Any:
    """The product's answer to the person's mini-program, which signs in when it has to. Raises
    Refused with the product's reason."""
    portal = call.box.options.portal_url
    if not portal:
        raise Refused(404, "no_product", "the sandbox was not told where the bank's portal is")
    if call.box.world.mini_program(appid) is None:
        raise Refused(404, "no_such_mini_program", f"no mini-program {appid}")
    there = urlsplit(portal)
    base = f"{there.scheme}://{there.netloc}/mp/{appid}/"
    for _ in range(2):
        token = call.box.sign_ins.get((person.id, appid))
        if token is None:
            token = await _sign_in(call, person, appid, base)
        signed = {"Authorization": f"Bearer {token}", **(headers or {})}
        answer = await _send(call, method, base + path, signed, body)
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return _content(answer)
        call.box.sign_ins.pop((person.id, appid), None)
    return _content(answer)


async def _sign_in(call: ControlCall, person: Person, appid: str, base: str) -> str:
    code = call.box.codes.issue("login", person.id, appid)
    answer = _content(await _send(call, "POST", base + "login", {}, {"code": code}))
    token: str = answer["token"]
    call.box.sign_ins[person.id, appid] = token
    return token


async def _send(
    call: ControlCall, method: str, url: str, headers: dict[str, str], body: Answered | None
) -> httpx.Response:
    try:
        return await call.box.product.request(method, url, headers=headers, json=body)
    except httpx.HTTPError as error:
        raise Refused(502, "product_silent", "the bank's system does not answer") from error


def _content(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError) as broken:
        raise Refused(502, "product_broken", f"HTTP {answer.status_code}") from broken
    raise Refused(409, str(error["code"]), str(error["message"]))


async def invoke(call: ControlCall) -> Any:
    """What WeCom's client answers when a page calls one of its functions."""
    name, params = call.text("name"), call.body.get("params") or {}
    if name == "agentConfig":
        return _said(name, _why_not(call, params))
    return {
        "getContext": _context,
        "getCurExternalContact": _contact,
        "scanQRCode": _scan,
    }.get(name, _unknown)(call, name)


def _said(name: str, why: str = "", **more: Any) -> Answered:
    return {"err_msg": f"{name}:{why or 'ok'}", **more}


def _unknown(call: ControlCall, name: str) -> Answered:
    return _said(name, "function not exist")


def _context(call: ControlCall, name: str) -> Answered:
    return _said(name, entry="single_chat_tools")


def _contact(call: ControlCall, name: str) -> Answered:
    chat = call.text("external_userid", "")
    if not chat:
        return _said(name, "fail without context of external contact")
    return _said(name, userId=chat)


def _scan(call: ControlCall, name: str) -> Answered:
    """The camera sees the QR code that somebody held out last; without one the member gives up."""
    if not call.box.camera:
        return _said(name, "cancel")
    return _said(name, resultStr=call.box.camera)


def _why_not(call: ControlCall, params: Answered) -> str:
    """Why the page is not let in, in the order of contract/jssdk 7; empty when it is."""
    corp, tool = call.box.world.corp, "more info at https://open.work.weixin.qq.com/devtool/query"
    app = next((a for a in corp.apps if str(a.agent_id) == str(params.get("agentid"))), None)
    if params.get("corpid") != corp.corp_id or app is None:
        return f"fail invalid corpId {tool}?e=40013"
    if call.box.world.member(call.text("member", "")) is None:
        return "fail user not in allow list"
    there = urlsplit(call.box.options.sidebar_url or "")
    if app.trusted_domains and there.hostname not in app.trusted_domains:
        return f"fail not match any reliable domain. {tool}?e=80001"
    tickets = call.box.tokens.live_tickets("agent_config", str(app.agent_id))
    if not tickets:
        return f"fail_ticket no available {tool}?e=42012"
    page = f"{there.scheme}://{there.netloc}{call.text('page', '')}".partition("#")[0]
    stamp, nonce = str(params.get("timestamp", "")), str(params.get("nonceStr", ""))
    signed = {
        hashlib.sha1(
            f"jsapi_ticket={ticket}&noncestr={nonce}&timestamp={stamp}&url={page}".encode(),
            usedforsecurity=False,
        ).hexdigest()
        for ticket in tickets
    }
    if not re.fullmatch(r"\d{10}", stamp) or params.get("signature") not in signed:
        return f"fail invalid signature {tool}?e=40093"
    return ""


ROUTES: Routes = [
    ("/people/([^/]+)/wallet", {"get": wallet}),
    ("/people/([^/]+)/claim", {"post": claim}),
    ("/people/([^/]+)/show", {"post": show}),
    ("/client/invoke", {"post": invoke}),
]
