"""What a worker does with an act on corp tags: it walks over the customers, some at a time, until a
whole walk finds nothing to change. Killed anywhere, the next goes on where it was: what is done to a
customer is safe to repeat, and who has the other tag already is not marked again.
"""

from __future__ import annotations

from typing import Any, cast

from campaigns.corp_tags import desk
from campaigns.corp_tags.acts import relabel
from campaigns.corp_tags.rows import DELETING, DONE, FAILED, RUNNING, TAG_ACTS, TagAct
from customers import relationships
from customers.banks.bank import Bank
from customers.identity import resolution
from customers.identity import rows as identity_rows
from customers.relationships import Relationship
from customers.wecom_mirror import tags
from services.errors import Conflict, NotFound
from services.limiter import lane
from services.store import leases
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError, SubjectState, behind

AT_ONCE = 50
"""Customers between two looks whether it is cancelled."""


async def work(bank: Bank, owner: str, row: Doc) -> None:
    """Moves an act that is due and leased to `owner` by one step; WeCom is called in the lane
    `bulk`."""
    act = cast("TagAct", row)
    step = _rename if act["act"] == "rename" else _merge if _merges(act) else _delete
    with lane("bulk"):
        try:
            await step(bank, owner, act)
        except PlatformError as error:
            if error.is_final:
                await _close(bank, owner, act, FAILED, why=error.reason)
                return
            due = bank.now() + error.retry_after
            kept = {"attempts": 0, **behind(error)}
            await leases.put_back(bank.db[TAG_ACTS], owner, [act["_id"]], due, **kept)
        except (Conflict, NotFound) as error:
            await _close(bank, owner, act, FAILED, why=error.code)


def _merges(act: TagAct) -> bool:
    return bool(act["into"]) and act["state"] == RUNNING


async def _close(bank: Bank, owner: str, act: TagAct, state: str, **fields: Any) -> None:
    await leases.close(bank.db[TAG_ACTS], owner, [act["_id"]], state=state, **fields)
    desk.forget_counts(bank)


async def _go_on(bank: Bank, owner: str, act: TagAct, due: float = 0.0, **fields: Any) -> None:
    told = {"attempts": 0, **fields}
    await leases.put_back(bank.db[TAG_ACTS], owner, [act["_id"]], due or bank.now(), **told)


async def _rename(bank: Bank, owner: str, act: TagAct) -> None:
    """The name at WeCom and in the mirror first, then at the customers. The last walk is made when
    nobody can have the old name in his memory any more."""
    await _name(bank, act)
    last, count = await identity_rows.rename_tags(
        bank, {old: new for old, new in act["names"]}, act["after"], AT_ONCE
    )
    done = act["done"] + count
    so_far = {"done": done, "total": max(done, act["total"])}
    if last:
        await _go_on(bank, owner, act, after=last, changed=act["changed"] + count, **so_far)
    elif not act["settled"]:
        due = bank.now() + tags.CACHE_SECONDS
        await _go_on(bank, owner, act, due, after="", changed=0, settled=True)
    elif act["changed"]:
        await _go_on(bank, owner, act, after="", changed=0)
    else:
        await _close(bank, owner, act, DONE, done=act["total"])


async def _name(bank: Bank, act: TagAct) -> None:
    """WeCom and the mirror have the new name; whoever asked for it saw to that, unless he got no
    answer. Raises as desk.py:worded."""
    new = {name for _, name in act["names"]}
    if await _are_called(bank, act, new):
        return
    await tags.refresh(bank)
    if not await _are_called(bank, act, new):
        await desk.worded(bank.wecom.tags.update(act["subject"], name=act["to"]))
        await relabel(bank, act)


async def _are_called(bank: Bank, act: TagAct, names: set[str]) -> bool:
    mirrored = await tags.listed(bank)
    return all(row["name"] in names for row in mirrored if row["tag_id"] in act["tags"])


async def _merge(bank: Bank, owner: str, act: TagAct) -> None:
    """The next relationships that have the one tag get the other; after a walk that had to give it to
    nobody, the one is deleted."""
    page = await relationships.page_with_tag(bank, act["subject"], act["after"], AT_ONCE)
    if page:
        changed, left_out = await _give_all(bank, act, page)
        so_far = {"done": act["done"] + changed, "changed": act["changed"] + changed}
        so_far["left_out"] = act["left_out"] + left_out
        so_far["total"] = max(act["total"], so_far["done"] + so_far["left_out"])
        await _go_on(bank, owner, act, after=page[-1]["_id"], **so_far)
    elif act["changed"]:
        await _go_on(bank, owner, act, after="", changed=0, left_out=0)
    else:
        over = {"done": act["total"] - act["left_out"], "state": DELETING}
        mine = {"_id": act["_id"], "owner": owner, "state": RUNNING}
        await bank.db[TAG_ACTS].update(mine, {"$set": {**over, "due": bank.now(), "owner": None}})


async def _give_all(bank: Bank, act: TagAct, page: list[Relationship]) -> tuple[int, int]:
    """Marks those who lack the other tag: how many have it now, and how many are no friends."""
    lacking = [pair for pair in page if act["into"] not in (pair.get("tags") or [])]
    given = [await _give(bank, act, pair) for pair in lacking]
    return sum(given), len(given) - sum(given)


async def _give(bank: Bank, act: TagAct, pair: Relationship) -> bool:
    """Marks one relationship, at WeCom and here, the relationship's own row last; False when the two
    are no friends any more at WeCom."""
    person = await resolution.customer(bank, pair["cid"])
    try:
        await desk.worded(
            bank.wecom.tags.mark(pair["userid"], person.external_userid, add=[act["into"]])
        )
    except SubjectState:
        return False
    await identity_rows.add_tags(bank, person.cid, [act["into_name"]])
    await relationships.retag(bank, pair["userid"], pair["cid"], [act["into"]], [])
    return True


async def _delete(bank: Bank, owner: str, act: TagAct) -> None:
    """Deletes the tags, each by itself, so that one that is gone holds up no other. Nothing is
    deleted while another act relies on it: each says that it is about to before it looks at the
    others, so that of two that would delete each other's tag one sees the other."""
    mine = {"_id": act["_id"], "owner": owner, "state": {"$in": [RUNNING, DELETING]}}
    if not await bank.db[TAG_ACTS].update(mine, {"$set": {"state": DELETING}}):
        return  # cancelled meanwhile
    await check_free(bank, act)
    client = bank.wecom.tags
    delete = client.delete_of_strategy if act["strategy"] else client.delete
    for tag_id in act["tags"]:
        try:
            await desk.worded(delete(tag_ids=[tag_id]))
        except NotFound:
            pass  # by an earlier try, or at WeCom
        await tags.drop(bank, tag_id)
    await _close(bank, owner, act, DONE)


async def check_free(bank: Bank, act: TagAct) -> None:
    """Raises Conflict `tag_act_waits` when what would be deleted is what another act is about, and
    NotFound `corp_tag_unknown` when the tag that takes its place is gone itself."""
    for other in await desk.unfinished(bank):
        about = {*other["tags"], other["into"]}
        if other["_id"] != act["_id"] and about & set(act["tags"]):
            raise desk.waits(other)
    if act["into"]:
        await desk.worded(bank.wecom.tags.list(tag_ids=[act["into"]]))
