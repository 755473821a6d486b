"""The campaign document, `campaign/v1` (contract/engine 2): what a clerk writes, as types.

This version runs the verbs of `campaigns/engine/verbs`, entry by scan, exit rules on events, and
rewards that are offered or open to anyone. A key that it cannot run is refused, never ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model, model_validator

from campaigns.document import parts
from campaigns.document.parts import DAYS, Day, Event, Template, Userid, Window
from campaigns.engine.verbs import BY_NAME, VERBS
from config import bounds
from rewards.item import Item
from rewards.quota import CampaignQuota, Quota, Stack
from services.documents.parts import Amount, Date, DayTime, Key, Part, Text, wrong
from services.documents.problems import Place

if TYPE_CHECKING:
    from campaigns.document.parts import Step as Step
else:
    _blocks: dict[str, Any] = {
        verb.name: ((bounds.ShortText if verb.model is str else verb.model) | None, None)
        for verb in VERBS
    }
    Step = create_model("Step", __base__=parts.Step, __module__=__name__, **_blocks)
    for _verb in VERBS:
        if issubclass(_verb.model, BaseModel):
            _verb.model.model_rebuild(_types_namespace={"Step": Step})
    Step.model_rebuild()


class Cap(Part):
    total: Amount | None = None
    per_day: Amount | None = None


class Entry(Part):
    """`key` tells two entries of one customer apart: the same key enters once (`again: never`)."""

    by: Literal["scan"]
    when: bounds.Text | None = None
    key: bounds.ShortText = "{{customer.id}}"
    again: Literal["never"] = "never"
    cap: Cap = Cap()


class Exit(Part):
    event: Event
    as_: bounds.Word = Field("left", alias="as")


class Slot(Part):
    """When `staff` take new customers, in the window's time zone; a `to` that is not after `from`
    is on the next day."""

    days: list[Day] = Field(list(DAYS), min_length=1, max_length=7)
    from_: DayTime = Field(alias="from")
    to: DayTime
    staff: list[Userid] = Field(min_length=1, max_length=100)


class Codes(Part):
    """Live codes (WeCom contact ways): one for each branch, shared by its staff
    (campaigns/channels/rosters.py says who is behind it)."""

    per: Literal["branch"] = "branch"
    branches: bounds.Several[bounds.Word] | Literal["all"] = "all"
    skip_verify: bool = True
    slots: bounds.Few[Slot] = []
    daily_cap: Amount | None = None
    backup: list[Userid] = Field([], max_length=100)


class Links(Part):
    """Acquisition links: one for each branch, or one of some members."""

    branches: bounds.Several[bounds.Word] | Literal["all"] | None = None
    staff: list[Userid] = Field([], max_length=500)
    skip_verify: bool = True

    @model_validator(mode="after")
    def _somebody(self) -> Links:
        if (self.branches is None) == (not self.staff):
            raise wrong("links_who")
        return self


class GroupCode(Part):
    """A code into customer groups, named by WeCom's chat ids; `full_at` is how many people make a
    group full."""

    groups: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=5
    )
    auto_create_room: bool = True
    room_base_name: str = Field("", max_length=40)
    room_base_id: int = Field(1, ge=1, le=10**9)
    full_at: int = Field(500, ge=2, le=500)


class GroupWelcome(Part):
    """A greeting that group owners may choose; `notify` tells them of it."""

    template: bounds.Word
    notify: bool = True


class Limits(Part):
    """`quotas` count all rewards of the campaign together."""

    category: Literal["service", "transaction"] = "service"
    quotas: bounds.Few[CampaignQuota] = []


class Money(Part):
    """`budget` in fen."""

    budget: Amount
    cost_center: bounds.Word = ""


class Disclosure(Part):
    """What the law wants published before a promotion with prizes begins (contract/rewards 5).
    `accept` says whether a customer's claim is enough, or his own word is wanted before it."""

    rules_zh: bounds.LongText = Field(min_length=1)
    odds_or_quantity: bounds.Text = Field(min_length=1)
    claim_by: Date
    host: bounds.Text = Field(min_length=1)
    contact: bounds.Text = Field(min_length=1)
    price: bounds.Text = ""
    draw_at: bounds.Text = ""
    delivery: bounds.Text = ""
    abandon: bounds.Text = ""
    accept: Literal["shown", "required"] = "shown"


Monthly = Annotated[int, Field(ge=0, le=500)]


class Allowance(Part):
    """How many a month an RM may offer of his own accord; the head of a branch as many, unless it
    says another number for him."""

    rm: Monthly
    head: Monthly | None = None


class Reward(Item):
    """What it is, how many there are, and who may have it; `claim: offered` needs a grant step,
    `staff` an allowance of the RMs, `anyone` is open to every signed-in customer. `item` names an
    item of the bank's catalogue, which says what it is (campaigns/document/items.py). `eligible` is
    a rule over the facts of a claim (rewards/eligibility.py), and `eligible_text` what somebody
    reads who does not meet it; `fallback` names the reward that is given when of this one nothing
    is left."""

    stock: int = Field(ge=0, le=10_000_000)
    per_customer: int = Field(1, ge=1, le=20)
    per_day: Amount | None = None
    claim: Literal["offered", "staff", "anyone"] = "offered"
    allowance: Allowance | None = None
    item: Key | None = None
    quotas: bounds.Few[Quota] = []
    eligible: bounds.Text | None = None
    eligible_text: Text | None = None
    stack: Stack | None = None
    fallback: bounds.Word | None = None

    @property
    def thing(self) -> Item:
        """What it is, without how many there are."""
        return Item.model_construct(**{name: getattr(self, name) for name in Item.model_fields})


class Campaign(Part):
    """The whole document."""

    kind: Literal["campaign/v1"]
    id: Key
    name: Text
    owner: bounds.ShortText = ""
    subject: Literal["customer"] = "customer"
    window: Window
    labels: bounds.Few[bounds.Word] = []
    entry: Entry | None = None
    exit: bounds.Few[Exit] = []
    limits: Limits = Limits()
    money: Money | None = None
    disclosure: Disclosure | None = None
    codes: bounds.Entries[Key, Codes] = {}
    links: bounds.Entries[Key, Links] = {}
    group_codes: bounds.Entries[Key, GroupCode] = {}
    group_welcome: dict[Key, GroupWelcome] = Field({}, max_length=100)
    templates: bounds.Entries[Key, Template] = {}
    rewards: bounds.Entries[Key, Reward] = {}
    steps: bounds.Several[Step] = []

    def all_steps(self) -> list[tuple[Place, Step]]:
        """Every step, nested ones too, with its place in the document."""
        return _walk(self.steps, ("steps",))

    def every_rule(self) -> list[tuple[Place, str]]:
        """The rules of entry, steps and rewards, each with its place."""
        of_rewards = [
            (("rewards", name, "eligible"), reward.eligible)
            for name, reward in self.rewards.items()
        ]
        return self.all_rules() + [(at, rule) for at, rule in of_rewards if rule is not None]

    def all_rules(self) -> list[tuple[Place, str]]:
        """The rules of entry and steps, each with its place."""
        rules = [((*place, "when"), step.when) for place, step in self.all_steps()]
        if self.entry is not None:
            rules.append((("entry", "when"), self.entry.when))
        return [(place, rule) for place, rule in rules if rule is not None]


def _walk(steps: list[Step], place: Place) -> list[tuple[Place, Step]]:
    found: list[tuple[Place, Step]] = []
    for index, step in enumerate(steps):
        here = (*place, index)
        found.append((here, step))
        found += _walk(BY_NAME[step.verb].otherwise(step.body), (*here, step.verb, "else"))
    return found
