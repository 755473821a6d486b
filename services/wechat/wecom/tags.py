"""Corp tags, the tags of a rule group (规则组), and the tags of a friendship (contract/wechat B3 92118,
B4 92117, 94882)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from services.wechat.core.checks import chars, given, need, some
from services.wechat.wecom.calls import Answer, Calls

NAME_CHARS = 30


class TagFields(TypedDict, total=False):
    id: str
    name: str
    create_time: int
    order: int
    deleted: bool


class TagGroup(TypedDict, total=False):
    group_id: str
    group_name: str
    create_time: int
    order: int
    deleted: bool
    strategy_id: int
    tag: list[TagFields]


class TagGroups(Answer, total=False):
    tag_group: list[TagGroup]


class NewTags(Answer, total=False):
    tag_group: TagGroup


class Tags(Calls):
    """Corp tags; BadRequest 40068 unknown id, 40071 name taken, 40072 name's length, BadConfig
    81011 another app's tag."""

    async def mark(
        self,
        userid: str,
        external_userid: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> Answer:
        """Adds and removes corp tags by id (92118, idempotent); at most 3000 on a friendship.
        SubjectState 84061."""
        path = "externalcontact/mark_tag"
        need(path, "a tag to add or to remove", add, remove)
        body = {
            "userid": userid,
            "external_userid": external_userid,
            "add_tag": some(add),
            "remove_tag": some(remove),
        }
        return await self._submit(Answer, path, body)

    async def list(
        self, *, tag_ids: Sequence[str] = (), group_ids: Sequence[str] = ()
    ) -> TagGroups:
        """`tag_group` with their tags: of these groups, else of these tags, else all."""
        body = {"group_id": some(group_ids)} if group_ids else {"tag_id": some(tag_ids)}
        return await self._submit(TagGroups, "externalcontact/get_corp_tag_list", body)

    async def create(
        self, names: Sequence[str], *, group_id: str = "", group_name: str = ""
    ) -> NewTags:
        """Makes tags in a group and answers `tag_group` with the new ones only; a group of that
        name is used again.

        Names have at most 30 characters; a corp has at most 10,000 tags (BadConfig 40126).
        """
        path = "externalcontact/add_corp_tag"
        need(path, "at least one tag", names)
        need(path, "a group", group_id, group_name)
        for name in (*names, group_name):
            chars(path, NAME_CHARS, name=name)
        group = {"group_id": group_id} if group_id else {"group_name": group_name}
        body = {
            **group,
            "tag": [{"name": name} for name in names],
            "agentid": self._client.agent_id,
        }
        return await self._submit(NewTags, path, body)

    async def update(
        self, tag_id: str, *, name: str | None = None, order: int | None = None
    ) -> Answer:
        """Renames or moves a tag or a group (`tag_id` may be either's); a larger order stands
        first."""
        path = "externalcontact/edit_corp_tag"
        chars(path, NAME_CHARS, name=name)
        return await self._submit(
            Answer, path, given(id=tag_id, name=name, order=order, agentid=self._client.agent_id)
        )

    async def delete(self, *, tag_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Answer:
        """Deletes tags and whole groups; a group goes with its last tag."""
        path = "externalcontact/del_corp_tag"
        need(path, "a tag or a group", tag_ids, group_ids)
        body = {
            "tag_id": some(tag_ids),
            "group_id": some(group_ids),
            "agentid": self._client.agent_id,
        }
        return await self._submit(Answer, path, body)

    async def list_of_strategy(
        self,
        strategy_id: int | None = None,
        *,
        tag_ids: Sequence[str] = (),
        group_ids: Sequence[str] = (),
    ) -> TagGroups:
        """`tag_group` of this rule group, or of all, each with its `strategy_id`; of these groups,
        else of these tags, else every one (94882)."""
        asked = {"group_id": some(group_ids)} if group_ids else {"tag_id": some(tag_ids)}
        body = given(strategy_id=strategy_id) | asked
        return await self._submit(TagGroups, "externalcontact/get_strategy_tag_list", body)

    async def create_of_strategy(
        self, strategy_id: int, names: Sequence[str], *, group_id: str = "", group_name: str = ""
    ) -> NewTags:
        """As `create`, in a rule group of the first level; there is no `agentid` (94882)."""
        path = "externalcontact/add_strategy_tag"
        need(path, "at least one tag", names)
        need(path, "a group", group_id, group_name)
        for name in (*names, group_name):
            chars(path, NAME_CHARS, name=name)
        group = {"group_id": group_id} if group_id else {"group_name": group_name}
        tags = [{"name": name} for name in names]
        body = {"strategy_id": strategy_id, **group, "tag": tags}
        return await self._submit(NewTags, path, body)

    async def update_of_strategy(
        self, tag_id: str, *, name: str | None = None, order: int | None = None
    ) -> Answer:
        """As `update`; a tag stays in its rule group (94882)."""
        path = "externalcontact/edit_strategy_tag"
        chars(path, NAME_CHARS, name=name)
        return await self._submit(Answer, path, given(id=tag_id, name=name, order=order))

    async def delete_of_strategy(
        self, *, tag_ids: Sequence[str] = (), group_ids: Sequence[str] = ()
    ) -> Answer:
        """As `delete` (94882)."""
        path = "externalcontact/del_strategy_tag"
        need(path, "a tag or a group", tag_ids, group_ids)
        body = {"tag_id": some(tag_ids), "group_id": some(group_ids)}
        return await self._submit(Answer, path, body)
