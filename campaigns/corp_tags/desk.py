"""The bank's tags as its clerks see and keep them: corp tags and the tags of rule groups (规则组,
contract/wechat B4), made, sorted and renamed by one clerk. What takes two is in acts.py.

An app may change only tags that an app of the bank's with its own id made; WeCom says so (81011), and
so do we. A tag of a rule group is read from WeCom each time: it is no tag of rules and campaigns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from campaigns.corp_tags.rows import TAG_ACTS, UNFINISHED, TagAct
from campaigns.corp_tags.uses import Use, uses
from customers import relationships
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import rows as identity_rows
from customers.wecom_mirror import tags
from customers.wecom_mirror.rows import CorpTag
from services.cache import cached, invalidate
from services.errors import Conflict, InvalidInput, NotFound, YinqiaoError
from services.wechat.core.errors import PlatformError
from services.wechat.wecom.tags import NAME_CHARS, TagGroup

Answer = TypeVar("Answer")
COUNT_SECONDS = 30.0
MOST = 10_000
"""Corp tags and tags of rule groups together, at one corp."""


@dataclass(frozen=True)
class OneTag:
    """A tag with what is known of it: `customers` have it, `uses` says who uses it."""

    id: str
    tag: str
    name: str
    order: int
    customers: int = 0
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class OneGroup:
    """A group with its tags; one of a rule group has its number."""

    id: str
    name: str
    order: int
    tags: tuple[OneTag, ...]
    strategy: int = 0


@dataclass(frozen=True)
class Overview:
    """All tags; `refusal` is why those of rule groups cannot be shown."""

    groups: list[OneGroup]
    strategies: list[OneGroup]
    refusal: PlatformError | None = None

    @property
    def count(self) -> int:
        return sum(len(group.tags) for group in (*self.groups, *self.strategies))


async def overview(bank: Bank) -> Overview:
    """Every tag, by group and order; how many customers have it is at most COUNT_SECONDS old."""
    rows = await tags.listed(bank)
    counted = await cached(
        bank.services,
        f"tag_counts:{bank.id}",
        COUNT_SECONDS,
        lambda: identity_rows.count_tags(bank),
    )
    used = await uses(bank, [row["name"] for row in rows])
    shown = [
        replace(
            _tag(row), customers=counted.get(row["name"], 0), uses=tuple(used.get(row["name"], ()))
        )
        for row in rows
    ]
    groups = [_group(row, shown, rows) for row in {row["group_id"]: row for row in rows}.values()]
    try:
        return Overview(groups, await _strategies(bank))
    except PlatformError as error:
        return Overview(groups, [], error)


def _tag(row: CorpTag) -> OneTag:
    return OneTag(row["tag_id"], row["tag"], row["name"], row["order"])


def _group(row: CorpTag, shown: Sequence[OneTag], rows: Sequence[CorpTag]) -> OneGroup:
    own = tuple(
        tag for tag, its in zip(shown, rows, strict=True) if its["group_id"] == row["group_id"]
    )
    return OneGroup(row["group_id"], row["group"], row["group_order"], own)


async def _strategies(bank: Bank) -> list[OneGroup]:
    """The groups of rule groups, as WeCom has them; raises PlatformError."""

    async def load() -> list[OneGroup]:
        answer = await bank.wecom.tags.list_of_strategy()
        told = [_told(group) for group in answer.get("tag_group") or []]
        counted = await relationships.customers_with(
            bank, {tag.id for group in told for tag in group.tags}
        )
        return [
            replace(
                group,
                tags=tuple(replace(tag, customers=counted.get(tag.id, 0)) for tag in group.tags),
            )
            for group in sorted(told, key=lambda one: (one.strategy, -one.order, one.name))
        ]

    return await cached(bank.services, f"strategy_tags:{bank.id}", COUNT_SECONDS, load)


def _told(group: TagGroup) -> OneGroup:
    name = group["group_name"]
    own = [
        OneTag(tag["id"], tag["name"], f"{name}:{tag['name']}", int(tag.get("order") or 0))
        for tag in group.get("tag") or []
    ]
    order, strategy = int(group.get("order") or 0), int(group.get("strategy_id") or 0)
    in_order = tuple(sorted(own, key=lambda tag: (-tag.order, tag.tag)))
    return OneGroup(group["group_id"], name, order, in_order, strategy)


@dataclass(frozen=True)
class Found:
    """What a clerk points at: a tag of a group, or without `tag` the group."""

    group: OneGroup
    tag: OneTag | None

    @property
    def id(self) -> str:
        return self.tag.id if self.tag else self.group.id

    @property
    def name(self) -> str:
        return self.tag.name if self.tag else self.group.name

    @property
    def tags(self) -> tuple[OneTag, ...]:
        return (self.tag,) if self.tag else self.group.tags

    @property
    def used_by(self) -> list[str]:
        """The campaigns and segments that use one of its tags, as uses.py:Use says them."""
        return sorted({use.by for tag in self.tags for use in tag.uses})


async def find(bank: Bank, subject: str) -> Found:
    """The tag or the group of that id; raises NotFound `corp_tag_unknown`."""
    return found_in(await overview(bank), subject)


def found_in(shown: Overview, subject: str) -> Found:
    """As `find`, in what was read already."""
    for group in (*shown.groups, *shown.strategies):
        if group.id == subject:
            return Found(group, None)
        for tag in group.tags:
            if tag.id == subject:
                return Found(group, tag)
    raise NotFound("corp_tag_unknown", "no such tag or group")


async def worded(call: Awaitable[Answer]) -> Answer:
    """WeCom's answer; what it refuses as a clerk can mend it. Raises Conflict `tag_taken`,
    `tag_not_ours` or `tags_full`, NotFound `corp_tag_unknown`, InvalidInput `tag_name`, and PlatformError
    for all else."""
    try:
        return await call
    except PlatformError as error:
        said = _in_words(error)
        if said is None:
            raise
        raise said from error


def _in_words(error: PlatformError) -> YinqiaoError | None:
    match error.errcode:
        case 40068:
            return NotFound("corp_tag_unknown", "WeCom does not know this tag any more")
        case 40071:
            return Conflict("tag_taken", "there is a tag or a group of this name already")
        case 40072:
            return _bad_name()
        case 40126:
            return _full()
        case 81011:
            return Conflict("tag_not_ours", "made by another app or at WeCom: change it there")
    return None


def _full() -> Conflict:
    return Conflict("tags_full", f"a corp has at most {MOST} tags")


def _bad_name() -> InvalidInput:
    return InvalidInput(
        "tag_name",
        f"1 to {NAME_CHARS} characters, and no colon",
        fields={"name": f"1 to {NAME_CHARS} characters, and no colon"},
    )


def check_name(name: str) -> str:
    """The name as it is kept; raises InvalidInput `tag_name`. A colon divides group and tag."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS or ":" in name:
        raise _bad_name()
    return name


