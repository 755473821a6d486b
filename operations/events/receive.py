"""Callbacks as they come in: verified, decrypted and stored, durably, before they are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.parsers import expat

from customers.banks.bank import Bank, bank_of_appid, open_bank
from customers.banks.tasks import HANDLE_INBOX
from services.container import Services
from services.errors import NotFound, YinqiaoError
from services.queue import inbox
from services.queue.inbox import WECHAT, WECOM, Arrival
from services.wechat.core import crypto
from services.wechat.core.errors import EventUnreadable


async def receive_wecom(
    services: Services, tenant_id: str, query: Mapping[str, str], body: bytes
) -> str:
    """Verifies, decrypts and stores a WeCom callback, durably: "stored" or "duplicate"
    (contract/wechat C3).

    Raises the callback_* refusals of services/wechat/core/crypto.py, `callback_replayed` for a seen
    nonce with another message, and Unavailable when it could not be stored: WeCom delivers it again
    then.
    """
    with _counted(services, tenant_id) as count:
        app = (await open_bank(services, tenant_id)).wecom_app
        credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
        opened = crypto.verify_and_decrypt(credentials, query, body, **_limits(services))
        urgent = _Glance(opened.message).urgent
        return await _store(
            services, Arrival(tenant_id, WECOM, opened.message, opened.nonce, urgent), count
        )


async def receive_wechat(
    services: Services, appid: str, query: Mapping[str, str], body: bytes
) -> str:
    """The same for a mini-program's message push in safe mode (contract/wechat A7)."""
    with _counted(services, appid) as count:
        bank = await bank_of_appid(services, appid)
        opened = crypto.verify_push(
            _push_credentials(bank, appid), query, body, **_limits(services)
        )
        return await _store(
            services, Arrival(bank.id, f"{WECHAT}:{appid}", opened.message, opened.nonce), count
        )


Count = Callable[[str], None]


@contextmanager
def _counted(services: Services, whose: str) -> Iterator[Count]:
    """Counts what becomes of a callback, refusals by their code. An address that no bank has is
    counted as nobody's."""

    def count(outcome: str) -> None:
        services.metrics.callbacks.labels(whose, outcome).inc()

    try:
        yield count
    except NotFound as error:
        services.metrics.callbacks.labels("nobody", error.code).inc()
        raise
    except YinqiaoError as error:
        count(error.code)
        raise


def _limits(services: Services) -> dict[str, Any]:
    return {"now": services.clock(), "window": services.settings.callback_window}


def _push_credentials(bank: Bank, appid: str) -> crypto.Credentials:
    program = bank.miniprograms[appid]
    if not program.aes_key or not program.token:
        raise NotFound("push_not_configured", "this mini-program has no message push")
    return bank.services.platform.credentials(program.token, program.aes_key, appid)


async def _store(services: Services, arrival: Arrival, count: Count) -> str:
    outcome = await inbox.receive(services, arrival)
    count(outcome)
    if outcome == inbox.STORED:
        services.wakeups.signal(HANDLE_INBOX, arrival.tenant)
    return outcome


class _Glance:
    """What the handling must know before it is stored: no tree is built, that is the worker's."""

    def __init__(self, message: bytes) -> None:
        """Raises EventUnreadable: `event_not_xml`, or `event_dtd` when a document type is
        declared."""
        self.names: set[str] = set()
        self._event: list[str] = []
        self._inside = ""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._begin
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(message, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise EventUnreadable("event_not_xml", "the message is not XML") from error

    @property
    def urgent(self) -> bool:
        """True for what cannot wait behind a storm of others: a welcome code, and a change of
        staff."""
        return "WelcomeCode" in self.names or "".join(self._event).strip() == "change_contact"

    def _refuse(self, *_: object) -> None:
        raise EventUnreadable("event_dtd", "a message has no document type")

    def _begin(self, name: str, _: object) -> None:
        self.names.add(name)
        self._inside = name

    def _text(self, text: str) -> None:
        if self._inside == "Event":
            self._event.append(text)


async def check_wecom_url(services: Services, tenant_id: str, query: Mapping[str, str]) -> str:
    """The plaintext of `echostr` (contract/wechat C1); raises the callback_* refusals."""
    app = (await open_bank(services, tenant_id)).wecom_app
    credentials = services.platform.credentials(app.token, app.aes_key, app.corp_id)
    return crypto.verify_url(credentials, query, **_limits(services)).decode()


async def check_wechat_url(services: Services, appid: str, query: Mapping[str, str]) -> str:
    """The raw `echostr` (contract/wechat A7)."""
    credentials = _push_credentials(await bank_of_appid(services, appid), appid)
    return crypto.verify_push_url(credentials, query, **_limits(services)).decode()
