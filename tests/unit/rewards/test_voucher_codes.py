"""The codes of vouchers: what a person mistypes is found, and what he means is understood."""

from __future__ import annotations

import re

import pytest

from rewards.vouchers import codes
from services.security.vault import TenantVault, Vault

BANK = TenantVault(Vault("m" * 40), "demo")
OTHER = TenantVault(Vault("m" * 40), "other")
CODES = [codes.code_of(BANK, f"demo:{n:032x}", 0) for n in range(20)]


@pytest.mark.parametrize("code", CODES)
def test_every_wrong_character_and_every_two_that_changed_places_are_found(code: str) -> None:
    assert codes.is_code(BANK, code)
    for place, right in enumerate(code):
        for letter in codes.ALPHABET:
            wrong = code[:place] + letter + code[place + 1 :]
            assert codes.is_code(BANK, wrong) == (letter == right)
        for other in range(place + 1, codes.LENGTH):
            changed = list(code)
            changed[place], changed[other] = changed[other], changed[place]
            assert codes.is_code(BANK, "".join(changed)) == (code[place] == code[other])


def test_a_code_of_another_bank_is_hardly_ever_taken_for_one() -> None:
    others = [codes.code_of(OTHER, f"other:{n:032x}", 0) for n in range(2_000)]
    assert sum(codes.is_code(BANK, code) for code in others) < 2_000 / 32 * 2


@pytest.mark.parametrize(
    "typed",
    [
        "0123-4567-89AB",
        "o123 4567 89ab",
        "０１２３－４５６７－８９ａｂ",
        "Ol23_4567_89AB",
        "O1234567—89AB",
        " 0i23.4567.89ab ",
    ],
)
def test_a_code_is_understood_however_it_is_typed(typed: str) -> None:
    assert codes.meant(codes.plain(typed)) == "0123456789AB"


@pytest.mark.parametrize("typed", ["", "U" * 12, "A" * 11, "A" * 13, "券码", "🎁" * 12, "AAAA'$ne AAAA"])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert not codes.is_code(BANK, codes.meant(codes.plain(typed)))


def test_codes_are_told_apart_by_voucher_by_turn_and_by_bank() -> None:
    each = {codes.code_of(vault, f"demo:{n}", nth) for vault in (BANK, OTHER) for n in range(50) for nth in range(3)}
    assert len(each) == 300
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{12}", code) for code in each)
    assert codes.shown(CODES[0]).replace("-", "") == CODES[0]
