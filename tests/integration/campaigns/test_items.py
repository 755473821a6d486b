"""The bank's catalogue: items that two clerks agreed to, and the campaigns that give them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from campaigns.document.reading import DocumentError
from campaigns.publishing import versions as campaigns
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from deploy.demo import apply_bank
from rewards.item import Item
from rewards.items import files, live
from rewards.items import versions as items
from rewards.items.versions import ItemRefused
from services.container import Services
from services.documents.parts import Text
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.store.mongo import Doc
from tests.support import cut_short
from tests.support.banks import open_bank

LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())
COFFEE = Item(kind="code", title=Text(zh="咖啡券", en="Coffee"), cost=1000)
DEAR = COFFEE.model_copy(update={"cost": 1500})
TEXT = """
kind: campaign/v1
id: gifts
name: {zh: 送咖啡}
window: {from: 2026-11-01, to: 2027-12-31}
money: {budget: 200000}
disclosure: {rules_zh: 每人一份, odds_or_quantity: 100 份, claim_by: 2027-12-31, host: 银行, contact: "95500"}
rewards:
  gift: {item: coffee, stock: 100, claim: anyone}
"""


async def at(services: Services) -> Bank:
    return await open_bank(services, "demo")


async def agreed(services: Services, item: Item, key: str = "coffee") -> int:
    """The version in which two clerks put it into the catalogue."""
    number = await items.submit(await at(services), LIN, key, item)
    await items.approve(await at(services), ZHAO, key, number)
    return number


async def gifts(services: Services) -> Doc:
    row = await services.store.tenant("demo")["rewards"].find_one({"reward": "gifts.gift"})
    assert row is not None
    return row


async def published(services: Services, text: str = TEXT) -> None:
    bank = await at(services)
    made = await campaigns.submit(bank, LIN, text)
    await campaigns.approve(bank, ZHAO, "gifts", made["version"])


async def trail(services: Services, about: str) -> list[tuple[str, str]]:
    rows = await services.store.tenant("demo")["audit"].find({"object": about}, sort=[("seq", 1)])
    return [(row["actor"], row["action"]) for row in rows if row["action"].startswith("item.")]


async def test_an_item_is_live_when_a_second_clerk_agreed_and_a_campaign_gives_it(demo: Services) -> None:
    number = await items.submit(await at(demo), LIN, "coffee", COFFEE)
    assert await live.listed(await at(demo)) == {}
    with pytest.raises(Forbidden, match="approver_is_author"):
        await items.approve(await at(demo), LIN, "coffee", number)
    await items.approve(await at(demo), ZHAO, "coffee", number)
    assert (await live.listed(await at(demo)))["coffee"].item == COFFEE
    assert await trail(demo, "coffee") == [
        ("lin", "item.submitted"),
        ("lin", "item.approval_refused"),
        ("zhao", "item.approved"),
        ("zhao", "item.published"),
    ]
    await published(demo)
    row = await gifts(demo)
    assert (row["title"], row["cost"], row["kind"]) == ({"zh": "咖啡券", "en": "Coffee"}, 1000, "code")
    assert (row["of_item"], row["item_version"], row["available"]) == ("coffee", 1, 100)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{item: tea, stock: 1, claim: anyone}", "item_unknown"),
        ("{item: coffee, cost: 5, stock: 1, claim: anyone}", "item_and_own"),
        ("{item: 7, stock: 1, claim: anyone}", "string_type"),
        ("{item: coffee, claim: anyone}", "missing"),
    ],
)
async def test_a_campaign_that_names_an_item_wrongly_is_told_at_its_line(demo: Services, line: str, code: str) -> None:
    await agreed(demo, COFFEE)
    text = TEXT.replace("{item: coffee, stock: 100, claim: anyone}", line)
    with pytest.raises(DocumentError) as refused:
        await campaigns.submit(await at(demo), LIN, text)
    assert [one.code for one in refused.value.problems] == [code]
    assert refused.value.problems[0].line == 9
    assert await demo.store.tenant("demo")["campaigns"].count({"campaign": "gifts"}) == 0


async def test_an_item_that_only_waits_or_is_retired_can_be_given_by_no_campaign(demo: Services) -> None:
    await items.submit(await at(demo), LIN, "coffee", COFFEE)
    with pytest.raises(DocumentError) as refused:
        await campaigns.submit(await at(demo), LIN, TEXT)
    assert [one.code for one in refused.value.problems] == ["item_unknown_none"]
    await items.approve(await at(demo), ZHAO, "coffee", 1)
    await published(demo)
    number = await items.retire(await at(demo), LIN, "coffee", "供应商停产")
    await items.approve(await at(demo), ZHAO, "coffee", number)
    with pytest.raises(DocumentError):
        await campaigns.submit(await at(demo), LIN, TEXT.replace("stock: 100", "stock: 101"))
    assert (await gifts(demo))["state"] == "live"  # who gives it goes on
    with pytest.raises(Conflict, match="item_not_live"):
        await items.retire(await at(demo), LIN, "coffee", "again")


async def test_new_words_reach_rewards_at_once_and_worth_with_the_campaigns_next_version(demo: Services) -> None:
    await agreed(demo, COFFEE)
    await published(demo)
    changed = DEAR.model_copy(update={"title": Text(zh="拿铁", en="Latte")})
    number = await items.submit(await at(demo), LIN, "coffee", changed)
    view = await items.get_item(await at(demo), ZHAO, "coffee")
    assert [(name, at_once) for name, _, _, at_once in view["changes"]] == [("title", True), ("cost", False)]
    assert [one["campaign"] for one in view["rewards"]] == ["gifts"]
    assert await items.approve(await at(demo), ZHAO, "coffee", number) == ["gifts.gift"]
    row = await gifts(demo)
    assert (row["title"]["zh"], row["item"]["title"]["zh"], row["cost"]) == ("拿铁", "拿铁", 1000)
    assert row["item_version"] == 1
    assert (await items.get_item(await at(demo), ZHAO, "coffee"))["behind"] == ["gifts.gift"]
    demo.cache.clear()
    made = await campaigns.submit(await at(demo), LIN, TEXT)  # the same text is a new version now
    told = (await campaigns.get_campaign(await at(demo), ZHAO, "gifts"))["notices"]
    assert [(one.code, one.data["fields"]) for one in told] == [("notice_item_changed", ["cost"])]
    await campaigns.approve(await at(demo), ZHAO, "gifts", made["version"])
    row = await gifts(demo)
    assert (row["cost"], row["item"]["cost"], row["item_version"], row["title"]["zh"]) == (1500, 1500, 2, "拿铁")
    demo.cache.clear()
    with pytest.raises(Conflict, match="version_unchanged"):
        await campaigns.submit(await at(demo), LIN, TEXT)


async def test_a_version_whose_item_was_changed_since_is_not_approved(demo: Services) -> None:
    await agreed(demo, COFFEE)
    made = await campaigns.submit(await at(demo), LIN, TEXT)
    await agreed(demo, DEAR)
    with pytest.raises(Conflict, match="item_moved"):
        await campaigns.approve(await at(demo), ZHAO, "gifts", made["version"])
    assert await demo.store.tenant("demo")["rewards"].count({"campaign": "gifts"}) == 0
    again = await campaigns.submit(await at(demo), LIN, TEXT)
    await campaigns.approve(await at(demo), ZHAO, "gifts", again["version"])
    assert (await gifts(demo))["cost"] == 1500


async def test_new_words_between_submitting_and_approving_are_the_ones_that_count(demo: Services) -> None:
    await agreed(demo, COFFEE)
    made = await campaigns.submit(await at(demo), LIN, TEXT)
    await agreed(demo, COFFEE.model_copy(update={"title": Text(zh="拿铁")}))
    await campaigns.approve(await at(demo), ZHAO, "gifts", made["version"])
    row = await gifts(demo)
    assert (row["title"]["zh"], row["item_version"]) == ("拿铁", 1)


@pytest.mark.parametrize("guard", [False, True])
async def test_words_that_change_while_a_campaign_is_published_reach_its_rewards(
    demo: Services, monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    await agreed(demo, COFFEE)
    made = await campaigns.submit(await at(demo), LIN, TEXT)
    there, put = await live.listed(await at(demo)), campaigns.catalogue.put
    done: list[str] = []

    async def slow(of: Bank, campaign: str, definition: Any) -> None:
        if not done:  # between reading the words and writing them
            done.append(campaign)
            await agreed(demo, COFFEE.model_copy(update={"title": Text(zh="拿铁")}))
        await put(of, campaign, definition)

    async def blind(_: Bank) -> dict[str, live.Listed]:
        return there

    monkeypatch.setattr(campaigns.catalogue, "put", slow)
    if not guard:
        monkeypatch.setattr(campaigns.items_live, "listed", blind)
        monkeypatch.setattr(items, "reword", lambda *_: asyncio.sleep(0, []))
    await campaigns.approve(await at(demo), ZHAO, "gifts", made["version"])
    assert (await gifts(demo))["title"]["zh"] == ("拿铁" if guard else "咖啡券")


async def test_a_newer_version_replaces_one_that_waits_and_a_rejected_one_reaches_nobody(demo: Services) -> None:
    await items.submit(await at(demo), LIN, "coffee", COFFEE)
    await items.submit(await at(demo), LIN, "coffee", DEAR)
    with pytest.raises(Conflict, match="item_decided"):
        await items.approve(await at(demo), ZHAO, "coffee", 1)
    with pytest.raises(InvalidInput, match="reason_missing"):
        await items.reject(await at(demo), ZHAO, "coffee", 2, " ")
    await items.reject(await at(demo), ZHAO, "coffee", 2, "太贵")
    with pytest.raises(Conflict, match="item_decided"):
        await items.approve(await at(demo), ZHAO, "coffee", 2)
    (row,) = await items.list_items(await at(demo), LIN)
    assert (row["state"], row["live_version"], row["pending_version"]) == ("draft", None, None)
    assert await live.listed(await at(demo)) == {}


async def test_whoever_was_cut_short_before_his_first_version_may_submit_it_again(
    demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await at(demo)
    await cut_short.before_its_version(monkeypatch, lambda: items.submit(bank, LIN, "coffee", COFFEE, base=0))
    assert await items.submit(await at(demo), LIN, "coffee", COFFEE, base=0) == 1
    with pytest.raises(Conflict, match="item_exists"):
        await items.submit(await at(demo), LIN, "coffee", DEAR, base=0)


async def test_what_is_no_change_or_another_kind_or_was_not_seen_is_refused(demo: Services) -> None:
    await agreed(demo, COFFEE)
    with pytest.raises(Conflict, match="item_unchanged"):
        await items.submit(await at(demo), LIN, "coffee", COFFEE)
    with pytest.raises(ItemRefused) as refused:
        await items.submit(await at(demo), LIN, "coffee", COFFEE.model_copy(update={"kind": "physical"}))
    assert list(refused.value.fields) == ["kind"]
    with pytest.raises(Conflict, match="item_exists"):
        await items.submit(await at(demo), LIN, "coffee", DEAR, base=0)
    await items.submit(await at(demo), ZHAO, "coffee", DEAR, base=1)
    with pytest.raises(Conflict, match="item_edited_meanwhile"):
        await items.submit(await at(demo), LIN, "coffee", DEAR.model_copy(update={"cost": 1}), base=1)
    with pytest.raises(NotFound, match="item_unknown"):
        await items.retire(await at(demo), LIN, "tea", "why")


async def test_of_two_who_edit_the_same_version_one_is_told(demo: Services) -> None:
    await agreed(demo, COFFEE)
    bank = await at(demo)
    one, other = (COFFEE.model_copy(update={"cost": cost}) for cost in (1, 2))
    found = await asyncio.gather(
        items.submit(bank, LIN, "coffee", one, base=1),
        items.submit(bank, ZHAO, "coffee", other, base=1),
        return_exceptions=True,
    )
    said = [getattr(one, "code", "submitted") for one in found]
    assert said.count("submitted") == 1
    assert {*said} - {"submitted"} <= {"item_edited_meanwhile", "busy"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"kind": "code", "title": {"zh": ""}, "cost": 1}, "title.zh"),
        ({"kind": "code", "title": {"zh": "x"}, "cost": -1}, "cost"),
        ({"kind": "code", "title": {"zh": "x"}, "cost": 1.5}, "cost"),
        ({"kind": "code", "title": {"zh": "x"}, "cost": 5_000_001}, "cost"),
        ({"kind": "code", "title": {"zh": "x"}, "cost": "1,000"}, "cost"),
        ({"kind": "car", "title": {"zh": "x"}, "cost": 1}, "kind"),
        ({"kind": "code", "title": {"zh": "x"}, "cost": 1, "colour": "red"}, "colour"),
    ],
)
def test_what_is_no_item_is_told_at_its_field(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        items.read("coffee", fields)
    assert list(refused.value.fields) == [wrong]


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        ("title", "分享朋友圈即可领奖", "wording"),
        ("text", "转发到朋友圈即送咖啡一杯", "wording"),
        ("how", "{{customer.name}} 您好", "placeholder_here"),
        ("text", "{customer.name}您好", "placeholder_like"),
        ("title", "   ", "text_blank"),
    ],
)
def test_words_that_customers_may_not_read_are_refused_in_form_and_file(field: str, text: str, code: str) -> None:
    fields = {"kind": "code", "title": {"zh": "咖啡券"}, "cost": 1, field: {"zh": text}}
    with pytest.raises(ItemRefused) as refused:
        items.read("coffee", fields)
    assert [(place, said) for place, said, _ in refused.value.faults] == [((field, "zh"), code)]
    file = f"kind: catalogue/v1\nitems:\n  c:\n    kind: code\n    cost: 1\n    {field}: {{zh: '{text}'}}\n"
    if field != "title":
        file += "    title: {zh: x}\n"
    with pytest.raises(files.FileRefused) as wrong:
        files.read(file)
    assert [(one.line, one.code) for one in wrong.value.problems] == [(6, code)]


async def test_words_that_only_look_so_pass_with_the_checkers_reason(demo: Services) -> None:
    soft = COFFEE.model_copy(update={"text": Text(zh="谨防诈骗：分享朋友圈即可领奖的都是骗局")})
    number = await items.submit(await at(demo), LIN, "coffee", soft)
    assert len((await items.get_item(await at(demo), ZHAO, "coffee"))["soft"]) == 1
    with pytest.raises(InvalidInput, match="overrule_reason_missing"):
        await items.approve(await at(demo), ZHAO, "coffee", number)
    await items.approve(await at(demo), ZHAO, "coffee", number, "是防骗提示")
    (said,) = await demo.store.tenant("demo")["audit"].find({"action": "item.published"})
    assert said["data"]["reason"] == "是防骗提示"


def test_a_key_that_is_none_is_told() -> None:
    with pytest.raises(ItemRefused) as refused:
        items.read("Coffee Cup", {"kind": "code", "title": {"zh": "x"}, "cost": 1})
    assert list(refused.value.fields) == ["key"]


async def test_approving_goes_on_where_it_was_cut_short(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await agreed(demo, COFFEE)
    await published(demo)
    number = await items.submit(await at(demo), LIN, "coffee", COFFEE.model_copy(update={"title": Text(zh="拿铁")}))

    async def dies(*_: Any) -> list[str]:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(items, "reword", dies)
        with pytest.raises(RuntimeError):
            await items.approve(await at(demo), ZHAO, "coffee", number)
    assert (await gifts(demo))["title"]["zh"] == "咖啡券"
    assert await items.approve(await at(demo), ZHAO, "coffee", number) == ["gifts.gift"]
    assert (await gifts(demo))["title"]["zh"] == "拿铁"


FILE = """kind: catalogue/v1
items:
  coffee: {kind: code, title: {zh: 咖啡券}, cost: 1000}
  towel: {kind: physical, title: {zh: 毛巾}, cost: 1800}
