"""The counter's addresses, with the right beside each."""

from __future__ import annotations

from handlers.counter import pages
from handlers.http import rates
from handlers.http.auth import COUNTER, PUBLIC
from handlers.http.route import op, page_route

ROUTES = (
    page_route("/counter/{tenant}/", pages.Desk, get=op(COUNTER, "The field for a voucher's code")),
    page_route(
        "/counter/{tenant}/sign-in",
        pages.SignIn,
        get=op(PUBLIC, "Sign in to a counter"),
        post=op(PUBLIC, "Sign in to a counter"),
    ),
    page_route("/counter/{tenant}/sign-out", pages.SignOut, post=op(COUNTER, "Sign out")),
    page_route(
        "/counter/{tenant}/account",
        pages.Account,
        get=op(COUNTER, "Oneself"),
        post=op(COUNTER, "Change the password"),
    ),
    page_route(
        "/counter/{tenant}/look",
        pages.Look,
        get=op(COUNTER, "Back to the field"),
        post=op(COUNTER, "Look at a voucher", rate=rates.SEARCHES),
    ),
    page_route(
        "/counter/{tenant}/redeem",
        pages.Redeem,
        get=op(COUNTER, "Back to the field"),
        post=op(COUNTER, "Write a voucher off"),
    ),
    page_route(
        "/counter/{tenant}/today", pages.Today, get=op(COUNTER, "What was written off today")
    ),
    page_route("/counter/{tenant}/uses/{use}", pages.Use, get=op(COUNTER, "A write-off's receipt")),
    page_route(
        "/counter/{tenant}/uses/{use}/undo",
        pages.Undo,
        get=op(COUNTER, "Back to the receipt"),
        post=op(COUNTER, "Take a write-off back"),
    ),
)
