"""WeCom's OAuth page: the visitor says which member he is (contract/wechat B1)."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from tornado.web import RequestHandler
from typing_extensions import override

from sandbox.core.sandbox import Sandbox
from sandbox.core.world import App
from sandbox.web.page import harden

STATE = re.compile(r"[A-Za-z0-9]{0,128}")
SCOPES = frozenset({"snsapi_base", "snsapi_privateinfo"})


def _redirect_problem(target: SplitResult, app: App) -> str:
    if target.scheme not in {"http", "https"} or not target.hostname:
        return "redirect_uri 参数错误"
    if app.trusted_domains and target.hostname not in app.trusted_domains:
        return "redirect_uri 与可信域名不符 (50001) redirect_uri is not in the trusted domain"
    return ""


class OAuthPage(RequestHandler):
    """`/open/connect/oauth2/authorize`; with `sandbox_userid`, or coming from a member's window
    of the page, it redirects without asking."""

    @override
    def initialize(self, box: Sandbox) -> None:
        self.box = box

    @override
    def set_default_headers(self) -> None:
        harden(self)

    @override
    async def get(self) -> None:
        problem = self._problem()
        window = unquote(self.get_cookie("sandbox_member") or "")
        chosen = self.get_query_argument("sandbox_userid", window)
        if window:
            self.clear_cookie("sandbox_member", path="/open")
        if problem:
            await self._refuse(problem)
        elif not chosen:
            await self.render("oauth.html", problem="", choices=self._choices())
        else:
            await self._sign_in(chosen)

    async def _refuse(self, problem: str) -> None:
        self.set_status(400)
        await self.render("oauth.html", problem=problem, choices=[])

    async def _sign_in(self, userid: str) -> None:
        """Back to the app with a code for this member."""
        member = self.box.world.member(userid)
        if member is None:
            await self._refuse(f"没有这位员工 no such member: {userid}")
            return
        private = self.get_query_argument("scope") == "snsapi_privateinfo"
        kind = "privateinfo" if private else "oauth"
        code = self.box.codes.issue(kind, member.userid, self.box.world.corp.corp_id)
        self.redirect(self._target(code))

    def _problem(self) -> str:
        """What is wrong with the request, or nothing."""
        ask = self.get_query_argument
        corp = self.box.world.corp
        agent_id = ask("agentid", str(corp.apps[0].agent_id))
        app = self.box.world.app(int(agent_id)) if agent_id.isdecimal() else None
        if ask("appid", "") != corp.corp_id:
            return "appid 参数错误 appid is not the corp id"
        if ask("response_type", "") != "code":
            return "response_type 必须为 code"
        if ask("scope", "") not in SCOPES:
            return "scope 参数错误 scope is unknown"
        if app is None:
            return "agentid 参数错误 agentid is unknown"
        if not STATE.fullmatch(ask("state", "")):
            return "state 只能为 128 字节以内的 a-zA-Z0-9 state has other characters"
        return _redirect_problem(urlsplit(ask("redirect_uri", "")), app)

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
        """Back to where the app wants the code; into the client's own window where the member came
        from there (sandbox/web/client.py)."""
        target = urlsplit(self.get_query_argument("redirect_uri"))
        own = urlsplit(self.box.options.sidebar_url or "")
        if self.get_cookie("sandbox_client") and target[:2] == own[:2]:
            target = target._replace(scheme="", netloc="")
        query = parse_qsl(target.query, keep_blank_values=True)
        query += [("code", code), ("state", self.get_query_argument("state", ""))]
        return urlunsplit(target._replace(query=urlencode(query), fragment=""))
