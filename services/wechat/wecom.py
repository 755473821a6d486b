"""The WeCom client of one self-built app (wechat-contract B1, B3-B5, B8, B10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
from wechatpy.work import WeChatClient

from services.metrics import Metrics
from services.wechat.client import READ_SECONDS, AsyncClientMixin
from services.wechat.errors import Family
from services.wechat.tokens import App, Grant, TokenStore

WECOM_BASE = "https://qyapi.weixin.qq.com"
OPEN_BASE = "https://open.weixin.qq.com"
_STATE = re.compile(r"[A-Za-z0-9]{1,128}")

Answer = dict[str, Any]


class WeComClient(AsyncClientMixin, WeChatClient):  # type: ignore[misc]
    """wechatpy's work client, awaited; below are the calls whose own method is missing or wrong there.

    Every call answers WeCom's JSON object and raises PlatformError.
    """

    family: ClassVar[Family] = "wecom"
    platform_origin: ClassVar[str] = WECOM_BASE

    def __init__(
        self,
        corp_id: str,
        agent_id: int,
        secret: str,
        base: str,
        http: httpx.AsyncClient,
        tokens: TokenStore,
        *,
        tenant: str = "",
        open_base: str = OPEN_BASE,
        timeout: float = READ_SECONDS,
        metrics: Metrics | None = None,
    ) -> None:
        self.corp_id = self.appid = corp_id
        self.agent_id = agent_id
        self.secret = secret
        self.open_base = open_base.rstrip("/")
        app = App(tenant, f"wecom:{corp_id}:{agent_id}", self._fetch_token)
        self._set_up(base, http, tokens, app, timeout, metrics)

    async def _fetch_token(self, _rejected: str | None) -> Grant:
        """B1: the same token is answered again while WeCom holds it valid."""
        params = {"corpid": self.corp_id, "corpsecret": self.secret}
        return await self._fetch_grant("get", "/cgi-bin/gettoken", params=params)

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """Where a member's browser gets a code (91022, snsapi_base); `state` is 1-128 of a-zA-Z0-9, else ValueError."""
        if not _STATE.fullmatch(state):
            raise ValueError("an OAuth state is 1 to 128 letters and digits")
        query = urlencode(
            {
                "appid": self.corp_id,
                "redirect_uri": redirect_uri,
                "response_type": "code",
                "scope": "snsapi_base",
                "agentid": self.agent_id,
                "state": state,
            }
        )
        return f"{self.open_base}/connect/oauth2/authorize?{query}#wechat_redirect"

    async def get_user_info(self, code: str) -> Answer:
        """Who came back with an OAuth code (91023): `userid` for a member, else `openid`. SubjectState: a used code."""
        return await self._call("get", "auth/getuserinfo", params={"code": code})

    async def get_external_contact(self, external_userid: str, cursor: str = "") -> Answer:
        """A customer and a page of the members who follow him (92114); `next_cursor` while there are more than 500."""
        params = {"external_userid": external_userid, "cursor": cursor or None}
        return await self._call("get", "externalcontact/get", params=params)

    async def mark_tag(
        self, userid: str, external_userid: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> Answer:
        """Adds and removes corp tags by id (92118, idempotent); an empty list is left out, both empty is ValueError."""
        if not add and not remove:
            raise ValueError("mark_tag needs a tag to add or to remove")
        body: Answer = {"userid": userid, "external_userid": external_userid}
        if add:
            body["add_tag"] = list(add)
        if remove:
            body["remove_tag"] = list(remove)
        return await self._call("post", "externalcontact/mark_tag", data=body)

    async def get_corp_tag_list(self, *, tag_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Answer:
        """`tag_group` with their tags (92117): of these groups, of these tags, or all."""
        body = {"group_id": list(group_ids)} if group_ids else {"tag_id": list(tag_ids)} if tag_ids else {}
        return await self._call("post", "externalcontact/get_corp_tag_list", data=body)

    async def add_corp_tag(self, names: Sequence[str], *, group_id: str = "", group_name: str = "") -> Answer:
        """Makes tags in a group (92117) and answers `tag_group` with the new ones only; 40071 when a name is taken."""
        group = {"group_id": group_id} if group_id else {"group_name": group_name}
        body = {**group, "tag": [{"name": name} for name in names], "agentid": self.agent_id}
        return await self._call("post", "externalcontact/add_corp_tag", data=body)

    async def add_contact_way(
        self, userids: Sequence[str], *, state: str, remark: str = "", skip_verify: bool = True
    ) -> Answer:
        """A permanent live code (92228, scene 2) of one or several members: `config_id` and `qr_code`.

        `state` and `remark` have at most 30 characters; several members share one code (type 2).
        """
        answer: Answer = await self.external_contact.add_contact_way(
            type=1 if len(userids) == 1 else 2,
            scene=2,
            remark=remark or None,
            skip_verify=skip_verify,
            state=state,
            user=list(userids),
        )
        return answer

    async def get_contact_way(self, config_id: str) -> Answer:
        """The live code's settings under `contact_way` (92228)."""
        answer: Answer = await self.external_contact.get_contact_way(config_id)
        return answer

    async def list_contact_way(
        self, *, start_time: int | None = None, end_time: int | None = None, cursor: str = "", limit: int = 100
    ) -> Answer:
        """A page of this app's `contact_way` ids (92228); times in seconds, by default the last 90 days."""
        body = {"start_time": start_time, "end_time": end_time, "cursor": cursor or None, "limit": limit}
        given = {name: value for name, value in body.items() if value is not None}
        return await self._call("post", "externalcontact/list_contact_way", data=given)

    async def send_welcome_msg(
        self,
        welcome_code: str,
        *,
        text: str = "",
        attachments: Sequence[Answer] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - handed to the HTTP client
    ) -> Answer:
        """Greets a new customer within 20 s (92137), once for all apps.

        SubjectState 41050 (code gone), 41051 (already greeted: do not repeat); TryLater 41096 (another app is sending).
        """
        if not text and not attachments:
            raise ValueError("a welcome needs a text or an attachment")
        body: Answer = {"welcome_code": welcome_code}
        if text:
            body["text"] = {"content": text}
        if attachments:
            body["attachments"] = list(attachments)
        return await self._call("post", "externalcontact/send_welcome_msg", data=body, timeout=timeout)

    async def send_message(self, userids: Sequence[str], message: Answer) -> Answer:
        """An app message to members (90236); `message` holds `msgtype` and its part. `invaliduser` names the missed."""
        answer: Answer = await self.message.send(self.agent_id, list(userids), msg=message)
        return answer

    async def _call(self, method: str, endpoint: str, **options: Any) -> Answer:
        answer: Answer = await self._request(method, endpoint, **options)
        return answer
