"""Every collection of the product, for whoever opens the store: web, workers, command line, tests."""

from __future__ import annotations

from campaigns.channels.rows import ACQUISITION_BALANCE, ACQUISITION_LINKS, ARRIVALS, CHANNELS
from campaigns.community.rows import GROUP_GREETINGS
from campaigns.corp_tags.rows import TAG_ACTS
from campaigns.document.rows import CAMPAIGN_VERSIONS, CAMPAIGNS
from campaigns.engine.rows import RUNS
from customers.access.sign_in import SIGN_INS
from customers.alerts.rows import ALARMS, NOTICES
from customers.approvals.rows import APPROVALS
from customers.archive.rows import ARCHIVE, ARCHIVE_CONSENTS, ARCHIVE_PULLS
from customers.banks.rows import CLERKS, COUNTERS, PARTNERS, STAFF, SYSTEMS, TENANTS
from customers.consent import CONSENTS
from customers.fields.rows import FIELD_HISTORY, FIELD_VALUES
from customers.handover.rows import HANDOVER_BATCHES, HANDOVERS
from customers.happenings import LISTENERS
from customers.identity.awaited import AWAITED
from customers.identity.rows import CONVERSIONS, CUSTOMERS, IDENTITIES, MERGES, REVIEW_TASKS
from customers.intake.rows import (
    BANK_EVENTS,
    BANK_TOLD,
    EVENT_TALLIES,
    INTAKE,
    INTAKE_FILES,
)
from customers.intercepts import INTERCEPT_CHANGES, INTERCEPT_RULES
from customers.lists.rows import LIST_MEMBERS, LIST_UPLOADS, LISTS
from customers.messaging.rows import CONTENT_CHECKS, POSTER_CODES, SUBSCRIPTIONS
from customers.profiles.rows import PROFILES
from customers.relationships import RELATIONSHIPS
from customers.rfm.rows import RFM_NIGHTS, RFM_PARTS
from customers.segments.rows import (
    SEGMENT_FILLS,
    SEGMENT_MEMBERS,
    SEGMENT_TAKEN,
    SEGMENT_VERSIONS,
    SEGMENTS,
)
from customers.timeline import TIMELINE
from customers.webhooks.rows import WEBHOOK_DELIVERIES, WEBHOOKS
from customers.wecom_mirror.rows import (
    CORP_TAGS,
    DEPARTMENTS,
    GROUP_MEMBERS,
    GROUPS,
    MEMBERS,
    SYNC_DIFFERENCES,
    SYNC_ERRORS,
)
from operations.audience import AUDIENCE
from operations.events.rows import DEAD_LETTERS
from operations.scheduler import TICKS
from operations.sync.rows import SYNCS
from rewards.budget import BUDGETS
from rewards.desk import COUNTER_DAYS
from rewards.disclosure import DISCLOSURE_ACCEPTANCES, DISCLOSURES
from rewards.items.rows import REWARD_ITEM_VERSIONS, REWARD_ITEMS
from rewards.ledger.rows import (
    ACCOUNTS,
    HOLDS,
    LEDGER_ADJUSTMENTS,
    LEDGER_BATCHES,
    LEDGER_CLOSINGS,
    LEDGER_NAMES,
    LEDGER_PAGES,
)
from rewards.points.rows import (
    POINTS_CAPS,
    POINTS_CORRECTIONS,
    POINTS_NIGHTS,
    POINTS_NOTICES,
    POINTS_PROGRAMS,
    POINTS_VERSIONS,
)
from rewards.pools.rows import (
    CODE_BLOCKS,
    CODE_FILES,
    CODE_LOTS,
    CODE_POOLS,
    CODE_POPS,
    CODE_PRINTS,
    CODE_PROBLEMS,
    CODE_UPLOADS,
)
from rewards.rows import OFFERS, REWARDS, TRANSFERS
from rewards.shipping.rows import SHIPMENT_BATCHES, SHIPMENTS
from rewards.vouchers.rows import VOUCHER_ACTS, VOUCHER_USES, VOUCHERS
from services.queue.inbox import INBOX
from services.queue.outbox import OUTBOX
from services.security.audit import AUDIT
from services.security.intents import AUDIT_INTENTS
from services.store.installation import INSTALLATION
from services.store.mongo import STREAM_MARKS
from services.wechat.core.media import MEDIA
from services.wechat.core.unknown_codes import PLATFORM_CODES

