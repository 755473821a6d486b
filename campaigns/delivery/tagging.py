"""Corp tags by name: found in the mirror of WeCom's, made at WeCom when they are missing,
remembered with the customer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from customers import relationships
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.identity.rows import add_tags
from customers.wecom_mirror import tags
from services.cache import Slot
from services.wechat.core.errors import BadRequest, PlatformError, TryLater

TAKEN = 40071
_ONE_AT_A_TIME: Slot[defaultdict[str, asyncio.Lock]] = Slot(
    "tags.locks", lambda: defaultdict(asyncio.Lock)
)


async def tag_id(bank: Bank, name: str) -> str:
    """The id of the corp tag `group:tag` (a name without a group is in 银桥), made if needed; raises
    PlatformError."""
    group, _, tag = name.rpartition(":")
    called = tags.name_of(group or tags.OWN_GROUP, tag)
    found = await _find(bank, called)
    if found is not None:
        return found
    async with bank.services.cache.of(_ONE_AT_A_TIME)[bank.id]:
        if await _find(bank, called) is None:
            await tags.refresh(bank)
        if await _find(bank, called) is None:
            await _make(bank, group or tags.OWN_GROUP, tag)
    made = await _find(bank, called)
    if made is None:  # somebody else made it, and WeCom does not list it yet
        raise TryLater(
            TAKEN, "a tag that was made is not listed yet", "externalcontact/add_corp_tag"
        )
    return made


async def _find(bank: Bank, called: str) -> str | None:
    known = await tags.known(bank)
    return next((each for each, told in known.items() if told == called), None)


@dataclass(slots=True)
class Marked:
    """What became of the tags of one marking, by name; `waits` is why one must be waited for."""

    added: list[str]
    removed: list[str]
    left_out: dict[str, PlatformError]

    @property
    def waits(self) -> PlatformError | None:
        return next((error for error in self.left_out.values() if not error.is_final), None)


async def mark(
    bank: Bank,
    userid: str,
    external_userid: str,
    add: Sequence[str],
    remove: Sequence[str],
) -> Marked:
    """Puts tags on a friendship and takes them off, by name; an id that WeCom has forgotten is
    looked up once more. A tag that WeCom does not take is left out, and the others are marked; raises
    PlatformError when that leaves none."""
    for last in (False, True):
        ids_of, left_out = await _ids(bank, [*add, *remove])
        try:
            done = await _mark_ids(bank, userid, external_userid, add, remove, ids_of)
            break
        except BadRequest as error:
            if error.errcode != tags.UNKNOWN_TAG:
                raise
            if last:
                done = await _one_by_one(
                    bank, userid, external_userid, add, remove, ids_of, left_out
                )
                break
            await tags.refresh(bank)
    added, removed = ([name for name in names if name in done] for names in (add, remove))
    marked = Marked(added, removed, left_out)
    if not done:
        raise marked.waits or next(iter(left_out.values()))
    return marked


async def _ids(bank: Bank, names: Sequence[str]) -> tuple[dict[str, str], dict[str, PlatformError]]:
    """The ids of the tags, and of those that cannot be had why."""
    found: dict[str, str] = {}
    left_out: dict[str, PlatformError] = {}
    for name in names:
        try:
            found[name] = await tag_id(bank, name)
        except (BadRequest, TryLater) as error:
            left_out[name] = error
    return found, left_out


async def _mark_ids(
    bank: Bank,
    userid: str,
    external_userid: str,
    add: Sequence[str],
    remove: Sequence[str],
    ids_of: Mapping[str, str],
) -> list[str]:
    """Marks those that have an id, in one call; their names."""
    adds = [ids_of[name] for name in add if name in ids_of]
    removes = [ids_of[name] for name in remove if name in ids_of]
    if adds or removes:
        await bank.wecom.tags.mark(userid, external_userid, add=adds, remove=removes)
    return list(ids_of)


async def _one_by_one(
    bank: Bank,
    userid: str,
    external_userid: str,
    add: Sequence[str],
    remove: Sequence[str],
    ids_of: Mapping[str, str],
    left_out: dict[str, PlatformError],
) -> list[str]:
    """Marks each by itself, so that the one that WeCom does not know holds up no other; the names of
    those that it took."""
    done = []
    for name, one in ids_of.items():
        alone = {name: one}
        try:
            done += await _mark_ids(bank, userid, external_userid, add, remove, alone)
        except BadRequest as error:
            if error.errcode != tags.UNKNOWN_TAG:
                raise
            left_out[name] = error
    return done


async def tell_left_out(bank: Bank, marked: Marked) -> None:
    """Raises an alarm for each tag that WeCom does not take."""
    for name, error in marked.left_out.items():
        what = f"{name}:{error.reason}"
        await alarms.raise_daily(bank, "tag.left_out", what, tag=name, reason=error.reason)


async def _make(bank: Bank, group: str, tag: str) -> None:
    """Makes the tag and learns it from WeCom's answer: its list may not have it yet."""
    asked = bank.now()
    try:
        answer = await bank.wecom.tags.create([tag], group_name=group)
    except BadRequest as error:
        if error.errcode != TAKEN:
            raise
        await tags.refresh(bank)  # another process made it in this moment
    else:
        await tags.learn(bank, answer.get("tag_group") or {}, asked)


async def remember(bank: Bank, cid: str, userid: str, add: list[str], remove: list[str]) -> None:
    """Keeps what was marked on his friendship with `userid`: with the friendship, and with the
    customer for the side panel and for rules. What another RM's friendship still has stays with the
    customer."""
    added = [await tag_id(bank, name) for name in add]
    taken = [await tag_id(bank, name) for name in remove]
    await relationships.retag(bank, userid, cid, added, taken)
    if add:
        await add_tags(bank, cid, add)
    if taken:
        await tags.carry(bank, cid, userid, taken, [])
