"""The whole URL table, with the permission beside each path: reading it is the security review."""

from __future__ import annotations

from handlers import callbacks, health
from handlers.console import archive, channels, events, pages, people, staff, sync
from handlers.dev import front, preview
from handlers.http import models, openapi
from handlers.http.api import Api
from handlers.http.auth import CLERK, CUSTOMER, PUBLIC, STAFF
from handlers.http.base import Base
from handlers.http.route import Op, Route, op
from handlers.portal import handlers as portal
from handlers.sidebar import handlers as sidebar


def _api(path: str, handler: type[Api], **ops: Op) -> Route:
    return Route(path, handler, _by_method(ops), json=True)


def _page(path: str, handler: type[Base], **ops: Op) -> Route:
    return Route(path, handler, _by_method(ops))


def _preview(path: str, handler: type[Base], **ops: Op) -> Route:
    return Route(path, handler, _by_method(ops), dev=True)


def _by_method(ops: dict[str, Op]) -> dict[str, Op]:
    return {method.upper(): each for method, each in ops.items()}


CALLBACKS = (
    Route(
        "/wecom/{tenant}/callback",
        callbacks.WeComCallback,
        {
            "GET": op(PUBLIC, "WeCom checks the address"),
            "POST": op(PUBLIC, "WeCom delivers an event"),
        },
    ),
    Route(
        "/wechat/{appid}/callback",
        callbacks.WeChatCallback,
        {
            "GET": op(PUBLIC, "WeChat checks the address"),
            "POST": op(PUBLIC, "WeChat delivers a message"),
        },
    ),
)

PORTAL = (
    _api(
        "/mp/{appid}/login",
        portal.Login,
        post=op(
            PUBLIC,
            "Exchange a wx.login code for a session",
            body=models.LoginBody,
            answers=models.LoginAnswer,
        ),
    ),
    _api("/mp/{appid}/logout", portal.Logout, post=op(CUSTOMER, "End the session", status=204)),
    _api(
        "/mp/{appid}/phone",
        portal.Phone,
        post=op(
            CUSTOMER,
            "Bind the phone, with consent",
            body=models.PhoneBody,
            answers=models.CustomerView,
        ),
    ),
    _api(
        "/mp/{appid}/home",
        portal.Home,
        get=op(CUSTOMER, "The customer's home", answers=models.HomeAnswer),
    ),
    _api(
        "/mp/{appid}/rewards",
        portal.Rewards,
        get=op(CUSTOMER, "The rewards on offer to this customer", answers=models.RewardsAnswer),
    ),
    _api(
        "/mp/{appid}/rewards/{reward}/claim",
        portal.Claim,
        post=op(
            CUSTOMER,
            "Claim a reward, once; `Idempotency-Hit: true` marks a repeated answer",
            body=models.ClaimBody,
            answers=models.ClaimAnswer,
            headers=("Idempotency-Key",),
        ),
    ),
    _api(
        "/mp/{appid}/redemptions",
        portal.Redemptions,
        get=op(CUSTOMER, "What the customer has been granted", answers=models.RedemptionsAnswer),
    ),
    _api(
        "/mp/{appid}/subscriptions",
        portal.Subscriptions,
        post=op(
            CUSTOMER,
            "What the customer answered to the prompt for subscribe messages",
            body=models.SubscriptionsBody,
            answers=models.SubscriptionsAnswer,
            headers=("Idempotency-Key",),
        ),
    ),
    _api(
        "/mp/{appid}/scenes/{scene}",
        portal.Scene,
        get=op(
            CUSTOMER,
            "What the code stands for that the mini-program was opened with",
            answers=models.SceneAnswer,
        ),
    ),
)

OPERATION = (
    _api(
        "/healthz",
        health.Alive,
        get=op(PUBLIC, "The process is alive", answers=models.HealthAnswer),
    ),
    _api(
        "/readyz", health.Ready, get=op(PUBLIC, "The process can serve", answers=models.ReadyAnswer)
    ),
    Route("/metrics", health.Prometheus, {"GET": op(PUBLIC, "Counters for Prometheus")}),
    _api("/openapi.json", openapi.OpenApi, get=op(PUBLIC, "This document")),
)

