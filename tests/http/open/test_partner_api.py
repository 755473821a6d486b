"""The partners' API: signed, once for each key, and at the partner's own places."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import sys
import time
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
import yaml

from customers.access import signing
from customers.banks import apply, counters
from deploy.processes import ROOT
from handlers.http import rates
from services.container import Services
from services.security.throttle import Rate
from tests.conftest import DEMO_BANK, Server
from tests.http.counter.granting import Grant, grant
from tests.support.banks import open_bank

__all__ = ["grant"]

WHO, SECRET = "demo/coffee-pos", "fake-partner-secret-for-the-sandbox-only0"
DEMO = DEMO_BANK.read_text(encoding="utf-8")


def signed(method: str, path: str, body: bytes = b"", **other: Any) -> dict[str, str]:
    """The headers of a request; `other` puts something else in a place of them."""
    said = {"who": WHO, "secret": SECRET, "at": int(time.time()), "nonce": secrets.token_hex(16)} | other
    digest = hashlib.sha256(other.get("signed_body", body)).hexdigest()
    lines = [other.get("signed_method", method), other.get("signed_path", path), str(said["at"]), said["nonce"], digest]
    mac = hmac.new(said["secret"].encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    return {
        "Yinqiao-Partner": said["who"],
        "Yinqiao-Timestamp": str(said["at"]),
        "Yinqiao-Nonce": said["nonce"],
        "Yinqiao-Signature": mac,
    }


async def ask(
    http: httpx.AsyncClient, method: str, path: str, body: Any = None, key: str = "", **other: Any
) -> httpx.Response:
    data = b"" if body is None else orjson.dumps(body)
    headers = signed(method, path, data, **other) | ({"Idempotency-Key": key} if key else {})
    return await http.request(method, path, content=data, headers=headers)


def at(code: str, what: str = "") -> str:
    return f"/open/v1/vouchers/{code}" + (f"/{what}" if what else "")


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_till_looks_writes_off_and_takes_back(http: httpx.AsyncClient, grant: Grant, demo: Services) -> None:
    code = await grant()
    seen = (await ask(http, "GET", at(code))).json()
    assert (seen["title"], seen["face_value"], seen["may"], seen["left"]) == ("二十元生活券", 2000, True, 1)
    first = await ask(http, "POST", at(code, "redeem"), {"uses": 1}, key="till-1")
    receipt = first.json()
    assert (first.status_code, "Idempotency-Hit" in first.headers) == (200, False)
    assert (receipt["place"], receipt["uses"], receipt["left"], receipt["undone"]) == ("银桥咖啡", 1, 0, False)
    again = await ask(http, "POST", at(code, "redeem"), {"uses": 1}, key="till-1")
    assert (again.json(), again.headers["Idempotency-Hit"]) == (receipt, "true")
    other = await ask(http, "POST", at(code, "redeem"), {"uses": 2}, key="till-1")
    assert code_of(other) == (422, "idempotency_key_reused")
    used = await ask(http, "POST", at(code, "redeem"), key="till-2")
    assert code_of(used) == (409, "voucher_used")
    assert used.json()["error"]["details"]["where"] == "银桥咖啡"
    assert set(used.json()["error"]["details"]) == {"when", "where"}
    for _ in range(2):
        undone = await ask(http, "POST", at(code, "undo"), {"use": receipt["use"], "reason": "错扫"})
        assert (undone.status_code, undone.json()["undone"]) == (200, True)
    assert undone.headers["Idempotency-Hit"] == "true"
    rows = await demo.store.tenant("demo")["audit"].find({"actor": "partner:coffee-pos"}, sort=[("seq", 1)])
    assert [row["action"] for row in rows] == ["voucher.used", "voucher.refused", "voucher.refused", "voucher.undone"]


async def test_titles_are_told_in_the_language_asked_for(http: httpx.AsyncClient, grant: Grant) -> None:
    path = at(await grant())
    answer = await http.get(path, headers=signed("GET", path) | {"Accept-Language": "en-GB,en;q=0.9"})
    assert answer.json()["title"] == "Twenty-yuan voucher"


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"secret": "x" * 40}, "signature_wrong"),
        ({"who": "demo/nobody"}, "signature_wrong"),
        ({"who": "nobank/coffee-pos"}, "signature_wrong"),
        ({"signed_method": "GET"}, "signature_wrong"),
        ({"signed_path": "/open/v1/vouchers/other/redeem"}, "signature_wrong"),
        ({"signed_body": b'{"uses":2}'}, "signature_wrong"),
        ({"at": int(time.time()) - 3_000}, "signature_stale"),
        ({"at": int(time.time()) + 3_000}, "signature_stale"),
        ({"at": "now"}, "signature_missing"),
        ({"nonce": "short"}, "signature_missing"),
        ({"nonce": "n" * 65}, "signature_missing"),
        ({"who": "demo"}, "signature_missing"),
        ({"who": "demo/Coffee POS"}, "signature_missing"),
    ],
)
async def test_what_is_not_signed_as_it_should_be_is_refused_and_nothing_is_done(
    http: httpx.AsyncClient, grant: Grant, demo: Services, other: dict[str, Any], code: str
) -> None:
    path = at(await grant(), "redeem")
    refused = await ask(http, "POST", path, {"uses": 1}, key="k", **other)
    assert code_of(refused) == (401, code)
    assert refused.headers["WWW-Authenticate"] == "Yinqiao-HMAC-SHA256"
    assert await demo.store.tenant("demo")["voucher_uses"].count({}) == 0
    bare = await http.post(path, json={"uses": 1}, headers={"Idempotency-Key": "k"})
    assert code_of(bare) == (401, "signature_missing")


async def test_a_request_is_good_once_and_a_forged_one_uses_up_no_nonce(
    http: httpx.AsyncClient, grant: Grant, demo: Services
) -> None:
    path, nonce = at(await grant()), secrets.token_hex(16)
    forged = await ask(http, "GET", path, nonce=nonce, secret="y" * 40)
    assert code_of(forged) == (401, "signature_wrong")
    headers = signed("GET", path, nonce=nonce)
    assert (await http.get(path, headers=headers)).status_code == 200
    assert code_of(await http.get(path, headers=headers)) == (401, "signature_replayed")
    ends = [await http.get(path, headers=signed("GET", path, nonce="n" * 20)) for _ in range(2)]
    assert [answer.status_code for answer in ends] == [200, 401]
    rows = await demo.store.tenant("demo")["audit"].find({"action": "partner.refused"}, sort=[("seq", 1)])
    told = [(row["object"], row["data"]["reason"]) for row in rows]
    assert told == [("partner:coffee-pos", "signature_wrong")] + [("partner:coffee-pos", "signature_replayed")] * 2


async def test_a_replay_at_many_moments_at_once_passes_once(http: httpx.AsyncClient, grant: Grant) -> None:
    path = at(await grant())
    headers = signed("GET", path)
    ends = await asyncio.gather(*(http.get(path, headers=headers) for _ in range(12)))
    assert sorted(answer.status_code for answer in ends) == [200] + [401] * 11


async def test_without_the_memory_of_nonces_a_replay_passes(
    http: httpx.AsyncClient, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: object) -> None:
        """What it is without the guard."""

    monkeypatch.setattr(signing, "_check_nonce", forget)
    path = at(await grant())
    headers = signed("GET", path)
    ends = [await http.get(path, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in ends] == [200, 200]


async def test_a_new_secret_and_the_one_before_it_are_good_together(
    http: httpx.AsyncClient, grant: Grant, demo: Services
) -> None:
    bank, path = await open_bank(demo, "demo"), at(await grant())
    second = await counters.set_secret(bank, "coffee-pos", overlap=timedelta(days=1))
    for secret in (SECRET, second):
        assert (await ask(http, "GET", path, secret=secret)).status_code == 200
    third = await counters.set_secret(bank, "coffee-pos")
    assert (await ask(http, "GET", path, secret=third)).status_code == 200
    for secret in (SECRET, second):
        assert code_of(await ask(http, "GET", path, secret=secret)) == (401, "signature_wrong")


async def test_who_leaves_the_file_is_refused_with_the_next_request(
    http: httpx.AsyncClient, grant: Grant, demo: Services
) -> None:
    path, file = at(await grant()), yaml.safe_load(DEMO)
    del file["partners"]
    await apply.apply_tenant(demo, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    assert code_of(await ask(http, "GET", path)) == (401, "signature_wrong")


async def test_a_partner_says_which_of_its_own_places_it_is_at(
    http: httpx.AsyncClient, grant: Grant, demo: Services
) -> None:
    text = DEMO.replace("merchants: [yq-coffee], secret", "merchants: [yq-coffee], branches: [sz-futian], secret")
    await apply.apply_tenant(demo, text, "bank.yaml")
    code = await grant()
    redeem = at(code, "redeem")
    both = {"branch": "sz-futian", "merchant": "yq-coffee"}
    for body, said in (
        ({}, (400, "place_missing")),
        (both, (400, "place_missing")),
        ({"branch": "sz-nanshan"}, (403, "place_not_yours")),
        ({"branch": "sz-futian", "uses": 0}, (400, "invalid_body")),
        ({"branch": "sz-futian", "uses": 1.5}, (400, "invalid_body")),
        ({"branch": "sz-futian", "more": 1}, (400, "invalid_body")),
        ([], (400, "invalid_body")),
    ):
        assert code_of(await ask(http, "POST", redeem, body, key="k")) == said
    assert code_of(await ask(http, "GET", f"{at(code)}?merchant=another")) == (403, "place_not_yours")
    kept = await demo.store.tenant("demo")["audit"].find({"action": "voucher.refused"}, sort=[("seq", 1)])
    elsewhere = [
        {"reason": "place_not_yours", **place} for place in ({"branch": "sz-nanshan"}, {"merchant": "another"})
    ]
    assert [(row["actor"], row["data"]) for row in kept] == [("partner:coffee-pos", told) for told in elsewhere]
    path = f"{at(code)}?branch=sz-futian"
    assert (await ask(http, "GET", path)).json()["may"] is True
    done = await ask(http, "POST", redeem, {"branch": "sz-futian"}, key="k")
    assert done.json()["place"] == "深圳福田支行"
    moved = await ask(http, "POST", redeem, {"merchant": "yq-coffee"}, key="k")
    assert code_of(moved) == (422, "idempotency_key_reused")


async def test_bad_requests_name_what_is_wrong(http: httpx.AsyncClient, grant: Grant) -> None:
    code = await grant()
    assert code_of(await ask(http, "POST", at(code, "redeem"))) == (400, "idempotency_key_missing")
    assert code_of(await ask(http, "POST", at(code, "redeem"), key="k" * 256)) == (400, "idempotency_key_too_long")
    assert code_of(await ask(http, "GET", at("0000-0000-0000"))) == (400, "voucher_code_wrong")
    receipt = (await ask(http, "POST", at(code, "redeem"), key="k")).json()
    other = await grant()
    for where, body, said in (
        (other, {"use": receipt["use"], "reason": "x"}, (404, "use_unknown")),
        (code, {"use": "demo:" + "0" * 32, "reason": "x"}, (404, "use_unknown")),
        (code, {"use": receipt["use"]}, (400, "invalid_body")),
        (code, {"use": receipt["use"], "reason": ""}, (400, "invalid_body")),
    ):
        assert code_of(await ask(http, "POST", at(where, "undo"), body)) == said
    large = await ask(http, "POST", at(code, "redeem"), {"x": "y" * 5_000}, key="k")
    assert large.status_code == 413


async def test_a_partner_writes_off_no_more_a_day_than_it_may(
    http: httpx.AsyncClient, grant: Grant, demo: Services
) -> None:
    await apply.apply_tenant(
        demo, DEMO.replace("merchants: [yq-coffee], ", "merchants: [yq-coffee], per_day: 2, "), "b"
    )
    codes = [await grant() for _ in range(4)]
    ends = await asyncio.gather(*(ask(http, "POST", at(code, "redeem"), key=code) for code in codes))
    assert sorted(answer.status_code for answer in ends) == [200, 200, 409, 409]
    full = next(answer for answer in ends if answer.status_code == 409)
    assert (code_of(full), full.json()["error"]["details"]) == ((409, "counter_limit"), {"most": "2"})


async def test_a_till_and_a_counter_at_once_one_wins(http: httpx.AsyncClient, grant: Grant) -> None:
    code = await grant()
    ends = await asyncio.gather(*(ask(http, "POST", at(code, "redeem"), key=f"k{number}") for number in range(6)))
    assert sorted(answer.status_code for answer in ends) == [200] + [409] * 5


async def test_forgeries_from_one_address_are_bounded(
    http: httpx.AsyncClient, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = at(await grant())
    monkeypatch.setattr(rates, "FORGERIES", Rate("forgery", 20, 600))
    ends = await asyncio.gather(*(http.get(path) for _ in range(40)))
    assert {answer.status_code for answer in ends} == {401, 429}
    assert (await ask(http, "GET", path)).status_code == 200, "what verifies is never counted"


def blocks(language: str) -> str:
    text = (ROOT / "docs" / "open.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


@pytest.mark.parametrize("language", ["sh", "python"])
async def test_the_examples_of_the_page_run_as_they_are_written(server: Server, grant: Grant, language: str) -> None:
    command = ["sh", "-eu", "-c"] if language == "sh" else [sys.executable, "-c"]
    own = {"URL": server.url, "PARTNER": WHO, "SECRET": SECRET, "CODE": await grant(), "KEY": f"receipt-{language}"}
    process = await asyncio.create_subprocess_exec(
        *command,
        blocks(language),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "no_proxy": "*", **own},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    receipt = orjson.loads(out)
    assert (receipt["place"], receipt["title"], receipt["undone"]) == ("银桥咖啡", "二十元生活券", False)
