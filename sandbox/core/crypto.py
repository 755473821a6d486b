"""WeCom's callback scheme: SHA-1 signature and AES-256-CBC envelope (contract/wechat C1-C3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 32
PREFIX, HEAD = 16, 20
"""Bytes of the random prefix, and of it with the message's length."""


class BadCallback(ValueError):
    """The envelope cannot be trusted or read."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What an envelope held: the random prefix, the message, and whom it was meant for."""

    prefix: bytes
    message: bytes
    receiveid: str


def signature(token: str, timestamp: str, nonce: str, *encrypted: str) -> str:
    """Hex SHA-1 over the sorted strings: with the ciphertext (C1), without for a mini-program's
    plain one (A7)."""
    joined = "".join(sorted([token, timestamp, nonce, *encrypted]))
    return hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()


class Envelope:
    """Encrypts and decrypts for one callback token and EncodingAESKey."""

    def __init__(self, token: str, encoding_aes_key: str) -> None:
        key = base64.b64decode(encoding_aes_key + "=")
        if len(key) != 32:
            raise ValueError("EncodingAESKey must hold 32 bytes")
        self._token = token
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16]))

    def sign(self, timestamp: str, nonce: str, encrypted: str) -> str:
        """The `msg_signature` of one post."""
        return signature(self._token, timestamp, nonce, encrypted)

    def encrypt(self, message: bytes, receiveid: str, prefix: bytes | None = None) -> str:
        """Base64 ciphertext of `message` for `receiveid`; `prefix` is 16 random bytes unless
        given."""
        plain = (
            (prefix or os.urandom(16))
            + struct.pack("!I", len(message))
            + message
            + receiveid.encode()
        )
        pad = BLOCK - len(plain) % BLOCK
        encryptor = self._cipher.encryptor()
        return base64.b64encode(
            encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        ).decode()

    def open(self, encrypted: str, *, timestamp: str, nonce: str, msg_signature: str) -> Plain:
        """Verify the signature, then decrypt.

        Raises BadCallback on a wrong signature, padding or length.
        """
        if not hmac.compare_digest(self.sign(timestamp, nonce, encrypted), msg_signature):
            raise BadCallback("signature does not match")
        return self.decrypt(encrypted)

    def decrypt(self, encrypted: str) -> Plain:
        """Decrypt without looking at the signature. Raises BadCallback when the content is
        malformed."""
        plain = self._unpadded(encrypted)
        if len(plain) < HEAD:
            raise BadCallback("message is too short")
        (length,) = struct.unpack("!I", plain[PREFIX:HEAD])
        end = HEAD + length
        if end > len(plain):
            raise BadCallback("length runs past the end")
        return Plain(plain[:PREFIX], plain[HEAD:end], plain[end:].decode("utf-8", "replace"))

    def _unpadded(self, encrypted: str) -> bytes:
        decryptor = self._cipher.decryptor()
        try:
            ciphertext = base64.b64decode(encrypted, validate=True)
            padded = decryptor.update(ciphertext) + decryptor.finalize()
        except ValueError as error:
            raise BadCallback("ciphertext is malformed") from error
        pad = padded[-1] if padded else 0
        if not 1 <= pad <= BLOCK or padded[-pad:] != bytes([pad]) * pad:
            raise BadCallback("padding is wrong")
        return padded[:-pad]
