"""Corp tags by name: found in the mirror of WeCom's, made at WeCom when they are missing,
remembered with the customer."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from customers import relationships
from customers.banks.bank import Bank
from customers.identity.rows import add_tags
from customers.wecom_mirror import tags
from services.cache import Slot
from services.wechat.core.errors import BadRequest, TryLater

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


async def mark(
    bank: Bank,
    userid: str,
    external_userid: str,
    add: list[str],
    remove: list[str],
) -> None:
    """Puts tags on a friendship and takes them off, by name; an id that WeCom has forgotten is
    looked up once more."""
    client = bank.wecom
    for last in (False, True):
        add_ids = [await tag_id(bank, name) for name in add]
        remove_ids = [await tag_id(bank, name) for name in remove]
        try:
            await client.tags.mark(userid, external_userid, add=add_ids, remove=remove_ids)
        except BadRequest as error:
            if error.errcode != tags.UNKNOWN_TAG or last:
                raise
            await tags.refresh(bank)
        else:
            return


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
