"""The addresses of partners' programs and of the bank's own systems, with the right beside each.
Whatever is here is signed (handlers/open/signing.py)."""

from __future__ import annotations

from config.bounds import CLAIM_BYTES, INTAKE_BYTES
from handlers.http import rates
from handlers.http.auth import PARTNER, SYSTEM
from handlers.http.route import json_route, op
from handlers.open import intake, models, resources
from handlers.open.signing import HEADERS, KEY

ROUTES = (
    json_route(
        "/open/v1/vouchers/{code}",
        resources.Look,
        get=op(
            PARTNER,
            "What a voucher is, and whether it may be used here; `branch` or `merchant` in the query",
            answers=models.VoucherAnswer,
            headers=HEADERS,
            rate=rates.PARTNERS,
        ),
    ),
    json_route(
        "/open/v1/vouchers/{code}/redeem",
        resources.Redeem,
        post=op(
            PARTNER,
            "Write a voucher off, once; `Idempotency-Hit: true` marks a repeated answer",
            body=models.RedeemBody,
            answers=models.ReceiptAnswer,
            headers=(*HEADERS, KEY),
            most=CLAIM_BYTES,
            rate=rates.PARTNERS,
        ),
    ),
    json_route(
        "/open/v1/vouchers/{code}/undo",
        resources.Undo,
        post=op(
            PARTNER,
            "Take a write-off back, within ten minutes",
            body=models.UndoBody,
            answers=models.ReceiptAnswer,
            headers=HEADERS,
            most=CLAIM_BYTES,
            rate=rates.PARTNERS,
        ),
    ),
    json_route(
        "/open/v1/events",
        intake.Events,
        post=op(
            SYSTEM,
            "Send up to 500 events; each is answered, and those that are accepted are stored",
            body=models.EventsBody,
            answers=models.IntakeAnswer,
            headers=HEADERS,
            most=INTAKE_BYTES,
            rate=rates.SYSTEMS,
        ),
    ),
    json_route(
        "/open/v1/customers",
        intake.Customers,
        post=op(
            SYSTEM,
            "Tell what the bank knows of up to 500 customers; each is answered",
            body=models.CustomersBody,
            answers=models.IntakeAnswer,
            headers=HEADERS,
            most=INTAKE_BYTES,
            rate=rates.SYSTEMS,
        ),
    ),
    json_route(
        "/open/v1/customers/{number}",
        intake.Customer,
        put=op(
            SYSTEM,
            "Tell what the bank knows of the customer with its number",
            body=models.CustomerBody,
            answers=models.IntakeAnswer,
            headers=HEADERS,
            most=INTAKE_BYTES,
            rate=rates.SYSTEMS,
        ),
    ),
)
