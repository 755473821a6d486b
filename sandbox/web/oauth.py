"""WeCom's OAuth page: the visitor says which member he is (contract/wechat B1)."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core.sandbox import Sandbox
from sandbox.web.page import harden

STATE = re.compile(r"[A-Za-z0-9]{0,128}")
SCOPES = frozenset({"snsapi_base", "snsapi_privateinfo"})


class OAuthPage(RequestHandler):
    """`/open/connect/oauth2/authorize`; with `sandbox_userid` it redirects without asking."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    def set_default_headers(self) -> None:
        harden(self)

    @override
    async def get(self) -> None:
        problem = self._problem()
        if problem:
            self.set_status(400)
            await self.render("oauth.html", problem=problem, choices=[])
            return
        chosen = self.get_query_argument("sandbox_userid", "")
        if not chosen:
            await self.render("oauth.html", problem="", choices=self._choices())
            return
        member = self.box.world.member(chosen)
        if member is None:
            self.set_status(400)
            await self.render(
                "oauth.html", problem=f"没有这位员工 no such member: {chosen}", choices=[]
            )
            return
        kind = (
            "privateinfo" if self.get_query_argument("scope") == "snsapi_privateinfo" else "oauth"
        )
        code = self.box.codes.issue(kind, member.userid, self.box.world.corp.corp_id)
        self.redirect(self._target(code))

    def _problem(self) -> str:
        """What is wrong with the request, or nothing."""
        ask = self.get_query_argument
        corp, target = self.box.world.corp, urlsplit(ask("redirect_uri", ""))
        agent_id, state = ask("agentid", str(corp.apps[0].agent_id)), ask("state", "")
        app = self.box.world.app(int(agent_id)) if agent_id.isdecimal() else None
        checks = [
            (ask("appid", "") == corp.corp_id, "appid 参数错误 appid is not the corp id"),
            (ask("response_type", "") == "code", "response_type 必须为 code"),
            (ask("scope", "") in SCOPES, "scope 参数错误 scope is unknown"),
            (app is not None, "agentid 参数错误 agentid is unknown"),
            (
                STATE.fullmatch(state) is not None,
                "state 只能为 128 字节以内的 a-zA-Z0-9 state has other characters",
            ),
            (target.scheme in {"http", "https"} and bool(target.hostname), "redirect_uri 参数错误"),
            (
                app is None or not app.trusted_domains or target.hostname in app.trusted_domains,
                "redirect_uri 与可信域名不符 (50001) redirect_uri is not in the trusted domain",
            ),
        ]
        return next((text for right, text in checks if not right), "")

    def _choices(self) -> list[tuple[str, str, str]]:
        """Name, branch and link of each member."""
        branches = {d.id: d.name for d in self.box.world.corp.departments}
        query = [(k, v) for k, v in parse_qsl(self.request.query, keep_blank_values=True)]
        return [
            (
                m.name,
                branches.get(m.department, ""),
                "?" + urlencode([*query, ("sandbox_userid", m.userid)]),
            )
            for m in self.box.world.corp.members
        ]

    def _target(self, code: str) -> str:
        target = urlsplit(self.get_query_argument("redirect_uri"))
        query = parse_qsl(target.query, keep_blank_values=True)
        query += [("code", code), ("state", self.get_query_argument("state", ""))]
        return urlunsplit(target._replace(query=urlencode(query), fragment=""))
