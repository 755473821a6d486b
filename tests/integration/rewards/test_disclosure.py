"""What was published about a promotion: each version under its hash, accepted once, and kept with the grant."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rewards import disclosure
from services.container import Services
from tests.integration.campaigns import tools
from tests.integration.rewards import world
from tests.integration.rewards.world import BANK, TENANT
from tests.support.banks import open_bank
from tests.support.documents import REWARDS

SHOWN = f"/mp/{BANK}/rewards/shop.cup/disclosure"
CLAIM = f"/mp/{BANK}/rewards/shop.cup/claim"
ASKED = REWARDS.replace('contact: "95500"}', 'contact: "95500", accept: required}')


async def grant_of(services: Services) -> dict[str, Any]:
    (row,) = await services.store.tenant(TENANT)["transfers"].find({"kind": "grant", "reward": "shop.cup"})
    return row


async def test_a_claim_with_an_empty_body_keeps_the_version_that_was_shown(
    demo: Services, http: httpx.AsyncClient
) -> None:
    await tools.go_live(demo, REWARDS)
    (customer,) = await world.signed_in(demo, 1)
    shown = (await http.get(SHOWN, headers=customer)).json()
    assert (shown["terms"]["rules"], shown["required"], shown["accepted"]) == ("规则", False, False)
    listed = (await http.get(f"/mp/{BANK}/rewards", headers=customer)).json()["rewards"]
    assert [one["disclosure"] for one in listed if one["id"] == "shop.cup"] == [shown["disclosure"]]
    assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})).status_code == 200
    row = await grant_of(demo)
    assert (row["terms"], row.get("accepted")) == (shown["disclosure"], None)


async def test_where_it_is_asked_for_nobody_claims_before_he_accepted(demo: Services, http: httpx.AsyncClient) -> None:
    await tools.go_live(demo, ASKED)
    (customer,) = await world.signed_in(demo, 1)
    before = await world.all_rows(demo)
    refused = await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "disclosure_required")
    assert await world.all_rows(demo) == before
    shown = (await http.get(SHOWN, headers=customer)).json()
    assert shown["required"]
    accepted = await http.post(SHOWN, headers=customer, json={"disclosure": shown["disclosure"]})
    assert accepted.json() == {**shown, "accepted": True}
    assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})).status_code == 200
    row = await grant_of(demo)
    assert (row["terms"], row["accepted"]) == (shown["disclosure"], True)


async def test_a_claim_may_carry_the_customers_word(demo: Services, http: httpx.AsyncClient) -> None:
    await tools.go_live(demo, ASKED)
    (customer,) = await world.signed_in(demo, 1)
    headers = {**customer, "Idempotency-Key": "k"}
    wrong = await http.post(CLAIM, headers=headers, json={"disclosure": "0" * 32})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "disclosure_changed")
    shown = (await http.get(SHOWN, headers=customer)).json()["disclosure"]
    assert (await http.post(CLAIM, headers=headers, json={"disclosure": shown})).status_code == 200
    assert (await http.get(SHOWN, headers=customer)).json()["accepted"]


async def test_another_version_is_accepted_anew_and_the_old_one_stays_readable(
    demo: Services, http: httpx.AsyncClient
) -> None:
    await tools.go_live(demo, ASKED)
    (customer,) = await world.signed_in(demo, 1)
    first = (await http.get(SHOWN, headers=customer)).json()["disclosure"]
    await http.post(SHOWN, headers=customer, json={"disclosure": first})
    await tools.go_live(demo, ASKED.replace("rules_zh: 规则", "rules_zh: 新规则"))
    shown = (await http.get(SHOWN, headers=customer)).json()
    assert (shown["accepted"], shown["terms"]["rules"]) == (False, "新规则")
    refused = await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})
    assert refused.json()["error"]["code"] == "disclosure_required"
    old = await http.post(SHOWN, headers=customer, json={"disclosure": first})
    assert (old.status_code, old.json()["error"]["code"]) == (409, "disclosure_changed")
    kept = await disclosure.version(await open_bank(demo, TENANT), "shop", first)
    assert kept is not None
    assert kept["rules"] == "规则"


async def test_a_repeated_key_has_its_answer_whatever_was_published_since(
    demo: Services, http: httpx.AsyncClient
) -> None:
    await tools.go_live(demo, REWARDS)
    (customer,) = await world.signed_in(demo, 1)
    headers = {**customer, "Idempotency-Key": "k"}
    first = await http.post(CLAIM, headers=headers)
    await tools.go_live(demo, ASKED.replace("rules_zh: 规则", "rules_zh: 新规则"))
    again = await http.post(CLAIM, headers=headers)
    assert (again.json(), again.headers["Idempotency-Hit"]) == (first.json(), "true")


@pytest.mark.parametrize(("lang", "said"), [("zh", "请先绑定手机"), ("en", "Bind your phone first")])
async def test_who_does_not_meet_the_rule_reads_why(
    demo: Services, http: httpx.AsyncClient, lang: str, said: str
) -> None:
    rule = 'claim: anyone, eligible: "customer.bound and claim.hour < 25", '
    text = "eligible_text: {zh: 请先绑定手机, en: Bind your phone first}}"
    await tools.go_live(demo, REWARDS.replace("claim: anyone}", rule + text))
    (customer,) = await world.signed_in(demo, 1)
    before = await world.all_rows(demo)
    headers = {**customer, "Idempotency-Key": "k", "Accept-Language": lang}
    error = (await http.post(CLAIM, headers=headers)).json()["error"]
    assert (error["code"], error["message"], error["fields"]) == ("not_eligible", said, {"rule": "customer.bound"})
    assert await world.all_rows(demo) == before
