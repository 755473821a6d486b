"""What is known of a customer, without any store: which facts are new, and what is left without some ids."""

from __future__ import annotations

import pytest

from customers.identity.facts import Customer, Facts, field_of, mask_id, mask_name, unknown_facts

FACTS = Facts("wmE", "oU", {"wx1": "oO1", "wx2": "oO2"}, "+8613800138000", "刘敏", "pe1")


def _customer(**known: str) -> Customer:
    nothing = dict.fromkeys(("name", "phone", "unionid", "external_userid", "number"), "")
    return Customer(
        cid="demo:c", tenant="demo", aliases=("demo:a",), openids={"wx1": "oO1"}, tags=(), **nothing | known
    )


def test_ids_come_strongest_first() -> None:
    assert list(FACTS.ids()) == ["unionid", "external_userid", "openid.wx1", "openid.wx2", "pending"]


def test_without_some_ids_all_else_stays() -> None:
    left = Facts(unionid="oU", openids={"wx2": "oO2"}, phone="+8613800138000", name="刘敏")
    assert FACTS.with_ids_of({"unionid", "openid.wx2"}) == left
    assert FACTS.with_ids_of(FACTS.ids().keys()) == FACTS
    assert FACTS.with_ids_of(()).ids() == {}


def test_what_the_row_says_already_is_not_new() -> None:
    known = _customer(name="刘敏", unionid="oOld", phone="+8613800138000")
    assert unknown_facts(known, FACTS) == Facts("wmE", "oU", {"wx2": "oO2"})
    assert unknown_facts(known, Facts()) == Facts()


def test_a_customer_is_known_by_the_fields_of_his_row() -> None:
    known = _customer(name="刘敏", number="C-1")
    assert known.by_field() == {"name": "刘敏", "number": "C-1", "openids.wx1": "oO1"}
    assert known.cids == ["demo:c", "demo:a"]
    assert [field_of(kind) for kind in known.ids()] == ["openids.wx1", "number"]


@pytest.mark.parametrize(
    ("shown", "masked"),
    [
        (mask_name("欧阳修"), "欧**"),
        (mask_name(""), ""),
        (mask_id("wmAbcdefghij"), "wm…ghij"),
        (mask_id("C-1001"), "…01"),
        (mask_id(""), ""),
    ],
)
def test_what_is_shown_names_nobody(shown: str, masked: str) -> None:
    assert shown == masked
