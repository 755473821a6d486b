"""The mini-program's addresses: JSON, with the right beside each."""

from __future__ import annotations

from config.bounds import CLAIM_BYTES
from handlers.http import rates
from handlers.http.auth import CUSTOMER, PUBLIC
from handlers.http.route import json_route, op
from handlers.portal import models, resources

ROUTES = (
    json_route(
        "/mp/{appid}/login",
        resources.Login,
        post=op(
            PUBLIC,
            "Exchange a wx.login code for a session",
            body=models.LoginBody,
            answers=models.LoginAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/logout", resources.Logout, post=op(CUSTOMER, "End the session", status=204)
    ),
    json_route(
        "/mp/{appid}/tickets",
        resources.Tickets,
        post=op(
            CUSTOMER,
            "A ticket by which the web-view shows the customer our pages, once",
            answers=models.TicketAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/phone",
        resources.Phone,
        post=op(
            CUSTOMER,
            "Bind the phone, with consent",
            body=models.PhoneBody,
            answers=models.CustomerView,
        ),
    ),
    json_route(
        "/mp/{appid}/consents",
        resources.Consents,
        get=op(CUSTOMER, "What the customer agreed to", answers=models.ConsentsAnswer),
    ),
    json_route(
        "/mp/{appid}/consents/{purpose}/withdrawal",
        resources.Withdrawal,
        post=op(CUSTOMER, "Take back what the customer agreed to", answers=models.CustomerView),
    ),
    json_route(
        "/mp/{appid}/home",
        resources.Home,
        get=op(CUSTOMER, "The customer's home", answers=models.HomeAnswer),
    ),
    json_route(
        "/mp/{appid}/rewards",
        resources.Rewards,
        get=op(CUSTOMER, "The rewards on offer to this customer", answers=models.RewardsAnswer),
    ),
    json_route(
        "/mp/{appid}/rewards/{reward}/claim",
        resources.Claim,
        post=op(
            CUSTOMER,
            "Claim a reward, once; `Idempotency-Hit: true` marks a repeated answer",
            body=models.ClaimBody,
            most=CLAIM_BYTES,
            rate=rates.CLAIMS,
            answers=models.ClaimAnswer,
            headers=("Idempotency-Key",),
        ),
    ),
    json_route(
        "/mp/{appid}/rewards/{reward}/disclosure",
        resources.Disclosure,
        get=op(
            CUSTOMER,
            "What was published about the reward's promotion, and its hash",
            answers=models.DisclosureAnswer,
        ),
        post=op(
            CUSTOMER,
            "Accept that version, before the first claim",
            body=models.AcceptBody,
            answers=models.DisclosureAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/redemptions",
        resources.Redemptions,
        get=op(CUSTOMER, "What the customer has been granted", answers=models.RedemptionsAnswer),
    ),
    json_route(
        "/mp/{appid}/redemptions/{redemption}/address",
        resources.Address,
        put=op(
            CUSTOMER,
            "Where a physical reward goes; may be changed until it is exported",
            body=models.AddressBody,
            answers=models.DeliveryView,
        ),
    ),
    json_route(
        "/mp/{appid}/redemptions/{redemption}",
        resources.Redemption,
        get=op(
            CUSTOMER,
            "One of them, with the QR code of this minute",
            answers=models.RedemptionAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/redemptions/{redemption}/gift",
        resources.OfferGift,
        post=op(
            CUSTOMER,
            "Offer it to another customer, where its reward may be given away",
            answers=models.GiftAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/redemptions/{redemption}/gift/withdrawal",
        resources.WithdrawGift,
        post=op(CUSTOMER, "Offer it to nobody any more", status=204),
    ),
    json_route(
        "/mp/{appid}/gifts",
        resources.TakeGift,
        post=op(
            CUSTOMER,
            "Take a voucher that another customer gives",
            body=models.GiftBody,
            answers=models.RedemptionAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/points",
        resources.Points,
        get=op(
            CUSTOMER,
            "The customer's points and their statement; `?before=` the `next` of an answer, `?limit=`",
            answers=models.PointsAnswer,
        ),
    ),
    json_route(
        "/mp/{appid}/points/transfers",
        resources.PointsTransfer,
        post=op(CUSTOMER, "Refused: points are given to nobody else", status=409),
    ),
    json_route(
        "/mp/{appid}/subscriptions",
        resources.Subscriptions,
        post=op(
            CUSTOMER,
            "What the customer answered to the prompt for subscribe messages",
            body=models.SubscriptionsBody,
            answers=models.SubscriptionsAnswer,
            headers=("Idempotency-Key",),
        ),
    ),
    json_route(
        "/mp/{appid}/scenes/{scene}",
        resources.Scene,
        get=op(
            CUSTOMER,
            "What the code stands for that the mini-program was opened with",
            answers=models.SceneAnswer,
        ),
    ),
)
