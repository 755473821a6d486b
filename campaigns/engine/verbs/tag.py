"""tag: corp tags on the friendship; WeCom takes the same mark twice."""

from __future__ import annotations

from pydantic import Field, model_validator

from campaigns.delivery import tagging
from campaigns.engine import facts
from campaigns.engine.verbs.verb import Asked, Cause, Verb
from config import bounds
from customers import timeline
from customers.banks.bank import Bank
from customers.identity import resolution
from services.documents.parts import Part, wrong
from services.queue.effects import EffectKind
from services.queue.outbox import Effect


class Tag(Part):
    """Corp tags by name, as `group:tag`; placeholders are filled in."""

    add: bounds.Few[bounds.Word] = []
    del_: bounds.Few[bounds.Word] = Field([], alias="del")

    @model_validator(mode="after")
    def _not_empty(self) -> Tag:
        if not self.add and not self.del_:
            raise wrong("tag_empty")
        return self


def _prepare(tag: Tag, cause: Cause) -> Asked:
    args = {
        "userid": cause.context["userid"],
        "add": _named(tag.add, cause),
        "del": _named(tag.del_, cause),
    }
    return Asked(MARK, args)


def _named(names: list[str], cause: Cause) -> list[str]:
    """The names with their placeholders filled, without those of which nothing is left."""
    filled = [facts.fill(name, cause.facts) for name in names]
    return [name for name in filled if name.rpartition(":")[2].strip()]


async def _mark(bank: Bank, effect: Effect) -> None:
    person = await resolution.customer(bank, effect.cid)
    userid, add, remove = effect.args["userid"], effect.args["add"], effect.args["del"]
    if not add and not remove:
        return
    marked = await tagging.mark(bank, userid, person.external_userid, add, remove)
    await tagging.remember(bank, person.cid, userid, marked.added, marked.removed)
    if marked.waits is not None:  # the others are on; it is tried again for this one
        raise marked.waits
    await tagging.tell_left_out(bank, marked)
    await timeline.record(
        bank,
        effect.cid,
        "tag.added",
        effect.id,
        campaign=effect.campaign,
        step=effect.step,
        reason="",
        tags=", ".join(marked.added),
    )


def _tags(effect: Effect) -> dict[str, str]:
    return {"tags": ", ".join(effect.args["add"])}


MARK: EffectKind[Bank] = EffectKind(name="tag", execute=_mark, details=_tags)

TAG = Verb(
    name="tag",
    model=Tag,
    label="stage_tag",
    prepare=_prepare,
    kinds=(MARK,),
)
