"""In production nobody makes himself maker and checker, and nothing for development touches its database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import yaml

from config.settings import ProductionRefused, Settings
from customers.access import clerk, roles
from customers.actors import ClerkActor
from customers.banks import apply, clerks
from customers.banks.bank import Bank, list_banks
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services import ids
from services.container import Services, open_services
from services.errors import Conflict, Forbidden, InvalidInput, NotSignedIn
from services.store.installation import WrongInstallation
from tests.conftest import DEMO_BANK
from tests.support.banks import open_bank
from tests.support.killing import Killed, before_write

FIRST = "steinhauer 4 segel"


@pytest.fixture
async def production(settings: Settings) -> AsyncIterator[Services]:
    opened = await open_services(settings.model_copy(update={"env": "production"}), COLLECTIONS, QUEUES)
    yield opened
    await opened.close()


def _file(**who: list[str]) -> str:
    """A bank of its own, with these clerks and their roles, and no counter and no system."""
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    for app in (file["wecom"], *file["miniprograms"]):
        app |= {"secret": ids.token(), "token": "T" * 9, "aes_key": "Q" * 43}
    file["clerks"] = [{"login": login, "name": login, "roles": said, "password": FIRST} for login, said in who.items()]
    for key in ("counters", "partners", "systems"):
        del file[key]
    return str(yaml.safe_dump(file, allow_unicode=True))


async def _apply(services: Services, **who: list[str]) -> list[str]:
    said = await apply.apply_tenant(services, _file(**who), "bank.yaml", "cli:ops")
    services.cache.clear()
    return [sentence for sentence in said if "another clerk agrees" in sentence]


async def _roles(services: Services, login: str) -> list[str]:
    row = await clerks.find(await open_bank(services, "demo"), login)
    return list(row["roles"]) if row else []


async def _actor(services: Services, login: str) -> tuple[Bank, ClerkActor]:
    bank = await open_bank(services, "demo")
    found = await clerks.clerk(bank, login)
    return bank, ClerkActor("demo", login, login, found.permissions)


async def test_development_refuses_a_database_in_which_production_started(
    production: Services, settings: Settings
) -> None:
    with pytest.raises(WrongInstallation) as refused:
        await open_services(settings, COLLECTIONS, QUEUES)
    assert "YINQIAO_ENV must be production here" in refused.value.message
    again = await open_services(production.settings, COLLECTIONS, QUEUES)
    await again.close()
    (row,) = await production.store.system("installation").find({})
    assert row["_id"] == "production"


async def test_development_opens_its_own_database_as_often_as_it_likes(services: Services, second: Services) -> None:
    assert await services.store.system("installation").count() == 0


async def test_the_first_clerks_are_those_of_the_file_and_later_ones_wait(production: Services) -> None:
    assert await _apply(production, lin=["operations"], zhao=["operations"]) == []
    assert await _roles(production, "zhao") == ["operations"]
    said = await _apply(production, lin=["operations"], zhao=["operations"], eve=["operations"])
    assert said == ["eve gets operations when another clerk agrees: /console/clerks"]
    assert await _roles(production, "eve") == []
    bank, lin = await _actor(production, "lin")
    (eve, *_) = await roles.list_clerks(bank, lin)
    assert (eve.login, list(eve.asked), eve.asked_by, eve.mine) == ("eve", ["operations"], "cli:ops", False)
    await roles.approve(bank, lin, "eve")
    assert await _roles(production, "eve") == ["operations"]
    with pytest.raises(Conflict):
        await roles.approve(bank, lin, "eve")
    rows = await production.store.tenant("demo")["audit"].find({"object": "eve"}, sort=[("seq", 1)])
    told = [(row["action"], row["actor"]) for row in rows if "roles" in row["action"]]
    assert told == [("clerk.roles_asked", "cli:ops"), ("clerk.roles_granted", "lin")]


async def test_applying_the_same_file_again_asks_no_second_time(production: Services) -> None:
    await _apply(production, lin=["operations"])
    for _ in range(2):
        assert len(await _apply(production, lin=["operations"], eve=["auditor"])) == 1
    asked = await production.store.tenant("demo")["audit"].find({"action": "clerk.roles_asked"})
    assert len(asked) == 1


async def test_a_right_is_taken_at_once_and_given_by_another(production: Services) -> None:
    await _apply(production, lin=["operations"], zhao=["operations"], audit=["auditor"])
    assert await _apply(production, lin=["operations"], zhao=["viewer"], audit=["operations"]) != []
    assert await _roles(production, "zhao") == ["viewer"]
    assert await _roles(production, "audit") == []
    await _apply(production, lin=["operations"], zhao=["operations"], audit=["auditor"])
    assert await _roles(production, "zhao") == ["viewer"]
    bank, lin = await _actor(production, "lin")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await roles.reject(bank, lin, "zhao", " ")
    await roles.reject(bank, lin, "zhao", "nicht abgesprochen")
    with pytest.raises(Conflict):
        await roles.approve(bank, lin, "zhao")


async def test_nobody_decides_on_his_own_roles_or_on_what_he_asked_for(production: Services) -> None:
    await _apply(production, lin=["operations"], zhao=["operations"])
    await _apply(production, lin=["operations", "auditor"], zhao=["operations"])
    bank, lin = await _actor(production, "lin")
    with pytest.raises(Forbidden) as own:
        await roles.approve(bank, lin, "lin")
    assert own.value.code == "roles_own"
    zhao = (await _actor(production, "zhao"))[1]
    text = _file(lin=["operations", "auditor", "viewer"], zhao=["operations"])
    await apply.apply_tenant(production, text, "bank.yaml", "cli:zhao")
    with pytest.raises(Forbidden) as asked:
        await roles.approve(bank, zhao, "lin")
    assert asked.value.code == "approver_is_author"
    nobody = replace(zhao, permissions=frozenset())
    with pytest.raises(Forbidden):
        await roles.approve(bank, nobody, "lin")


async def test_a_decision_that_was_cut_short_does_not_stand_in_the_way_of_other_roles(
    production: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _apply(production, lin=["operations"])
    await _apply(production, lin=["operations"], eve=["viewer"])
    bank, lin = await _actor(production, "lin")
    with monkeypatch.context() as dying:
        before_write(dying, 2)  # agreed to and said so, and nothing given
        with pytest.raises(Killed):
            await roles.approve(bank, lin, "eve")
    said = await apply.apply_tenant(production, _file(lin=["operations"], eve=["auditor"]), "bank.yaml", "cli:ops")
    assert said[-1] == "eve: other roles of his are being decided; apply the file again in a minute"
    await production.store.tenant("demo")["approvals"].update({}, {"$set": {"busy_until": bank.utc()}})
    assert await _apply(production, lin=["operations"], eve=["auditor"]) != []
    await roles.approve(bank, lin, "eve")
    assert await _roles(production, "eve") == ["auditor"]


async def test_who_is_removed_and_comes_back_is_asked_for_anew(production: Services) -> None:
    await _apply(production, lin=["operations"])
    await _apply(production, lin=["operations"], eve=["viewer"])
    await _apply(production, lin=["operations"])
    text = _file(lin=["operations"], eve=["viewer"])
    await apply.apply_tenant(production, text, "bank.yaml", "cli:night")
    bank, lin = await _actor(production, "lin")
    (eve, *_) = await roles.list_clerks(bank, lin)
    assert (eve.login, eve.asked_by) == ("eve", "cli:night")


async def test_who_is_removed_while_his_roles_are_agreed_to_has_none(
    production: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _apply(production, lin=["operations"], eve=["viewer"])
    await _apply(production, lin=["operations"], eve=["operations"])
    bank, lin = await _actor(production, "lin")
    give = clerks.give_asked

    async def removed_before(bank: Bank, login: str, asked: Sequence[str]) -> bool:
        await clerks.remove(bank, login)
        return await give(bank, login, asked)

    monkeypatch.setattr(clerks, "give_asked", removed_before)
    with pytest.raises(Conflict) as refused:
        await roles.approve(bank, lin, "eve")
    assert (refused.value.code, await _roles(production, "eve")) == ("roles_decided", [])


async def test_roles_that_were_changed_in_the_database_are_not_agreed_to(production: Services) -> None:
    await _apply(production, lin=["operations"])
    await _apply(production, lin=["operations"], eve=["viewer"])
    await production.store.tenant("demo")["clerks"].update({"login": "eve"}, {"$set": {"asked": ["operations"]}})
    bank, lin = await _actor(production, "lin")
    with pytest.raises(Conflict) as changed:
        await roles.approve(bank, lin, "eve")
    assert changed.value.code == "approval_changed"


async def test_a_file_that_leaves_nobody_who_may_agree_is_refused_and_nothing_is_applied(production: Services) -> None:
    await _apply(production, lin=["operations"])
    for who in ({"eve": ["operations"]}, {"lin": ["viewer"], "eve": ["operations"]}, {}):
        with pytest.raises(InvalidInput) as refused:
            await _apply(production, **who)
        assert refused.value.code == "nobody_left"
    assert await _roles(production, "lin") == ["operations"]


async def test_a_first_password_is_changed_before_anything_else_and_never_comes_back(production: Services) -> None:
    await _apply(production, lin=["operations"])
    token = await clerk.sign_in(production, "demo", "lin", FIRST)
    assert (await clerk.actor_of(production, token))[1].must_change
    bank = await open_bank(production, "demo")
    for old, new, code in (
        ("wrong", "a lighthouse in may", "password_wrong"),
        (FIRST, FIRST, "password_same"),
        (FIRST, "12345678", "password_weak"),
        (FIRST, "yinqiao-demo", "password_weak"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await clerks.change_password(bank, "lin", old, new)
        assert refused.value.code == code
    await clerks.change_password(bank, "lin", FIRST, "a lighthouse in may")
    with pytest.raises(NotSignedIn):
        await clerk.actor_of(production, token)
    await _apply(production, lin=["operations"])
    with pytest.raises(NotSignedIn):
        await clerk.sign_in(production, "demo", "lin", FIRST)
    token = await clerk.sign_in(production, "demo", "lin", "a lighthouse in may")
    assert not (await clerk.actor_of(production, token))[1].must_change


async def test_the_demonstration_bank_is_not_for_production(production: Services) -> None:
    with pytest.raises(InvalidInput) as refused:
        await apply.apply_tenant(production, DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml")
    for said in ("wecom.secret: published", "miniprograms.1.aes_key: published", "clerks.2.password: this password"):
        assert said in refused.value.message
    assert await list_banks(production) == []


async def test_production_does_not_serve_a_bank_whose_secrets_everybody_knows(
    services: Services, settings: Settings
) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "bank.yaml")
    await apply.check_banks(services)
    production = await open_services(settings.model_copy(update={"env": "production"}), COLLECTIONS, QUEUES)
    try:
        with pytest.raises(ProductionRefused) as refused:
            await apply.check_banks(production)
        assert len(refused.value.reasons) == 9
        with pytest.raises(NotSignedIn):
            await clerk.sign_in(production, "demo", "lin", "yinqiao-demo")
    finally:
        await production.close()
