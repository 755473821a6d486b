"""The route table is the security review; here every row of it is tried without a session and with a wrong one."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable

import httpx
import pytest

from customers.approvals import approvals
from customers.banks.clerks import PERMISSIONS as ROLES
from handlers.http.auth import COUNTER, CUSTOMER, PERMISSIONS, PUBLIC, STAFF, UnknownPermission
from handlers.http.route import Route, op
from handlers.routes import BROWSERS, ROUTES
from services.container import Services
from tests.http.conftest import APPID, PASSWORD, Clerk, form_token, post_form, sign_in
from tests.http.console import at_stake

Clients = Callable[[], Awaitable[httpx.AsyncClient]]
FILLED = {
    "appid": APPID,
    "tenant": "demo",
    "reward": "flash.voucher",
    "campaign": "acq-branch",
    "version": "1",
    "cid": "demo:" + "0" * 32,
}
FIELDS = {
    "reason": "nein", "act": "recall", "points": "3", "what": "all", "low": "3", "state": "delivered", "kind": "csv",
    "text": "order,number\nYQ-1,SF00001",
}  # fmt: skip
"""What a form needs so that it is not refused for itself."""
RIGHTS_OF = {"customers", "rewards", "campaigns"}
"""The rooms in which something takes two clerks."""
INSIDE = {"segments.reveal"}
"""Rights that a form's fields ask for besides its path's: tests/integration/customers/test_lists.py tries them."""
GUARDED = [
    (route, method, route.ops[method].permission)
    for route in ROUTES
    for method in route.ops
    if route.ops[method].permission != PUBLIC
]


def _path(route: Route, filled: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: filled.get(name[1], "demo:" + "0" * 32), route.path)


async def _try(
    client: httpx.AsyncClient, route: Route, method: str, token: str, filled: dict[str, str] = FILLED
) -> httpx.Response:
    headers = {"Idempotency-Key": "k", "X-XSRFToken": token}
    files = {"file": ("codes.csv", b"code")} if route.ops[method].file else None
    return await client.request(method, _path(route, filled), headers=headers, data=FIELDS, files=files)


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


async def test_a_clerk_without_the_permission_is_refused_and_nothing_changes(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every path that needs a right, with what is there at stake."""
    waiting = FILLED | await at_stake.wait(demo)
    monkeypatch.setitem(ROLES, "auditor", frozenset())
    nobody = await clerk("audit")
    token = form_token((await nobody.get("/console/account")).text)
    before = at_stake.kept(demo, "demo")
    answers = {
        (method, route.path): (await _try(nobody, route, method, token, waiting)).status_code
        for route, method, permission in GUARDED
        if "." in permission
    }
    assert len(answers) > 130
    assert {at for at, status in answers.items() if status != 403} == set()
    assert at_stake.kept(demo, "demo") == before


async def test_another_banks_clerk_finds_nothing(http: httpx.AsyncClient, other_bank: str, demo: Services) -> None:
    waiting = FILLED | await at_stake.wait(demo)
    assert (await sign_in(http, other_bank, "eve", PASSWORD)).status_code == 303
    token = await _token(http)
    assert "acq-branch" not in (await http.get("/console/")).text
    before = [at_stake.kept(demo, bank) for bank in ("demo", other_bank)]
    answers = {
        (method, route.path): (await _try(http, route, method, token, waiting)).status_code
        for route, method, permission in GUARDED
        if "." in permission and any(f"{{{name}}}" in route.path for name in waiting)
    }
    assert len(answers) == 82
    assert {at: status for at, status in answers.items() if status != 404} == {}
    assert [at_stake.kept(demo, bank) for bank in ("demo", other_bank)] == before
    assert (await http.get("/console/audit")).text.count("campaign.") == 0


async def test_nobody_agrees_to_what_he_asked_for_himself(clerk: Clerk, demo: Services) -> None:
    waiting = FILLED | await at_stake.wait(demo)
    lin, zhao = await clerk("lin"), await clerk("zhao")
    token = await _token(lin)
    own = [route for route, _, _ in GUARDED if route.path.endswith("/approve") and _waits(route, waiting)]
    before = at_stake.kept(demo, "demo")
    answers = {route.path: (await _try(lin, route, "POST", token, waiting)).status_code for route in own}
    assert len(answers) == 8
    assert set(answers.values()) == {403}
    assert at_stake.kept(demo, "demo") == before
    token = await _token(zhao)
    agreed = {route.path: (await _try(zhao, route, "POST", token, waiting)).status_code for route in own}
    assert set(agreed.values()) == {303}, "all of it did wait"


def _waits(route: Route, waiting: dict[str, str]) -> bool:
    """Whether the path is about one of the things that `at_stake` has waiting."""
    rooms = ("pools", "vouchers", "points", "ledger", "items", "segments", "shipping")
    return route.path.split("/")[2] in rooms and set(route.parameters) <= set(waiting)


async def test_no_form_is_taken_without_the_token_of_a_page_of_ours(
    clerk: Clerk, rm: httpx.AsyncClient, customer: httpx.AsyncClient, clients: Clients, demo: Services
) -> None:
    """As another site would post it, from the browser of somebody who is signed in, to each face."""
    waiting = FILLED | await at_stake.wait(demo)
    teller = await clients()
    fields = {"name": "nanshan", "password": PASSWORD}
    await post_form(teller, "/counter/demo/sign-in", "/counter/demo/sign-in", **fields)
    customer.cookies.set(f"yq_portal_{APPID}", customer.headers["Authorization"].removeprefix("Bearer "))
    people = {"console": await clerk("lin"), "counter": teller, "sidebar": rm, "h5": customer, "preview": customer}
    before = at_stake.kept(demo, "demo")
    answers = {
        route.path: (await _try(people[route.path.split("/")[1]], route, "POST", "", waiting)).status_code
        for route in BROWSERS
        if "POST" in route.ops
    }
    assert {face.split("/")[1] for face in answers} == set(people)
    assert {path: status for path, status in answers.items() if status != 403} == {}
    assert at_stake.kept(demo, "demo") == before


def test_a_permission_that_the_catalogue_lacks_fails_at_import() -> None:
    with pytest.raises(UnknownPermission):
        op("campaigns.raed", "a misspelling")


def test_every_right_that_a_role_grants_is_in_the_catalogue_and_used() -> None:
    granted = frozenset().union(*ROLES.values())
    used = {permission for _, _, permission in GUARDED}
    assert granted <= set(PERMISSIONS)
    assert granted == {permission for permission in used if "." in permission} | INSIDE


def test_whatever_takes_two_clerks_says_which_right_its_author_needs() -> None:
    """Who has lost it meanwhile has asked for nothing: of a right that nobody has, nothing would be approved."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.split(".")[0] in RIGHTS_OF]
    kinds = {one.name: one.right for module in modules for one in vars(module).values() if type(one) is approvals.Kind}
    assert {name for name, right in kinds.items() if not right} == {"clerk", "counter"}
    submitting = {permission for _, method, permission in GUARDED if method == "POST"}
    assert len(kinds) == 16
    assert {right for right in kinds.values() if right} <= submitting
