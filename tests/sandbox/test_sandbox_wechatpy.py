"""wechatpy's own clients, an independent implementation, against the sandbox (contract/wechat E3, F12)."""

from __future__ import annotations

import asyncio

import pytest
from wechatpy.client import WeChatClient
from wechatpy.client.api import WeChatWxa
from wechatpy.exceptions import WeChatClientException
from wechatpy.work import WeChatClient as WorkClient


def mini_program_client(play):
    """wechatpy's mini-program client with its hard-coded hosts replaced."""
    base = f"{play.url}/wechat"

    class Wxa(WeChatWxa):
        API_BASE_URL = f"{base}/"

    class Client(WeChatClient):
        API_BASE_URL = f"{base}/cgi-bin/"
        wxa = Wxa()

        def fetch_access_token(self):
            query = {"grant_type": "client_credential", "appid": self.appid, "secret": self.secret}
            return self._fetch_access_token(f"{base}/cgi-bin/token", query)

    client = Client(play.mini.appid, play.mini.secret, auto_retry=False, timeout=10)
    client._http.trust_env = False
    return client


def work_client(play):
    base = f"{play.url}/wecom/cgi-bin/"

    class Client(WorkClient):
        API_BASE_URL = base

        def fetch_access_token(self):
            return self._fetch_access_token(f"{base}gettoken", {"corpid": self.corp_id, "corpsecret": self.secret})

    client = Client(play.box.world.corp.corp_id, play.app.secret, auto_retry=False, timeout=10)
    client._http.trust_env = False
    return client


async def test_mini_program_client_logs_in_and_reads_the_phone(playing):
    """A1, A2, A3 through wechatpy."""
    async with playing() as play:
        person = await play.person()
        login = (await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid}))["code"]
        phone = (await play.control(f"/people/{person['id']}/phone", {"appid": play.mini.appid}))["code"]

        def walk():
            client = mini_program_client(play)
            with client._http:
                session = client.wxa.code_to_session(login)
                number = client.wxa.get_phone_number(phone)
                with pytest.raises(WeChatClientException) as refused:
                    client.wxa.code_to_session(login)
            return session, number, refused.value.errcode

        session, number, errcode = await asyncio.to_thread(walk)
        assert (session["openid"], session["unionid"]) == (person["openids"][play.mini.appid], person["unionid"])
        assert number["phone_info"]["phoneNumber"] == person["phone"]
        assert errcode == 40163


async def test_work_client_serves_a_customer_from_way_to_welcome(playing):
    """B3, B4, B5, B8 through wechatpy."""
    async with playing() as play:
        client = work_client(play)
        contact = client.external_contact
        with client._http:
            way = await asyncio.to_thread(contact.add_contact_way, 1, 2, user=["rm.chen"], state="s1")
            person = await play.person()
            added = await play.control(f"/people/{person['id']}/scan", {"config_id": way["config_id"]})
            external = person["external_userid"]

            def serve():
                tag = contact.add_corp_tag(None, "来源", None, [{"name": "扫码"}])["tag_group"]["tag"][0]["id"]
                contact.mark_tag("rm.chen", external, add_tag=[tag])
                contact.send_welcome_msg({"welcome_code": added["welcome_code"], "text": {"content": "欢迎"}})
                return contact.get(external), contact.list("rm.chen"), client.user.get("rm.chen")["name"]

            detail, listed, name = await asyncio.to_thread(serve)
        assert [t["tag_name"] for t in detail["follow_user"][0]["tags"]] == ["扫码"]
        assert (detail["follow_user"][0]["state"], name) == ("s1", "陈思远")
        assert (listed["external_userid"] if isinstance(listed, dict) else listed) == [external]
        assert [m["text"] for m in (await play.control(f"/people/{person['id']}"))["inbox"]] == ["欢迎"]


async def test_work_client_sees_a_revoked_token(playing):
    """D2, F2: 40014 after revocation, through wechatpy without its retry."""
    async with playing() as play:
        client = work_client(play)

        def ask():
            return client.user.get("rm.chen")

        with client._http:
            await asyncio.to_thread(ask)
            await play.control("/tokens/revoke", {"errcode": 40014})
            with pytest.raises(WeChatClientException) as refused:
                await asyncio.to_thread(ask)
        assert refused.value.errcode == 40014