"""


async def test_a_file_is_live_at_once_in_development_and_harmless_again(demo: Services) -> None:
    wanted = files.read(FILE)
    done = await items.apply(await at(demo), wanted, "cli")
    assert done == ["item coffee: version 1 is live", "item towel: version 1 is live"]
    again = await items.apply(await at(demo), wanted, "cli")
    assert again == ["item coffee: version 1 is this already", "item towel: version 1 is this already"]
    production = replace(demo, settings=demo.settings.model_copy(update={"env": "production"}))
    dear = files.read(FILE.replace("1000", "1100"))
    assert await items.apply(await at(production), dear, "cli") == [
        "item coffee: version 2 is pending approval in the console",
        "item towel: version 1 is this already",
    ]
    assert (await live.listed(await at(demo)))["coffee"].version == 1


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("", 1, "not_mapping"),
        (FILE.replace("cost: 1000", "cost: -1"), 3, "greater_than_equal"),
        (FILE.replace("catalogue/v1", "catalogue/v2"), 1, "literal_error"),
        (FILE.replace("physical", "car"), 4, "literal_error"),
        (FILE + "  coffee: {}\n", 5, "yaml_twice"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, line: int, code: str) -> None:
    with pytest.raises(files.FileRefused) as refused:
        files.read(text, "c.yaml")
    found = [(one.line, one.code) for one in refused.value.problems]
    assert (line, code) in found


async def test_the_demonstration_bank_has_a_catalogue_and_gives_of_it(demo: Services) -> None:
    done = await apply_bank(demo.settings)
    assert {"item tea-set: version 1 is live", "campaign tea-gift: version 1 is live"} <= set(done)
    row = await demo.store.tenant("demo")["rewards"].find_one({"reward": "tea-gift.tea-set"})
    assert row is not None
    assert (row["kind"], row["cost"], row["of_item"], row["item_version"]) == ("physical", 6800, "tea-set", 1)
    again = await apply_bank(demo.settings)
    assert "campaign tea-gift is there already, as the console left it" in again
    assert not [one for one in again if one.startswith("item ")]