COLLECTIONS = (
    ACCOUNTS,
    ACQUISITION_BALANCE,
    ACQUISITION_LINKS,
    ALARMS,
    APPROVALS,
    ARCHIVE,
    ARCHIVE_CONSENTS,
    ARCHIVE_PULLS,
    ARRIVALS,
    AUDIENCE,
    AUDIT,
    AUDIT_INTENTS,
    AWAITED,
    BANK_EVENTS,
    BANK_TOLD,
    BUDGETS,
    CAMPAIGNS,
    CAMPAIGN_VERSIONS,
    CHANNELS,
    CLERKS,
    CODE_BLOCKS,
    CODE_FILES,
    CODE_LOTS,
    CODE_POOLS,
    CODE_POPS,
    CODE_PRINTS,
    CODE_PROBLEMS,
    CODE_UPLOADS,
    CONSENTS,
    CONTENT_CHECKS,
    CONVERSIONS,
    CORP_TAGS,
    COUNTERS,
    COUNTER_DAYS,
    CUSTOMERS,
    DEAD_LETTERS,
    DEPARTMENTS,
    DISCLOSURES,
    DISCLOSURE_ACCEPTANCES,
    EVENT_TALLIES,
    FIELD_HISTORY,
    FIELD_VALUES,
    GROUPS,
    GROUP_GREETINGS,
    GROUP_MEMBERS,
    HANDOVERS,
    HANDOVER_BATCHES,
    HOLDS,
    IDENTITIES,
    INBOX,
    INSTALLATION,
    INTAKE,
    INTAKE_FILES,
    INTERCEPT_CHANGES,
    INTERCEPT_RULES,
    LEDGER_ADJUSTMENTS,
    LEDGER_BATCHES,
    LEDGER_CLOSINGS,
    LEDGER_NAMES,
    LEDGER_PAGES,
    LISTENERS,
    LISTS,
    LIST_MEMBERS,
    LIST_UPLOADS,
    MEDIA,
    MEMBERS,
    MERGES,
    NOTICES,
    OFFERS,
    OUTBOX,
    PARTNERS,
    PLATFORM_CODES,
    POINTS_CAPS,
    POINTS_CORRECTIONS,
    POINTS_NIGHTS,
    POINTS_NOTICES,
    POINTS_PROGRAMS,
    POINTS_VERSIONS,
    POSTER_CODES,
    PROFILES,
    RELATIONSHIPS,
    REVIEW_TASKS,
    REWARDS,
    REWARD_ITEMS,
    REWARD_ITEM_VERSIONS,
    RFM_NIGHTS,
    RFM_PARTS,
    RUNS,
    SEGMENTS,
    SEGMENT_FILLS,
    SEGMENT_MEMBERS,
    SEGMENT_TAKEN,
    SEGMENT_VERSIONS,
    SHIPMENTS,
    SHIPMENT_BATCHES,
    SIGN_INS,
    STAFF,
    SUBSCRIPTIONS,
    SYNCS,
    SYNC_DIFFERENCES,
    SYNC_ERRORS,
    SYSTEMS,
    TAG_ACTS,
    STREAM_MARKS,
    TENANTS,
    TICKS,
    TIMELINE,
    TRANSFERS,
    VOUCHERS,
    VOUCHER_ACTS,
    VOUCHER_USES,
    WEBHOOKS,
    WEBHOOK_DELIVERIES,
)
"""Each is declared by its owner, the only module that names it."""