PREVIEW = (
    Route("/", front.Front, {"GET": op(PUBLIC, "The demo's front page")}, dev=True),
    _preview(
        "/preview/{appid}/", preview.Arrive, get=op(PUBLIC, "The portal's home, or how to get in")
    ),
    _preview("/preview/{appid}/phone", preview.Phone, post=op(CUSTOMER, "Bind the phone")),
    _preview(
        "/preview/{appid}/rewards/{reward}/claim",
        preview.Claim,
        post=op(CUSTOMER, "Claim a reward"),
    ),
    _preview("/preview/{appid}/redemptions", preview.Redemptions, get=op(CUSTOMER, "My rewards")),
    _preview("/preview/{appid}/logout", preview.Logout, post=op(CUSTOMER, "Sign out")),
)

SIDEBAR = (
    _page("/sidebar/{tenant}/", sidebar.Customers, get=op(STAFF, "The RM's customers")),
    _page("/sidebar/{tenant}/oauth", sidebar.OAuth, get=op(PUBLIC, "Back from WeCom, with a code")),
    _page(
        "/sidebar/{tenant}/customers/{cid}", sidebar.Customer, get=op(STAFF, "One customer's story")
    ),
    _page(
        "/sidebar/{tenant}/customers/{cid}/notes",
        sidebar.Notes,
        post=op(STAFF, "Note something of a customer"),
    ),
    _page(
        "/sidebar/{tenant}/customers/{cid}/tags",
        sidebar.Tags,
        post=op(STAFF, "Put a tag on, or take it off"),
    ),
    _page("/sidebar/{tenant}/logout", sidebar.Logout, post=op(STAFF, "Sign out")),
)

