"""Switches, trusted addresses, and whose events the API makes (contract/wechat F11, F2, C3)."""

from __future__ import annotations

import re

import pytest

from deploy.processes import ROOT
from sandbox.core.switches import Switches

EC = "/cgi-bin/externalcontact"


def test_readme_has_every_switch_and_no_other():
    rows = (
        (ROOT / "sandbox" / "README.md").read_text(encoding="utf-8").partition("## Switches")[2].partition("\n## ")[0]
    )
    cells = [row.split("|")[1] for row in rows.splitlines() if row.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(Switches.model_fields)


async def test_defaults_are_the_contracts(playing):
    """F11."""
    async with playing() as play:
        found = await play.control("/switches")
        wanted = {
            "api_changes_emit_events": False,
            "tag_name_max": 30,
            "broadcast_cap": "month_days",
            "groupmsg_task_sent_value": 2,
            "image_max_mb": 10,
            "sensitive_member_fields": False,
            "jscode_errcode_field": False,
            "countryCode_type": "number",
            "acquisition_methods": "both",
            "moment_result_method": "both",
            "system_secret_may_call": False,
            "app_unused": False,
            "unionid_conversion": False,
            "expired_token_code": 42001,
            "getuserid_wrong_percent": 20,
            "idle_members": [],
            "one_sided": True,
            "marketing_acquisition": False,
            "group_lag_seconds": 0,
            "group_transfers_busy": False,
            "groups_unused": False,
            "archive_days": 5,
            "archive_answer_bytes": 0,
            "visit_needed": True,
            "phone_quota": None,
            "templates_at_once": 5,
            "subscribe_ms": 5,
            "link_opens_a_day": 6_000_000,
        }
        assert {name: found[name] for name in wanted} == wanted


async def test_one_switch_is_turned_and_the_others_stay(playing):
    async with playing() as play:
        await play.control("/switches", {"tag_name_max": 32})
        found = await play.control("/switches", {"medical": True})
        assert found == Switches(tag_name_max=32, medical=True).model_dump()
        assert (await play.http.delete("/control/switches")).json() == Switches().model_dump()


@pytest.mark.parametrize("body", [{"unknown": 1}, {"tag_name_max": 0}, {"acquisition_methods": "any"}])
async def test_senseless_switch_changes_nothing(playing, body):
    async with playing() as play:
        assert (await play.control("/switches", body, status=400))["error"]["code"] == "bad_switches"
        assert await play.control("/switches") == Switches().model_dump()


async def test_name_of_a_tag_may_have_as_many_characters_as_the_switch_says(playing):
    """F11, B4: 30 in the endpoint's text, 32 in 40072's."""
    async with playing() as play:
        body = {"group_name": "来源", "tag": [{"name": "字" * 31}]}
        assert (await play.wecom(f"{EC}/add_corp_tag", body))["errcode"] == 40072
        await play.control("/switches", {"tag_name_max": 32})
        assert (await play.wecom(f"{EC}/add_corp_tag", body))["errcode"] == 0


async def test_changes_through_the_api_call_back_only_when_switched(playing):
    """C3: default off."""
    async with playing() as play:
        await play.wecom(f"{EC}/add_corp_tag", {"group_name": "来源", "tag": [{"name": "扫码"}]})
        await play.box.sender.idle()
        assert play.receiver.bodies == []
        await play.control("/switches", {"api_changes_emit_events": True})
        await play.wecom(f"{EC}/add_corp_tag", {"group_name": "来源", "tag": [{"name": "到店"}]})
        await play.receiver.until(1)
        (event,) = play.receiver.events
        assert (event["Event"], event["ChangeType"], event["TagType"]) == ("change_external_tag", "create", "tag")


async def test_notes_and_tags_through_the_api_call_back_when_switched(playing):
    """C3, C4: edit_external_contact for remark and mark_tag; not when nothing changed."""
    async with playing() as play:
        person, added = await play.friend()
        await play.control("/switches", {"api_changes_emit_events": True})
        tag = await play.wecom(f"{EC}/add_corp_tag", {"group_name": "来源", "tag": [{"name": "扫码"}]})
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        marked = {**pair, "add_tag": [tag["tag_group"]["tag"][0]["id"]]}
        await play.wecom(f"{EC}/remark", {**pair, "remark": "老客户"})
        for _ in range(2):
            await play.wecom(f"{EC}/mark_tag", marked)
        await play.box.sender.idle()
        edits = [e for e in play.receiver.events if e["ChangeType"] == "edit_external_contact"]
        told = [(e["UserID"], e["ExternalUserID"]) for e in edits]
        assert told == [(added["userid"], person["external_userid"])] * 2


async def test_wecom_refuses_addresses_that_are_not_trusted(playing):
    """B1, F2: 60020 for gettoken and for every call."""
    async with playing() as play:
        token = (await play.wecom_token())["access_token"]
        await play.control("/switches", {"trusted_ips": ["10.1.2.3"]})
        assert (await play.wecom_token())["errcode"] == 60020
        refused = await play.get("/wecom/cgi-bin/user/get", access_token=token, userid="rm.chen")
        assert (refused["errcode"], "from your ip: 127.0.0.1" in refused["errmsg"]) == (60020, True)
        await play.control("/switches", {"trusted_ips": ["10.1.2.3", "127.0.0.1"]})
        assert (await play.wecom_token())["errcode"] == 0


async def test_mini_program_refuses_addresses_that_are_not_in_its_list(playing):
    """A1, F2: 40164 names the address."""
    async with playing() as play:
        await play.control("/switches", {"ip_whitelist": ["10.1.2.3"]})
        refused = await play.stable_token()
        assert refused["errcode"] == 40164
        assert refused["errmsg"].startswith("invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist")
