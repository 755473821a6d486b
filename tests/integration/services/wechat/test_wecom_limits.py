"""What WeCom would refuse is refused before it is sent, with the limit in the error and the value not (contract/wechat D3)."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest

from services.wechat.core import errors

MONTH = 30 * 86400
HAN = "汉"
TEXT = {"text": {"content": "t"}}
PEOPLE = [f"rm{n}" for n in range(1001)]
IMAGES = [{"msgtype": "image", "image": {"media_id": "m"}}] * 10


def link(**fields: Any):
    return [{"msgtype": "link", "link": {"title": "t", "url": "https://x", **fields}}]


def remark(**fields: Any):
    return ("customers.remark", ("rm1", "wm1"), fields)


def card(**fields: Any):
    return ("messages.send", (["rm1"], {"msgtype": "template_card", "template_card": fields}), {})


def to(**fields: Any):
    return ("broadcasts.create", ({"external_userid": ["wm1"], **TEXT, **fields},), {})


def moment(**fields: Any):
    return ("moments.create", ({**TEXT, **fields},), {})


REFUSED = [
    # people
    (("customers.batch_get_by_user", (PEOPLE[:101],), {}), "userid_list: at most 100 at once"),
    (("customers.batch_get_by_user", ([],), {}), "at least one member"),
    (remark(), "at least one note"),
    (remark(remark=HAN * 21), "remark has at most 20 characters"),
    (remark(remark_company=HAN * 21), "remark_company has at most 20 characters"),
    (remark(description=HAN * 151), "description has at most 150 characters"),
    (("customers.get_behavior_data", (), {"start_time": 0, "end_time": 1}), "a member or a department"),
    (
        ("customers.get_behavior_data", (), {"userids": ["rm1"], "start_time": 0, "end_time": MONTH + 1}),
        "at most 30 days",
    ),
    # tags and ways
    (("tags.mark", ("rm1", "wm1"), {}), "a tag to add or to remove"),
    (("tags.create", ([HAN * 31],), {"group_name": "g"}), "name has at most 30 characters"),
    (("tags.create", (["t"],), {}), "a group"),
    (("tags.create", ([],), {"group_name": "g"}), "at least one tag"),
    (("tags.update", ("et1",), {"name": "x" * 31}), "name has at most 30 characters"),
    (("tags.delete", (), {}), "a tag or a group"),
    (("ways.create", (PEOPLE[:101],), {"state": "s"}), "user: at most 100 at once"),
    (("ways.create", (["rm1"],), {"state": "s" * 31}), "state has at most 30 characters"),
    (("ways.create", (["rm1"],), {"state": "s", "remark": HAN * 31}), "remark has at most 30 characters"),
    (("ways.create", ([],), {"state": "s"}), "a member or a department"),
    (("ways.update", ("cw1",), {"state": "s" * 31}), "state has at most 30 characters"),
    # links
    (("links.create", (HAN * 31,), {"userids": ["rm1"]}), "link_name has at most 30 characters"),
    (("links.create", ("n",), {"userids": PEOPLE[:501]}), "user_list: at most 500 at once"),
    (("links.create", ("n",), {}), "a member or a department"),
    (
        ("links.create", ("n",), {"userids": ["rm1"], "priority_type": 2}),
        "names the members",
    ),
    (
        ("links.get_statistic", ("caw1",), {"start_time": 2, "end_time": 1}),
        "does not end before it starts",
    ),
    # groups
    (("groups.create_join_way", (["wr"] * 6,), {}), "chat_id_list: at most 5 at once"),
    (("groups.create_join_way", (["wr"],), {"room_base_name": HAN * 41}), "room_base_name has at most 40 characters"),
    (("groups.update_join_way", ("jw1", ["wr"]), {"state": "s" * 31}), "state has at most 30 characters"),
    (("groups.list", (), {"limit": 1001}), "limit is 1 to 1000"),
    (("groups.list", (), {"owner_userids": PEOPLE[:101]}), "owner_filter: at most 100 at once"),
    (("groups.get_statistic", ([],), {"day_begin_time": 0}), "at least one owner"),
    (("handover.transfer_resigned_groups", (["wr"] * 101, "rm2"), {}), "chat_id_list: at most 100 at once"),
    # messages of members to customers
    (to(external_userid=["wm"] * 10001), "external_userid: at most 10000 at once"),
    (to(chat_type="group", sender="rm1", chat_id_list=["wr"] * 2001), "chat_id_list: at most 2000 at once"),
    (to(chat_type="group"), "names its sender"),
    (to(external_userid=[]), "customers, a sender or tags"),
    (to(text={"content": HAN * 1334}), "text has at most 4000 bytes"),
    (to(text={}), "a text or an attachment"),
    (to(attachments=IMAGES), "attachments: at most 9 at once"),
    (to(attachments=link(title=HAN * 43)), "link_title has at most 128 bytes"),
    (to(attachments=link(desc=HAN * 171)), "link_desc has at most 512 bytes"),
    (to(attachments=link(url="u" * 2049)), "link_url has at most 2048 bytes"),
    (to(attachments=[{"miniprogram": {"title": HAN * 22}}]), "miniprogram_title has at most 64 bytes"),
    (("welcome.send", ("WC-1",), {}), "a text or an attachment"),
    (("welcome.send", ("WC-1",), {"text": HAN * 1334}), "text has at most 4000 bytes"),
    (("welcome.send", ("WC-1",), {"attachments": IMAGES}), "attachments: at most 9 at once"),
    (("welcome.create_template", ({"text": {"content": HAN * 1001}},), {}), "text has at most 3000 bytes"),
    (("welcome.update_template", ("tp1", {}), {}), "a text or another part"),
    (moment(text={"content": HAN * 2001}), "text has at most 2000 characters"),
    (moment(attachments=IMAGES), "attachments: at most 9 at once"),
    (moment(attachments=[*IMAGES[:1], *link()]), "attachments: at most 1 at once"),
    (moment(text=None), "a text or an attachment"),
    # hand-over
    (("handover.transfer_customers", ("a", "b", ["wm"] * 101), {}), "external_userid: at most 100 at once"),
    (
        ("handover.transfer_customers", ("a", "b", ["wm"]), {"transfer_success_msg": HAN * 201}),
        "transfer_success_msg has at most 200 characters",
    ),
    (("handover.transfer_resigned_customers", ("a", "b", []), {}), "at least one customer"),
    # app messages
    (("messages.send", (PEOPLE, {"msgtype": "text", **TEXT}), {}), "touser: at most 1000 at once"),
    (("messages.send", ([], {"msgtype": "text", **TEXT}), {}), "at least one member"),
    (("messages.send", (["rm1"], {"text": {"content": HAN * 683}}), {}), "text has at most 2048 bytes"),
    (("messages.send", (["rm1"], {"textcard": {"btntxt": "五个汉字啊"}}), {}), "btntxt has at most 4 characters"),
    (card(button_list=[{}] * 7), "button_list: at most 6 at once"),
    (card(task_id="a b"), "task_id has 1 to 128"),
    (("messages.update_card", (["rm1"], "rc1"), {}), "a new button text or a new card"),
    # archive and words
    (("archive.check_single_agree", ([("rm1", "wm1")] * 101,), {}), "info: at most 100 at once"),
    (("intercept.create", ("", ["w"]), {"userids": ["rm1"]}), "rule_name has 1 to 20 characters"),
    (("intercept.create", ("n", ["w"] * 301), {"userids": ["rm1"]}), "word_list: at most 300 at once"),
    (("intercept.create", ("n", [HAN * 33]), {"userids": ["rm1"]}), "a word has 1 to 32 characters"),
    (("intercept.create", ("n", ["w"]), {}), "a member or a department"),
]


@pytest.mark.parametrize(("call", "limit"), REFUSED, ids=[f"{row[0][0]}-{i}" for i, row in enumerate(REFUSED)])
async def test_what_is_over_a_limit_is_not_sent(rig, call, limit):
    name, args, kwargs = call
    async with rig() as r:
        with pytest.raises(errors.BadRequest) as caught:
            await attrgetter(name)(r.wecom)(*args, **kwargs)
        assert r.platform.calls == []
    assert limit in caught.value.errmsg
    assert HAN not in str(caught.value)
    assert (caught.value.errcode, caught.value.action) == (None, "give_up")
    assert caught.value.path.startswith("/cgi-bin/")


EXACT = [
    remark(remark=HAN * 20, description=HAN * 150),
    ("ways.create", (PEOPLE[:100],), {"state": "s" * 30}),
    ("groups.create_join_way", (["wr"] * 5,), {"room_base_name": HAN * 40}),
    to(text={"content": HAN * 1333}, attachments=link(title=HAN * 42)),
    ("welcome.send", ("WC-1",), {"text": HAN * 1333, "attachments": IMAGES[:9]}),
    ("messages.send", (PEOPLE[:1000], {"msgtype": "text", "text": {"content": HAN * 682}}), {}),
    ("handover.transfer_customers", ("a", "b", ["wm"] * 100), {"transfer_success_msg": HAN * 200}),
    ("links.get_statistic", ("caw1",), {"start_time": 0, "end_time": MONTH}),
]


@pytest.mark.parametrize("call", EXACT, ids=[row[0] for row in EXACT])
async def test_what_is_just_within_a_limit_is_sent(rig, call):
    name, args, kwargs = call
    async with rig() as r:
        r.platform.answers = _Anything(r.platform.answers)
        assert (await attrgetter(name)(r.wecom)(*args, **kwargs))["errcode"] == 0


class _Anything(dict):
    def get(self, path, default=None):
        return super().get(path, {"errcode": 0, "errmsg": "ok"})


PAGES = [
    ("customers.batch_get_by_user", (["rm1"],), {}, "limit", 100),
    ("members.list_ids", (), {}, "limit", 10_000),
    ("moments.list", (), {"start_time": 0, "end_time": 1}, "limit", 20),
    ("moments.list_results", ("m1", "rm1"), {}, "limit", 5000),
    ("broadcasts.list", (), {"chat_type": "single", "start_time": 0, "end_time": 1}, "limit", 100),
    ("broadcasts.list_tasks", ("m1",), {}, "limit", 1000),
    ("links.list", (), {}, "limit", 100),
    ("ways.list", (), {}, "limit", 1000),
    ("groups.get_statistic", (["rm1"],), {"day_begin_time": 0}, "limit", 1000),
    ("handover.list_unassigned", (), {}, "page_size", 1000),
]


@pytest.mark.parametrize(("name", "args", "kwargs", "field", "most"), PAGES, ids=[row[0] for row in PAGES])
async def test_a_page_over_the_most_is_asked_for_with_the_most(rig, name, args, kwargs, field, most):
    """D3: no error at WeCom, which would give its default or the most; only groups.list refuses."""
    async with rig() as r:
        r.platform.answers = _Anything(r.platform.answers)
        for asked, sent in ((most + 1, most), (most, most), (0, 1)):
            await attrgetter(name)(r.wecom)(*args, **kwargs, **{field: asked})
            assert r.platform.calls[-1].json[field] == sent
