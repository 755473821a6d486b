"""What a customer writes and shows, and how risky he is (contract/wechat A6); and what is left of
an API's quota (A1)."""

from __future__ import annotations

from typing import TypedDict, Unpack

from services.wechat.core.checks import between, chars, need
from services.wechat.miniprogram.calls import Answer, Calls

CONTENT_CHARS = 2500
PROFILE, COMMENT, FORUM, SOCIAL_LOG = 1, 2, 3, 4
AUDIO, IMAGE = 1, 2
REGISTER, MARKETING, CONTENT = 0, 1, 2


class Verdict(TypedDict, total=False):
    """`suggest` pass, review or risky; `label` 100 normal, 10001 ad, 20001 politics, 20002 porn,
    20003 abuse, and so on."""

    suggest: str
    label: int


class VerdictDetail(TypedDict, total=False):
    strategy: str
    errcode: int
    suggest: str
    label: int
    level: int
    prob: float
    keyword: str


class SecCheck(Answer, total=False):
    trace_id: str
    result: Verdict
    detail: list[VerdictDetail]


class MediaCheck(Answer, total=False):
    trace_id: str


class RiskRank(Answer, total=False):
    """`risk_rank` 0 to 4, a higher one is riskier; `unoin_id` (WeChat's spelling) is the id of the
    question."""

    risk_rank: int
    unoin_id: int


class ApiQuota(TypedDict, total=False):
    daily_limit: int
    used: int
    remain: int


class Quota(Answer, total=False):
    quota: ApiQuota


class RequestInfo(TypedDict, total=False):
    invoke_time: int
    cost_in_ms: int
    request_url: str
    request_body: str
    response_body: str
    client_ip: str


class Request(Answer, total=False):
    request: RequestInfo


class RiskFacts(TypedDict, total=False):
    """What else is known of whoever is asked about; `is_test` asks without counting."""

    mobile_no: str
    email_address: str
    extended_info: str
    is_test: bool


class Safety(Calls):
    """Checks; SubjectState 43104 for another mini-program's openid, 61010 for somebody who was not
    here lately."""

    async def msg_sec_check(
        self,
        openid: str,
        content: str,
        *,
        scene: int,
        title: str = "",
        nickname: str = "",
        signature: str = "",
    ) -> SecCheck:
        """The verdict on a text of at most 2500 characters (version 2), by somebody active in the
        last 2 hours.

        `scene` 1 profile (only there with `signature`), 2 comment, 3 forum, 4 social log. 4000 a
        minute, 2 million a day.
        """
        path = "/wxa/msg_sec_check"
        need(path, "an empty text", content)
        chars(path, CONTENT_CHARS, content=content)
        between(path, "scene", scene, PROFILE, SOCIAL_LOG)
        body = {
            "content": content,
            "version": 2,
            "scene": scene,
            "openid": openid,
            "title": title or None,
            "nickname": nickname or None,
            "signature": signature or None,
        }
        return await self._submit(SecCheck, path, body)

    async def media_check_async(
        self, openid: str, media_url: str, *, media_type: int = IMAGE, scene: int
    ) -> MediaCheck:
        """Asks about a picture or sound of at most 10 MB (version 2); the verdict comes within 30
        minutes as an event.

        The event names the `trace_id` answered here. 2000 a minute, 200,000 a day.
        """
        path = "/wxa/media_check_async"
        between(path, "media_type", media_type, AUDIO, IMAGE)
        between(path, "scene", scene, PROFILE, SOCIAL_LOG)
        body = {
            "media_url": media_url,
            "media_type": media_type,
            "version": 2,
            "scene": scene,
            "openid": openid,
        }
        return await self._submit(MediaCheck, path, body)

    async def get_user_risk_rank(
        self,
        openid: str,
        *,
        scene: int,
        client_ip: str,
        **facts: Unpack[RiskFacts],
    ) -> RiskRank:
        """How risky a customer is; `scene` 0 signing up, 1 cheating in a campaign, 2 content.
        SubjectState 61010."""
        path = "/wxa/getuserriskrank"
        need(path, "client_ip is needed", client_ip)
        between(path, "scene", scene, REGISTER, CONTENT)
        body = {
            "appid": self.appid,
            "openid": openid,
            "scene": scene,
            "client_ip": client_ip,
            "mobile_no": facts.get("mobile_no") or None,
            "email_address": facts.get("email_address") or None,
            "extended_info": facts.get("extended_info") or None,
            "is_test": facts.get("is_test") or None,
        }
        return await self._submit(RiskRank, path, body)

    async def clear_quota(self) -> Answer:
        """Sets all of the mini-program's call counts to zero; 10 a month, then SlowDown 48006."""
        return await self._submit(Answer, "/cgi-bin/clear_quota", {"appid": self.appid})

    async def quota_get(self, cgi_path: str) -> Quota:
        """What is left today of one API, named by its path."""
        return await self._submit(Quota, "/cgi-bin/openapi/quota/get", {"cgi_path": cgi_path})

    async def rid_get(self, rid: str) -> Request:
        """What WeChat knows of a request that failed, by the `rid` of its errmsg."""
        return await self._submit(Request, "/cgi-bin/openapi/rid/get", {"rid": rid})
