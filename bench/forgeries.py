"""Callbacks that nobody at WeCom sent: what each is, and the refusal that it must meet."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import callbacks
from bench.callbacks import CREDENTIALS
from services.wechat.core import crypto

HOUR = 3600
BODY_LIMIT = 64 * 1024
GARBLED = frozenset(
    {"callback_bad_cipher", "callback_bad_padding", "callback_bad_length", "callback_bad_receiveid"}
)
"""What is refused once it is decrypted; which of them depends on what the garbled bytes happen to
be."""


@dataclass(frozen=True)
class Forgery:
    """`make` gives another one each time; of a replay it takes the nonce of a callback that was
    acknowledged."""

    status: int
    codes: frozenset[str]
    make: Callable[[str], bytes]
    replays: bool = False


def _message() -> bytes:
    """The friendship of somebody who is in no other message."""
    fields = {
        "UserID": "rm.chen",
        "ExternalUserID": f"wmFORGED{secrets.token_hex(12)}",
        "State": "forged",
    }
    return callbacks.message(
        "change_external_contact", "add_external_contact", int(time.time()), fields
    )


def _now(ahead: int = 0) -> str:
    return str(int(time.time()) + ahead)


def _nonce() -> str:
    return secrets.token_hex(8)


def _sealed(credentials: crypto.Credentials = CREDENTIALS) -> str:
    return crypto.encrypt(credentials, _message())


def _signed(
    sealed: str, *, ahead: int = 0, token: str = CREDENTIALS.token, nonce: str = ""
) -> bytes:
    return callbacks.request(sealed, timestamp=_now(ahead), nonce=nonce or _nonce(), token=token)


def _guessed_signature(_: str) -> bytes:
    return callbacks.request(
        _sealed(), timestamp=_now(), nonce=_nonce(), signature=secrets.token_hex(20)
    )


def _tampered_cipher(_: str) -> bytes:
    """One character of the cipher is another one; the signature is that of the genuine cipher."""
    sealed, timestamp, nonce = _sealed(), _now(), _nonce()
    at = secrets.randbelow(len(sealed) - 4)
    other = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
    signature = crypto.sign(CREDENTIALS.token, timestamp, nonce, sealed)
    return callbacks.request(other, timestamp=timestamp, nonce=nonce, signature=signature)


def _moved_time(_: str) -> bytes:
    """An old capture whose timestamp alone was made young again."""
    sealed, nonce = _sealed(), _nonce()
    signature = crypto.sign(CREDENTIALS.token, _now(-HOUR), nonce, sealed)
    return callbacks.request(sealed, timestamp=_now(), nonce=nonce, signature=signature)


def _cut_cipher(_: str) -> bytes:
    """Short of its last block, and signed by somebody who has the token."""
    return _signed(base64.b64encode(base64.b64decode(_sealed())[:-16]).decode())


def _other_corp(_: str) -> bytes:
    return _signed(_sealed(replace(CREDENTIALS, receiveid="ww0000000000000000")))


def _other_key(_: str) -> bytes:
    return _signed(_sealed(replace(CREDENTIALS, aes_key=CREDENTIALS.aes_key[::-1])))


def _with_doctype(_: str) -> bytes:
    sealed, timestamp, nonce = _sealed(), _now(), _nonce()
    body = b'<!DOCTYPE xml [<!ENTITY a "a">]>' + callbacks.envelope(sealed)
    signature = crypto.sign(CREDENTIALS.token, timestamp, nonce, sealed)
    return callbacks.around(body, timestamp=timestamp, nonce=nonce, signature=signature)


def _without_cipher(_: str) -> bytes:
    """The message itself, in clear."""
    return callbacks.around(
        _message(), timestamp=_now(), nonce=_nonce(), signature=secrets.token_hex(20)
    )


def _too_large(_: str) -> bytes:
    return _signed(_sealed() + "A" * BODY_LIMIT)


BAD_SIGNATURE, STALE = frozenset({"callback_bad_signature"}), frozenset({"callback_stale"})
FORGERIES: dict[str, Forgery] = {
    "a guessed signature": Forgery(403, BAD_SIGNATURE, _guessed_signature),
    "another token": Forgery(
        403, BAD_SIGNATURE, lambda _: _signed(_sealed(), token="AnotherToken")
    ),
    "a tampered cipher": Forgery(403, BAD_SIGNATURE, _tampered_cipher),
    "a moved timestamp": Forgery(403, BAD_SIGNATURE, _moved_time),
    "a cut cipher": Forgery(403, GARBLED, _cut_cipher),
    "another key": Forgery(403, GARBLED, _other_key),
    "another corp": Forgery(403, frozenset({"callback_bad_receiveid"}), _other_corp),
    "an old capture": Forgery(403, STALE, lambda _: _signed(_sealed(), ahead=-HOUR)),
    "a time to come": Forgery(403, STALE, lambda _: _signed(_sealed(), ahead=HOUR)),
    "a used nonce": Forgery(
        403,
        frozenset({"callback_replayed"}),
        lambda used: _signed(_sealed(), nonce=used),
        replays=True,
    ),
    "a document type": Forgery(400, frozenset({"callback_dtd"}), _with_doctype),
    "no cipher": Forgery(400, frozenset({"callback_no_encrypt"}), _without_cipher),
    "too much": Forgery(413, frozenset({"callback_too_large"}), _too_large),
}
