"""Every kind of effect that the product performs, by name: those of the campaigns' verbs, and those
of the other rooms."""

from __future__ import annotations

from campaigns.engine.verbs import VERBS
from customers.alerts.cards import CARD, CARD_UPDATE
from customers.banks.bank import Bank
from customers.identity.conversion import CONVERT
from customers.messaging.subscriptions import SUBSCRIBE
from customers.wecom_mirror.details import ENRICH
from customers.wecom_mirror.groups import READ_GROUP
from rewards.shipping.shipments import FORGET
from services.queue.effects import EffectKind

ALL: tuple[EffectKind[Bank], ...] = (
    *(kind for verb in VERBS for kind in verb.kinds),
    ENRICH,
    CARD,
    CARD_UPDATE,
    CONVERT,
    SUBSCRIBE,
    READ_GROUP,
    FORGET,
)
KINDS = {kind.name: kind for kind in ALL}
