"""Every path of WeCom's server API."""

from __future__ import annotations

from sandbox.core.api import Endpoint
from sandbox.wecom import (
    acquisition_links,
    app_messages,
    broadcasts,
    contact_ways,
    contacts,
    credentials,
    group_welcomes,
    groups,
    handovers,
    intercept_rules,
    join_ways,
    media,
    members,
    message_archive,
    moments,
    strategy_tags,
    tags,
    template_cards,
    welcome,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *credentials.ENDPOINTS,
    *members.ENDPOINTS,
    *contacts.ENDPOINTS,
    *tags.ENDPOINTS,
    *strategy_tags.ENDPOINTS,
    *contact_ways.ENDPOINTS,
    *acquisition_links.ENDPOINTS,
    *groups.ENDPOINTS,
    *join_ways.ENDPOINTS,
    *welcome.ENDPOINTS,
    *broadcasts.ENDPOINTS,
    *group_welcomes.ENDPOINTS,
    *moments.ENDPOINTS,
    *handovers.ENDPOINTS,
    *app_messages.ENDPOINTS,
    *template_cards.ENDPOINTS,
    *media.ENDPOINTS,
    *message_archive.ENDPOINTS,
    *intercept_rules.ENDPOINTS,
)
