"""The control plane's verbs for a person's mini-programs, the message archive, and what counts as
risky."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import Ask, Refused, Routes
from sandbox.control.people import appid_of, person_of, userid_of
from sandbox.core.records import SubscribeTemplate
from sandbox.wechat import service_messages, subscribe_messages
from sandbox.wecom import message_archive

CHOICES = {"accept", "reject"}


def _choices(ask: Ask) -> dict[str, str]:
    """What the person says to each template."""
    given = ask.body.get("templates")
    if not isinstance(given, dict) or not given or not set(given.values()) <= CHOICES:
        raise Refused(400, "bad_field", "templates: accept or reject by template id is expected")
    return given


async def answer_prompt(ask: Ask) -> Any:
    """The person answers the prompt of `wx.requestSubscribeMessage`
    (`subscribe_msg_popup_event`)."""
    return {
        "delivered": await subscribe_messages.answer(
            ask.box, person_of(ask), appid_of(ask), _choices(ask)
        )
    }


async def change_settings(ask: Ask) -> Any:
    """The person changes his settings (`subscribe_msg_change_event`); a refusal takes every grant
    away."""
    return {
        "delivered": await subscribe_messages.change(
            ask.box, person_of(ask), appid_of(ask), _choices(ask)
        )
    }


async def grants(ask: Ask) -> Any:
    """What the person allowed, by mini-program and template."""
    person, found = person_of(ask), ask.box.state.records.grants
    return {
        "grants": [
            {"appid": appid, "template_id": key.partition("|")[2], **grant.model_dump()}
            for appid, openid in person.openids.items()
            for key, grant in found.items()
            if key.startswith(openid + "|")
        ]
    }


async def describe_template(ask: Ask) -> Any:
    """Say of a subscribe template that it is of the long-term kind (`lasting`), and which `keys` it
    has."""
    lasting = ask.body.get("lasting", False)
    if not isinstance(lasting, bool):
        raise Refused(400, "bad_field", "lasting: true or false is expected")
    template = SubscribeTemplate(
        lasting=lasting, keys=ask.texts("keys") if "keys" in ask.body else []
    )
    ask.box.state.records.subscribe_templates[ask.text("template_id")] = template
    ask.box.changed()
    return template.model_dump()


async def enter_session(ask: Ask) -> Any:
    """The person opens the customer-service chat (`user_enter_tempsession`)."""
    return {
        "delivered": await service_messages.enter(
            ask.box, person_of(ask), appid_of(ask), ask.text("session_from", "sandbox")
        )
    }


async def write_service(ask: Ask) -> Any:
    """The person writes to the customer service: `kind` text or image."""
    kind = ask.text("kind", "text")
    if kind not in {"text", "image"}:
        raise Refused(400, "bad_field", "kind: text or image is expected")
    return {
        "delivered": await service_messages.write(
            ask.box, person_of(ask), appid_of(ask), kind, ask.text("text")
        )
    }


async def list_codes(ask: Ask) -> Any:
    """Mini-program codes that the bank had drawn."""
    return {"codes": [{"id": i, **c.model_dump()} for i, c in ask.box.state.records.codes.items()]}


async def safety(ask: Ask) -> Any:
    """Words that are `risky` or call for a `review`; what is not given stays."""
    records = ask.box.state.records
    if "risky" in ask.body:
        records.risky_words = ask.texts("risky")
    if "review" in ask.body:
        records.review_words = ask.texts("review")
    ask.box.changed()
    return {"risky": records.risky_words, "review": records.review_words}


async def risk(ask: Ask) -> Any:
    """How risky WeChat holds the person: `rank` 0 to 4."""
    rank = ask.whole("rank", most=4)
    ask.box.state.records.risk_ranks[person_of(ask).id] = rank
    ask.box.changed()
    return {"rank": rank}


async def agree(ask: Ask) -> Any:
    """The person says whether his chat with a member may be archived: `status` Agree
    (`msg_audit_approved`) or Disagree."""
    person, userid, status = (
        person_of(ask),
        userid_of(ask),
        ask.text("status", message_archive.AGREE),
    )
    if userid not in person.friends:
        raise Refused(409, "impossible", f"{userid} is not a friend")
    if status not in {message_archive.AGREE, message_archive.DISAGREE}:
        raise Refused(400, "bad_field", "status: Agree or Disagree is expected")
    return {"delivered": await message_archive.agree(ask.box, person, userid, status)}


async def archive_key(ask: Ask) -> Any:
    """The bank's RSA public key (PEM), for which messages are encrypted from now on:
    `{version}`."""
    try:
        return {"version": message_archive.set_key(ask.box, ask.text("public_key"))}
    except ValueError as error:
        raise Refused(400, "bad_field", f"public_key: {error}") from error


async def archive_state(ask: Ask) -> Any:
    """How many messages are archived, and who agreed."""
    records = ask.box.state.records
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
