"""Whether customers agreed to the archive: told, asked for, and shown to the RM."""

from __future__ import annotations

from typing import Any

import pytest

from customers.access import rm
from customers.actors import StaffActor
from customers.archive import consents
from customers.archive.consents import AGREED, REFUSED, UNKNOWN, counts, of_pair
from customers.banks import apply
from customers.banks.apply import apply_tenant
from customers.wecom_mirror import details
from services.clock import utc
from services.container import Services
from services.observe import trace
from services.queue.outbox import Effect
from services.wechat import events
from services.wechat.core.errors import SubjectState
from services.wechat.wecom.archive import Archive
from tests.conftest import DEMO_BANK, Sandbox
from tests.integration.customers import archived
from tests.integration.customers.archived import friend, pull, pull_row
from tests.integration.customers.conftest import other_bank
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def bank(services: Services, sandbox: Sandbox) -> Services:
    await archived.give_key(sandbox, 1)
    await archived.apply(services, sandbox)
    return services


async def known(services: Services, sandbox: Sandbox, **how: Any) -> dict[str, Any]:
    """A friend of rm.chen whom we know."""
    person = await friend(sandbox, **how)
    await details.fetch(await open_bank(services, "demo"), person["external_userid"])
    return person


async def consent(services: Services, person: dict[str, Any], at: float) -> None:
    event = events.ArchiveConsented(
        corp_id="ww",
        create_time=utc(at),
        userid="rm.chen",
        external_userid=person["external_userid"],
        welcome_code=None,
    )
    await consents.consented(await open_bank(services, "demo"), {"_id": f"demo:{at}", "at": utc(at)}, event)


async def state(services: Services, person: dict[str, Any]) -> tuple[str, str]:
    found = await of_pair(await open_bank(services, "demo"), "rm.chen", person["external_userid"])
    assert found is not None
    return found["state"], found["source"]


async def test_an_agreement_that_is_told_is_known_and_an_older_one_changes_nothing(
    bank: Services, sandbox: Sandbox
) -> None:
    person = await known(bank, sandbox, agrees=False)
    assert await state(bank, person) == (UNKNOWN, "")
    await consent(bank, person, 1_800_000_000.0)
    await consent(bank, person, 1_800_000_000.0)
    assert await of_pair(await open_bank(bank, "demo"), "rm.chen", person["external_userid"]) == {
        "state": AGREED,
        "at": 1_800_000_000.0,
        "source": "event",
    }
    external = person["external_userid"]
    await consents.note_consent(await open_bank(bank, "demo"), "rm.chen", external, REFUSED, 1_799_999_999.0, "asked")
    assert await state(bank, person) == (AGREED, "event")
    await consents.note_consent(await open_bank(bank, "demo"), "rm.chen", external, REFUSED, 1_800_000_001.0, "asked")
    assert await state(bank, person) == (REFUSED, "asked")
    await consent(bank, person, 1_800_000_000.0)
    assert await state(bank, person) == (REFUSED, "asked")
    assert await counts(await open_bank(bank, "demo")) == {REFUSED: 1}


async def test_pairs_are_asked_for_while_the_archive_is_pulled(bank: Services, sandbox: Sandbox) -> None:
    agreed, silent = await known(bank, sandbox), await known(bank, sandbox, name="周浩", agrees=False)
    await pull(bank)
    assert (await state(bank, agreed), await state(bank, silent)) == ((AGREED, "asked"), (REFUSED, "asked"))
    row = await pull_row(bank)
    assert (row["walk"], row["walk_due"] > bank.clock() + 3600) == ([], True)


