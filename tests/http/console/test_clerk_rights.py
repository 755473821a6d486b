"""What a clerk may do is asked at each request: a right that was taken is gone, whoever kept a cookie, a session in
Redis, or something that waits for a decision (promise P7)."""

from __future__ import annotations

import httpx
import orjson
import pytest
import yaml

from customers.access import clerk as clerk_access
from customers.banks import apply, clerks
from services import ids
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.http.conftest import PASSWORD, Clerk, form_token, post_form, sign_in
from tests.support.banks import open_bank

DEMO = DEMO_BANK.read_text(encoding="utf-8")
ZHAO = "  - {login: zhao, name: 赵敏, roles: [operations], password: yinqiao-demo}\n"
CAMPAIGN = "/console/campaigns/acq-branch"


async def _apply(demo: Services, text: str) -> None:
    assert text != DEMO
    await apply.apply_tenant(demo, text, "bank.yaml")


async def _submit(lin: httpx.AsyncClient, demo: Services) -> None:
    rows = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "acq-branch", "version": 1})
    text = str(rows[0]["text"]).replace("stock: 20000", "stock: 19999")
    await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=text, campaign="acq-branch")


async def _live_version(demo: Services) -> int:
    row = await demo.store.tenant("demo")["campaigns"].find_one({"campaign": "acq-branch"})
    assert row is not None
    return int(row["live_version"])


async def _posted(client: httpx.AsyncClient, token: str, action: str) -> int:
    answer = await client.post(action, data={"_xsrf": token})
    return answer.status_code


