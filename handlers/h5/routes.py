"""The portal's pages: where they are, with the right beside each."""

from __future__ import annotations

from collections.abc import Callable

from handlers.h5 import pages
from handlers.http import rates
from handlers.http.auth import CUSTOMER, PUBLIC
from handlers.http.route import Route, op, page_route

Make = Callable[..., Route]


def below(base: str, route: Make) -> tuple[Route, ...]:
    """The pages under `base`, each made by `route`."""
    return (
        route(f"{base}/", pages.Arrive, get=op(PUBLIC, "The portal's home, or how to get in")),
        route(f"{base}/phone", pages.Phone, post=op(CUSTOMER, "Bind the phone")),
        route(
            f"{base}/phone/withdrawal",
            pages.Withdraw,
            post=op(CUSTOMER, "Take back the consent for the phone"),
        ),
        route(
            f"{base}/rewards/{{reward}}/claim",
            pages.Claim,
            post=op(CUSTOMER, "Claim a reward", rate=rates.CLAIMS),
        ),
        route(f"{base}/redemptions", pages.Redemptions, get=op(CUSTOMER, "My rewards")),
        route(
            f"{base}/redemptions/{{redemption}}",
            pages.Voucher,
            get=op(CUSTOMER, "One voucher, with the QR code of this minute"),
        ),
        route(
            f"{base}/redemptions/{{redemption}}/now",
            pages.VoucherNow,
            get=op(CUSTOMER, "The part of it that changes"),
        ),
        route(
            f"{base}/redemptions/{{redemption}}/address",
            pages.Delivery,
            get=op(CUSTOMER, "Where a physical reward goes"),
            post=op(CUSTOMER, "Say where it goes"),
        ),
        route(
            f"{base}/redemptions/{{redemption}}/gift",
            pages.OfferGift,
            post=op(CUSTOMER, "Offer it to another customer, where it may be given away"),
        ),
        route(
            f"{base}/redemptions/{{redemption}}/gift/withdrawal",
            pages.WithdrawGift,
            post=op(CUSTOMER, "Offer it to nobody any more"),
        ),
        route(
            f"{base}/gifts",
            pages.TakeGift,
            get=op(CUSTOMER, "The form for the code of a gift"),
            post=op(CUSTOMER, "Take a voucher that another customer gives"),
        ),
        route(f"{base}/points", pages.Points, get=op(CUSTOMER, "My points, with the statement")),
        route(f"{base}/logout", pages.Logout, post=op(CUSTOMER, "Sign out")),
    )


ROUTES: tuple[Route, ...] = (
    page_route(
        "/h5/{appid}/enter",
        pages.Enter,
        get=op(PUBLIC, "From the mini-program's web-view, with a ticket"),
    ),
    *below("/h5/{appid}", page_route),
)
