"""The control plane's verbs for a person's mini-programs, the message archive, and what counts as
risky."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.control.people import appid_of, person_of, userid_of
from sandbox.core.records import SubscribeTemplate
from sandbox.wechat import service_messages, subscribe_messages
from sandbox.wecom import message_archive

CHOICES = {"accept", "reject"}


def _choices(call: ControlCall) -> dict[str, str]:
    """What the person says to each template."""
    given = call.body.get("templates")
    if not isinstance(given, dict) or not given or not set(given.values()) <= CHOICES:
        raise Refused(400, "bad_field", "templates: accept or reject by template id is expected")
    return given


async def answer_prompt(call: ControlCall) -> Any:
    """The person answers the prompt of `wx.requestSubscribeMessage`
    (`subscribe_msg_popup_event`)."""
    return {
        "delivered": await subscribe_messages.answer(
            call.box, person_of(call), appid_of(call), _choices(call)
        )
    }


async def change_settings(call: ControlCall) -> Any:
    """The person changes his settings (`subscribe_msg_change_event`); a refusal takes every grant
    away."""
    return {
        "delivered": await subscribe_messages.change(
            call.box, person_of(call), appid_of(call), _choices(call)
        )
    }


async def grants(call: ControlCall) -> Any:
    """What the person allowed, by mini-program and template."""
    rows = []
    for appid, openid in person_of(call).openids.items():
        for key, grant in call.box.state.records.grants.items():
            owner, _, template_id = key.partition("|")
            if owner == openid:
                rows.append({"appid": appid, "template_id": template_id, **grant.model_dump()})
    return {"grants": rows}


async def describe_template(call: ControlCall) -> Any:
    """Say of a subscribe template that it is of the long-term kind (`lasting`), and which `keys` it
    has."""
    template = SubscribeTemplate(lasting=call.flag("lasting"), keys=call.texts("keys"))
    call.box.state.records.subscribe_templates[call.text("template_id")] = template
    call.box.changed()
    return template.model_dump()


async def enter_session(call: ControlCall) -> Any:
    """The person opens the customer-service chat (`user_enter_tempsession`)."""
    return {
        "delivered": await service_messages.enter(
            call.box, person_of(call), appid_of(call), call.text("session_from", "sandbox")
        )
    }


async def write_service(call: ControlCall) -> Any:
    """The person writes to the customer service: `kind` text or image."""
    kind = call.text("kind", "text")
    if kind not in {"text", "image"}:
        raise Refused(400, "bad_field", "kind: text or image is expected")
    return {
        "delivered": await service_messages.write(
            call.box, person_of(call), appid_of(call), kind, call.text("text")
        )
    }


async def list_codes(call: ControlCall) -> Any:
    """Mini-program codes that the bank had drawn."""
    return {"codes": [{"id": i, **c.model_dump()} for i, c in call.box.state.records.codes.items()]}


async def safety(call: ControlCall) -> Any:
    """Words that are `risky` or call for a `review`; what is not given stays."""
    records = call.box.state.records
    if "risky" in call.body:
        records.risky_words = call.texts("risky")
    if "review" in call.body:
        records.review_words = call.texts("review")
    call.box.changed()
    return {"risky": records.risky_words, "review": records.review_words}


async def risk(call: ControlCall) -> Any:
    """How risky WeChat holds the person: `rank` 0 to 4."""
    rank = call.whole("rank", most=4)
    call.box.state.records.risk_ranks[person_of(call).id] = rank
    call.box.changed()
    return {"rank": rank}


async def agree(call: ControlCall) -> Any:
    """The person says whether his chat with a member may be archived: `status` Agree
    (`msg_audit_approved`) or Disagree."""
    person = person_of(call)
    userid = userid_of(call)
    status = call.text("status", message_archive.AGREE)
    if userid not in person.friends:
        raise Refused(409, "impossible", f"{userid} is not a friend")
    if status not in {message_archive.AGREE, message_archive.DISAGREE}:
        raise Refused(400, "bad_field", "status: Agree or Disagree is expected")
    return {"delivered": await message_archive.agree(call.box, person, userid, status)}


async def archive_key(call: ControlCall) -> Any:
    """The bank's RSA public key (PEM), for which messages are encrypted from now on:
    `{version}`."""
    try:
        return {"version": message_archive.set_key(call.box, call.text("public_key"))}
    except ValueError as error:
        raise Refused(400, "bad_field", f"public_key: {error}") from error


async def archive_state(call: ControlCall) -> Any:
    """How many messages are archived, and who agreed."""
    records = call.box.state.records
    agreed = [{"pair": pair, **c.model_dump()} for pair, c in records.consents.items()]
    last = records.archive[-1].seq if records.archive else 0
    return {"key_version": records.archive_key_version, "last_seq": last, "consents": agreed}


ROUTES: Routes = [
    ("/people/([^/]+)/subscribe", {"post": answer_prompt}),
    ("/people/([^/]+)/subscribe-settings", {"post": change_settings}),
    ("/people/([^/]+)/grants", {"get": grants}),
    ("/people/([^/]+)/session", {"post": enter_session}),
    ("/people/([^/]+)/service-message", {"post": write_service}),
    ("/people/([^/]+)/risk", {"post": risk}),
    ("/people/([^/]+)/agree", {"post": agree}),
    ("/templates", {"post": describe_template}),
    ("/codes", {"get": list_codes}),
    ("/safety", {"post": safety}),
    ("/archive", {"get": archive_state}),
    ("/archive/key", {"post": archive_key}),
]