async def test_a_removed_clerk_approves_pauses_and_reads_nothing_with_the_cookie_he_kept(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await _submit(lin, demo)
    token = form_token((await zhao.get(CAMPAIGN)).text)
    await _apply(demo, DEMO.replace(ZHAO, ""))
    for action in (f"{CAMPAIGN}/versions/2/approve", f"{CAMPAIGN}/pause"):
        assert await _posted(zhao, token, action) == 401
    for page in ("/console/audit", CAMPAIGN, "/console/"):
        assert (await zhao.get(page)).headers["Location"] == "/console/login"
    assert await _live_version(demo) == 1
    await apply.apply_tenant(demo, DEMO, "bank.yaml")
    assert (await zhao.get(CAMPAIGN)).status_code == 303, "who comes back signs in again"
    assert (await lin.get(CAMPAIGN)).status_code == 200


async def test_a_demoted_clerk_has_what_his_new_role_grants_and_signs_in_again(
    clerk: Clerk, demo: Services, http: httpx.AsyncClient
) -> None:
    zhao = await clerk("zhao")
    token = form_token((await zhao.get(CAMPAIGN)).text)
    await _apply(demo, DEMO.replace("赵敏, roles: [operations]", "赵敏, roles: [viewer]"))
    assert await _posted(zhao, token, f"{CAMPAIGN}/pause") == 401
    await sign_in(http, "demo", "zhao", PASSWORD)
    assert (await http.get("/console/audit")).status_code == 403
    assert (await http.get(CAMPAIGN)).status_code == 200


async def test_roles_are_read_from_the_database_and_not_from_the_session(clerk: Clerk, demo: Services) -> None:
    """Also when nothing ended the session: another process changed the row a moment ago."""
    zhao = await clerk("zhao")
    await demo.store.tenant("demo")["clerks"].update({"login": "zhao"}, {"$set": {"roles": ["viewer"]}})
    demo.cache.clear()
    assert (await zhao.get("/console/audit")).status_code == 403
    assert (await zhao.get(CAMPAIGN)).status_code == 200


async def test_a_new_password_ends_every_session(clerk: Clerk, demo: Services) -> None:
    both = [await clerk("zhao"), await clerk("zhao")]
    await clerks.set_password(await open_bank(demo, "demo"), "zhao", "steinhauer 4 segel")
    for client in both:
        assert (await client.get("/console/")).headers["Location"] == "/console/login"


async def test_a_session_that_survived_in_redis_is_over_by_the_clerks_row_alone(clerk: Clerk, demo: Services) -> None:
    zhao = await clerk("zhao")
    keys = await demo.redis.keys("yq:session:clerk:*")
    kept = {key: await demo.redis.get(key) for key in keys}
    await clerk_access.sign_out(demo, "", clerk_access.NOWHERE)
    await clerks.sign_out_everywhere(await open_bank(demo, "demo"), "zhao")
    for key, value in kept.items():
        await demo.redis.set(key, value)
    assert (await zhao.get("/console/")).headers["Location"] == "/console/login"


@pytest.mark.parametrize("now", ["", ZHAO.replace("[operations]", "[auditor]")])
async def test_what_a_removed_or_demoted_clerk_submitted_is_not_approved(
    clerk: Clerk, demo: Services, now: str
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await _submit(zhao, demo)
    await _apply(demo, DEMO.replace(ZHAO, now))
    refused = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/versions/2/approve")
    assert (refused.status_code, "提交人已不再有提交的权限" in refused.text) == (409, True)
    assert await _live_version(demo) == 1
    turned_down = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/versions/2/reject", reason="提交人已离职")
    assert turned_down.status_code == 200


async def test_a_clerk_of_a_bank_that_is_no_more_is_nobody(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    await demo.store.system("tenants").delete({"_id": "demo"})
    demo.cache.clear()
    assert (await lin.get("/console/")).headers["Location"] == "/console/login"


@pytest.mark.parametrize("kind", ["clerk", "staff", "customer"])
async def test_who_writes_to_redis_is_nobody(http: httpx.AsyncClient, demo: Services, kind: str, appid: str) -> None:
    """A session of one's own making, as it was once stored and as it might be guessed to be."""
    token = ids.token()
    made = {"tenant": "demo", "login": "lin", "userid": "rm.chen", "name": "林晓", "cid": "demo:1", "appid": appid}
    made |= {"permissions": sorted(clerks.PERMISSIONS["operations"]), "epoch": 0}
    for forged in (made, {"until": 9e9, "session": made}):
        await demo.redis.set(f"yq:session:{kind}:{ids.fingerprint(token.encode())}", orjson.dumps(forged))
        http.cookies.set("yq_console", token)
        http.cookies.set("yq_rm_demo", token)
        assert (await http.get("/console/")).headers["Location"] == "/console/login"
        assert (await http.get("/sidebar/demo/")).status_code == 302
        home = await http.get(f"/mp/{appid}/home", headers={"Authorization": f"Bearer {token}"})
        assert home.status_code == 401


async def test_anothers_session_under_ones_own_token_is_no_session(clerk: Clerk, demo: Services) -> None:
    audit = await clerk("audit")
    own = f"yq:session:clerk:{ids.fingerprint(audit.cookies['yq_console'].encode())}"
    lin = await clerk("lin")
    his = f"yq:session:clerk:{ids.fingerprint(lin.cookies['yq_console'].encode())}"
    await demo.redis.set(own, await demo.redis.get(his))
    assert (await audit.get("/console/audit")).headers["Location"] == "/console/login"
    assert (await lin.get("/console/audit")).status_code == 200


async def test_a_mini_program_that_left_the_file_lets_nobody_in(
    customer: httpx.AsyncClient, demo: Services, appid: str
) -> None:
    other = "wx5ab0000000000002"
    assert (await customer.get(f"/mp/{other}/home")).status_code == 200
    file = yaml.safe_load(DEMO)
    file["miniprograms"] = [program for program in file["miniprograms"] if program["appid"] != appid]
    await _apply(demo, yaml.safe_dump(file, allow_unicode=True))
    for at in (appid, other):
        assert (await customer.get(f"/mp/{at}/home")).status_code == 401


async def test_an_rm_who_left_the_file_signs_in_again_when_he_is_back(rm: httpx.AsyncClient, demo: Services) -> None:
    assert (await rm.get("/sidebar/demo/")).status_code == 200
    await _apply(demo, DEMO.replace("  - {userid: rm.chen, name: 陈思远, branch: sz-nanshan}\n", ""))
    assert (await rm.get("/sidebar/demo/")).status_code == 302
    await apply.apply_tenant(demo, DEMO, "bank.yaml")
    assert (await rm.get("/sidebar/demo/")).status_code == 302


async def test_an_rms_session_that_survived_in_redis_is_over_by_his_row_alone(
    rm: httpx.AsyncClient, demo: Services
) -> None:
    kept = {key: await demo.redis.get(key) for key in await demo.redis.keys("yq:session:staff:*")}
    assert kept
    await _apply(demo, DEMO.replace("  - {userid: rm.chen, name: 陈思远, branch: sz-nanshan}\n", ""))
    await apply.apply_tenant(demo, DEMO, "bank.yaml")
    for key, value in kept.items():
        await demo.redis.set(key, value)
    assert (await rm.get("/sidebar/demo/")).status_code == 302


async def test_an_rm_who_changes_his_branch_sees_it_at_once(rm: httpx.AsyncClient, demo: Services) -> None:
    assert "深圳南山支行" in (await rm.get("/sidebar/demo/")).text
    await _apply(
        demo, DEMO.replace("rm.chen, name: 陈思远, branch: sz-nanshan", "rm.chen, name: 陈思远, branch: gz-tianhe")
    )
    page = (await rm.get("/sidebar/demo/")).text
    assert ("广州天河支行" in page, "深圳南山支行" in page) == (True, False)
