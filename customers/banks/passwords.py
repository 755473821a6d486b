"""What a clerk may take for a password: long, not one that everybody tries, and not made of what
everybody knows of him. Which letters it is made of is his own affair (NIST SP 800-63B 5.1.1.2, ASVS 2.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from config import gate
from services.errors import InvalidInput

SHORTEST, LONGEST = 12, 128
"""In characters."""
LEFT = 4
"""So many different letters must be left when everything that is guessed first is taken out."""
_COMMON = tuple(
    """
    password passw0rd passwort pass word qwertyuiop qwerty qwertz azerty asdfghjkl asdfgh asdf zxcvbnm zxcvbn
    1qaz2wsx3edc4rfv 1qaz2wsx 1q2w3e4r5t6y 1q2w3e4r qazwsxedc qazwsx admin administrator root user guest login
    welcome letmein changeme change iloveyou monkey dragon master superman batman football baseball princess
    sunshine shadow trustno1 whatever freedom starwars michael jordan hunter secret default temp test tests
    testing sample example demo hello world spring summer autumn winter january february march april june july
    august september october november december monday tuesday wednesday thursday friday saturday sunday china
    beijing shanghai shenzhen guangzhou zhongguo woaini woaiwojia wodemima mima nihao yinhang bank banking
    company office computer internet server system database console operations operator auditor clerk wecom
    wechat weixin tencent alibaba taobao qq163 abc123 aa123456 a123456 abcd1234 5201314 1314520 woaini1314 520520
    """.split()
)


def check(password: str, known: Iterable[str]) -> None:
    """Raises InvalidInput `password_weak` with what is wrong. `known` are words that belong to its
    owner: his name and login, his bank's."""
    text = unicodedata.normalize("NFKC", password)
    if len(text) < SHORTEST:
        raise _weak(f"a password has at least {SHORTEST} characters", "short")
    if len(text) > LONGEST:
        raise _weak(f"a password has at most {LONGEST} characters", "long")
    if gate.is_published(password) or _left_of(text, known) < LEFT:
        raise _weak(
            "this password is one of the first that are guessed; take several words", "common"
        )


def _weak(message: str, why: str) -> InvalidInput:
    return InvalidInput("password_weak", message, fields={"password": why})


def _left_of(text: str, known: Iterable[str]) -> int:
    """How many different characters are left without common words, the owner's own words, runs
    (1234, fedcba) and repetitions."""
    words = {word.lower() for word in known if len(word) >= 2} | set(_COMMON)
    lower = text.lower()
    folded = "".join(
        {"@": "a", "$": "s", "0": "o", "3": "e", "5": "s"}.get(each, each) for each in lower
    )
    return min(_without(lower, words), _without(folded, words))


def _without(text: str, words: set[str]) -> int:
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, " ")
    text = re.sub(r"(.{1,8}?)\1+", r"\1", text)
    text = re.sub(r"(19|20)\d\d", " ", text)
    kept = [
        each
        for place, each in enumerate(text)
        if place == 0 or abs(ord(each) - ord(text[place - 1])) > 1
    ]
    return len({each for each in kept if each.isalnum()})
