"""The bank's core system: what it signs and sends, what it does without an answer, and what it writes down."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from sandbox.bank import living
from sandbox.core import sm2
from sandbox.core.bank_system import TRIES
from sandbox.core.state import Person
from sandbox.core.world import BankSystem, World
from services.security.sm2 import read_key
from tests.support.waiting import until

SECRET = "fake-core-system-secret-for-the-sandbox-only0"


class Product:
    """What takes the core's requests: verifies each by docs/open.md, and answers as it is told to."""

    def __init__(self) -> None:
        self.secret, self.key = SECRET, None
        self.answers: deque[int] = deque()
        self.refuse: dict[str, str] = {}
        """Codes of events that are refused, by name."""
        self.taken: list[tuple[str, str, Any]] = []
        self.nonces: list[str] = []
        self.url = ""

    def good(self, asked: Any) -> bool:
        headers = asked.headers
        nonce = headers["Yinqiao-Nonce"]
        assert headers["Yinqiao-Partner"] == "demo/core"
        assert nonce not in self.nonces
        self.nonces.append(nonce)
        digest = hashlib.new("sm3" if self.key else "sha256", asked.body).hexdigest()
        message = "\n".join((asked.method, asked.uri, headers["Yinqiao-Timestamp"], nonce, digest)).encode()
        given = headers["Yinqiao-Signature"]
        if self.key:
            return read_key(self.key).verify(message, bytes.fromhex(given))
        return hmac.compare_digest(hmac.new(self.secret.encode(), message, "sha256").hexdigest(), given)


class _Take(RequestHandler):
    def initialize(self, product: Product) -> None:
        self.product = product

    def post(self) -> None:
        if not self.product.good(self.request):
            self.set_status(401)
            self.finish({"error": {"code": "signature_wrong"}})
            return
        body = json.loads(self.request.body)
        self.product.taken.append((self.request.method, self.request.path, body))
        if self.product.answers and (status := self.product.answers.popleft()) != 200:
            self.set_status(status)
            return
        items = [self._item(one) for one in body.get("events", body.get("customers", [body]))]
        self.finish({"accepted": len(items), "refused": 0, "items": items})

    put = post

    def _item(self, one: dict[str, Any]) -> dict[str, str]:
        code = self.product.refuse.get(one.get("name", ""))
        return {"status": "refused", "code": code} if code else {"status": "accepted"}


