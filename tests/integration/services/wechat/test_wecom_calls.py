"""Every WeCom endpoint of contract/wechat H has a method, which sends the right request: method, path, query and body."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Any

import pytest

OK = {"errcode": 0, "errmsg": "ok"}

# The contract's list, without its column on wechatpy; EC = externalcontact. The last lines are not in H: B11 and B1.
ENDPOINTS = """
GET  gettoken                                   GET  get_jsapi_ticket
GET  ticket/get                                 GET  auth/getuserinfo
POST auth/getuserdetail                         GET  miniprogram/jscode2session
GET  user/get                                   GET  user/list
GET  user/simplelist                            POST user/list_id
GET  department/list                            GET  department/simplelist
GET  department/get                             POST user/convert_to_openid
POST user/getuserid                             POST idconvert/unionid_to_external_userid
GET  EC/get_follow_user_list                    GET  EC/list
GET  EC/get                                     POST EC/batch/get_by_user
POST EC/remark                                  POST EC/mark_tag
POST EC/get_corp_tag_list                       POST EC/add_corp_tag
POST EC/edit_corp_tag                           POST EC/del_corp_tag
POST EC/get_strategy_tag_list                   POST EC/add_strategy_tag
POST EC/edit_strategy_tag                       POST EC/del_strategy_tag
POST EC/add_contact_way                         POST EC/get_contact_way
POST EC/list_contact_way                        POST EC/update_contact_way
POST EC/del_contact_way                         POST EC/close_temp_chat
POST EC/customer_acquisition/list_link          POST EC/customer_acquisition/get
POST EC/customer_acquisition/create_link        POST EC/customer_acquisition/update_link
POST EC/customer_acquisition/delete_link        POST EC/customer_acquisition/customer
GET  EC/customer_acquisition_quota              POST EC/customer_acquisition/statistic
POST EC/customer_acquisition/get_chat_info      POST EC/opengid_to_chatid
POST EC/groupchat/list                          POST EC/groupchat/get
POST EC/groupchat/add_join_way                  POST EC/groupchat/get_join_way
POST EC/groupchat/update_join_way               POST EC/groupchat/del_join_way
POST EC/groupchat/statistic                     POST EC/groupchat/statistic_group_by_day
POST EC/groupchat/transfer                      POST EC/groupchat/onjob_transfer
POST EC/add_msg_template                        POST EC/get_groupmsg_list_v2
POST EC/get_groupmsg_task                       POST EC/get_groupmsg_send_result
POST EC/remind_groupmsg_send                    POST EC/cancel_groupmsg_send
POST EC/send_welcome_msg                        POST EC/group_welcome_template/add
POST EC/group_welcome_template/edit             POST EC/group_welcome_template/get
POST EC/group_welcome_template/del
POST EC/transfer_customer                       POST EC/transfer_result
POST EC/resigned/transfer_customer              POST EC/resigned/transfer_result
POST EC/get_unassigned_list                     POST EC/get_user_behavior_data
POST EC/add_moment_task                         GET  EC/get_moment_task_result
POST EC/get_moment_list                         POST EC/get_moment_task
POST EC/get_moment_customer_list                POST EC/get_moment_send_result
POST EC/get_moment_comments                     POST EC/cancel_moment_task
POST EC/unionid_to_external_userid              POST EC/convert_to_openid
POST message/send                               POST message/update_template_card
POST message/recall                             POST media/upload
POST media/uploadimg                            GET  media/get
POST media/upload_attachment                    POST media/upload_by_url
POST msgaudit/get_permit_user_list              POST msgaudit/check_single_agree
POST msgaudit/check_room_agree                  POST msgaudit/groupchat/get
GET  msgaudit/get_robot_info
POST EC/add_intercept_rule                      GET  EC/get_intercept_rule_list
POST EC/get_intercept_rule                      POST EC/update_intercept_rule
POST EC/del_intercept_rule
GET  get_api_domain_ip                          GET  getcallbackip
"""
FILES = {("GET", "media/get"), *(("POST", f"media/{name}") for name in ("upload", "uploadimg", "upload_attachment"))}
ELSEWHERE = {("GET", "gettoken"), *FILES}
"""The token is tested in test_wecom_client.py, files in test_wecom_media.py."""

LINK = {"link_name": "开户", "skip_verify": True}
WAY = {"type": 1, "scene": 2, "skip_verify": True, "state": "sz-01", "user": ["rm001"]}
JOIN = {"scene": 2, "auto_create_room": 1, "chat_id_list": ["wr1"], "mark_source": True}
PAIR = {"handover_userid": "rm001", "takeover_userid": "rm002"}
OWNERS = {"owner_filter": {"userid_list": ["rm001"]}}
TEXT = {"text": {"content": "您好"}}
SPAN = {"start_time": 1_700_000_000, "end_time": 1_700_086_400}

# fmt: off
CALLS: list[tuple[str, str, str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("GET", "get_jsapi_ticket", "members.get_jsapi_ticket", (), {}, {}),
    ("GET", "ticket/get", "members.get_agent_ticket", (), {}, {"type": "agent_config"}),
    ("GET", "auth/getuserinfo", "members.get_user_info", ("c+/=",), {}, {"code": "c+/="}),
    ("POST", "auth/getuserdetail", "members.get_user_detail", ("ut",), {}, {"user_ticket": "ut"}),
    ("GET", "miniprogram/jscode2session", "members.code_to_session", ("jc",), {},
     {"js_code": "jc", "grant_type": "authorization_code"}),
    ("GET", "user/get", "members.get", ("rm001",), {}, {"userid": "rm001"}),
    ("GET", "user/list", "members.list", (2,), {}, {"department_id": "2"}),
    ("GET", "user/simplelist", "members.list_simple", (2,), {}, {"department_id": "2"}),
    ("POST", "user/list_id", "members.list_ids", (), {"cursor": "c1"}, {"cursor": "c1", "limit": 10000}),
    ("GET", "department/list", "members.list_departments", (), {}, {}),
    ("GET", "department/list", "members.list_departments", (1,), {}, {"id": "1"}),
    ("GET", "department/simplelist", "members.list_simple_departments", (1,), {}, {"id": "1"}),
    ("GET", "department/get", "members.get_department", (3,), {}, {"id": "3"}),
    ("POST", "user/convert_to_openid", "members.convert_to_openid", ("rm001",), {}, {"userid": "rm001"}),
    ("POST", "user/getuserid", "members.get_userid", ("13800000000",), {}, {"mobile": "13800000000"}),
    ("POST", "idconvert/unionid_to_external_userid", "customers.idconvert_unionid", ("u1", "o1"), {},
     {"unionid": "u1", "openid": "o1", "subject_type": 0}),
    ("GET", "EC/get_follow_user_list", "customers.list_followers", (), {}, {}),
    ("GET", "EC/list", "customers.list", ("rm001",), {}, {"userid": "rm001"}),
    ("GET", "EC/get", "customers.get", ("wm1",), {}, {"external_userid": "wm1"}),
    ("GET", "EC/get", "customers.get", ("wm1", "c1"), {}, {"external_userid": "wm1", "cursor": "c1"}),
    ("POST", "EC/batch/get_by_user", "customers.batch_get_by_user", (["rm001"],), {}, {"userid_list": ["rm001"], "limit": 100}),
    ("POST", "EC/remark", "customers.remark", ("rm001", "wm1"), {"remark": "王", "remark_mobiles": []},
     {"userid": "rm001", "external_userid": "wm1", "remark": "王", "remark_mobiles": [""]}),
    ("POST", "EC/mark_tag", "tags.mark", ("rm001", "wm1"), {"add": ["et1"]},
     {"userid": "rm001", "external_userid": "wm1", "add_tag": ["et1"]}),
    ("POST", "EC/get_corp_tag_list", "tags.list", (), {}, {}),
    ("POST", "EC/get_corp_tag_list", "tags.list", (), {"tag_ids": ["et1"], "group_ids": ["eg1"]},
     {"group_id": ["eg1"]}),
    ("POST", "EC/add_corp_tag", "tags.create", (["金卡"],), {"group_name": "等级"},
     {"group_name": "等级", "tag": [{"name": "金卡"}], "agentid": 1000002}),
    ("POST", "EC/edit_corp_tag", "tags.update", ("et1",), {"name": "银卡", "order": 0},
     {"id": "et1", "name": "银卡", "order": 0, "agentid": 1000002}),
    ("POST", "EC/del_corp_tag", "tags.delete", (), {"tag_ids": ["et1"]}, {"tag_id": ["et1"], "agentid": 1000002}),
    ("POST", "EC/get_strategy_tag_list", "tags.list_of_strategy", (1,), {"tag_ids": ["et1"]},
     {"strategy_id": 1, "tag_id": ["et1"]}),
    ("POST", "EC/add_strategy_tag", "tags.create_of_strategy", (1, ["金卡"]), {"group_name": "等级"},
     {"strategy_id": 1, "group_name": "等级", "tag": [{"name": "金卡"}]}),
    ("POST", "EC/edit_strategy_tag", "tags.update_of_strategy", ("et1",), {"name": "银卡"}, {"id": "et1", "name": "银卡"}),
    ("POST", "EC/del_strategy_tag", "tags.delete_of_strategy", (), {"group_ids": ["eg1"]}, {"group_id": ["eg1"]}),
    ("POST", "EC/add_contact_way", "ways.create", (["rm001"],), {"state": "sz-01", "remark": "南山"},
     {**WAY, "remark": "南山"}),
    ("POST", "EC/add_contact_way", "ways.create", (["rm001"],), {"state": "sz-01", "party": [2]},
     {**WAY, "type": 2, "party": [2]}),
    ("POST", "EC/get_contact_way", "ways.get", ("cw1",), {}, {"config_id": "cw1"}),
    ("POST", "EC/list_contact_way", "ways.list", (), {"start_time": 1, "end_time": 2},
     {"start_time": 1, "end_time": 2, "limit": 100}),
    ("POST", "EC/update_contact_way", "ways.update", ("cw1",), {"userids": ["rm2"], "skip_verify": False},
     {"config_id": "cw1", "user": ["rm2"], "skip_verify": False}),
    ("POST", "EC/del_contact_way", "ways.delete", ("cw1",), {}, {"config_id": "cw1"}),
    ("POST", "EC/close_temp_chat", "ways.close_temp_chat", ("rm001", "wm1"), {},
     {"userid": "rm001", "external_userid": "wm1"}),
    ("POST", "EC/customer_acquisition/list_link", "links.list", (), {}, {"limit": 100}),
    ("POST", "EC/customer_acquisition/get", "links.get", ("caw1",), {}, {"link_id": "caw1"}),
    ("POST", "EC/customer_acquisition/create_link", "links.create", ("开户",),
     {"userids": ["rm001"], "departments": [2], "priority_type": 2, "priority_userids": ["rm001"]},
     {**LINK, "range": {"user_list": ["rm001"], "department_list": [2]},
      "priority_option": {"priority_type": 2, "priority_userid_list": ["rm001"]}}),
    ("POST", "EC/customer_acquisition/update_link", "links.update", ("caw1",),
     {"skip_verify": False}, {"link_id": "caw1", "skip_verify": False}),
    ("POST", "EC/customer_acquisition/update_link", "links.update", ("caw1",),
     {"userids": ["rm2"]}, {"link_id": "caw1", "range": {"user_list": ["rm2"]}}),
    ("POST", "EC/customer_acquisition/delete_link", "links.delete", ("caw1",), {},
     {"link_id": "caw1"}),
    ("POST", "EC/customer_acquisition/customer", "links.list_customers", ("caw1",), {"cursor": "c1"},
     {"link_id": "caw1", "cursor": "c1", "limit": 1000}),
    ("GET", "EC/customer_acquisition_quota", "links.get_quota", (), {}, {}),
    ("POST", "EC/customer_acquisition/statistic", "links.get_statistic", ("caw1",), SPAN,
     {"link_id": "caw1", **SPAN}),
    ("POST", "EC/customer_acquisition/get_chat_info", "links.get_chat_info", ("ck1",), {},
     {"chat_key": "ck1"}),
    ("POST", "EC/opengid_to_chatid", "groups.opengid_to_chatid", ("og1",), {}, {"opengid": "og1"}),
    ("POST", "EC/groupchat/list", "groups.list", (), {"owner_userids": ["rm001"], "status_filter": 1},
     {"status_filter": 1, "limit": 1000, **OWNERS}),
    ("POST", "EC/groupchat/get", "groups.get", ("wr1",), {}, {"chat_id": "wr1", "need_name": 1}),
    ("POST", "EC/groupchat/add_join_way", "groups.create_join_way", (["wr1"],),
     {"remark": "南山", "state": "g1", "room_base_name": "理财", "room_base_id": 1},
     {**JOIN, "remark": "南山", "state": "g1", "room_base_name": "理财", "room_base_id": 1}),
    ("POST", "EC/groupchat/get_join_way", "groups.get_join_way", ("jw1",), {}, {"config_id": "jw1"}),
    ("POST", "EC/groupchat/update_join_way", "groups.update_join_way", ("jw1", ["wr1"]),
     {"auto_create_room": False}, {**JOIN, "config_id": "jw1", "auto_create_room": 0}),
    ("POST", "EC/groupchat/del_join_way", "groups.delete_join_way", ("jw1",), {}, {"config_id": "jw1"}),
    ("POST", "EC/groupchat/statistic", "groups.get_statistic", (["rm001"],), {"day_begin_time": 1_700_000_000},
     {"day_begin_time": 1_700_000_000, "order_by": 1, "order_asc": 0, "offset": 0, "limit": 500, **OWNERS}),
    ("POST", "EC/groupchat/statistic_group_by_day", "groups.get_statistic_by_day", (["rm001"],),
     {"day_begin_time": 1, "day_end_time": 86401}, {"day_begin_time": 1, "day_end_time": 86401, **OWNERS}),
    ("POST", "EC/groupchat/transfer", "handover.transfer_resigned_groups", (["wr1"], "rm002"), {},
     {"chat_id_list": ["wr1"], "new_owner": "rm002"}),
    ("POST", "EC/groupchat/onjob_transfer", "handover.transfer_groups", (["wr1"], "rm002"), {},
     {"chat_id_list": ["wr1"], "new_owner": "rm002"}),
    ("POST", "EC/add_msg_template", "broadcasts.create", ({"external_userid": ["wm1"], **TEXT},), {},
     {"external_userid": ["wm1"], **TEXT}),
    ("POST", "EC/get_groupmsg_list_v2", "broadcasts.list", (), {"chat_type": "single", **SPAN},
     {"chat_type": "single", "filter_type": 2, "limit": 50, **SPAN}),
    ("POST", "EC/get_groupmsg_task", "broadcasts.list_tasks", ("m1",), {}, {"msgid": "m1", "limit": 500}),
    ("POST", "EC/get_groupmsg_send_result", "broadcasts.list_results", ("m1", "rm001"), {"cursor": "c1"},
     {"msgid": "m1", "userid": "rm001", "limit": 500, "cursor": "c1"}),
    ("POST", "EC/remind_groupmsg_send", "broadcasts.remind", ("m1",), {}, {"msgid": "m1"}),
    ("POST", "EC/cancel_groupmsg_send", "broadcasts.cancel", ("m1",), {}, {"msgid": "m1"}),
    ("POST", "EC/send_welcome_msg", "welcome.send", ("WC-1",), {"text": "您好"}, {"welcome_code": "WC-1", **TEXT}),
    ("POST", "EC/group_welcome_template/add", "welcome.create_template", ({**TEXT, "image": {"media_id": "md"}},),
     {"notify": False}, {**TEXT, "image": {"media_id": "md"}, "agentid": 1000002, "notify": 0}),
    ("POST", "EC/group_welcome_template/edit", "welcome.update_template", ("tp1", TEXT), {},
     {"template_id": "tp1", **TEXT, "agentid": 1000002}),
    ("POST", "EC/group_welcome_template/get", "welcome.get_template", ("tp1",), {}, {"template_id": "tp1"}),
    ("POST", "EC/group_welcome_template/del", "welcome.delete_template", ("tp1",), {},
     {"template_id": "tp1", "agentid": 1000002}),
    ("POST", "EC/transfer_customer", "handover.transfer_customers", ("rm001", "rm002", ["wm1"]), {"transfer_success_msg": "您好"},
     {**PAIR, "external_userid": ["wm1"], "transfer_success_msg": "您好"}),
    ("POST", "EC/transfer_result", "handover.get_result", ("rm001", "rm002"), {}, PAIR),
    ("POST", "EC/resigned/transfer_customer", "handover.transfer_resigned_customers", ("rm001", "rm002", ["wm1"]), {},
     {**PAIR, "external_userid": ["wm1"]}),
    ("POST", "EC/resigned/transfer_result", "handover.get_resigned_result", ("rm001", "rm002"), {"cursor": "c1"},
     {**PAIR, "cursor": "c1"}),
    ("POST", "EC/get_unassigned_list", "handover.list_unassigned", (), {}, {"page_size": 1000}),
    ("POST", "EC/get_user_behavior_data", "customers.get_behavior_data", (), {"userids": ["rm001"], **SPAN},
     {"userid": ["rm001"], **SPAN}),
    ("POST", "EC/add_moment_task", "moments.create", (TEXT,), {}, TEXT),
    ("GET", "EC/get_moment_task_result", "moments.get_job", ("j1",), {}, {"jobid": "j1"}),
    ("POST", "EC/get_moment_list", "moments.list", (), SPAN, {**SPAN, "filter_type": 2, "limit": 20}),
    ("POST", "EC/get_moment_task", "moments.list_tasks", ("mm1",), {}, {"moment_id": "mm1", "limit": 500}),
    ("POST", "EC/get_moment_customer_list", "moments.list_customers", ("mm1", "rm001"), {},
     {"moment_id": "mm1", "userid": "rm001", "limit": 500}),
    ("POST", "EC/get_moment_send_result", "moments.list_results", ("mm1", "rm001"), {},
     {"moment_id": "mm1", "userid": "rm001", "limit": 3000}),
    ("POST", "EC/get_moment_comments", "moments.get_comments", ("mm1", "rm001"), {},
     {"moment_id": "mm1", "userid": "rm001"}),
    ("POST", "EC/cancel_moment_task", "moments.cancel", ("mm1",), {}, {"moment_id": "mm1"}),
    ("POST", "EC/unionid_to_external_userid", "customers.unionid_to_external_userid", ("u1", "o1"), {},
     {"unionid": "u1", "openid": "o1"}),
    ("POST", "EC/convert_to_openid", "customers.convert_to_openid", ("wm1",), {}, {"external_userid": "wm1"}),
    ("POST", "message/send", "messages.send", (["rm001", "rm002"], {"msgtype": "text", **TEXT}), {},
     {"touser": "rm001|rm002", "agentid": 1000002, "msgtype": "text", **TEXT}),
    ("POST", "message/update_template_card", "messages.update_card", (["rm001"], "rc1"),
     {"replace_name": "已认领"},
     {"userids": ["rm001"], "agentid": 1000002, "response_code": "rc1", "button": {"replace_name": "已认领"}}),
    ("POST", "message/update_template_card", "messages.update_card", (["rm001"], "rc1"),
     {"template_card": {"card_type": "text_notice"}},
     {"userids": ["rm001"], "agentid": 1000002, "response_code": "rc1",
      "template_card": {"card_type": "text_notice"}}),
    ("POST", "message/recall", "messages.recall", ("m1",), {}, {"msgid": "m1"}),
    ("POST", "media/upload_by_url", "files.upload_by_url", ("video", "a.mp4", "https://x/a.mp4"), {"md5": "00"},
     {"scene": 1, "type": "video", "filename": "a.mp4", "url": "https://x/a.mp4", "md5": "00"}),
    ("POST", "msgaudit/get_permit_user_list", "archive.list_permitted_users", (), {}, {}),
    ("POST", "msgaudit/check_single_agree", "archive.check_single_agree", ([("rm001", "wm1")],), {},
     {"info": [{"userid": "rm001", "exteranalopenid": "wm1"}]}),
    ("POST", "msgaudit/check_room_agree", "archive.check_room_agree", ("wr1",), {}, {"roomid": "wr1"}),
    ("POST", "msgaudit/groupchat/get", "archive.get_group", ("wr1",), {}, {"roomid": "wr1"}),
    ("GET", "msgaudit/get_robot_info", "archive.get_robot", ("rb1",), {}, {"robot_id": "rb1"}),
    ("POST", "EC/add_intercept_rule", "intercept.create", ("承诺", ["保本"]), {"userids": ["rm001"], "semantics": [1]},
     {"rule_name": "承诺", "word_list": ["保本"], "semantics_list": [1], "intercept_type": 1,
      "applicable_range": {"user_list": ["rm001"]}}),
    ("GET", "EC/get_intercept_rule_list", "intercept.list", (), {}, {}),
    ("POST", "EC/get_intercept_rule", "intercept.get", ("r1",), {}, {"rule_id": "r1"}),
    ("POST", "EC/update_intercept_rule", "intercept.update", ("r1",),
     {"words": ["保本"], "semantics": [], "add_departments": [2], "remove_userids": ["rm001"]},
     {"rule_id": "r1", "word_list": ["保本"], "extra_rule": {"semantics_list": []},
      "add_applicable_range": {"department_list": [2]}, "remove_applicable_range": {"user_list": ["rm001"]}}),
    ("POST", "EC/del_intercept_rule", "intercept.delete", ("r1",), {}, {"rule_id": "r1"}),
    ("GET", "get_api_domain_ip", "members.get_api_domain_ip", (), {}, {}),
    ("GET", "getcallbackip", "members.get_callback_ip", (), {}, {}),
]
# fmt: on


def test_every_endpoint_of_the_contract_has_a_call():
    listed = set(re.findall(r"(GET|POST) +(\S+)", ENDPOINTS))
    assert len(listed) == 103
    assert {(method, path) for method, path, *_ in CALLS} | ELSEWHERE == listed


@pytest.mark.parametrize(
    ("method", "path", "name", "args", "kwargs", "sent"), CALLS, ids=[f"{row[2]}-{i}" for i, row in enumerate(CALLS)]
)
async def test_a_call_as_it_goes_over_the_wire(rig, method, path, name, args, kwargs, sent):
    full = f"/cgi-bin/{path.replace('EC/', 'externalcontact/')}"
    async with rig() as r:
        r.platform.answers[full] = OK
        assert await attrgetter(name)(r.wecom)(*args, **kwargs) == OK
        (call,) = r.platform.of(full)
    assert call.method == method
    assert call.query.pop("access_token") == "T1"
    if method == "GET":
        assert (call.query, call.content) == (sent, b"")
    else:
        assert (call.query, call.json) == ({}, sent)
    assert b"T1" not in call.content
    assert "T1" not in "".join(call.headers.values())
