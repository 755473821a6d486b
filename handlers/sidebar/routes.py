"""The side panel's addresses, with the right beside each."""

from __future__ import annotations

from handlers.http.auth import PUBLIC, STAFF
from handlers.http.route import op, page_route
from handlers.sidebar import pages, writeoff

ROUTES = (
    page_route("/sidebar/{tenant}/", pages.Customers, get=op(STAFF, "The RM's customers")),
    page_route(
        "/sidebar/{tenant}/chat", pages.Chat, get=op(PUBLIC, "What WeCom's chat toolbar opens")
    ),
    page_route(
        "/sidebar/{tenant}/contact", pages.Contact, get=op(STAFF, "The customer whose chat it is")
    ),
    page_route(
        "/sidebar/{tenant}/oauth", pages.OAuth, get=op(PUBLIC, "Back from WeCom, with a code")
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}",
        pages.Customer,
        get=op(STAFF, "One customer's timeline"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/notes",
        pages.Notes,
        post=op(STAFF, "Note something of a customer"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/fields/{field}",
        pages.FieldHistory,
        get=op(STAFF, "What a customer's field holds and held"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/fields/{field}/write",
        pages.WriteField,
        post=op(STAFF, "Write what the RM knows of a customer"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/tags",
        pages.Tags,
        post=op(STAFF, "Add a tag, or remove it"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/offers",
        pages.Offer,
        post=op(STAFF, "Offer a reward from the month's allowance"),
    ),
    page_route(
        "/sidebar/{tenant}/offers",
        pages.Offers,
        get=op(STAFF, "What was offered in a month, and what it costs"),
    ),
    page_route(
        "/sidebar/{tenant}/customers/{cid}/consents/{purpose}/withdraw",
        pages.WithdrawConsent,
        post=op(STAFF, "Note that the customer withdrew his consent"),
    ),
    page_route(
        "/sidebar/{tenant}/counter",
        writeoff.Counter,
        get=op(STAFF, "Write off a voucher, and what was written off today"),
    ),
    page_route(
        "/sidebar/{tenant}/counter/look",
        writeoff.Look,
        post=op(STAFF, "Look at a voucher that was scanned or typed"),
    ),
    page_route(
        "/sidebar/{tenant}/counter/redeem",
        writeoff.Redeem,
        post=op(STAFF, "Write off a voucher"),
    ),
    page_route(
        "/sidebar/{tenant}/counter/uses/{use}/undo",
        writeoff.Undo,
        post=op(STAFF, "Take back what was written off"),
    ),
    page_route("/sidebar/{tenant}/logout", pages.Logout, post=op(STAFF, "Sign out")),
)
