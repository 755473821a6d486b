"""The portal as pages and the demo's front page; none of them is there in production."""

from __future__ import annotations

from handlers.dev import front, preview
from handlers.http import rates
from handlers.http.auth import CUSTOMER, PUBLIC
from handlers.http.route import dev_page_route, op

ROUTES = (
    dev_page_route("/", front.Front, get=op(PUBLIC, "The demo's front page")),
    dev_page_route(
        "/preview/{appid}/", preview.Arrive, get=op(PUBLIC, "The portal's home, or how to get in")
    ),
    dev_page_route("/preview/{appid}/phone", preview.Phone, post=op(CUSTOMER, "Bind the phone")),
    dev_page_route(
        "/preview/{appid}/phone/withdrawal",
        preview.Withdraw,
        post=op(CUSTOMER, "Take back the consent for the phone"),
    ),
    dev_page_route(
        "/preview/{appid}/rewards/{reward}/claim",
        preview.Claim,
        post=op(CUSTOMER, "Claim a reward", rate=rates.CLAIMS),
    ),
    dev_page_route(
        "/preview/{appid}/redemptions", preview.Redemptions, get=op(CUSTOMER, "My rewards")
    ),
    dev_page_route("/preview/{appid}/logout", preview.Logout, post=op(CUSTOMER, "Sign out")),
)
