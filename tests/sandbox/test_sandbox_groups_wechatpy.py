"""wechatpy's own client on members, tags, codes and groups, where it is right (contract/wechat E2, F12)."""

from __future__ import annotations

import asyncio

from tests.sandbox.test_sandbox_wechatpy import work_client

DAY = 86_400
NOW = 1_800_000_000


async def test_work_client_reads_members_and_departments(playing):
    """B2 through wechatpy."""
    async with playing() as play:
        client = work_client(play)

        def read():
            with client._http:
                openid = client.user.convert_to_openid("rm.li")["openid"]
                departments = {d["id"]: d["parentid"] for d in client.department.list()}
                return openid, departments, [m["userid"] for m in client.user.list(2)]

        openid, departments, members = await asyncio.to_thread(read)
        assert (len(openid), departments, members) == (28, {1: 0, 2: 1, 3: 1, 4: 1}, ["rm.chen", "rm.li"])


async def test_work_client_changes_and_deletes_tags(playing):
    """B4 through wechatpy."""
    async with playing() as play:
        client = work_client(play)
        contact = client.external_contact

        def walk():
            with client._http:
                tags = contact.add_corp_tag(None, "来源", None, [{"name": "扫码"}, {"name": "到店"}])["tag_group"][
                    "tag"
                ]
                contact.edit_corp_tag(tags[0]["id"], "网点", 3)
                contact.del_corp_tag([tags[1]["id"]], [])
                return contact.get_corp_tag_list([])

        (group,) = (await asyncio.to_thread(walk))["tag_group"]
        assert [(t["name"], t["order"]) for t in group["tag"]] == [("网点", 3)]


async def test_work_client_reads_groups_and_statistics(playing):
    """B7 through wechatpy."""
    async with playing() as play:
        made = await play.control("/groups", {"owner": "rm.li", "name": "理财群", "members": ["rm.sun"]})
        client = work_client(play)

        def read():
            with client._http:
                groups = client.external_contact_group_chat
                listed = groups.list(owner_userid_list=["rm.li"], limit=10)
                figures = groups.statistic(NOW, NOW, ["rm.li"], limit=10)
                return listed, groups.get(made["chat_id"]), figures

        listed, detail, figures = await asyncio.to_thread(read)
        assert [g["chat_id"] for g in listed["group_chat_list"]] == [made["chat_id"]]
        assert [m["userid"] for m in detail["group_chat"]["member_list"]] == ["rm.li", "rm.sun"]
        assert figures["items"][0]["data"]["member_total"] == 2


async def test_work_client_signs_with_the_corps_ticket(playing):
    """B1, 90506 through wechatpy: the ticket is fetched once."""
    async with playing() as play:
        client = work_client(play)

        def read():
            with client._http:
                return client.jsapi.get_jsapi_ticket(), client.jsapi.get_jsapi_ticket()

        first, again = await asyncio.to_thread(read)
        assert first == again == play.box.tokens.ticket("jsapi", play.box.world.corp.corp_id).value
        counts = (await play.control("/calls"))["counts"]
        assert counts["/wecom/cgi-bin/get_jsapi_ticket"] == 1
