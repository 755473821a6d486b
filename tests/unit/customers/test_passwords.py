"""What a password must be: long, and none that is guessed first (ASVS 2.1)."""

from __future__ import annotations

import pytest

from customers.banks import passwords
from services.errors import InvalidInput

OWN = ("lin", "林晓", "zhongbei", "Zhongbei Bank")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "12345678",
        "K7#vPq2$zLm",
        "123456789012",
        "987654321098",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "abcdefghijkl",
        "111111222222",
        "password1234",
        "Password2026!",
        "P@ssw0rd2026!!",
        "１２３４５６７８９０１２",
        "qwertyuiop12",
        "1qaz2wsx3edc",
        "admin@demo-2026",
        "woaini1314520",
        "yinqiao-demo",
        "lin.lin.lin.lin",
        "Zhongbei-2026!",
        "x" * 129,
    ],
)
def test_what_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        passwords.check(password, OWN)
    assert refused.value.code == "password_weak"
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "steinhauer 4 segel",
        "K7#vPq2$zLm9",
        "雨后池塘里的青蛙跳过石阶",
        "kolibri kolibri trompete",
        "a" * 40 + " long way home to the lighthouse",
    ],
)
def test_several_words_are_enough_whatever_they_are_made_of(password: str) -> None:
    passwords.check(password, OWN)
