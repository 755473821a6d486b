"""The side panel's addresses, with the right beside each."""

from __future__ import annotations

from handlers.http.auth import PUBLIC, STAFF
from handlers.http.route import op, page
from handlers.sidebar import pages

ROUTES = (
    page("/sidebar/{tenant}/", pages.Customers, get=op(STAFF, "The RM's customers")),
    page("/sidebar/{tenant}/oauth", pages.OAuth, get=op(PUBLIC, "Back from WeCom, with a code")),
    page(
        "/sidebar/{tenant}/customers/{cid}", pages.Customer, get=op(STAFF, "One customer's story")
    ),
    page(
        "/sidebar/{tenant}/customers/{cid}/notes",
        pages.Notes,
        post=op(STAFF, "Note something of a customer"),
    ),
    page(
        "/sidebar/{tenant}/customers/{cid}/tags",
        pages.Tags,
        post=op(STAFF, "Put a tag on, or take it off"),
    ),
    page("/sidebar/{tenant}/logout", pages.Logout, post=op(STAFF, "Sign out")),
)
