"""The gate: everything that an installation must not run with, told at once."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from config.settings import Settings

KEY_BITS = 88
"""What a key of 32 random hexadecimal digits is surely worth by its letters."""
_WORDS = (
    "master",
    "secret",
    "passw",
    "changeme",
    "change-me",
    "example",
    "yinqiao",
    "default",
    "qwert",
    "1q2w",
    "1qaz",
    "2wsx",
    "asdf",
    "zxcv",
    "poiu",
    "3141592",
)
_PLAIN_BITS, _TOKEN_BITS = 56, 32
"""The same of a key without its doubled letters, or of every second of them; of a token of 16."""
_WRITTEN = re.compile(r"[A-Z][a-z]{2,}|[a-z]{3,}|[A-Z]{4,}")
_MOST_WRITTEN, _LEAST_VOWELS, _LEAST_TELLING = 0.6, 0.3, 24
"""How much of a key may read like words, how many of its letters are vowels if they are, and from
which length on that can be told."""
_BASE32 = re.compile(r"(?=(?:[^2-7]*[2-7]){4})(?:[a-z2-7]+|[A-Z2-7]+)=*")
_ON = frozenset({"true", "1", "yes", ""})
_PUBLISHED = frozenset(
    {
        "8ff2e73099f54938",
        "c45513691768684f",
        "5b4ae0b6d26eeaaa",
        "7987c5b2fdf172d9",
        "ff49f3a4110d78c0",
        "0822620022b53541",
        "02cb662d289acaeb",
        "64a67fbb824bea5d",
        "d4e87c1f996bacbe",
        "afb8cbb433741b65",
        "8d6003a1e8c835e8",
        "19728d34df636772",
        "4a5adc573e6c1e25",
    }
)
"""The first half of the SHA-256 of every secret and password that is published with the demonstration bank."""


def is_published(secret: str) -> bool:
    """Whether everybody can read this secret, since the demonstration bank has it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16] in _PUBLISHED


def production(settings: Settings) -> Iterator[str]:
    """What a bank must not run with, as sentences."""
    yield from _key(settings.master_key.get_secret_value())
    yield from _mongodb(settings.mongodb_uri)
    if settings.redis_url:
        yield from _redis("YINQIAO_REDIS_URL", settings.redis_url)
    else:
        yield "YINQIAO_REDIS_URL is not set: the embedded Redis is not for a bank"
    yield from _broker(settings.broker_url)
    if not _is_https(settings.public_url):
        yield "YINQIAO_PUBLIC_URL must be an https address"
    for name in ("wechat_api_base", "wecom_api_base", "wechat_open_base", "wechatpay_api_base"):
        if not _is_https(str(getattr(settings, name))):
            yield f"YINQIAO_{name.upper()} must be an https address"
    token = settings.metrics_token.get_secret_value()
    if token and (is_published(token) or _is_guessable(token, _TOKEN_BITS)):
        yield "YINQIAO_METRICS_TOKEN can be guessed: take random letters, such as `openssl rand -base64 24` gives"
    if settings.sandbox_url:
        yield "YINQIAO_SANDBOX_URL is set: a bank has no sandbox"
    if settings.dev_beyond_loopback:
        yield "YINQIAO_DEV_BEYOND_LOOPBACK is set: it is for development"
    if "trusted_proxies" not in settings.model_fields_set:
        yield (
            "YINQIAO_TRUSTED_PROXIES is not set: behind a proxy all callers share its address; "
            "[] when there is none"
        )


def dev(settings: Settings) -> Iterator[str]:
    """What an installation for development must not run with."""
    if not _is_loopback(settings.address) and not settings.dev_beyond_loopback:
        yield (
            f"YINQIAO_ADDRESS is {settings.address or 'every address'}: in development everybody who reaches it "
            "can sign in; YINQIAO_DEV_BEYOND_LOOPBACK=true if that is meant"
        )


