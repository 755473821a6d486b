"""Phones in E.164: what people, files and WeChat write, and what may be shown of a number."""

from __future__ import annotations

import phonenumbers
import pytest
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from services import phones
from services.errors import InvalidInput

MAINLAND = "+8613800000001"


@pytest.mark.parametrize(
    "written",
    [
        "13800000001", "138 0000 0001", "138-0000-0001", "+8613800000001", "+86 138 0000 0001", "86 13800000001",
        "8613800000001", "008613800000001", "0086-138-0000-0001", "(+86)13800000001", "+86 (0)138 0000 0001",
        "013800000001", "１３８０００００００１", "＋８６　１３８００００ ０００１", "138.0000.0001", "\t13800000001 ",
        "'13800000001", "‘13800000001", '="13800000001"', "13800000001.0", "13800000001.00", "1.3800000001E+10",
        "1.3800000001e10", "13,800,000,001", "\u202d13800000001\u202c", "\ufeff13800000001", "138\u00a00000\u00a00001",
        "tel:+86-138-0000-0001", "138—0000—0001",
    ],
)  # fmt: skip
def test_a_mainland_mobile_is_one_number_however_it_is_written(written: str) -> None:
    assert phones.read(written) == MAINLAND


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("+49 15123456700", "+4915123456700"),
        ("0049 151 23456700", "+4915123456700"),
        ("+49 (0)151 23456700", "+4915123456700"),
        ("+852 5123 4567", "+85251234567"),
        ("00852-51234567", "+85251234567"),
        ("+853 6612 3456", "+85366123456"),
        ("+886 0912 345 678", "+886912345678"),
        ("+1 (202) 555-0123", "+12025550123"),
        ("0755-26716888", "+8675526716888"),
        ("+86 0755 26716888", "+8675526716888"),
        ("010-66194114", "+861066194114"),
        ("400-820-8820", "+864008208820"),
        *((one, f"+86{one}") for one in ("17012345678", "16212345678", "16512345678", "14912345678", "17912005678")),
        *((one, f"+86{one}") for one in ("19212345678", "15123456700")),
    ],
)
def test_a_number_keeps_its_country(written: str, phone: str) -> None:
    assert phones.read(written) == phone


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("1.38E+10", "digits_lost"),
        ("1.380000E+10", "digits_lost"),
        ("8.613800E+12", "digits_lost"),
        *(
            (one, "phone_invalid")
            for one in (
                "", " ", "-", "没有", "n/a", "12345678901", "1380000000", "138000000012", "138****0001", "10086", "95500",
                "26716888", "51234567", "85251234567", "85366123456", "886912345678", "4915123456700", "12025550123",
                "+8612345678901", "+49151", "+999123456789", "++8613800000001", "13800000001/13900000001",
                "13800000001、13900000001", "13800000001 13900000001", "0755-26716888转8001", "0755-26716888-8001 ext 2",
                "75526716888", "2088888888", "0755-26716888 x12", "+86 138O0000001", "1" * 40, "+", "00", "一三八",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_phone_or_may_be_two_is_refused_without_being_repeated(written: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        phones.read(written)
    assert refused.value.code == code
    assert len(written) < 5 or written not in refused.value.message


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("13800000001/13900000001", "more than one number"),
        ("13800000001 13900000001", "more than one number"),
        ("0755-26716888转8001", "extension"),
        ("75526716888", "0 and the area code"),
    ],
)
def test_the_refusal_says_what_to_write_instead(written: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        phones.read(written)
    assert says in refused.value.message


def test_a_number_without_a_code_is_of_the_banks_region() -> None:
    assert phones.read("51234567", "HK") == "+85251234567"
    assert phones.read("66123456", "MO") == "+85366123456"
    assert phones.read("0912 345 678", "TW") == "+886912345678"
    assert phones.read("+8613800000001", "HK") == MAINLAND
    with pytest.raises(InvalidInput):
        phones.read("13800000001", "HK")
    assert phones.is_region("HK")
    assert not phones.is_region("XX")


@pytest.mark.parametrize(
    ("told", "phone"),
    [
        (("+4915123456700", "15123456700", "49"), "+4915123456700"),
        (("15123456700", "15123456700", "86"), "+8615123456700"),
        (("15123456700", "15123456700", "+86"), "+8615123456700"),
        (("15123456700", "15123456700", "0086"), "+8615123456700"),
        (("15123456700", "15123456700", ""), "+8615123456700"),
        (("+4915123456700", "15123456700", ""), "+4915123456700"),
        (("4915123456700", "15123456700", ""), "+4915123456700"),
        (("+4915123456700", "", "49"), "+4915123456700"),
        (("+49015123456700", "015123456700", "49"), "+4915123456700"),
        (("+85251234567", "51234567", "852"), "+85251234567"),
        (("+85366123456", "66123456", "853"), "+85366123456"),
        (("+886912345678", "0912345678", "886"), "+886912345678"),
        (("+12025550123", "2025550123", "1"), "+12025550123"),
        (("+13125550123", "3125550123", "1"), "+13125550123"),
        (("+13459161234", "9161234", "1345"), "+13459161234"),
        (("19999999999", "19999999999", "86"), "+8619999999999"),
    ],
)
def test_what_wechat_tells_keeps_its_country(told: tuple[str, str, str], phone: str) -> None:
    assert phones.of_wechat(*told) == phone


@pytest.mark.parametrize("told", [("x", "x", "86"), ("", "", "86"), ("+999123456789", "123456789", "999")])
def test_what_wechat_tells_that_is_no_phone_is_refused(told: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        phones.of_wechat(*told)
    assert refused.value.code == "phone_invalid"


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        (MAINLAND, "138****0001"),
        ("+4915123456700", "+49 151****6700"),
        ("+85251234567", "+852 51****67"),
        ("+85366123456", "+853 66****56"),
        ("+886912345678", "+886 91****678"),
        ("+12025550123", "+1 202****123"),
        ("+13051234567", "+1 305****567"),
        ("+8675526716888", "+86 755****6888"),
        ("", ""),
    ],
)
def test_a_mask_keeps_the_country_and_hides_four_digits(phone: str, masked: str) -> None:
    assert phones.mask_phone(phone) == masked


KINDS = (
    PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST, PhoneNumberType.VOIP, PhoneNumberType.PERSONAL_NUMBER, PhoneNumberType.UAN,
)  # fmt: skip


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_a_number_of_every_region_and_kind_is_itself_however_it_is_written(region: str) -> None:
    for kind in KINDS:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            continue
        number = phonenumbers.format_number(example, PhoneNumberFormat.E164)
        code, pure = str(example.country_code), phonenumbers.national_significant_number(example)
        written = (
            number, f"00{number[1:]}", f" +{code} {pure} ", f"+{code}-{pure}", number.replace("+", "＋"),
            phonenumbers.format_number(example, PhoneNumberFormat.INTERNATIONAL),
            phonenumbers.format_number(example, PhoneNumberFormat.RFC3966),
        )  # fmt: skip
        assert {phones.read(text, home) for text in written for home in ("CN", "HK", "US")} == {number}
        told = {
            phones.of_wechat(whole, pure, said)
            for whole in (number, pure, f"{code}{pure}")
            for said in (code, f"+{code}", f"00{code}", f" {code} ")
        }
        without_code = {phones.of_wechat(whole, pure, "") for whole in (number, f"{code}{pure}")}
        assert told | without_code | {phones.of_wechat(number, "", "")} == {number}
        shown = sum(one.isdigit() for one in phones.mask_phone(number).removeprefix(f"+{code} "))
        assert shown <= min(7, max(2, len(pure) - 4))
