"""Field encryption with blind indexes (promise P6, contract/trust 3.4).

A sealed value is `version | key id | day | nonce | ciphertext and tag`. The additional data is tenant,
collection, field and document id, so a value copied into another row, field or bank does not open.
The version says which cipher sealed it: a bank may change the setting and still read what was
written before. Every bank has a key of its own for every day (UTC, two bytes of days since 1970), since
a key with random nonces is good for 2^32 values, which a large bank reaches in weeks. Values of the
first two versions have no day, and go on opening.

The blind index is an HMAC under a key of its own per tenant and field: equality only. It is used
for phone numbers and platform ids, which are long or guarded by the key outside the database, never
for fields with few values.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.clock import Clock, system_clock
from services.errors import YinqiaoError

_NONCE = 12
_TAG = 16
_HEADER = 2
_DAY = 2
_DAY_SECONDS = 86_400


class CannotOpen(YinqiaoError):
    """A sealed value that is not what it should be: another row's, another bank's, another key's,
    or damaged."""


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class _Sm4Gcm:
    """SM4-GCM (GB/T 32907, RFC 8998) with the interface of cryptography's AESGCM."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        encryptor = Cipher(algorithms.SM4(self._key), modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated_data or b"")
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        body, tag = data[:-_TAG], data[-_TAG:]
        decryptor = Cipher(algorithms.SM4(self._key), modes.GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(associated_data or b"")
        return decryptor.update(body) + decryptor.finalize()


@dataclass(frozen=True)
class _Suite:
    """A cipher; `by_day` where its key is one day's."""

    name: str
    key_size: int
    make: Callable[[bytes], _Aead]
    by_day: bool

    @property
    def header(self) -> int:
        return _HEADER + (_DAY if self.by_day else 0)


_SUITES: dict[int, _Suite] = {
    1: _Suite("AES-256-GCM", 32, AESGCM, by_day=False),
    2: _Suite("SM4-GCM", 16, _Sm4Gcm, by_day=False),
    3: _Suite("AES-256-GCM", 32, AESGCM, by_day=True),
    4: _Suite("SM4-GCM", 16, _Sm4Gcm, by_day=True),
}


class Vault:
    """Seals and opens fields. `master` is the root secret; every tenant and purpose gets a key
    derived from it."""

    def __init__(
        self,
        master: str,
        cipher: str = "AES-256-GCM",
        *,
        key_id: int = 1,
        clock: Clock = system_clock,
    ) -> None:
        self._master = master.encode()
        self._key_id = key_id
        self._clock = clock
        self._version = next(
            version for version, suite in _SUITES.items() if suite.name == cipher and suite.by_day
        )
        self._derive = lru_cache(maxsize=4096)(self._derive_key)
        self._aead = lru_cache(maxsize=4096)(self._make_aead)

    def _derive_key(self, tenant: str, purpose: str, size: int) -> bytes:
        info = f"yinqiao|{tenant}|{purpose}".encode()
        return HKDF(
            algorithm=hashes.SHA256(), length=size, salt=b"yinqiao-vault-v1", info=info
        ).derive(self._master)

    def _make_aead(self, header: bytes, tenant: str) -> _Aead:
        """The cipher that the header of a sealed value names, under its key."""
        suite = _SUITES[header[0]]
        purpose = f"field|{suite.name}|{header[1]}"
        if suite.by_day:
            purpose += f"|day {int.from_bytes(header[_HEADER:])}"
        return suite.make(self._derive_key(tenant, purpose, suite.key_size))

    def _header(self) -> bytes:
        day = int(self._clock() // _DAY_SECONDS)
        return bytes((self._version, self._key_id)) + day.to_bytes(_DAY)

    def seal(
        self, tenant: str, collection: str, field: str, doc_id: str, plaintext: bytes
    ) -> bytes:
        """`plaintext` sealed to that one place."""
        header, nonce = self._header(), os.urandom(_NONCE)
        aad = f"{tenant}|{collection}|{field}|{doc_id}".encode()
        return header + nonce + self._aead(header, tenant).encrypt(nonce, plaintext, aad)

    def open(self, tenant: str, collection: str, field: str, doc_id: str, sealed: bytes) -> bytes:
        """What was sealed to that place; raises CannotOpen for anything else."""
        suite = _SUITES.get(sealed[0]) if sealed else None
        if suite is None or len(sealed) < suite.header + _NONCE + _TAG:
            raise CannotOpen("vault_format", f"{collection}.{field} is not a sealed value")
        header, rest = bytes(sealed[: suite.header]), sealed[suite.header :]
        aad = f"{tenant}|{collection}|{field}|{doc_id}".encode()
        try:
            return self._aead(header, tenant).decrypt(rest[:_NONCE], rest[_NONCE:], aad)
        except InvalidTag as error:
            raise CannotOpen(
                "vault_tag", f"{collection}.{field} does not belong to this place"
            ) from error

    def seal_text(self, tenant: str, collection: str, field: str, doc_id: str, text: str) -> bytes:
        return self.seal(tenant, collection, field, doc_id, text.encode())

    def open_text(
        self, tenant: str, collection: str, field: str, doc_id: str, sealed: bytes
    ) -> str:
        return self.open(tenant, collection, field, doc_id, bytes(sealed)).decode()

    def seal_json(
        self, tenant: str, collection: str, field: str, doc_id: str, value: object
    ) -> bytes:
        return self.seal(tenant, collection, field, doc_id, orjson.dumps(value))

    def open_json(
        self, tenant: str, collection: str, field: str, doc_id: str, sealed: bytes
    ) -> object:
        return orjson.loads(self.open(tenant, collection, field, doc_id, bytes(sealed)))

    def blind(self, tenant: str, field: str, value: str) -> str:
        """The blind index of `value`: 32 hex digits, the same for the same tenant, field and
        value."""
        return self.mac(tenant, f"blind|{field}", value.encode())[:32]

    def mac(self, tenant: str, purpose: str, data: bytes) -> str:
        """HMAC-SHA256 of `data` under a key of that tenant and purpose, in hex."""
        return hmac.new(self._derive(tenant, purpose, 32), data, hashlib.sha256).hexdigest()


class TenantVault:
    """The vault under one tenant's keys."""

    def __init__(self, vault: Vault, tenant: str) -> None:
        self._vault = vault
        self._tenant = tenant

    def seal(self, collection: str, field: str, doc_id: str, plaintext: bytes) -> bytes:
        """`plaintext` sealed to that one place."""
        return self._vault.seal(self._tenant, collection, field, doc_id, plaintext)

    def open(self, collection: str, field: str, doc_id: str, sealed: bytes) -> bytes:
        """What was sealed to that place; raises CannotOpen for anything else."""
        return self._vault.open(self._tenant, collection, field, doc_id, sealed)

    def seal_text(self, collection: str, field: str, doc_id: str, text: str) -> bytes:
        return self._vault.seal_text(self._tenant, collection, field, doc_id, text)

    def open_text(self, collection: str, field: str, doc_id: str, sealed: bytes) -> str:
        return self._vault.open_text(self._tenant, collection, field, doc_id, sealed)

    def seal_json(self, collection: str, field: str, doc_id: str, value: object) -> bytes:
        return self._vault.seal_json(self._tenant, collection, field, doc_id, value)

    def open_json(self, collection: str, field: str, doc_id: str, sealed: bytes) -> object:
        return self._vault.open_json(self._tenant, collection, field, doc_id, sealed)

    def blind(self, field: str, value: str) -> str:
        """The blind index of `value`: 32 hex digits, the same for the same field and value."""
        return self._vault.blind(self._tenant, field, value)

    def mac(self, purpose: str, data: bytes) -> str:
        """HMAC-SHA256 of `data` under the tenant's key for that purpose, in hex."""
        return self._vault.mac(self._tenant, purpose, data)