async def create(
    bank: Bank, actor: ClerkActor, group: str, names: Iterable[str], strategy: int = 0
) -> int:
    """Makes these tags in the group of that name, which is made when there is none, of the rule
    group `strategy` if it is not 0; how many are new. What is there already stays.

    Raises InvalidInput `tag_name`, Conflict `tags_full` or `tag_act_waits`, and as `worded`.
    """
    group = check_name(group)
    wanted = list(dict.fromkeys(check_name(name) for name in names))
    if not wanted:
        raise _bad_name()
    await check_free(bank, [tags.name_of(group, name) for name in wanted])
    await _read_again(bank)
    new = lacking(await overview(bank), group, wanted, strategy)
    if new:
        about = {"group": group, "tags": new, "strategy": strategy}
        async with bank.audited(actor.login, "tag.created", group, **about):
            await _make(bank, group, new, strategy)
    return len(new)


def lacking(shown: Overview, group: str, wanted: list[str], strategy: int) -> list[str]:
    """Those that the group does not have yet; raises Conflict `tags_full`."""
    beside = shown.strategies if strategy else shown.groups
    same = [one for one in beside if (one.name, one.strategy) == (group, strategy)]
    there = {tag.tag for one in same for tag in one.tags}
    new = [name for name in wanted if name not in there]
    if shown.count + len(new) > MOST:
        raise _full()
    return new


async def _make(bank: Bank, group: str, names: list[str], strategy: int) -> None:
    """Whoever made one of them in this moment made it for us, too."""
    try:
        if strategy:
            await worded(bank.wecom.tags.create_of_strategy(strategy, names, group_name=group))
        else:
            asked = bank.now()
            answer = await worded(bank.wecom.tags.create(names, group_name=group))
            await tags.learn(bank, answer.get("tag_group") or {}, asked)
    except Conflict as error:
        if error.code != "tag_taken":
            raise
        for name in names if len(names) > 1 else ():
            await _make(bank, group, [name], strategy)
    await _read_again(bank)


async def _read_again(bank: Bank) -> None:
    """WeCom's present word, for the page that is shown next; raises PlatformError."""
    await tags.refresh(bank)
    forget_counts(bank)


def forget_counts(bank: Bank) -> None:
    """The next page counts anew, and asks WeCom for the tags of rule groups."""
    for key in ("tag_counts", "strategy_tags"):
        invalidate(bank.services, f"{key}:{bank.id}")


async def reorder(bank: Bank, actor: ClerkActor, subject: str, order: int) -> None:
    """A larger order stands first. Raises as `find` and `worded`."""
    found = await find(bank, subject)
    async with bank.audited(actor.login, "tag.reordered", found.name, order=order):
        await tell(bank, found, order=order)
        await _read_again(bank)


async def tell(bank: Bank, found: Found, **changes: Any) -> None:
    """Changes a tag or a group at WeCom; raises as `worded`."""
    client = bank.wecom.tags
    update = client.update_of_strategy if found.group.strategy else client.update
    await worded(update(found.id, **changes))


async def check_free(bank: Bank, names: Iterable[str], *, but: str = "") -> None:
    """Raises Conflict `tag_act_waits` when one of these names is being changed by an act that is
    not finished, other than `but`: customers would have the one's tag for the other's."""
    wanted = set(names)
    for act in await unfinished(bank):
        if act["_id"] != but and wanted & {name for pair in act["names"] for name in pair}:
            raise waits(act)


def waits(act: TagAct) -> Conflict:
    return Conflict(
        "tag_act_waits", "it is being changed; wait until that is done", data={"name": act["name"]}
    )


async def unfinished(bank: Bank) -> list[TagAct]:
    """What waits for a second clerk or is under way, oldest first."""
    found = await bank.db[TAG_ACTS].find(
        {"state": {"$in": list(UNFINISHED)}}, sort=[("at", 1)], limit=None
    )
    return cast("list[TagAct]", found)
