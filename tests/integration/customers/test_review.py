"""How the bank knows who somebody is: each id with its source, what only a phone suggests, and sessions after an undoing."""

from __future__ import annotations

from typing import Any

import pytest

from customers.access import login
from customers.actors import ClerkActor, CustomerActor
from customers.identity import resolution, review
from customers.identity.resolution import Facts
from services.container import Services
from services.errors import Forbidden, NotFound, NotSignedIn
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK, LIFE
from tests.support.banks import open_bank
from tests.support.clock import StillClock

RIGHTS = frozenset({review.READ, review.DECIDE})
LIN, ZHAO = ClerkActor("demo", "lin", "林晓", RIGHTS), ClerkActor("demo", "zhao", "赵敏", RIGHTS)


async def _sign_in(
    services: Services, sandbox: Sandbox, person: dict[str, Any], appid: str = BANK
) -> tuple[str, CustomerActor]:
    signed_in = await login.login(await open_bank(services, "demo"), appid, await sandbox.open(person, appid))
    return signed_in.token, await login.read_session(services, signed_in.token)


async def _bind(services: Services, sandbox: Sandbox, person: dict[str, Any], actor: CustomerActor) -> None:
    await login.bind_phone(
        await open_bank(services, actor.tenant), actor, await sandbox.phone_code(person, BANK), "phone/2026-11"
    )


async def test_each_id_says_where_it_came_from(bank: Services, sandbox: Sandbox) -> None:
    person = await sandbox.person("刘敏", phone="13800138000")
    _, actor = await _sign_in(bank, sandbox, person)
    await _bind(bank, sandbox, person, actor)
    told = Facts(external_userid="wmExternal0001", unionid=person["unionid"], name="刘敏")
    await resolution.identify(await open_bank(bank, "demo"), told, source="details", proof="event-7")
    shown = await review.explain(await open_bank(bank, "demo"), LIN, actor.cid)
    by_kind = {row["kind"]: (row["shown"], row["source"]) for row in shown["ids"]}
    assert by_kind == {
        "external_userid": ("wm…0001", "details"),
        "name": ("刘*", "details"),
        f"openid.{BANK}": (resolution.mask_id(person["openids"][BANK]), "login"),
        "phone": ("138****8000", "phone"),
        "unionid": (resolution.mask_id(person["unionid"]), "login"),
    }
    assert all(row["at"] and row["proof"] for row in shown["ids"])
    assert (shown["cid"], shown["merges"], shown["review_tasks"], shown["aliases"]) == (actor.cid, [], [], [])
    assert person["unionid"] not in str(shown)


async def test_a_merge_is_explained_with_what_led_to_it_and_what_it_carried(services: Services) -> None:
    winner = await resolution.identify(
        await open_bank(services, "demo"), Facts(external_userid="wm1"), source="callback", proof="event-1"
    )
    signed_in = Facts(unionid="u1", openids={BANK: "o1"}, phone="+8613800138000")
    loser = await resolution.identify(await open_bank(services, "demo"), signed_in, source="login", proof="login:1")
    await resolution.identify(await open_bank(services, "demo"), Facts("wm1", "u1"), source="details", proof="event-2")
    for cid in (winner, loser):
        (merge,) = (await review.explain(await open_bank(services, "demo"), LIN, cid))["merges"]
        assert (merge["winner"], merge["loser"], merge["state"]) == (winner, loser, "done")
        assert (merge["source"], merge["proof"], merge["id_kinds"]) == (
            "details",
            "event-2",
            ["external_userid", "unionid"],
        )
        assert merge["ids"] == [f"openid.{BANK}", "unionid"]
        assert merge["fields"] == ["phone", "unionid", f"openids.{BANK}"]


async def test_one_phone_of_two_is_a_question_and_merges_nobody(bank: Services, sandbox: Sandbox) -> None:
    actors = []
    for _ in range(2):
        person = await sandbox.person("刘敏", phone="13800138000")
        actors.append((await _sign_in(bank, sandbox, person))[1])
        await _bind(bank, sandbox, person, actors[-1])
    at_bank = await open_bank(bank, "demo")
    cids = [(await resolution.customer(at_bank, actor.cid)).cid for actor in actors]
    assert len({*cids}) == 2
    (question,) = await review.list_questions(await open_bank(bank, "demo"), LIN)
    assert (question["kind"], question["cids"], question["source"]) == ("same_phone", sorted(cids), "phone")
    found = await review.search(await open_bank(bank, "demo"), LIN, "13800138000")
    assert sorted(row["cid"] for row in found) == sorted(cids)
    await review.propose(await open_bank(bank, "demo"), LIN, question["id"], "leave", "母女共用")
    await review.agree(await open_bank(bank, "demo"), ZHAO, question["id"])
    assert await review.list_questions(await open_bank(bank, "demo"), LIN) == []
    at_bank = await open_bank(bank, "demo")
    assert [(await resolution.customer(at_bank, cid)).cid for cid in cids] == cids


async def test_after_an_undoing_nobody_is_signed_in_as_the_other(
    bank: Services, sandbox: Sandbox, clock: StillClock
) -> None:
    person = await sandbox.person("刘敏")
    winner = await resolution.identify(await open_bank(bank, "demo"), Facts(external_userid="wm1"))
    tokens = []
    token, actor = await _sign_in(bank, sandbox, person)
    tokens.append(token)
    await resolution.identify(await open_bank(bank, "demo"), Facts(external_userid="wm1", unionid=person["unionid"]))
    token, merged = await _sign_in(bank, sandbox, person, LIFE)
    tokens.append(token)
    assert (merged.cid, (await resolution.customer(await open_bank(bank, "demo"), actor.cid)).cid) == (winner, winner)
    (merge,) = await bank.store.tenant("demo")["merges"].find({})
    await review.undo(await open_bank(bank, "demo"), LIN, merge["_id"], "两个人")
    await review.approve_undo(await open_bank(bank, "demo"), ZHAO, merge["_id"])
    clock.now += 3
    for token in tokens:
        with pytest.raises(NotSignedIn):
            await login.read_session(bank, token)
    for appid in (BANK, LIFE):
        assert (await _sign_in(bank, sandbox, person, appid))[1].cid == actor.cid


async def test_only_who_may_read_finds_or_sees_anybody(services: Services) -> None:
    cid = await resolution.identify(await open_bank(services, "demo"), Facts(unionid="u1"))
    nobody = ClerkActor("demo", "viewer", "看", frozenset({"campaigns.read"}))
    stranger = ClerkActor("other", "eve", "夏", RIGHTS)
    for asked in (
        review.search(await open_bank(services, "demo"), nobody, "u1"),
        review.explain(await open_bank(services, "demo"), nobody, cid),
        review.list_questions(await open_bank(services, "demo"), nobody),
    ):
        with pytest.raises(Forbidden):
            await asked
    at_bank = await open_bank(services, "demo")
    assert [row["cid"] for row in await review.search(at_bank, LIN, "u1")] == [cid]
    assert await review.search(await open_bank(services, "other"), stranger, "u1") == []
    with pytest.raises(NotFound):
        await review.explain(await open_bank(services, "other"), stranger, cid)
