"""What every route under /open/v1 shares: the caller is a program, a partner's or the bank's own, that
signs what it asks, and a partner's write has a key under which it happens once."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import override

from config.bounds import KEY_LENGTH
from customers.access import partner, system
from customers.access.origin import Origin
from customers.access.signing import Signed
from customers.actors import PartnerActor, SystemActor
from handlers.http import rates
from handlers.http.api import Api
from handlers.http.auth import SYSTEM
from handlers.http.base import Refusal
from handlers.http.pages import language_of, preferred
from services.errors import InvalidInput, NotSignedIn, YinqiaoError

SCHEME = "Yinqiao-HMAC-SHA256"
HEADERS = ("Yinqiao-Partner", "Yinqiao-Timestamp", "Yinqiao-Nonce", "Yinqiao-Signature")
KEY = "Idempotency-Key"
TOLD = frozenset({"when", "where", "left", "most"})
"""What a refusal tells a partner besides its code: not who of the bank it was."""


class Open(Api):
    """One request of a program. What does not verify is counted for its sender's address; what does
    is counted for the program alone."""

    signed: Signed
    _details: dict[str, str]

    @override
    async def identify(self, permission: str) -> PartnerActor | SystemActor:
        who, time, nonce, signature = (self.request.headers.get(name, "") for name in HEADERS)
        self.signed = signed = Signed(
            who=who,
            time=time,
            nonce=nonce,
            signature=signature,
            method=self.request.method or "",
            target=self.request.uri or "",
            body=self.request.body,
        )
        try:
            verify = system.verify if permission == SYSTEM else partner.verify
            return await verify(self.services, signed, Origin(self.client_ip()))
        except NotSignedIn:
            await self.services.throttle.take(rates.FORGERIES, self.client_ip())
            raise

    @override
    async def serve_method(self) -> None:
        try:
            await super().serve_method()
        except YinqiaoError as error:
            self._details = {name: error.data[name] for name in error.data.keys() & TOLD}
            raise

    @override
    def answer_refusal(self, refusal: Refusal) -> None:
        error: dict[str, Any] = {
            "code": refusal.code,
            "message": refusal.message,
            "request_id": self.request_id,
        }
        if refusal.fields:
            error["fields"] = refusal.fields
        if details := getattr(self, "_details", None):
            error["details"] = details
        for name, value in refusal.headers().items():
            self.set_header(name, value)
        if refusal.status == 401:
            self.set_header("WWW-Authenticate", SCHEME)
        self.answer({"error": error}, refusal.status)

    def idempotency_key(self) -> str:
        """Raises InvalidInput when the key is missing or longer than 255 characters."""
        key = self.request.headers.get(KEY, "")
        if not key:
            raise InvalidInput("idempotency_key_missing", f"this needs the header {KEY}")
        if len(key) > KEY_LENGTH:
            raise InvalidInput("idempotency_key_too_long", f"at most {KEY_LENGTH} characters")
        return key

    def replayed(self) -> None:
        """Says that an earlier answer is given again."""
        self.set_header("Idempotency-Hit", "true")

    @property
    def lang(self) -> Literal["zh", "en"]:
        """What the caller's Accept-Language likes better; Chinese where it likes neither."""
        return language_of(preferred(self.request.headers.get("Accept-Language", "")))
