"""Answers in the shapes that WeCom documents (contract/wechat B, own values), where wechatpy recorded none: each comes out
whole, and every field of it is one that the method's answer type names, with the type that it says."""

from __future__ import annotations

from operator import attrgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from services.wechat.wecom.groups import Groups

AT = 1_700_000_000
SPAN = {"start_time": AT, "end_time": AT + 86400}
PAIR = ("rm001", "rm002")
FIGURES = {
    "new_chat_cnt": 2,
    "chat_total": 2,
    "chat_has_msg": 0,
    "new_member_cnt": 0,
    "member_total": 6,
    "msg_total": 0,
}

# fmt: off
DOCUMENTED: list[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("members.get_user_info", ("c",), {}, {"openid": "o1", "external_userid": "wm1"}),
    ("members.get", ("rm001",), {},
     {"userid": "rm001", "name": "陈", "department": [1, 2], "order": [1, 2], "position": "客户经理", "status": 1,
      "is_leader_in_dept": [1, 0], "direct_leader": ["rm000"], "main_department": 1, "alias": "c",
      "extattr": {"attrs": []}, "external_profile": {"external_corp_name": "银桥", "external_attr": []}}),
    ("members.list_ids", (), {}, {"dept_user": [{"userid": "rm001", "department": 1}], "next_cursor": "c2"}),
    ("members.list_simple_departments", (), {}, {"department_id": [{"id": 2, "parentid": 1, "order": 10}]}),
    ("members.get_department", (2,), {},
     {"department": {"id": 2, "name": "南山", "department_leader": ["rm000"], "parentid": 1, "order": 10}}),
    ("customers.idconvert_unionid", ("u1", "o1"), {}, {"pending_id": "p1"}),
    ("tags.list", (), {},
     {"tag_group": [{"group_id": "eg1", "group_name": "等级", "create_time": AT, "order": 1,
                     "tag": [{"id": "et1", "name": "金卡", "create_time": AT, "order": 1}]}]}),
    ("ways.list", (), {}, {"contact_way": [{"config_id": "cw1"}], "next_cursor": "c2"}),
    ("links.get", ("caw1",), {},
     {"link": {"link_name": "开户", "url": "https://work.example/ca/x", "create_time": AT, "skip_verify": True},
      "range": {"user_list": ["rm001"], "department_list": [2]},
      "priority_option": {"priority_type": 2, "priority_userid_list": ["rm001"]}}),
    ("links.list_customers", ("caw1",), {},
     {"customer_list": [{"external_userid": "wm1", "userid": "rm001", "chat_status": 0, "state": "ch1"}],
      "next_cursor": "c2"}),
    ("links.get_quota", (), {},
     {"total": 1000, "balance": 500, "quota_list": [{"expire_date": AT, "balance": 500}]}),
    ("links.get_chat_info", ("ck1",), {},
     {"userid": "rm001", "external_userid": "wm1",
      "chat_info": {"recv_msg_cnt": 1, "link_id": "caw1", "state": "ch1"}}),
    ("groups.get", ("wr1",), {},
     {"group_chat": {"chat_id": "wr1", "name": "理财", "owner": "rm001", "create_time": AT, "notice": "",
                     "member_list": [{"userid": "wm1", "type": 2, "join_time": AT, "join_scene": 3, "state": "g1",
                                      "invitor": {"userid": "rm001"}, "group_nickname": "", "name": "王"}],
                     "admin_list": [{"userid": "rm001"}], "member_version": "0123456789abcdef"}}),
    ("groups.get_join_way", ("jw1",), {},
     {"join_way": {"config_id": "jw1", "scene": 2, "remark": "", "auto_create_room": 1, "room_base_name": "理财",
                   "room_base_id": 1, "chat_id_list": ["wr1"], "qr_code": "https://qr", "state": "g1"}}),
    ("groups.get_statistic", (["rm001"],), {"day_begin_time": AT},
     {"total": 1, "next_offset": 1, "items": [{"owner": "rm001", "data": FIGURES}]}),
    ("groups.get_statistic_by_day", (["rm001"],), {"day_begin_time": AT},
     {"items": [{"stat_time": AT, "data": FIGURES}]}),
    ("broadcasts.list", (), {"chat_type": "single", **SPAN},
     {"group_msg_list": [{"msgid": "m1", "creator": "rm001", "create_time": str(AT), "create_type": 1,
                          "text": {"content": "t"},
                          "attachments": [{"msgtype": "image", "image": {"media_id": "md1"}}]}],
      "next_cursor": ""}),
    ("broadcasts.list_tasks", ("m1",), {}, {"task_list": [{"userid": "rm001", "status": 2, "send_time": AT}]}),
    ("broadcasts.list_results", ("m1", "rm001"), {},
     {"send_list": [{"external_userid": "wm1", "chat_id": "wr1", "userid": "rm001", "status": 3}]}),
    ("moments.get_job", ("j1",), {},
     {"status": 3, "type": "add_moment_task",
      "result": {"errcode": 0, "errmsg": "ok", "moment_id": "mm1", "invalid_sender_list": {"user_list": []}}}),
    ("moments.list", (), SPAN,
     {"moment_list": [{"moment_id": "mm1", "creator": "rm001", "create_time": str(AT), "create_type": 0,
                       "visible_type": 0, "text": {"content": "t"}, "image": [{"media_id": "md1"}]}]}),
    ("moments.list_tasks", ("mm1",), {}, {"task_list": [{"userid": "rm001", "publish_status": 1}]}),
    ("moments.get_comments", ("mm1", "rm001"), {},
     {"comment_list": [{"external_userid": "wm1", "create_time": AT}],
      "like_list": [{"userid": "rm002", "create_time": AT}]}),
    ("handover.transfer_customers", (*PAIR, ["wm1"]), {}, {"customer": [{"external_userid": "wm1", "errcode": 40096}]}),
    ("handover.get_result", PAIR, {},
     {"customer": [{"external_userid": "wm1", "status": 1, "takeover_time": AT}], "next_cursor": "c2"}),
    ("handover.transfer_resigned_groups", (["wr1"], "rm002"), {},
     {"failed_chat_list": [{"chat_id": "wr1", "errcode": 90500, "errmsg": "the owner of this chat is not resigned"}]}),
    ("messages.send", (["rm001"], {"msgtype": "text", "text": {"content": "t"}}), {},
     {"invaliduser": "rm009|rm010", "invalidparty": "", "unlicenseduser": "", "msgid": "m1", "response_code": "rc"}),
    ("messages.update_card", (["rm001"], "rc"), {"replace_name": "已认领"}, {"invaliduser": ["rm009"]}),
    ("archive.check_single_agree", ([("rm001", "wm1")],), {},
     {"agreeinfo": [{"status_change_time": AT, "userid": "rm001", "exteranalopenid": "wm1", "agree_status": "Agree"}]}),
    ("archive.get_group", ("wr1",), {},
     {"roomname": "内部", "creator": "rm001", "room_create_time": AT, "notice": "",
      "members": [{"memberid": "rm001", "jointime": AT}]}),
    ("intercept.get", ("r1",), {},
     {"rule": {"rule_id": 1, "rule_name": "承诺", "word_list": ["保本"], "extra_rule": {"semantics_list": [1]},
               "intercept_type": 1, "applicable_range": {"user_list": ["rm001"], "department_list": [2]}}}),
]
# fmt: on


