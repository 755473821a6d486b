"""tag: corp tags on the friendship; WeCom takes the same mark twice."""

from __future__ import annotations

from pydantic import Field, model_validator

from campaigns.delivery import tagging
from campaigns.document.parts import Part, Place
from campaigns.engine import facts
from campaigns.engine.verbs.verb import Asked, Cause, Verb
from customers.banks.bank import Bank
from customers.identity import resolution
from services.queue.effects import EffectKind
from services.queue.outbox import Effect


class Tag(Part):
    """Corp tags by name, as `group:tag`; placeholders are filled in."""

    add: list[str] = []
    del_: list[str] = Field([], alias="del")

    @model_validator(mode="after")
    def _not_empty(self) -> Tag:
        if not self.add and not self.del_:
            raise ValueError("expected add or del")
        return self


def _lint(tag: Tag, _: bool) -> list[tuple[Place, str]]:
    names = facts.unfillable([*tag.add, *tag.del_], facts.KEY)
    return [((), f"unknown placeholder in {name}") for name in names]


def _prepare(tag: Tag, cause: Cause) -> Asked:
    args = {
        "userid": cause.context["userid"],
        "add": [facts.fill(name, cause.facts) for name in tag.add],
        "del": [facts.fill(name, cause.facts) for name in tag.del_],
    }
    return Asked(MARK, args)


async def _mark(bank: Bank, effect: Effect) -> None:
    person = await resolution.customer(bank, effect.cid)
    userid, add, remove = effect.args["userid"], effect.args["add"], effect.args["del"]
    await tagging.mark(bank, userid, person.external_userid, add, remove)
    await tagging.remember(bank, person.cid, userid, add, remove)


def _tags(effect: Effect) -> dict[str, str]:
    return {"tags": ", ".join(effect.args["add"])}


MARK: EffectKind[Bank] = EffectKind(name="tag", execute=_mark, story="tag.added", details=_tags)

TAG = Verb(
    name="tag",
    model=Tag,
    label="stage_tag",
    lint=_lint,
    prepare=_prepare,
    kinds=(MARK,),
)