def _is_https(address: str) -> bool:
    """Whether it is an https address of some host."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" and bool(parts.hostname) and not re.search(r"\s", address)
    except ValueError:
        return False


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _key(key: str) -> Iterator[str]:
    from config.settings import DEFAULT_MASTER_KEY

    if key == DEFAULT_MASTER_KEY:
        yield "YINQIAO_MASTER_KEY is the default key"
    elif len(key) < 32:
        yield "YINQIAO_MASTER_KEY is shorter than 32 characters"
    elif is_published(key):
        yield "YINQIAO_MASTER_KEY is published with the demonstration bank"
    elif _is_guessable(key):
        yield "YINQIAO_MASTER_KEY can be guessed: take 32 random bytes, such as `openssl rand -base64 32` gives"


def _is_guessable(key: str, bits: float = KEY_BITS) -> bool:
    """Repeated, counted up, made of words, or of too few letters."""
    lower = key.lower()
    period = _period(lower)
    squeezed = re.sub(r"(.)\1+", r"\1", lower, flags=re.DOTALL)
    plain = min(_bits(squeezed), _bits(lower[::2]) + _bits(lower[1::2]))
    return (
        period <= len(key) // 2
        or any(word in lower for word in _WORDS)
        or _bits(key[:period]) < bits
        or plain < bits * _PLAIN_BITS / KEY_BITS
        or _is_written(key)
    )


def _is_written(key: str) -> bool:
    """Whether most of it reads like words of a language: long runs of letters with vowels in
    them."""
    letters = "".join(_WRITTEN.findall(key)).lower()
    if len(letters) < max(_LEAST_TELLING, len(key)) * _MOST_WRITTEN or _BASE32.fullmatch(key):
        return False
    return sum(each in "aeiou" for each in letters) >= _LEAST_VOWELS * len(letters)


def _period(text: str) -> int:
    """The length of the shortest beginning that gives the whole text when it is repeated."""
    return next(
        size
        for size in range(1, len(text) + 1)
        if all(text[i] == text[i - size] for i in range(size, len(text)))
    )


def _bits(text: str) -> float:
    """How much is in a text at the most: by how often each letter is there, without those that only
    count on from the two before."""
    kept = [
        each
        for place, each in enumerate(text)
        if place < 2
        or ord(each) - ord(text[place - 1]) != ord(text[place - 1]) - ord(text[place - 2])
    ]
    counts = Counter(kept).values()
    return sum(count * math.log2(len(kept) / count) for count in counts)


def _mongodb(uri: str) -> Iterator[str]:
    name = "YINQIAO_MONGODB_URI"
    if not uri:
        yield f"{name} is not set: the embedded store is not for a bank's data"
        return
    scheme, _, rest = uri.partition("://")
    authority, _, query = rest.partition("?")
    options = {
        key.lower(): values[-1].lower()
        for key, values in parse_qs(query, keep_blank_values=True).items()
    }
    user, _, _ = authority.rpartition("@")
    password = unquote(user.partition(":")[2])
    by_certificate = options.get("authmechanism") == "mongodb-x509"
    if not by_certificate and not password:
        yield f"{name} has no user and password"
    elif is_published(password):
        yield f"{name} has a published password"
    said = [options[option] for option in ("tls", "ssl") if option in options]
    if any(each not in _ON for each in said or [str(scheme == "mongodb+srv").lower()]):
        yield f"{name} is not encrypted: tls=true"
    loose = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")
    if any(options.get(option, "false") in _ON for option in loose):
        yield f"{name} does not look at certificates"


def _redis(name: str, url: str) -> Iterator[str]:
    parts, options = urlsplit(url), parse_qs(urlsplit(url).query)
    if not parts.password:
        yield f"{name} has no password"
    elif is_published(unquote(parts.password)):
        yield f"{name} has a published password"
    if parts.scheme != "rediss":
        yield f"{name} is not encrypted: rediss://"
    looks = options.get("ssl_cert_reqs", ["required"])[-1].lower()
    names = options.get("ssl_check_hostname", ["true"])[-1].lower()
    if looks not in ("required", "cert_required") or names not in _ON:
        yield f"{name} does not look at certificates"


def _broker(url: str) -> Iterator[str]:
    name = "YINQIAO_BROKER_URL"
    if url.startswith(("redis:", "rediss:")):
        yield from _redis(name, url)
    elif url:
        parts = urlsplit(url)
        if not parts.password or (parts.username, parts.password) == ("guest", "guest"):
            yield f"{name} has no password of its own"
        elif is_published(unquote(parts.password)):
            yield f"{name} has a published password"
        if parts.scheme != "amqps":
            yield f"{name} is not encrypted: amqps://"