def misfits(kind: Any, value: Any, at: str = "") -> list[str]:
    """Where `value` has a field that `kind` does not name, or another type than it says."""
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        unknown = [f"{at}.{name}" for name in value if name not in fields]
        return unknown + [
            m for name in value if name in fields for m in misfits(fields[name], value[name], f"{at}.{name}")
        ]
    if get_origin(kind) is list:
        return [m for item in value for m in misfits(get_args(kind)[0], item, f"{at}[]")]
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (get_origin(kind) or kind,)
    return [] if isinstance(value, kinds) else [f"{at}: {type(value).__name__}"]


def test_misfits_are_found():
    kind = get_type_hints(Groups.get)["return"]
    assert misfits(kind, {"errcode": "0", "group_chat": {"member_list": [{"userid": 1}], "size": 1}}) == [
        ".errcode: str",
        ".group_chat.size",
        ".group_chat.member_list[].userid: int",
    ]


@pytest.mark.parametrize(("name", "args", "kwargs", "answer"), DOCUMENTED, ids=[row[0] for row in DOCUMENTED])
async def test_a_documented_answer_comes_out_whole_and_fits_its_type(rig, name, args, kwargs, answer):
    body = {"errcode": 0, "errmsg": "ok", **answer}
    async with rig() as r:
        r.platform.answers = _Everywhere(r.platform.answers, body)
        call = attrgetter(name)(r.wecom)
        assert misfits(get_type_hints(call)["return"], body) == []
        assert await call(*args, **kwargs) == body


class _Everywhere(dict[str, Any]):
    """The platform's own token answer, and `body` for every other path."""

    def __init__(self, answers: dict[str, Any], body: dict[str, Any]) -> None:
        super().__init__(answers)
        self._body = body

    def get(self, path: str, _default: Any = None) -> Any:
        return super().get(path, self._body)