async def test_a_pair_is_not_asked_for_again_before_its_time_and_a_withdrawal_is_seen_then(
    bank: Services, sandbox: Sandbox, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await known(bank, sandbox)
    asked: list[list[tuple[str, str]]] = []
    real = Archive.check_single_agree

    async def counting(self: Any, pairs: Any) -> Any:
        asked.append(list(pairs))
        return await real(self, asked[-1])

    monkeypatch.setattr(Archive, "check_single_agree", counting)
    rows = bank.store.tenant("demo")["archive_pulls"]
    for _ in range(3):
        await pull(bank)
        await rows.update({}, {"$set": {"walk_due": 0.0}})
    assert asked == [[("rm.chen", person["external_userid"])]]
    clock.advance(consents.AGAIN_SECONDS + 1)
    await sandbox.control("POST", f"people/{person['id']}/agree", {"userid": "rm.chen", "status": "Disagree"})
    await pull(bank)
    assert len(asked) == 2
    assert await state(bank, person) == (REFUSED, "asked")


async def test_the_walk_goes_on_where_it_stopped(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await known(bank, sandbox, name=f"客户{number}") for number in range(5)]
    monkeypatch.setattr(consents, "PAIRS", 1)
    monkeypatch.setattr(consents, "CALLS", 2)
    for expected in (2, 4, 5):
        await pull(bank)
        assert await counts(await open_bank(bank, "demo")) == {AGREED: expected}
    assert [await state(bank, person) for person in people] == [(AGREED, "asked")] * 5


async def test_one_pair_that_wecom_does_not_know_spoils_no_other(bank: Services, sandbox: Sandbox) -> None:
    people = [await known(bank, sandbox, name=f"客户{number}") for number in range(5)]
    await sandbox.control("POST", f"people/{people[2]['id']}/delete", {"userid": "rm.chen"})
    await pull(bank)
    assert [(await state(bank, person))[0] for person in people] == [AGREED, AGREED, UNKNOWN, AGREED, AGREED]


async def test_wecoms_refusal_to_say_holds_up_no_message(bank: Services, sandbox: Sandbox) -> None:
    person = await known(bank, sandbox)
    await archived.say(sandbox, person, "一")
    fault = {"target": "api", "kind": "errcode", "path": "/cgi-bin/msgaudit/get_permit_user_list", "errcode": 301052}
    await sandbox.control("POST", "faults", fault)
    await pull(bank)
    assert await archived.texts(bank) == ["一"]
    row = await pull_row(bank)
    assert (row["reason"], row["failures"], row["walk_due"] > bank.clock() + 300) == ("", 0, True)


async def test_the_rm_sees_whether_his_customer_agreed(bank: Services, sandbox: Sandbox) -> None:
    person = await known(bank, sandbox)
    actor = StaffActor("demo", "rm.chen")
    (customer,) = await rm.list_customers(await open_bank(bank, actor.tenant), actor)
    shown = (await rm.customer_card(await open_bank(bank, actor.tenant), actor, customer["cid"]))["archive_consent"]
    assert shown == {"state": UNKNOWN, "at": None, "source": ""}
    await consent(bank, person, 1_800_000_000.0)
    shown = (await rm.customer_card(await open_bank(bank, actor.tenant), actor, customer["cid"]))["archive_consent"]
    assert shown == {"state": AGREED, "at": 1_800_000_000.0, "source": "event"}


async def test_a_welcome_that_wecom_refuses_for_want_of_consent_says_what_is_known_of_it(
    bank: Services, sandbox: Sandbox
) -> None:
    await known(bank, sandbox, agrees=False)
    await pull(bank)
    (customer,) = await rm.list_customers(await open_bank(bank, "demo"), StaffActor("demo", "rm.chen"))
    effect = Effect(id="demo:e", tenant="demo", kind="welcome", cid=customer["cid"], args={"userid": "rm.chen"})
    with trace.collect() as story:
        await consents.explain(
            await open_bank(bank, effect.tenant), effect, SubjectState(41053, "", "send_welcome_msg")
        )
        await consents.explain(
            await open_bank(bank, effect.tenant), effect, SubjectState(41050, "", "send_welcome_msg")
        )
    assert [(note["kind"], note["why"]) for note in story.notes] == [("welcome.archive", "archive_refused")]


async def test_a_bank_without_an_archive_knows_of_no_consent(services: Services) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    assert await of_pair(await open_bank(services, "demo"), "rm.chen", "wmA") is None


async def test_another_banks_archive_is_none_of_this_banks(bank: Services, sandbox: Sandbox) -> None:
    await archived.apply(bank, sandbox)
    await apply_tenant(bank, other_bank(), "other.yaml")
    assert await consents.of_pair(await open_bank(bank, "demo"), "rm.chen", "wmA") is not None
    assert await consents.of_pair(await open_bank(bank, "other"), "rm.chen", "wmA") is None
