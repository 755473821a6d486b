"""Two banks with the same ids for everything: no page, answer or command of the one says a word of the other, and
nothing that is done at the one changes a byte of the other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from customers.actors import ClerkActor
from customers.banks import apply
from customers.fields import values
from customers.fields.values import Update
from customers.identity import customer_numbers
from customers.lists import keeping as lists
from customers.lists import uploading
from customers.segments import document, filling, versions
from customers.wecom_mirror import tags
from handlers.http.auth import PUBLIC
from handlers.routes import ROUTES
from operations import profiling
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.http.conftest import PASSWORD, form_token, sign_in
from tests.http.console.at_stake import kept
from tests.support import jobs
from tests.support.bank_systems import customer, event, split, take
from tests.support.banks import open_bank
from tests.support.commands import manage

Clients = Callable[[], Awaitable[httpx.AsyncClient]]
MARKS = {"demo": "Onlyfirst", "twin": "Onlytwin"}
"""What stands in every text of a bank."""
THEIRS, OURS = MARKS["demo"], MARKS["twin"]
NUMBER, PHONE = "C0001", "13800000001"
SHOWING = (
    "/console/segments",
    "/console/segments/same",
    "/console/segments/same/members",
    "/console/lists",
    "/console/lists/event",
    "/console/tags",
    "/console/intake",
    "/console/webhooks",
    "/console/fields",
    "/console/people/{cid}",
)
"""Pages that say something of what was planted."""


def bank_file(bank: str) -> str:
    """The demonstration bank with its mark in every name, and a webhook."""
    said = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    _mark(said, MARKS[bank])
    said |= {
        "id": bank,
        "webhooks": [{"id": "crm", "url": f"https://{MARKS[bank]}.example/in", "events": ["segment.entered"]}],
    }
    said["clerks"][0]["roles"] = ["operations", "auditor"]
    if bank != "demo":
        said["wecom"]["corp_id"] = "ww0c0ffee000000002"
        for program in said["miniprograms"]:
            program["appid"] = program["appid"].replace("wx5", "wx6")
    return str(yaml.safe_dump(said, allow_unicode=True))


def _mark(said: Any, mark: str) -> None:
    for value in said.values() if isinstance(said, dict) else said if isinstance(said, list) else ():
        _mark(value, mark)
    if isinstance(said, dict):
        for key in ("zh", "en", "name"):
            if isinstance(said.get(key), str) and not re.fullmatch(r"[a-z]+\.[a-z]+", said[key]):
                said[key] += f" {mark}"


async def plant(services: Services, tenant: str) -> dict[str, str]:
    """A customer with tag, values and events, who is in a segment and on a list; the ids of it all, by names of
    paths."""
    bank, mark = await open_bank(services, tenant), MARKS[tenant]
    lin, zhao = (ClerkActor(tenant, login, login, frozenset()) for login in ("lin", "zhao"))
    group = {"group_id": "g1", "group_name": "组", "tag": [{"id": "t1", "name": mark}]}
    await tags.learn(bank, group, bank.now())
    cid = await customer(bank, external_userid="wm1", unionid="u1", name=f"{mark} 刘敏", phone=f"+86{PHONE}")
    await customer_numbers.link(bank, NUMBER, cid, source="bank", proof="test")
    await bank.db["customers"].update({"_id": cid}, {"$set": {"tags": [f"组:{mark}"]}})
    for told, source in (({"birthday": "1990-02-03"}, "core"), ({"interest": mark}, "rm")):
        assert (await values.write_many(bank, [Update(cid, told, 10.0, source, "p")]))[0].taken
    await take(bank, [event("e1", "payment.made", data={"amount": 1, "channel": mark}, number=NUMBER)])
    await take(bank, [event("e2", number="C0009")])
    await split(bank)
    await lists.create(bank, "lin", "event", {"zh": f"名单 {mark}", "en": mark})
    received = uploading.Receiver(f"{mark}.csv")
    await received.write(b"unionid\nu1\nu9\n")
    upload = await uploading.start(bank, "lin", "event", "add", received)
    await jobs.run(bank, uploading.TASK)
    for rule in (f"tag('组:{mark}')", f"tag('组:{mark}') and list('event')"):
        said = document.read("same", {"name": {"zh": mark, "en": mark}, "rule": rule})
        words = await profiling.vocabulary(bank)
        number = await versions.submit(bank, lin, "same", said, words)
        if number == 1:
            await versions.approve(bank, zhao, "same", 1, words)
    await jobs.run(bank, filling.TASK)
    await profiling.bring(bank, [cid])
    assert await bank.db["segment_members"].count({"left": None}) == 1
    (wait,) = [row["_id"] for row in await bank.db["awaited"].find({}, limit=None)]
    ids = {"segment": "same", "list": "event", "version": "2", "webhook": "crm", "tag": "t1", "group": "g1"}
    return ids | {
        "field": "interest",
        "cid": cid,
        "upload": upload,
        "wait": wait,
        "event": "e1",
        "login": "lin",
        "which": "counter",
    }


@pytest.fixture
async def planted(demo: Services, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)
    for tenant in MARKS:
        await apply.apply_tenant(demo, bank_file(tenant), f"{tenant}.yaml")
    return {tenant: await plant(demo, tenant) for tenant in MARKS}


def rows_of_the_first(demo: Services) -> dict[str, list[bytes]]:
    """Every byte that the first bank has, by collection."""
    return {name: rows for name, rows in kept(demo, "demo").items() if rows}


def path_of(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], "none"), path)


def form(ids: dict[str, str]) -> dict[str, str]:
    """What the forms of the console want, about these ids."""
    return {
        "segment": "same", "name_zh": "一", "name_en": "One", "rule": "known(customer.birthday)", "kind": "live",
        "customer": ids["cid"], "q": NUMBER, "query": NUMBER, "cid": ids["cid"], "reason": "nein", "list": "event",
        "mode": "replace", "delivery": "none", "all": "1", "group": "组", "name": "neu", "tag": "t1", "into": "t1",
        "language": "en", "key": "k", "text": "x", "state": "failed", "field": "interest",
    }  # fmt: skip


async def signed_in(clients: Clients, tenant: str) -> httpx.AsyncClient:
    client = await clients()
    assert (await sign_in(client, tenant, "lin", PASSWORD)).status_code == 303
    return client


def rows_of_console(method: str) -> list[str]:
    return [
        route.path
        for route in ROUTES
        if method in route.ops and "." in route.ops[method].permission and route.ops[method].permission != PUBLIC
    ]


async def test_no_page_of_one_bank_says_a_word_of_the_other(
    demo: Services, clients: Clients, planted: dict[str, dict[str, str]]
) -> None:
    ours, theirs = await signed_in(clients, "twin"), await signed_in(clients, "demo")
    for page in SHOWING:
        shown = await theirs.get(path_of(page, planted["demo"]))
        assert (shown.status_code, THEIRS in shown.text, OURS in shown.text) == (200, True, False), page
    leaks, shown_of_ours = [], set()
    for ids in (planted["twin"], planted["demo"], planted["twin"] | {"cid": planted["demo"]["cid"]}):
        for path in rows_of_console("GET"):
            for language in ("zh", "en"):
                answer = await ours.get(path_of(path, ids), params={"lang": language, "q": NUMBER})
                if THEIRS in answer.text or THEIRS in str(answer.headers):
                    leaks.append((path, answer.status_code))
                if OURS in answer.text:
                    shown_of_ours.add(path)
    assert leaks == []
    assert {
        re.sub("same", "{segment}", page.replace("lists/event", "lists/{list}")) for page in SHOWING
    } <= shown_of_ours


async def test_no_form_of_one_bank_says_a_word_of_the_other_or_changes_a_byte_of_it(
    demo: Services, clients: Clients, planted: dict[str, dict[str, str]]
) -> None:
    ours, before = await signed_in(clients, "twin"), rows_of_the_first(demo)
    token, leaks, statuses = form_token((await ours.get("/console/account")).text), [], set()
    for ids in (planted["demo"], planted["twin"]):
        for path in rows_of_console("POST"):
            if "account" in path or "sign-out" in path:
                continue
            files = {"file": ("list.csv", b"unionid\nu1\n")} if "uploads" in path else None
            data = {"_xsrf": token, **form(ids)}
            answer = await ours.post(path_of(path, ids), data=data, files=files, headers={"X-XSRFToken": token})
            statuses.add(answer.status_code)
            if THEIRS in answer.text or THEIRS in str(answer.headers):
                leaks.append((path, answer.status_code))
    assert leaks == []
    assert {200, 303, 404} <= statuses
    twin = await open_bank(demo, "twin")
    for job in (uploading.TASK, filling.TASK):
        await jobs.run(twin, job)
    await profiling.bring(twin, [planted["demo"]["cid"], planted["twin"]["cid"]])
    assert rows_of_the_first(demo) == before


READING = (
    ("segment", "list"),
    ("segment", "members", "same"),
    ("segment", "estimate", "known(customer.birthday)"),
    ("segment", "why", "same", NUMBER),
    ("fields", "list"),
    ("fields", "show", NUMBER),
    ("fields", "history", NUMBER, "interest"),
    ("tags", "list"),
    ("webhook", "list"),
    ("webhook", "show", "crm"),
    ("profiles", "check"),
)
SAYING_NO_NAME = {
    ("webhook", "list"),
    ("webhook", "show"),
    ("profiles", "check"),
    ("segment", "estimate"),
    ("segment", "members"),
}


@contextmanager
def _files(folder: Path) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Commands that write, each about ids that both banks have."""
    (folder / "segments.yaml").write_text(
        "kind: segments/v1\nsegments:\n  same: {name: {zh: 新, en: New}, rule: customer.bound}\n", encoding="utf-8"
    )
    (folder / "events.csv").write_text("id,name,at,number\ne1,app.login,2026-11-30 10:00:00,C0001\n", encoding="utf-8")
    (folder / "fields.csv").write_text("number,stage\nC0001,lead\n", encoding="utf-8")
    yield (
        ("segment", "apply", str(folder / "segments.yaml")),
        ("events", "import", str(folder / "events.csv"), "--system", "core"),
        ("fields", "import", str(folder / "fields.csv"), "--system", "core"),
        ("webhook", "secret", "crm"),
        ("profiles", "rebuild"),
    )


async def test_no_command_about_one_bank_says_a_word_of_the_other_or_changes_a_byte_of_it(
    demo: Services, planted: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    before = rows_of_the_first(demo)
    for words in READING:
        ended = manage(demo.settings, *words, "--tenant", "twin")
        said = ended.stdout + ended.stderr
        assert (ended.returncode, THEIRS in said) == (0, False), (words, said)
        assert OURS in said or words[:2] in SAYING_NO_NAME, (words, said)
    stranger = manage(demo.settings, "fields", "show", planted["demo"]["cid"], "--tenant", "twin")
    assert stranger.returncode == 1
    with _files(tmp_path) as writing:
        for words in writing:
            ended = manage(demo.settings, *words, "--tenant", "twin")
            assert (ended.returncode, THEIRS in ended.stdout + ended.stderr) == (0, False), (words, ended)
    assert rows_of_the_first(demo) == before
