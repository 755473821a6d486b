"""Webhooks: what happened to customers reaches the bank's own systems once each, in order, signed, whatever they
answer; against a real receiver on a free port."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from customers import timeline
from customers.banks import apply
from customers.banks.bank import Bank
from customers.identity import customer_numbers, resolution
from customers.webhooks import delivering, keeping, secrets, sending, signing, telling
from deploy.processes import ROOT
from services.container import Services
from services.errors import InvalidInput, NotFound
from tests.conftest import DEMO_BANK
from tests.support.banks import open_bank
from tests.support.clock import StillClock

DAY = 86_400.0


class Killed(Exception):
    """A worker's end in the middle of its work."""


@dataclass
class Receiver:
    """The bank's own systems, one a path; `answers` gives the status for what came, and may wait."""

    port: int
    came: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: Callable[[str, dict[str, Any]], Any] = lambda _path, _body: 204
    taken: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def keys(self, path: str = "core") -> list[str]:
        """What came, by the test's names for it."""
        return [one["data"]["state"] for one in self.came[path]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    listening, port = bind_unused_port()
    it = Receiver(port)

    class _Core(RequestHandler):
        async def post(self, path: str) -> None:
            body = json.loads(self.request.body)
            it.came[path].append(body)
            it.requests.append((dict(self.request.headers), self.request.body))
            status = it.answers(path, body)
            status = await status if asyncio.iscoroutine(status) else status
            if 200 <= status < 300:
                it.taken.append(body["data"].get("state", ""))
            elif status == 302:
                self.set_header("Location", it.url("elsewhere"))
            self.set_status(status)

    server = HTTPServer(Application([(r"/(.*)", _Core)]))
    server.add_socket(listening)
    yield it
    server.stop()
    await server.close_all_connections()


def _file(receiver: Receiver, **hooks: list[str]) -> str:
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    file["webhooks"] = [{"id": name, "url": receiver.url(name), "events": events} for name, events in hooks.items()]
    return str(yaml.safe_dump(file, allow_unicode=True))


async def with_webhooks(services: Services, receiver: Receiver, **hooks: list[str]) -> Bank:
    """The demo bank with these webhooks, each with a secret."""
    await apply.apply_tenant(services, _file(receiver, **hooks), "bank.yaml")
    services.cache.clear()
    bank = await open_bank(services, "demo")
    for name in hooks:
        await secrets.set_secret(bank, name, overlap=timedelta(days=7), by="cli:ops")
    return bank


@pytest.fixture
async def bank(bank: Services, receiver: Receiver) -> Bank:
    return await with_webhooks(bank, receiver, core=["customer.added", "customer.left"])


async def _added(bank: Bank, cid: str, key: str) -> None:
    await timeline.record(bank, cid, "customer.added", key, userid="zhang", state=key, remark="王先生")


async def _rows(bank: Bank, **wanted: Any) -> list[dict[str, Any]]:
    return await bank.db["webhook_deliveries"].find(wanted, sort=[("noted_at", 1)], limit=None)


async def test_what_happened_is_told_once_signed_and_without_a_name(
    bank: Bank, receiver: Receiver, clock: StillClock
) -> None:
    facts = resolution.Facts(external_userid="wmWangXiaoming", phone="+8613800138000", name="王小明")
    cid = await resolution.identify(bank, facts, source="callback", proof="p")
    await customer_numbers.link(bank, "C1001", cid, source="bank", proof="test")
    for _ in range(3):
        await _added(bank, cid, "spring")
    await timeline.record(bank, cid, "rm.deleted_customer", "k", userid="zhang")
    await timeline.record(bank, cid, "phone.bound", "k", appid="nobody asked for this")
    await delivering.send_due(bank)
    await delivering.send_due(bank)
    added, left = receiver.came["core"]
    at = added.pop("at")
    assert at.endswith("+08:00")
    assert added == {
        "id": added["id"],
        "event": "customer.added",
        "bank": "demo",
        "customer": {"cid": cid, "number": "C1001", "external_userid": "wmWangXiaoming"},
        "data": {"userid": "zhang", "state": "spring"},
    }
    assert (left["event"], left["data"]) == ("customer.left", {"userid": "zhang", "by": "rm"})
    headers, body = receiver.requests[0]
    row = await bank.db["webhooks"].find_one({"_id": "demo:core"})
    assert row is not None
    (secret,) = secrets.good(bank, row)  # type: ignore[arg-type]
    said = f"{headers['Yinqiao-Timestamp']}.".encode() + body
    assert headers["Yinqiao-Signature"] == hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()
    named = {name: headers[name] for name in ("Yinqiao-Event", "Yinqiao-Delivery", "Yinqiao-Attempt")}
    expected = {"Yinqiao-Event": "customer.added", "Yinqiao-Delivery": added["id"], "Yinqiao-Attempt": "1"}
    assert named == expected
    assert abs(int(headers["Yinqiao-Timestamp"]) - clock.now) < 10
    assert secret.encode() not in row["secrets"]
    assert {one["state"] for one in await _rows(bank)} == {"delivered"}


@pytest.mark.parametrize("at_once", [False, True])
async def test_nothing_is_in_the_timeline_of_which_no_webhook_was_told(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    async def killed(*_: Any) -> None:
        raise Killed

    one = timeline.entry(bank, "a", "customer.added", "spring", {"userid": "zhang"})

    async def write() -> None:
        if at_once:
            await timeline.record_many(bank, [one])
        else:
            await timeline.record(bank, "a", "customer.added", "spring", userid="zhang")

    with monkeypatch.context() as patched:
        patched.setattr(telling, "tell", killed)
        with pytest.raises(Killed):
            await write()
    assert await timeline.story(bank, ["a"]) == []
    await write()
    assert [row["cid"] for row in await _rows(bank)] == ["a"]
    assert len(await timeline.story(bank, ["a"])) == 1


async def test_a_bank_without_webhooks_writes_nothing_and_one_without_a_secret_sends_nothing(
    bank: Bank, receiver: Receiver
) -> None:
    services = bank.services
    said = await apply.apply_tenant(services, _file(receiver, core=["customer.added"], new=["customer.added"]), "f")
    assert [one for one in said if "secret" in one] == ["webhook new has no secret: manage.py webhook secret new"]
    services.cache.clear()
    both = await open_bank(services, "demo")
    await _added(both, "c1", "k1")
    await delivering.send_due(both)
    assert {path: len(came) for path, came in receiver.came.items()} == {"core": 1}
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "f")
    services.cache.clear()
    none = await open_bank(services, "demo")
    await _added(none, "c1", "k2")
    assert [(one["webhook"], one["state"], one["reason"]) for one in await _rows(none)] == [
        ("core", "delivered", ""),
        ("new", "failed", "webhook_removed"),
    ]
    assert not await delivering.is_ready(none)


async def test_what_fails_holds_back_the_same_customers_and_nobody_elses(
    bank: Bank, receiver: Receiver, clock: StillClock
) -> None:
    receiver.answers = lambda _, body: 500 if body["data"]["state"] == "a1" and len(receiver.keys()) < 3 else 200
    for cid, key in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")):
        await _added(bank, cid, key)
    await delivering.send_due(bank)
    assert sorted(receiver.keys()) == ["a1", "b1", "b2"]
    await _added(bank, "a", "a3")
    await delivering.send_due(bank)
    assert sorted(receiver.taken) == ["b1", "b2"]
    (first, *_) = await _rows(bank, cid="a")
    assert (first["attempts"], first["reason"], first["status"]) == (1, "webhook_broken", 500)
    assert 4 < first["due"] - clock.now <= 5
    clock.now += 6
    await delivering.send_due(bank)
    assert receiver.taken[2:] == ["a1", "a2", "a3"]
    assert len({one["id"] for one in receiver.came["core"]}) == 5
    assert len(receiver.came["core"]) == 6


async def test_an_earlier_one_goes_first_although_it_was_told_later(bank: Bank, receiver: Receiver) -> None:
    now = bank.now()
    for key, at in (("second", now - 5), ("first", now - 9)):
        await timeline.record(bank, "a", "customer.added", key, at=at, userid="zhang", state=key)
    await delivering.send_due(bank)
    assert receiver.taken == ["first", "second"]


async def test_the_first_of_many_goes_first_although_a_round_does_not_take_them_all(
    bank: Bank, receiver: Receiver, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "LOT", 2)
    (hook,) = bank.webhooks
    for key, ago in (("third", 5), ("second", 7), ("first", 9)):
        await timeline.record(bank, "a", "customer.added", key, at=clock.now - ago, userid="zhang", state=key)
        clock.now += 1
    await delivering._round(bank, hook)
    assert receiver.taken == ["first", "second"]
    await delivering._round(bank, hook)
    assert receiver.taken == ["first", "second", "third"]


async def _race(bank: Bank, receiver: Receiver) -> list[str]:
    """What comes when two workers deliver at once, and the first try of the first happening is slow."""

    async def answer(body: dict[str, Any]) -> int:
        if body["data"]["state"] == "a1" and receiver.keys().count("a1") == 1:
            await asyncio.sleep(0.3)
        return 200

    receiver.answers = lambda _, body: answer(body)
    for key in ("a1", "a2"):
        await _added(bank, "a", key)
    await asyncio.gather(delivering.send_due(bank), delivering.send_due(bank))
    return receiver.taken


async def test_without_the_lease_two_workers_deliver_in_another_order(
    bank: Bank, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def anybody(bank: Bank, hook: Any, owner: str) -> Any:
        return await bank.db["webhooks"].find_one({"_id": f"demo:{hook.id}"})

    monkeypatch.setattr(delivering, "_take", anybody)
    taken = await _race(bank, receiver)
    assert len(taken) > 2
    assert taken.index("a2") < len(taken) - 1 - taken[::-1].index("a1")


async def test_with_the_lease_each_comes_once_in_its_order(bank: Bank, receiver: Receiver) -> None:
    assert await _race(bank, receiver) == ["a1", "a2"]


async def test_a_receiver_that_hangs_holds_up_no_other(
    bank: Bank, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 1.0)
    both = await with_webhooks(bank.services, receiver, core=["customer.added"], slow=["customer.added"])
    hung = asyncio.Event()

    async def answer(path: str) -> int:
        if path == "slow":
            hung.set()
            await asyncio.sleep(3)
        return 200

    receiver.answers = lambda path, _: answer(path)
    await _added(both, "a", "a1")
    turn = asyncio.create_task(delivering.send_due(both))
    await hung.wait()
    await _added(both, "b", "b1")
    await turn
    assert sorted(receiver.taken) == ["a1", "b1"]
    slow = await _rows(both, webhook="slow", cid="a")
    assert [(one["state"], one["reason"], one["status"]) for one in slow] == [("waiting", "webhook_slow", 0)]


async def test_a_worker_killed_before_its_note_sends_once_more_under_the_same_id(
    bank: Bank, receiver: Receiver, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any) -> None:
        raise Killed

    await _added(bank, "a", "a1")
    with monkeypatch.context() as patched:
        patched.setattr(delivering, "_end", killed)
        patched.setattr(delivering, "_give_back", killed)
        (hook,) = bank.webhooks
        with pytest.raises(Killed):
            await delivering._round(bank, hook)
    await delivering.send_due(bank)
    assert receiver.keys() == ["a1"]
    clock.now += delivering.LEASE_SECONDS
    await delivering.send_due(bank)
    assert receiver.keys() == ["a1", "a1"]
    assert len({one["id"] for one in receiver.came["core"]}) == 1


async def test_after_three_days_it_has_failed_what_comes_after_goes_on_and_it_may_be_sent_again(
    bank: Bank, receiver: Receiver, clock: StillClock
) -> None:
    receiver.answers = lambda _, body: 400 if body["data"]["state"] == "a1" else 200
    for key in ("a1", "a2"):
        await _added(bank, "a", key)
    begun, tries = clock.now, 0
    while clock.now - begun < 3.1 * DAY:
        await delivering.send_due(bank)
        tries = receiver.keys().count("a1")
        clock.now += 6 * 3_600
    assert receiver.taken == ["a2"]
    assert tries == 13
    failed, taken = await _rows(bank)
    assert (failed["state"], failed["reason"], failed["status"]) == ("failed", "webhook_refused", 400)
    assert taken["state"] == "delivered"
    alarms = await bank.db["alarms"].find({}, limit=None)
    assert {(one["kind"], one["data"]["reason"]) for one in alarms} == {
        ("webhook.late", "webhook_refused"),
        ("webhook.failed", "webhook_refused"),
    }
    receiver.answers = lambda *_: 200
    await keeping.replay(bank, "cli:ops", failed["_id"])
    await delivering.send_due(bank)
    assert receiver.taken == ["a2", "a1"]
    assert receiver.came["core"][-1]["id"] == receiver.came["core"][0]["id"]
    with pytest.raises(NotFound) as unknown:
        await keeping.replay(bank, "cli:ops", "0" * 32)
    assert unknown.value.code == "delivery_unknown"


async def test_410_turns_it_off_and_nothing_is_lost(bank: Bank, receiver: Receiver, clock: StillClock) -> None:
    receiver.answers = lambda *_: 410
    await _added(bank, "a", "a1")
    await delivering.send_due(bank)
    (view,) = await keeping.overview(bank)
    assert view.off is not None
    assert view.waiting == 1
    assert [one["kind"] for one in await bank.db["alarms"].find({}, limit=None)] == ["webhook.off"]
    receiver.answers = lambda *_: 200
    clock.now += DAY
    await _added(bank, "b", "b1")
    assert not await delivering.is_ready(bank)
    await delivering.send_due(bank)
    assert receiver.keys() == ["a1"]
    await keeping.turn_on(bank, "lin", "core")
    await delivering.send_due(bank)
    assert sorted(receiver.taken) == ["a1", "b1"]


async def test_a_receiver_that_answers_nobody_is_left_alone_for_a_while(
    bank: Bank, receiver: Receiver, clock: StillClock
) -> None:
    receiver.answers = lambda *_: 503
    for n in range(20):
        await _added(bank, f"c{n}", f"k{n}")
    await delivering.send_due(bank)
    tried = len(receiver.keys())
    assert delivering.STRIKES <= tried <= delivering.STRIKES + delivering.AT_ONCE
    await delivering.send_due(bank)
    assert len(receiver.keys()) == tried
    receiver.answers = lambda *_: 200
    clock.now += 10
    await delivering.send_due(bank)
    assert sorted(receiver.taken) == sorted(f"k{n}" for n in range(20))


async def test_a_redirect_is_not_followed_and_an_answers_body_is_kept_nowhere(bank: Bank, receiver: Receiver) -> None:
    receiver.answers = lambda *_: 302
    await _added(bank, "a", "a1")
    await delivering.send_due(bank)
    assert list(receiver.came) == ["core"]
    (row,) = await _rows(bank)
    assert (row["reason"], row["status"]) == ("webhook_redirected", 302)


async def test_while_one_secret_takes_anothers_place_both_sign(
    bank: Bank, receiver: Receiver, clock: StillClock
) -> None:
    async def signed_with() -> int:
        await _added(bank, "a", str(clock.now))
        await delivering.send_due(bank)
        return len(receiver.requests[-1][0]["Yinqiao-Signature"].split(","))

    assert await signed_with() == 1
    await secrets.set_secret(bank, "core", overlap=timedelta(days=7), by="cli:ops")
    assert await signed_with() == 2
    clock.now += 8 * DAY
    assert await signed_with() == 1
    with pytest.raises(NotFound):
        await secrets.set_secret(bank, "other", overlap=timedelta(), by="cli:ops")


async def test_what_ended_long_ago_is_forgotten(bank: Bank, receiver: Receiver, clock: StillClock) -> None:
    await _added(bank, "a", "a1")
    await delivering.send_due(bank)
    await delivering.delete_old(bank)
    assert len(await _rows(bank)) == 1
    clock.now += 31 * DAY
    await delivering.delete_old(bank)
    assert await _rows(bank) == []


async def test_who_is_no_customer_any_more_is_told_by_his_id_alone(bank: Bank, receiver: Receiver) -> None:
    await telling.tell_of(bank, "sync.ended", "gone", "k")
    await delivering.send_due(bank)
    (one,) = receiver.came["core"]
    assert (one["customer"], one["data"]) == ({"cid": "gone"}, {"by": "sync"})


async def test_a_merge_is_told_once_of_who_stays(bank: Bank, receiver: Receiver) -> None:
    hooked = await with_webhooks(bank.services, receiver, core=["customer.merged"])
    elder = await resolution.identify(hooked, resolution.Facts(external_userid="wm1"), source="callback", proof="a")
    younger = await resolution.identify(hooked, resolution.Facts(unionid="u1"), source="login", proof="b")
    both = resolution.Facts(external_userid="wm1", unionid="u1")
    for _ in range(2):
        await resolution.identify(hooked, both, source="details", proof="c")
    await delivering.send_due(hooked)
    said = [(one["event"], one["customer"]["cid"], one["data"]) for one in receiver.came["core"]]
    assert said == [("customer.merged", elder, {"merged": younger})]


@pytest.mark.parametrize(
    "url",
    [
        "http://core.bank.example/in",
        "https://name:word@core.bank.example/in",
        "https://core.bank.example/in#part",
        "ftp://core.bank.example/in",
        "https:///in",
        "https://core.bank.example/\u4e2d",
    ],
)
async def test_an_address_that_will_not_do_is_refused_with_its_line(bank: Bank, receiver: Receiver, url: str) -> None:
    text = _file(receiver, core=["customer.added"]).replace(receiver.url("core"), url)
    with pytest.raises(InvalidInput, match="webhooks"):
        await apply.apply_tenant(bank.services, text, "bank.yaml")


async def test_an_event_that_nobody_tells_is_refused(bank: Bank, receiver: Receiver) -> None:
    with pytest.raises(InvalidInput, match="unknown event customer.ate"):
        await apply.apply_tenant(bank.services, _file(receiver, core=["customer.ate"]), "bank.yaml")


@pytest.mark.parametrize(("changed", "said"), [("", "good"), (" ", "bad")])
def test_the_pages_example_for_a_shell_runs_as_it_is_written(tmp_path: Path, changed: str, said: str) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (shell,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    body = '{"place":"银桥咖啡"}'
    signature = signing.signature("a secret", 1_800_000_000, body.encode())
    (tmp_path / "body.json").write_text(body + changed, encoding="utf-8")
    own = {"SECRET": "a secret", "SECOND": "1800000000", "SIGNATURE": f"{'0' * 64},{signature}"}
    ran = subprocess.run(
        ["sh", "-eu", "-c", shell],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, said, "")
