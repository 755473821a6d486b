"""The route table is the security review; here every row of it is tried without a session and with a wrong one."""

from __future__ import annotations

import re
import sys

import httpx
import pytest

from customers.approvals import approvals
from customers.banks.clerks import PERMISSIONS as ROLES
from handlers.http.auth import COUNTER, CUSTOMER, PERMISSIONS, PUBLIC, STAFF, UnknownPermission
from handlers.http.route import Route, op
from handlers.routes import ROUTES
from tests.http.conftest import APPID, PASSWORD, Clerk, form_token, sign_in

FILLED = {
    "{appid}": APPID,
    "{tenant}": "demo",
    "{reward}": "flash.voucher",
    "{campaign}": "acq-branch",
    "{version}": "1",
    "{cid}": "demo:" + "0" * 32,
}
RIGHTS_OF = {"customers", "rewards", "campaigns"}
"""The rooms in which something takes two clerks."""
GUARDED = [
    (route, method, route.ops[method].permission)
    for route in ROUTES
    for method in route.ops
    if route.ops[method].permission != PUBLIC
]


def _path(route: Route) -> str:
    path = route.path
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return re.sub(r"\{\w+\}", "demo:" + "0" * 32, path)


async def _try(client: httpx.AsyncClient, route: Route, method: str, token: str) -> httpx.Response:
    headers = {"Idempotency-Key": "k", "X-XSRFToken": token}
    files = {"file": ("codes.csv", b"code")} if route.ops[method].file else None
    return await client.request(method, _path(route), headers=headers, files=files)


async def _token(client: httpx.AsyncClient) -> str:
    return form_token((await client.get("/console/login")).text)


def _refused(answer: httpx.Response, route: Route, method: str, permission: str) -> bool:
    """401; a page that was only asked for sends the visitor to where he gets a session."""
    if answer.status_code in (302, 303) and method == "GET":
        own = "/" + route.path.split("/")[1] + "/"
        elsewhere = {CUSTOMER: own, STAFF: "/open/connect/oauth2/authorize", COUNTER: "/counter/demo/sign-in"}
        where = elsewhere.get(permission, "/console/login")
        return where in answer.headers["Location"]
    return answer.status_code == 401


async def test_no_guarded_route_answers_without_a_session(http: httpx.AsyncClient) -> None:
    token = await _token(http)
    assert len(GUARDED) >= 25
    open_routes = [
        (method, route.path)
        for route, method, permission in GUARDED
        if not _refused(await _try(http, route, method, token), route, method, permission)
    ]
    assert open_routes == []


async def test_a_token_of_one_face_opens_no_other(customer: httpx.AsyncClient, rm: httpx.AsyncClient) -> None:
    token = await _token(customer)
    tokens = {CUSTOMER: rm.cookies["yq_rm_demo"]}
    mine = customer.headers.pop("Authorization").removeprefix("Bearer ")
    wrong = []
    for route, method, permission in GUARDED:
        stolen = tokens.get(permission, mine)
        for cookie in ("yq_console", "yq_rm_demo", "yq_counter_demo", f"yq_portal_{APPID}"):
            customer.cookies.set(cookie, stolen)
        customer.headers["Authorization"] = f"Bearer {stolen}"
        if not _refused(await _try(customer, route, method, token), route, method, permission):
            wrong.append((method, route.path))
    assert wrong == []


async def test_a_clerk_without_the_permission_is_refused(clerk: Clerk) -> None:
    auditor = await clerk("audit")
    token = await _token(auditor)
    answers = {
        (method, route.path): (await _try(auditor, route, method, token)).status_code
        for route, method, permission in GUARDED
        if permission in {"campaigns.submit", "campaigns.approve", "campaigns.pause"}
    }
    assert len(answers) == 9
    assert set(answers.values()) == {403}
    assert (await auditor.get("/console/audit")).status_code == 200


async def test_another_banks_clerk_finds_nothing(http: httpx.AsyncClient, other_bank: str) -> None:
    assert (await sign_in(http, other_bank, "eve", PASSWORD)).status_code == 303
    token = await _token(http)
    assert "acq-branch" not in (await http.get("/console/")).text
    answers = {
        (method, route.path): (await _try(http, route, method, token)).status_code
        for route, method, _ in GUARDED
        if "{campaign}" in route.path and not route.path.endswith("/reject")
    }
    assert len(answers) == 9
    assert set(answers.values()) == {404}
    assert (await http.get("/console/audit")).text.count("campaign.") == 0


def test_a_permission_that_the_catalogue_lacks_fails_at_import() -> None:
    with pytest.raises(UnknownPermission):
        op("campaigns.raed", "a misspelling")


def test_every_right_that_a_role_grants_is_in_the_catalogue_and_used() -> None:
    granted = frozenset().union(*ROLES.values())
    used = {permission for _, _, permission in GUARDED}
    assert granted <= set(PERMISSIONS)
    assert granted == {permission for permission in used if "." in permission}


def test_whatever_takes_two_clerks_says_which_right_its_author_needs() -> None:
    """Who has lost it meanwhile has asked for nothing: of a right that nobody has, nothing would be approved."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.split(".")[0] in RIGHTS_OF]
    kinds = {one.name: one.right for module in modules for one in vars(module).values() if type(one) is approvals.Kind}
    assert {name for name, right in kinds.items() if not right} == {"clerk", "counter"}
    submitting = {permission for _, method, permission in GUARDED if method == "POST"}
    assert len(kinds) == 14
    assert {right for right in kinds.values() if right} <= submitting