@pytest.fixture
async def product() -> AsyncIterator[Product]:
    product = Product()
    server = HTTPServer(Application([("/open/v1/.*", _Take, {"product": product})]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    product.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    yield product
    server.stop()
    await server.close_all_connections()


async def customer(play: Any, by: str = "phone") -> dict[str, Any]:
    """A new person who is the bank's customer."""
    person = await play.person()
    await play.control(f"/people/{person['id']}/bank/become", {"by": by})
    return person


async def test_what_a_customer_does_is_told_as_events_and_values(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        at = f"/people/{person['id']}/bank"
        await play.control(f"{at}/open", {"product": "活期储蓄", "balance": 30_000_000})
        await play.control(f"{at}/login", {})
        await play.control(f"{at}/pay", {"amount": 1250, "channel": "app"})
        await play.control(f"{at}/activate", {})
        await play.control(f"{at}/balance", {"amount": 200_000_000})
        await play.control(f"{at}/birthday", {"date": "1990-02-03"})
        told = [(path, body) for _, path, body in product.taken]
        events = [one for path, body in told if path == "/open/v1/events" for one in body["events"]]
        assert [(one["name"], one.get("data")) for one in events] == [
            ("account.opened", {"product": "活期储蓄"}),
            ("app.login", None),
            ("payment.made", {"amount": 1250, "channel": "app"}),
            ("card.activated", {"product": "活期储蓄"}),
            ("deposit.made", {"amount": 170_001_250}),
        ]
        assert len({one["id"] for one in events}) == 5
        assert {json.dumps(one["customer"]) for one in events} == {'{"phone": "13800000001"}'}
        values = [body["customers"][0] for path, body in told if path == "/open/v1/customers"]
        assert values[0]["fields"].keys() == {"birthday", "gender", "home_branch"}
        assert [one["fields"] for one in values[1:]] == [
            {"stage": "opened", "holdings": 1, "balance_band": "B"},
            {"stage": "active"},
            {"balance_band": "A"},
            {"birthday": "1990-02-03"},
        ]
        assert [one["at"] for one in values] == sorted(one["at"] for one in values)
        known = (await play.control(at))["customer"]
        assert {one["state"] for one in known["events"] + known["told"]} == {"accepted"}
        assert known["fields"]["stage"] == "active"


async def test_a_customer_is_named_by_the_id_that_was_chosen(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        named = {}
        for by in ("number", "unionid", "openid", "external_userid"):
            person = await customer(play, by)
            await play.control(f"/people/{person['id']}/bank/login", {})
            number = play.box.state.bank[person["id"]].number
            named[by] = (person, number, product.taken[-2:])
        for by in ("unionid", "external_userid"):
            person, _, taken = named[by]
            assert [one[1] for one in taken] == ["/open/v1/customers", "/open/v1/events"]
            assert taken[1][2]["events"][0]["customer"] == {by: person[by]}
        person, number, taken = named["openid"]
        appid = play.mini.appid
        assert taken[1][2]["events"][0]["customer"] == {"openid": person["openids"][appid], "appid": appid}
        _, number, taken = named["number"]
        assert taken[0][:2] == ("PUT", f"/open/v1/customers/{number}")
        assert taken[1][2]["events"][0]["customer"] == {"number": number}


async def test_the_same_events_are_sent_until_there_is_an_answer(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        product.answers.extend([503, 500, 429])
        (sent,) = (await play.control(f"/people/{person['id']}/bank/login", {}))["sent"]
        assert [one["status"] for one in sent["attempts"]] == [503, 500, 429, 200]
        assert sent["state"] == "answered"
        ids = [body["events"][0]["id"] for _, path, body in product.taken if path == "/open/v1/events"]
        assert (len(ids), len(set(ids))) == (4, 1)
        assert len(set(product.nonces)) == 5


async def test_what_was_never_answered_is_written_down_as_such(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        product.answers.extend([503] * TRIES)
        (sent,) = (await play.control(f"/people/{person['id']}/bank/login", {}))["sent"]
        assert (sent["state"], len(sent["attempts"])) == ("unanswered", TRIES)
        (page,) = (await play.control("/bank/customers"))["customers"]
        assert (page["person"], page["events"][0]["state"]) == (person["id"], "unanswered")


async def test_a_refused_event_is_written_down_with_its_code(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        product.refuse["app.login"] = "event_undeclared"
        await play.control(f"/people/{person['id']}/bank/login", {})
        (event,) = play.box.state.bank[person["id"]].events
        assert (event.state, event.code) == ("refused", "event_undeclared")


async def test_a_request_is_sent_twice_and_forged_on_purpose(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        (sent,) = (await play.control(f"/people/{person['id']}/bank/login", {}))["sent"]
        (again,) = (await play.control(f"/bank/sent/{sent['id']}/again", {}))["sent"]
        assert (again["again"], again["body"], again["state"]) == (sent["id"], sent["body"], "answered")
        (forged,) = (await play.control(f"/people/{person['id']}/bank/forge", {}))["sent"]
        assert (forged["state"], forged["answer"]["error"]["code"]) == ("refused", "signature_wrong")
        assert len(play.box.state.bank[person["id"]].events) == 1
        await play.control("/bank/sent/999/again", {}, status=404)


async def test_a_core_that_signs_with_sm2_is_believed(playing, product, world: World) -> None:
    private = sm2.new_key()
    product.key = sm2.public_key(private)
    system = BankSystem(who="demo/core", algorithm="sm2-sm3", private_key=f"{private:064x}")
    async with playing(world.model_copy(update={"bank_system": system}), bank_url=product.url) as play:
        person = await customer(play)
        (sent,) = (await play.control(f"/people/{person['id']}/bank/login", {}))["sent"]
        assert sent["state"] == "answered"
        (forged,) = (await play.control(f"/people/{person['id']}/bank/forge", {}))["sent"]
        assert forged["state"] == "refused"


def test_people_pay_so_differently_that_they_can_be_ranked() -> None:
    ids = {"unionid": "u", "external_userid": "wm", "openids": {}}
    people = [Person(id=f"p{n}", name=f"客户{n}", phone=f"1380000{n:04d}", **ids) for n in range(500)]
    habits = [living.habits(one) for one in people]
    assert habits == [living.habits(one) for one in people]
    usual = sorted(amount for _, amount in habits)
    ends = [usual[len(usual) * part // 5] for part in range(1, 5)]
    assert all(later > 1.5 * earlier for earlier, later in pairwise(ends)), ends
    assert (min(usual) > 0, max(usual) <= living.MOST_USUAL) == (True, True)


async def test_events_happen_by_themselves_at_a_rate(playing, product) -> None:
    async with playing(bank_url=product.url) as play:
        people = [await customer(play) for _ in range(3)]
        await play.control("/bank/rate", {"per_minute": 600})
        for _ in range(4):
            living.run_due(play.box, 2.5)

        async def quiet() -> bool:
            return play.box.bank.under_way == 0

        await until(quiet)
        events = [one for _, path, body in product.taken if path == "/open/v1/events" for one in body["events"]]
        assert len(events) == 100 == len({one["id"] for one in events})
        kept = [one for person in people for one in play.box.state.bank[person["id"]].events]
        assert len(kept) == 100
        assert {one.state for one in kept} == {"accepted"}
        await play.control("/bank/rate", {"per_minute": 0})
        living.run_due(play.box, 60.0)
        assert play.box.bank.under_way == 0


async def test_the_books_outlive_a_restart_and_not_a_reset(playing, product, tmp_path) -> None:
    file = tmp_path / "state.json"
    async with playing(bank_url=product.url, state_file=file) as play:
        person = await customer(play)
        await play.control(f"/people/{person['id']}/bank/open", {"product": "信用卡"})
    async with playing(bank_url=product.url, state_file=file) as play:
        kept = (await play.control(f"/people/{person['id']}/bank"))["customer"]
        assert [one["product"] for one in kept["accounts"]] == ["信用卡"]
        await play.control("/reset", {})
        assert (await play.control("/bank"))["customers"] == 0


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("become", {"by": "name"}, 400),
        ("become", {}, 409),
        ("pay", {"amount": 1}, 409),
        ("pay", {"amount": 0}, 400),
        ("balance", {"amount": 5}, 409),
        ("activate", {}, 409),
        ("birthday", {"date": "03.02.1990"}, 400),
        ("fields", {"fields": {"stage": ["opened"]}}, 400),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_sent(playing, product, verb, body, status) -> None:
    async with playing(bank_url=product.url) as play:
        person = await customer(play)
        before = len(product.taken)
        await play.control(f"/people/{person['id']}/bank/{verb}", body, status=status)
        await asyncio.sleep(0)
        assert len(product.taken) == before
        stranger = await play.person()
        await play.control(f"/people/{stranger['id']}/bank/login", {}, status=409)
