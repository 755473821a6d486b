"""Checks of what people write and send, and of who they are (contract/wechat A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.events import Event, Value
from sandbox.core.records import MediaCheck
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person

TEXT_MOST = 2500
SCENES = range(1, 5)
VISIT_SECONDS = 7200
VERDICT_SECONDS = 5
"""How long the verdict on a picture takes here; WeChat promises 30 minutes."""
NORMAL, AD, FRAUD = 100, 10001, 20008


def _visitor(call: Call, *, test: bool = False) -> Person:
    """The person of `openid`, who visited the mini-program within two hours; a `test` does without.
    Raises ApiError 40003, 43104 of another mini-program, 61010."""
    openid = call.text("openid")
    person = call.box.state.by_openid(openid)
    if person is None:
        raise ApiError(40003)
    if person.openids.get(call.app) != openid:
        raise ApiError(43104)
    seen = call.box.state.records.visits.get(openid, 0)
    needed = call.box.switches.visit_needed and not test
    if needed and call.box.seconds() - seen > VISIT_SECONDS:
        raise ApiError(61010)
    return person


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check thinks: suggestion, label, and the word that decided ("" for none)."""

    suggest: str
    label: int
    word: str = ""

    def result(self) -> dict[str, Value]:
        return {"suggest": self.suggest, "label": self.label}


def _verdict(box: Sandbox, text: str) -> Verdict:
    records = box.state.records
    for word in records.risky_words:
        if word in text:
            return Verdict("risky", FRAUD, word)
    for word in records.review_words:
        if word in text:
            return Verdict("review", AD, word)
    return Verdict("pass", NORMAL)


def check_text(call: Call) -> dict[str, Any]:
    """A6: version 2; the old form without `version` answers 87014 for what is risky."""
    content = call.text("content", missing=44002)
    if len(content) > TEXT_MOST:
        raise ApiError(47001)
    verdict = _verdict(call.box, content + call.text("title") + call.text("nickname"))
    if "version" not in call.body:
        if verdict.suggest == "risky":
            raise ApiError(87014)
        return {}
    _check_form(call)
    _visitor(call)
    result = verdict.result()
    detail = [{"strategy": "content_model", "errcode": 0, **result, "prob": 90}]
    if verdict.word:
        by_word = {"strategy": "keyword", "errcode": 0, **result}
        detail.append({**by_word, "level": 90, "keyword": verdict.word})
    return {"trace_id": ids.config_id(), "result": result, "detail": detail}


def _check_form(call: Call) -> None:
    """Raises ApiError 40129 for another version than 2, or an unknown scene."""
    if call.integer("version", 0) != 2 or call.integer("scene", 0) not in SCENES:
        raise ApiError(40129)


def check_media(call: Call) -> dict[str, Any]:
    """A6: the verdict comes as an event. An address that contains a risky word is risky."""
    _check_form(call)
    url = call.text("media_url", missing=44002)
    if call.integer("media_type", 0) not in {1, 2}:
        raise ApiError(40129)
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ApiError(40129)
    _visitor(call)
    check = MediaCheck(
        trace_id=ids.config_id(),
        appid=call.app,
        openid=call.text("openid"),
        media_url=url,
        at=call.box.seconds(),
    )
    call.box.state.records.media_checks.append(check)
    call.box.changed()
    return {"trace_id": check.trace_id}


def run_due(box: Sandbox) -> None:
    """Send the verdicts whose time has come."""
    waiting = box.state.records.media_checks
    ready = [check for check in waiting if box.seconds() >= check.at + VERDICT_SECONDS]
    if not ready:
        return
    box.state.records.media_checks = [check for check in waiting if check not in ready]
    box.changed()
    for check in ready:
        box.sender.push_in_background(check.appid, _verdict_event(box, check))


def _verdict_event(box: Sandbox, check: MediaCheck) -> Event:
    result = _verdict(box, check.media_url).result()
    fields: dict[str, Value | None] = {
        "appid": check.appid,
        "trace_id": check.trace_id,
        "version": 2,
        "detail": [{"strategy": "content_model", "errcode": 0, "prob": 90, **result}],
        "errcode": 0,
        "errmsg": "ok",
        "result": result,
    }
    return Event("wxa_media_check", box.seconds(), fields=fields, from_user=check.openid)


def risk_rank(call: Call) -> dict[str, Any]:
    """A6: 0 to 4, as the control plane says of the person; needs a visit within two hours (61010),
    unless `is_test` says otherwise."""
    if call.text("appid") != call.app:
        raise ApiError(40013)
    if call.integer("scene", -1) not in {0, 1, 2} or not call.text("client_ip"):
        raise ApiError(40097)
    person = _visitor(call, test=call.flag("is_test", False))
    rank = call.box.state.records.risk_ranks.get(person.id, 0)
    return {"errmsg": "getuserriskrank succ", "risk_rank": rank, "unoin_id": int(ids.nonce())}


ENDPOINTS = (
    Endpoint("POST", "/wxa/msg_sec_check", check_text),
    Endpoint("POST", "/wxa/media_check_async", check_media),
    Endpoint("POST", "/wxa/getuserriskrank", risk_rank),
)
