"""What a customer writes or shows is checked by WeChat before others see it (contract/wechat A6).

A text is judged at once. A picture's verdict comes as an event within 30 minutes; when it does not,
a person must look. Whatever cannot be checked is never `pass`.
"""

from __future__ import annotations

from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.messaging import subscriptions
from customers.messaging.rows import CONTENT_CHECKS
from services import ids
from services.clock import utc
from services.errors import Conflict, NotFound
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError, to_whoever_waits

PASS, REVIEW, RISKY, WAITING = "pass", "review", "risky", "waiting"
SECONDS = 1800.0
INACTIVE = 61010
PROFILE, COMMENT, FORUM, SOCIAL = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is PASS, REVIEW (a person must look), RISKY or WAITING; `reason` is empty or a code:
    `content_review`, `content_risky`, `customer_inactive` (not in the mini-program within 2 hours),
    `check_timed_out`. `label` is WeChat's."""

    state: str
    reason: str = ""
    label: int = 0


def _judged(suggest: str, label: int) -> Verdict:
    reason = {PASS: "", RISKY: "content_risky"}.get(suggest, "content_review")
    return Verdict(suggest if suggest in (PASS, RISKY) else REVIEW, reason, label)


async def check_text(
    bank: Bank,
    appid: str,
    cid: str,
    text: str,
    *,
    scene: int = COMMENT,
    nickname: str = "",
) -> Verdict:
    """WeChat's verdict on a text of 1 to 2500 characters by this customer.

    Raises Conflict `no_openid`, and Unavailable or PlatformRefused when there is no verdict:
    nothing may be shown then.
    """
    openid = await subscriptions.openid_of(bank, cid, appid)
    client = bank.miniprogram(appid)
    try:
        answer = await client.msg_sec_check(openid, text, scene=scene, nickname=nickname)
    except PlatformError as error:
        if error.errcode == INACTIVE:
            return Verdict(REVIEW, "customer_inactive")
        raise to_whoever_waits("wechat", error) from error
    result = answer.get("result") or {}
    return _judged(result.get("suggest", ""), result.get("label", 0))


async def check_image(
    bank: Bank, appid: str, cid: str, media_url: str, *, scene: int = COMMENT
) -> str:
    """Asks WeChat about a picture at an address that WeChat can reach; the id under which `verdict`
    tells the answer.

    Raises Conflict `no_openid` or `customer_inactive`, Unavailable, PlatformRefused.
    """
    openid = await subscriptions.openid_of(bank, cid, appid)
    client = bank.miniprogram(appid)
    try:
        answer = await client.media_check_async(openid, media_url, scene=scene)
    except PlatformError as error:
        if error.errcode == INACTIVE:
            raise Conflict(
                "customer_inactive", "the customer was not in the mini-program lately"
            ) from error
        raise to_whoever_waits("wechat", error) from error
    check = _check_id(bank.id, appid, answer.get("trace_id", ""))
    asked: Doc = {"appid": appid, "cid": cid, "until": utc(bank.now() + SECONDS)}
    await bank.db[CONTENT_CHECKS].update({"_id": check}, {"$set": asked}, upsert=True)
    return check


def _check_id(tenant: str, appid: str, trace_id: str) -> str:
    return ids.tenant_id(tenant, "check", appid, trace_id)


async def media_checked(bank: Bank, row: InboxRow, event: events.MediaChecked) -> None:
    """WeChat's verdict on a picture; it may come before we have written that we asked."""
    verdict = _judged(event.suggest, event.label)
    told = {
        "state": verdict.state,
        "reason": verdict.reason,
        "label": verdict.label,
        "event": row["_id"],
    }
    check = _check_id(bank.id, event.appid, event.trace_id)
    await bank.db[CONTENT_CHECKS].update({"_id": check}, {"$set": told}, upsert=True)


async def verdict(bank: Bank, check: str) -> Verdict:
    """What is known of a picture now; raises NotFound `check_unknown`. After 30 minutes without a
    word a person must look."""
    row = await bank.db[CONTENT_CHECKS].find_one({"_id": check})
    if row is None or "until" not in row:
        raise NotFound("check_unknown", "no such check")
    if "state" in row:
        return Verdict(row["state"], row["reason"], row["label"])
    if utc(bank.now()) >= row["until"]:
        return Verdict(REVIEW, "check_timed_out")
    return Verdict(WAITING)
