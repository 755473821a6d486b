"""The side panel as WeCom opens it: which customer's chat it stands beside, and the signature by which
WeCom's client lets a page of ours ask (contract/jssdk 1.2, 2)."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from customers.access.rm import access_customer
from customers.actors import StaffActor
from customers.banks.bank import Bank
from customers.identity import resolution
from services.cache import cached
from services.errors import NotFound

TICKET_SECONDS = 3600
"""A ticket lives twice as long; an app may ask for a hundred an hour, all processes together."""


@dataclass(frozen=True)
class Signed:
    """What a page shows WeCom's client to be let in; without the ticket."""

    corp_id: str
    agent_id: int
    timestamp: int
    nonce: str
    signature: str


async def sign(bank: Bank, address: str) -> Signed:
    """Signs a page of ours for `agentConfig`; raises PlatformError. `address` is what the browser
    shows, up to `#`."""

    async def load() -> str:
        return (await bank.wecom.members.get_agent_ticket())["ticket"]

    ticket = await cached(bank.services, f"agent_ticket:{bank.id}", TICKET_SECONDS, load)
    timestamp, nonce = int(bank.now()), secrets.token_hex(8)
    text = f"jsapi_ticket={ticket}&noncestr={nonce}&timestamp={timestamp}&url={address}"
    signature = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    app = bank.wecom_app
    return Signed(app.corp_id, app.agent_id, timestamp, nonce, signature)


async def customer_of_chat(bank: Bank, actor: StaffActor, external_userid: str) -> str:
    """The cid of the customer in whose chat the panel was opened; raises NotFound for one who is not
    this RM's, since whatever the client says is a hint."""
    found = await resolution.known_by_external_userid(bank, [external_userid])
    if external_userid not in found:
        raise _not_his()
    try:
        customer, _ = await access_customer(bank, actor, found[external_userid])
    except NotFound as error:
        raise _not_his() from error
    return customer.cid


def _not_his() -> NotFound:
    return NotFound(
        "not_your_customer", "this chat's customer is no friend of yours, or not yet known"
    )
