"""The console's addresses, with the right beside each."""

from __future__ import annotations

from handlers.console import (
    alarms,
    archive,
    audit,
    campaigns,
    channels,
    customers,
    events,
    handovers,
    intercepts,
    session,
    sync,
)
from handlers.http.auth import CLERK, PUBLIC
from handlers.http.route import op, page

ROUTES = (
    page("/console/", campaigns.Campaigns, get=op("campaigns.read", "All campaigns")),
    page(
        "/console/login", session.SignIn, get=op(PUBLIC, "Sign-in form"), post=op(PUBLIC, "Sign in")
    ),
    page("/console/logout", session.SignOut, post=op(CLERK, "Sign out")),
    page(
        "/console/sync",
        sync.Sync,
        get=op("sync.read", "The sync with WeCom"),
        post=op("sync.run", "Begin a full sync"),
    ),
    page(
        "/console/sync/progress",
        sync.SyncProgress,
        get=op("sync.read", "Its progress, as a fragment"),
    ),
    page("/console/sync/cancel", sync.CancelSync, post=op("sync.run", "Cancel it")),
    page(
        "/console/sync/errors/{error}/retry",
        sync.RetrySync,
        post=op("sync.run", "Try one object again"),
    ),
    page("/console/audit", audit.Audit, get=op("audit.read", "The audit trail")),
    page("/console/events", events.Events, get=op("events.read", "What the platforms told us")),
    page("/console/events/{event}", events.Event, get=op("events.read", "One event, and why")),
    page("/console/api/events/{event}", events.EventApi, get=op("events.read", "The same as JSON")),
    page("/console/campaigns", campaigns.Submit, post=op("campaigns.submit", "Hand in a version")),
    page(
        "/console/campaigns/new",
        campaigns.NewCampaign,
        get=op("campaigns.submit", "Write a campaign"),
    ),
    page(
        "/console/campaigns/{campaign}",
        campaigns.Campaign,
        get=op("campaigns.read", "One campaign"),
    ),
    page(
        "/console/campaigns/{campaign}/funnel",
        campaigns.Funnel,
        get=op("campaigns.read", "Its funnel, as a fragment"),
    ),
    page(
        "/console/campaigns/{campaign}/edit",
        campaigns.Edit,
        get=op("campaigns.submit", "Write its next version"),
    ),
    page(
        "/console/campaigns/{campaign}/pause", campaigns.Pause, post=op("campaigns.pause", "Pause")
    ),
    page(
        "/console/campaigns/{campaign}/resume",
        campaigns.Resume,
        post=op("campaigns.pause", "Go on"),
    ),
    page(
        "/console/campaigns/{campaign}/versions/{version}/approve",
        campaigns.Approve,
        post=op("campaigns.approve", "Approve another's version"),
    ),
    page(
        "/console/campaigns/{campaign}/versions/{version}/reject",
        campaigns.Reject,
        post=op("campaigns.approve", "Reject another's version"),
    ),
    page(
        "/console/handover",
        handovers.Handovers,
        get=op("handover.read", "All hand-overs"),
        post=op("handover.submit", "Hand a hand-over in"),
    ),
    page(
        "/console/handover/new",
        handovers.NewHandover,
        get=op("handover.submit", "Write a hand-over"),
    ),
    page("/console/handover/{batch}", handovers.Handover, get=op("handover.read", "One hand-over")),
    page(
        "/console/handover/{batch}/approve",
        handovers.Approve,
        post=op("handover.approve", "Approve another's hand-over"),
    ),
    page(
        "/console/handover/{batch}/reject",
        handovers.Reject,
        post=op("handover.approve", "Reject another's hand-over"),
    ),
    page(
        "/console/people",
        customers.Customers,
        get=op("customers.read", "Who is who"),
        post=op("customers.read", "Find a customer"),
    ),
    page(
        "/console/people/{cid}",
        customers.Customer,
        get=op("customers.read", "How we know a customer"),
    ),
    page(
        "/console/people/merges/{merge}/undo",
        customers.UndoMerge,
        post=op("customers.unmerge", "Ask for a merge to be undone"),
    ),
    page(
        "/console/people/merges/{merge}/approve",
        customers.ApproveUndo,
        post=op("customers.unmerge", "Agree to it and undo the merge"),
    ),
    page(
        "/console/people/merges/{merge}/keep",
        customers.KeepMerge,
        post=op("customers.unmerge", "Leave the two merged"),
    ),
    page(
        "/console/people/questions/{question}/propose",
        customers.Propose,
        post=op("customers.unmerge", "Propose an answer"),
    ),
    page(
        "/console/people/questions/{question}/agree",
        customers.Agree,
        post=op("customers.unmerge", "Agree to another's answer"),
    ),
    page(
        "/console/channels", channels.Channels, get=op("campaigns.read", "Codes, links and groups")
    ),
    page(
        "/console/archive",
        archive.Archive,
        get=op("archive.see", "How the message archive goes"),
        post=op("archive.read", "Look for a member's messages, for a case"),
    ),
    page(
        "/console/archive/messages/{message}",
        archive.Message,
        post=op("archive.read", "Open one message, for a case"),
    ),
    page(
        "/console/intercepts",
        intercepts.Rules,
        get=op("intercepts.read", "Words that members may not write"),
        post=op("intercepts.submit", "Propose a change of them"),
    ),
    page(
        "/console/intercepts/compare",
        intercepts.Compare,
        get=op("intercepts.read", "What WeCom has otherwise"),
    ),
    page(
        "/console/intercepts/bring",
        intercepts.Bring,
        post=op("intercepts.approve", "Bring WeCom what was agreed"),
    ),
    page(
        "/console/intercepts/{change}/approve",
        intercepts.Approve,
        post=op("intercepts.approve", "Agree to another's change"),
    ),
    page(
        "/console/intercepts/{change}/reject",
        intercepts.Reject,
        post=op("intercepts.approve", "Turn a change down"),
    ),
    page("/console/alarms", alarms.Alarms, get=op("alarms.read", "Alarms")),
    page(
        "/console/alarms/{alarm}/handle",
        alarms.HandleAlarm,
        post=op("alarms.handle", "Deal with an alarm"),
    ),
)