CONSOLE = (
    _page("/console/", pages.Campaigns, get=op("campaigns.read", "All campaigns")),
    _page(
        "/console/login", pages.SignIn, get=op(PUBLIC, "Sign-in form"), post=op(PUBLIC, "Sign in")
    ),
    _page("/console/logout", pages.SignOut, post=op(CLERK, "Sign out")),
    _page(
        "/console/sync",
        sync.Sync,
        get=op("sync.read", "The sync with WeCom"),
        post=op("sync.run", "Begin a full sync"),
    ),
    _page(
        "/console/sync/progress",
        sync.SyncProgress,
        get=op("sync.read", "Its progress, as a fragment"),
    ),
    _page("/console/sync/cancel", sync.CancelSync, post=op("sync.run", "Cancel it")),
    _page(
        "/console/sync/errors/{error}/retry",
        sync.RetrySync,
        post=op("sync.run", "Try one object again"),
    ),
    _page("/console/audit", pages.Audit, get=op("audit.read", "The audit trail")),
    _page("/console/events", events.Events, get=op("events.read", "What the platforms told us")),
    _page("/console/events/{event}", events.Event, get=op("events.read", "One event, and why")),
    _page(
        "/console/api/events/{event}", events.EventApi, get=op("events.read", "The same as JSON")
    ),
    _page("/console/campaigns", pages.Submit, post=op("campaigns.submit", "Hand in a version")),
    _page(
        "/console/campaigns/new", pages.NewCampaign, get=op("campaigns.submit", "Write a campaign")
    ),
    _page(
        "/console/campaigns/{campaign}", pages.Campaign, get=op("campaigns.read", "One campaign")
    ),
    _page(
        "/console/campaigns/{campaign}/funnel",
        pages.Funnel,
        get=op("campaigns.read", "Its funnel, as a fragment"),
    ),
    _page(
        "/console/campaigns/{campaign}/edit",
        pages.Edit,
        get=op("campaigns.submit", "Write its next version"),
    ),
    _page("/console/campaigns/{campaign}/pause", pages.Pause, post=op("campaigns.pause", "Pause")),
    _page(
        "/console/campaigns/{campaign}/resume", pages.Resume, post=op("campaigns.pause", "Go on")
    ),
    _page(
        "/console/campaigns/{campaign}/versions/{version}/approve",
        pages.Approve,
        post=op("campaigns.approve", "Approve another's version"),
    ),
    _page(
        "/console/campaigns/{campaign}/versions/{version}/reject",
        pages.Reject,
        post=op("campaigns.approve", "Reject another's version"),
    ),
    _page(
        "/console/handover",
        staff.Handovers,
        get=op("handover.read", "All hand-overs"),
        post=op("handover.submit", "Hand a hand-over in"),
    ),
    _page(
        "/console/handover/new", staff.NewHandover, get=op("handover.submit", "Write a hand-over")
    ),
    _page("/console/handover/{batch}", staff.Handover, get=op("handover.read", "One hand-over")),
    _page(
        "/console/handover/{batch}/approve",
        staff.ApproveHandover,
        post=op("handover.approve", "Approve another's hand-over"),
    ),
    _page(
        "/console/handover/{batch}/reject",
        staff.RejectHandover,
        post=op("handover.approve", "Reject another's hand-over"),
    ),
    _page(
        "/console/people",
        people.People,
        get=op("customers.read", "Who is who"),
        post=op("customers.read", "Find a customer"),
    ),
    _page(
        "/console/people/{cid}", people.Person, get=op("customers.read", "How we know a customer")
    ),
    _page(
        "/console/people/merges/{merge}/undo",
        people.UndoMerge,
        post=op("customers.unmerge", "Ask for a merge to be undone"),
    ),
    _page(
        "/console/people/merges/{merge}/approve",
        people.ApproveUndo,
        post=op("customers.unmerge", "Agree to it and undo the merge"),
    ),
    _page(
        "/console/people/merges/{merge}/keep",
        people.KeepMerge,
        post=op("customers.unmerge", "Leave the two merged"),
    ),
    _page(
        "/console/people/questions/{question}/propose",
        people.Propose,
        post=op("customers.unmerge", "Propose an answer"),
    ),
    _page(
        "/console/people/questions/{question}/agree",
        people.Agree,
        post=op("customers.unmerge", "Agree to another's answer"),
    ),
    _page(
        "/console/channels", channels.Channels, get=op("campaigns.read", "Codes, links and groups")
    ),
    _page(
        "/console/archive",
        archive.Archive,
        get=op("archive.see", "How the message archive goes"),
        post=op("archive.read", "Look for a member's messages, for a case"),
    ),
    _page(
        "/console/archive/messages/{message}",
        archive.Message,
        post=op("archive.read", "Open one message, for a case"),
    ),
    _page(
        "/console/intercepts",
        archive.Rules,
        get=op("intercepts.read", "Words that members may not write"),
        post=op("intercepts.submit", "Propose a change of them"),
    ),
    _page(
        "/console/intercepts/compare",
        archive.CompareRules,
        get=op("intercepts.read", "What WeCom has otherwise"),
    ),
    _page(
        "/console/intercepts/bring",
        archive.BringRules,
        post=op("intercepts.approve", "Bring WeCom what was agreed"),
    ),
    _page(
        "/console/intercepts/{change}/approve",
        archive.ApproveRule,
        post=op("intercepts.approve", "Agree to another's change"),
    ),
    _page(
        "/console/intercepts/{change}/reject",
        archive.RejectRule,
        post=op("intercepts.approve", "Turn a change down"),
    ),
    _page("/console/alarms", staff.Alarms, get=op("alarms.read", "Alarms")),
    _page(
        "/console/alarms/{alarm}/handle",
        staff.HandleAlarm,
        post=op("alarms.handle", "Deal with an alarm"),
    ),
)

PROGRAMS: tuple[Route, ...] = CALLBACKS + PORTAL + OPERATION
BROWSERS: tuple[Route, ...] = PREVIEW + SIDEBAR + CONSOLE
ROUTES: tuple[Route, ...] = PROGRAMS + BROWSERS
