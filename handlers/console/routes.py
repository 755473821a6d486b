"""The console's addresses, with the right beside each."""

from __future__ import annotations

from config.bounds import (
    CODES_FORM_BYTES,
    DOCUMENT_FORM_BYTES,
    LIST_FORM_BYTES,
    LISTS_FORM_BYTES,
    LISTS_FORM_FIELDS,
)
from handlers.console import (
    alarms,
    archive,
    audit,
    budgets,
    campaigns,
    channels,
    clerks,
    counters,
    customers,
    events,
    fields,
    handovers,
    intake,
    intercepts,
    items,
    ledger,
    lists,
    platform,
    points,
    pools,
    rewards,
    segments,
    session,
    shipments,
    sync,
    tags,
    vouchers,
    webhooks,
    work,
)
from handlers.http import rates
from handlers.http.auth import CLERK, PUBLIC
from handlers.http.route import op, page_route

ROUTES = (
    page_route("/console/", campaigns.Campaigns, get=op("campaigns.read", "All campaigns")),
    page_route(
        "/console/login", session.SignIn, get=op(PUBLIC, "Sign-in form"), post=op(PUBLIC, "Sign in")
    ),
    page_route("/console/logout", session.SignOut, post=op(CLERK, "Sign out")),
    page_route(
        "/console/account",
        clerks.Account,
        get=op(CLERK, "Oneself: the last sign-in, the password"),
        post=op(CLERK, "Change the own password"),
    ),
    page_route(
        "/console/account/logout",
        clerks.SignOutEverywhere,
        post=op(CLERK, "Sign out everywhere"),
    ),
    page_route(
        "/console/intake",
        intake.Intake,
        get=op("intake.read", "What the bank's own systems sent, and whose it is"),
    ),
    page_route(
        "/console/intake/{wait}/join",
        intake.Join,
        post=op("intake.join", "Say which of the customers with one phone is meant"),
    ),
    page_route("/console/clerks", clerks.Clerks, get=op("clerks.read", "Clerks and their roles")),
    page_route(
        "/console/clerks/{login}/approve",
        clerks.ApproveRoles,
        post=op("clerks.approve", "Agree to the roles that wait for a clerk"),
    ),
    page_route(
        "/console/clerks/{login}/reject",
        clerks.RejectRoles,
        post=op("clerks.approve", "Turn them down"),
    ),
    page_route(
        "/console/sync",
        sync.Sync,
        get=op("sync.read", "The sync with WeCom"),
        post=op("sync.run", "Begin a full sync"),
    ),
    page_route(
        "/console/sync/progress",
        sync.SyncProgress,
        get=op("sync.read", "Its progress, as a fragment"),
    ),
    page_route("/console/sync/cancel", sync.CancelSync, post=op("sync.run", "Cancel it")),
    page_route(
        "/console/sync/errors/{error}/retry",
        sync.RetrySync,
        post=op("sync.run", "Try one object again"),
    ),
    page_route(
        "/console/ledger",
        ledger.Trial,
        get=op("ledger.read", "The trial balance, and what was asked for by hand"),
        post=op("ledger.adjust", "Ask for an entry by hand"),
    ),
    page_route(
        "/console/ledger/adjustments/{adjustment}/approve",
        ledger.ApproveAdjustment,
        post=op("ledger.approve", "Agree to it, and post it"),
    ),
    page_route(
        "/console/ledger/adjustments/{adjustment}/reject",
        ledger.RejectAdjustment,
        post=op("ledger.approve", "Turn it down"),
    ),
    page_route(
        "/console/ledger/month.csv",
        ledger.MonthFile,
        get=op("ledger.read", "A month of all accounts, as CSV"),
    ),
    page_route(
        "/console/ledger/accounts/{account}/month.csv",
        ledger.MonthFile,
        get=op("ledger.read", "A month of one account, as CSV"),
    ),
    page_route(
        "/console/ledger/accounts/{account}",
        ledger.AccountLines,
        get=op("ledger.read", "An account's lines with the balance after each"),
    ),
    page_route(
        "/console/ledger/transfers/{transfer}",
        ledger.Transfer,
        get=op("ledger.read", "A transfer with all that is linked to it"),
    ),
    page_route(
        "/console/segments",
        segments.Segments,
        get=op("segments.read", "All segments"),
        post=op("segments.write", "Submit a segment, or its change", most=LISTS_FORM_BYTES),
    ),
    page_route(
        "/console/segments/new", segments.NewSegment, get=op("segments.write", "Write a segment")
    ),
    page_route(
        "/console/segments/estimate",
        segments.EstimateRule,
        post=op(
            "segments.write",
            "How many customers meet a rule that is being written",
            most=LISTS_FORM_BYTES,
        ),
    ),
    page_route(
        "/console/segments/{segment}/members",
        segments.Members,
        get=op("segments.read", "A segment's members: how many, by branch, a masked sample"),
    ),
    page_route(
        "/console/segments/{segment}/members/download",
        segments.Download,
        post=op("segments.export", "A segment's members as CSV; in clear by segments.reveal"),
    ),
    page_route(
        "/console/segments/{segment}", segments.SegmentPage, get=op("segments.read", "One segment")
    ),
    page_route(
        "/console/segments/{segment}/edit",
        segments.EditSegment,
        get=op("segments.write", "Change a segment"),
    ),
    page_route(
        "/console/segments/{segment}/archive",
        segments.Archive,
        post=op("segments.write", "Ask for a segment to be archived"),
    ),
    page_route(
        "/console/segments/{segment}/why",
        segments.Why,
        post=op("segments.read", "Why a customer meets its rule or does not"),
    ),
    page_route(
        "/console/segments/{segment}/versions/{version}/approve",
        segments.Approve,
        post=op("segments.approve", "Approve another's segment"),
    ),
    page_route(
        "/console/segments/{segment}/versions/{version}/reject",
        segments.Reject,
        post=op("segments.approve", "Reject another's segment"),
    ),
    page_route(
        "/console/lists",
        lists.Lists,
        get=op("segments.read", "All static lists"),
        post=op("segments.write", "Make a list"),
    ),
    page_route("/console/lists/{list}", lists.ListPage, get=op("segments.read", "One list")),
    page_route(
        "/console/lists/{list}/name",
        lists.Rename,
        post=op("segments.write", "Call a list something else"),
    ),
    page_route(
        "/console/lists/{list}/archive",
        lists.Archive,
        post=op("segments.write", "Archive a list that no segment uses"),
    ),
    page_route(
        "/console/lists/{list}/back",
        lists.BringBack,
        post=op("segments.write", "Put an archived list into use again"),
    ),
    page_route(
        "/console/lists/{list}/download",
        lists.Download,
        post=op("segments.export", "Who is on it as CSV; in clear by segments.reveal"),
    ),
    page_route(
        "/console/lists/{list}/uploads",
        lists.Send,
        post=op("segments.write", "Send a file of customers", most=LIST_FORM_BYTES, file=True),
    ),
    page_route(
        "/console/lists/{list}/uploads/{upload}",
        lists.OneUpload,
        get=op("segments.read", "How far a file is, and its lines that named nobody"),
    ),
    page_route(
        "/console/lists/{list}/uploads/{upload}/progress",
        lists.Progress,
        get=op("segments.read", "Its progress, as a fragment"),
    ),
    page_route(
        "/console/lists/{list}/uploads/{upload}/lines",
        lists.Problems,
        get=op("segments.read", "The lines that named nobody, as CSV"),
    ),
    page_route("/console/audit", audit.Audit, get=op("audit.read", "The audit trail")),
    page_route(
        "/console/events",
        events.Events,
        get=op("events.read", "What the platforms told us"),
        post=op("events.retry", "Have the dead letters of a list handled again"),
    ),
    page_route(
        "/console/events/{event}",
        events.Event,
        get=op("events.read", "One event, and why"),
        post=op("events.retry", "Have it, or what failed of it, tried again"),
    ),
    page_route(
        "/console/events/{event}/message",
        events.EventMessage,
        post=op("events.download", "Its bytes as they came, for a reason"),
    ),
    page_route(
        "/console/webhooks",
        webhooks.Webhooks,
        get=op("webhooks.read", "What the bank's own systems are told, and how that goes"),
    ),
    page_route(
        "/console/webhooks/{webhook}",
        webhooks.Webhook,
        get=op("webhooks.read", "One webhook, and its newest deliveries"),
        post=op("webhooks.replay", "Send one delivery again"),
    ),
    page_route(
        "/console/webhooks/{webhook}/replay",
        webhooks.ReplayFailed,
        post=op("webhooks.replay", "Send all that failed again"),
    ),
    page_route(
        "/console/webhooks/{webhook}/on",
        webhooks.TurnOn,
        post=op("webhooks.replay", "Send to a webhook again that was turned off"),
    ),
    page_route(
        "/console/work",
        work.Work,
        get=op("events.read", "Work that failed for good"),
        post=op("events.retry", "Have it tried again"),
    ),
    page_route(
        "/console/work/{work}/retry",
        work.RetryWork,
        post=op("events.retry", "Have one piece of it tried again"),
    ),
    page_route(
        "/console/api/events/{event}", events.EventApi, get=op("events.read", "The same as JSON")
    ),
    page_route(
        "/console/campaigns",
        campaigns.Submit,
        post=op("campaigns.submit", "Submit a version for approval", most=DOCUMENT_FORM_BYTES),
    ),
    page_route(
        "/console/campaigns/new",
        campaigns.NewCampaign,
        get=op("campaigns.submit", "Write a campaign"),
    ),
    page_route(
        "/console/campaigns/{campaign}",
        campaigns.Campaign,
        get=op("campaigns.read", "One campaign"),
    ),
    page_route(
        "/console/campaigns/{campaign}/funnel",
        campaigns.Funnel,
        get=op("campaigns.read", "Its funnel, as a fragment"),
    ),
    page_route(
        "/console/campaigns/{campaign}/edit",
        campaigns.Edit,
        get=op("campaigns.submit", "Write its next version"),
    ),
    page_route(
        "/console/campaigns/{campaign}/pause",
        campaigns.Pause,
        get=op("campaigns.pause", "What pausing does"),
        post=op("campaigns.pause", "Pause"),
    ),
    page_route(
        "/console/campaigns/{campaign}/resume",
        campaigns.Resume,
        get=op("campaigns.pause", "What resuming does"),
        post=op("campaigns.pause", "Resume"),
    ),
    page_route(
        "/console/campaigns/{campaign}/versions/{version}/approve",
        campaigns.Approve,
        post=op("campaigns.approve", "Approve another's version"),
    ),
    page_route(
        "/console/campaigns/{campaign}/versions/{version}/reject",
        campaigns.Reject,
        post=op("campaigns.approve", "Reject another's version"),
    ),
    page_route(
        "/console/budgets",
        budgets.Budgets,
        get=op("rewards.read", "What every campaign has spent of its budget"),
    ),
    page_route(
        "/console/budgets/{campaign}",
        budgets.Budget,
        get=op("rewards.read", "How one campaign's budget burns, and until when it lasts"),
    ),
    page_route(
        "/console/handover",
        handovers.Handovers,
        get=op("handover.read", "All hand-overs"),
        post=op(
            "handover.submit",
            "Submit a hand-over for approval",
            most=LISTS_FORM_BYTES,
            fields=LISTS_FORM_FIELDS,
        ),
    ),
    page_route(
        "/console/handover/new",
        handovers.NewHandover,
        get=op("handover.submit", "Write a hand-over"),
    ),
    page_route(
        "/console/handover/{batch}", handovers.Handover, get=op("handover.read", "One hand-over")
    ),
    page_route(
        "/console/handover/{batch}/approve",
        handovers.Approve,
        post=op("handover.approve", "Approve another's hand-over"),
    ),
    page_route(
        "/console/handover/{batch}/reject",
        handovers.Reject,
        post=op("handover.approve", "Reject another's hand-over"),
    ),
    page_route(
        "/console/people",
        customers.Customers,
        get=op("customers.read", "Who is who"),
        post=op("customers.read", "Find a customer", rate=rates.SEARCHES),
    ),
    page_route(
        "/console/people/search/{search}",
        customers.Search,
        get=op("customers.read", "What a search of one's own found"),
    ),
    page_route(
        "/console/people/{cid}",
        customers.Customer,
        get=op("customers.read", "How we know a customer"),
    ),
    page_route("/console/fields", fields.Fields, get=op("fields.read", "The bank's fields")),
    page_route(
        "/console/people/{cid}/fields/{field}",
        fields.History,
        get=op("fields.read", "What a customer's field holds and held"),
    ),
    page_route(
        "/console/people/{cid}/fields/{field}/reveal",
        fields.Reveal,
        post=op("fields.reveal", "A sealed field in clear, for a reason"),
    ),
    page_route(
        "/console/people/{cid}/consents/{purpose}/withdraw",
        customers.WithdrawConsent,
        post=op("consents.withdraw", "Note that the customer withdrew his consent"),
    ),
    page_route(
        "/console/people/merges/{merge}/undo",
        customers.UndoMerge,
        post=op("customers.unmerge", "Ask for a merge to be undone"),
    ),
    page_route(
        "/console/people/merges/{merge}/approve",
        customers.ApproveUndo,
        post=op("customers.unmerge", "Agree to it and undo the merge"),
    ),
    page_route(
        "/console/people/merges/{merge}/keep",
        customers.KeepMerge,
        post=op("customers.unmerge", "Leave the two merged"),
    ),
    page_route(
        "/console/people/questions/{question}/propose",
        customers.Propose,
        post=op("customers.unmerge", "Propose an answer"),
    ),
    page_route(
        "/console/people/questions/{question}/agree",
        customers.Agree,
        post=op("customers.unmerge", "Agree to another's answer"),
    ),
    page_route(
        "/console/tags",
        tags.Tags,
        get=op("tags.read", "Corp tags, and what is done with them"),
        post=op("tags.write", "Make tags"),
    ),
    page_route(
        "/console/tags/progress",
        tags.Progress,
        get=op("tags.read", "What is asked for and under way, as a fragment"),
    ),
    page_route(
        "/console/tags/acts/{act}/approve",
        tags.Approve,
        post=op("tags.write", "Agree to another's merge or deletion"),
    ),
    page_route(
        "/console/tags/acts/{act}/reject",
        tags.Reject,
        post=op("tags.write", "Turn it down"),
    ),
    page_route(
        "/console/tags/acts/{act}/cancel",
        tags.Cancel,
        post=op("tags.write", "Stop a merge that is under way"),
    ),
    page_route("/console/tags/{tag}", tags.Tag, get=op("tags.read", "One tag or group")),
    page_route(
        "/console/tags/{tag}/name",
        tags.Rename,
        post=op("tags.write", "Give it another name"),
    ),
    page_route(
        "/console/tags/{tag}/order",
        tags.Reorder,
        post=op("tags.write", "Give it another place"),
    ),
    page_route(
        "/console/tags/{tag}/end",
        tags.End,
        post=op("tags.write", "Ask for it to be merged into another, or deleted"),
    ),
    page_route(
        "/console/counters",
        counters.Counters,
        get=op("counters.read", "Counters and partners, and what they wrote off today"),
    ),
    page_route(
        "/console/counters/{which}/{login}/approve",
        counters.ApproveRights,
        post=op("counters.approve", "Agree to the rights that wait for a counter or a partner"),
    ),
    page_route(
        "/console/counters/{which}/{login}/reject",
        counters.RejectRights,
        post=op("counters.approve", "Turn them down"),
    ),
    page_route(
        "/console/channels", channels.Channels, get=op("campaigns.read", "Codes, links and groups")
    ),
    page_route(
        "/console/archive",
        archive.Archive,
        get=op("archive.see", "How the message archive goes"),
        post=op("archive.read", "Look for a member's messages, for a case"),
    ),
    page_route(
        "/console/archive/search/{search}",
        archive.Search,
        get=op("archive.read", "What a search of one's own found, for a case"),
    ),
    page_route(
        "/console/archive/opened/{opened}",
        archive.Opened,
        get=op("archive.read", "A message that one has opened, for a case"),
    ),
    page_route(
        "/console/archive/messages/{message}",
        archive.Message,
        post=op("archive.read", "Open one message, for a case"),
    ),
    page_route(
        "/console/intercepts",
        intercepts.Rules,
        get=op("intercepts.read", "Blocked words"),
        post=op("intercepts.submit", "Propose a change of them", most=LISTS_FORM_BYTES),
    ),
    page_route(
        "/console/intercepts/compare",
        intercepts.Compare,
        get=op("intercepts.read", "What WeCom has otherwise"),
    ),
    page_route(
        "/console/intercepts/bring",
        intercepts.Bring,
        post=op("intercepts.approve", "Bring WeCom what was agreed"),
    ),
    page_route(
        "/console/intercepts/{change}/approve",
        intercepts.Approve,
        post=op("intercepts.approve", "Agree to another's change"),
    ),
    page_route(
        "/console/intercepts/{change}/reject",
        intercepts.Reject,
        post=op("intercepts.approve", "Turn a change down"),
    ),
    page_route(
        "/console/vouchers",
        vouchers.Vouchers,
        get=op("vouchers.read", "Vouchers"),
        post=op("vouchers.read", "Find one by its code, or a customer's", rate=rates.SEARCHES),
    ),
    page_route(
        "/console/vouchers/progress",
        vouchers.Progress,
        get=op("vouchers.read", "What is asked for and under way, as a fragment"),
    ),
    page_route(
        "/console/vouchers/recall",
        vouchers.Recall,
        post=op("vouchers.recall", "Ask for a campaign's unused vouchers to be recalled"),
    ),
    page_route(
        "/console/vouchers/acts/{act}/approve",
        vouchers.Approve,
        post=op("vouchers.approve", "Agree to what another asked for"),
    ),
    page_route(
        "/console/vouchers/acts/{act}/reject",
        vouchers.Reject,
        post=op("vouchers.approve", "Turn it down"),
    ),
    page_route(
        "/console/vouchers/{voucher}",
        vouchers.Voucher,
        get=op("vouchers.read", "One voucher, and what became of it"),
        post=op("vouchers.recall", "Ask for its recall, refund, replacement or a use's undoing"),
    ),
    page_route(
        "/console/items",
        items.Items,
        get=op("rewards.read", "The bank's catalogue of rewards"),
        post=op("rewards.submit", "Submit an item, or its change"),
    ),
    page_route("/console/items/new", items.NewItem, get=op("rewards.submit", "Write an item")),
    page_route("/console/items/{item}", items.ItemPage, get=op("rewards.read", "One item")),
    page_route(
        "/console/items/{item}/edit", items.EditItem, get=op("rewards.submit", "Change an item")
    ),
    page_route(
        "/console/items/{item}/retire",
        items.Retire,
        post=op("rewards.submit", "Ask for an item to be retired"),
    ),
    page_route(
        "/console/items/{item}/versions/{version}/approve",
        items.Approve,
        post=op("rewards.approve", "Approve another's item"),
    ),
    page_route(
        "/console/items/{item}/versions/{version}/reject",
        items.Reject,
        post=op("rewards.approve", "Reject another's item"),
    ),
    page_route(
        "/console/rewards", rewards.Rewards, get=op("rewards.read", "What is left of every reward")
    ),
    page_route(
        "/console/rewards/{reward}",
        rewards.Reward,
        get=op("rewards.read", "One reward: its stock, its days, what moved it"),
        post=op("rewards.submit", "Say below how many left somebody is told"),
    ),
    page_route(
        "/console/shipments",
        shipments.Shipments,
        get=op("shipments.read", "What is sent to customers, and the batches for shippers"),
        post=op("shipments.export", "Make a batch of what is ready, and submit it"),
    ),
    page_route(
        "/console/shipments/{shipment}",
        shipments.Shipment,
        get=op("shipments.read", "One parcel"),
    ),
    page_route(
        "/console/shipments/{shipment}/mark",
        shipments.Mark,
        post=op("shipments.export", "Say that it arrived, came back, or is not sent"),
    ),
    page_route(
        "/console/shipments/{shipment}/address",
        shipments.Reveal,
        post=op("shipments.reveal", "Its address in clear, for a reason"),
    ),
    page_route("/console/shipping/{batch}", shipments.Batch, get=op("shipments.read", "One batch")),
    page_route(
        "/console/shipping/{batch}/approve",
        shipments.Approve,
        post=op("shipments.approve", "Approve another's batch"),
    ),
    page_route(
        "/console/shipping/{batch}/reject",
        shipments.Reject,
        post=op("shipments.approve", "Reject another's batch"),
    ),
    page_route(
        "/console/shipping/{batch}/file",
        shipments.File,
        post=op("shipments.export", "Its file for the shipper"),
    ),
    page_route(
        "/console/shipping/{batch}/numbers",
        shipments.Numbers,
        post=op("shipments.export", "The shipper's tracking numbers", most=LISTS_FORM_BYTES),
    ),
    page_route("/console/alarms", alarms.Alarms, get=op("alarms.read", "Alarms")),
    page_route(
        "/console/alarms/{alarm}/handle",
        alarms.HandleAlarm,
        post=op("alarms.handle", "Mark an alarm as resolved"),
    ),
    page_route(
        "/console/platform",
        platform.Platform,
        get=op("platform.read", "The platforms' limits"),
    ),
    page_route(
        "/console/platform/lift",
        platform.LiftApi,
        post=op("platform.lift", "Open an API again that the platform closed"),
    ),
    page_route(
        "/console/pools",
        pools.Pools,
        get=op("pools.read", "Code pools"),
        post=op("pools.import", "Make a pool"),
    ),
    page_route(
        "/console/pools/search",
        pools.Search,
        post=op("pools.read", "Find a code", rate=rates.SEARCHES),
    ),
    page_route("/console/pools/{pool}", pools.Pool, get=op("pools.read", "One pool")),
    page_route(
        "/console/pools/{pool}/low",
        pools.SetLow,
        post=op("pools.import", "Change below how many codes somebody is told"),
    ),
    page_route(
        "/console/pools/{pool}/recall",
        pools.RecallCodes,
        post=op("pools.recall", "Take unused codes back"),
    ),
    page_route(
        "/console/pools/{pool}/recalls/{recall}/ask",
        pools.AskExport,
        post=op("pools.recall", "Ask for the recalled codes as a file"),
    ),
    page_route(
        "/console/pools/{pool}/recalls/{recall}/approve",
        pools.ApproveExport,
        post=op("pools.recall", "Agree to another's asking"),
    ),
    page_route(
        "/console/pools/{pool}/recalls/{recall}/reject",
        pools.RejectExport,
        post=op("pools.recall", "Turn it down"),
    ),
    page_route(
        "/console/pools/{pool}/recalls/{recall}/file",
        pools.Export,
        post=op("pools.recall", "The recalled codes as a file"),
    ),
    page_route(
        "/console/pools/{pool}/uploads",
        pools.Send,
        post=op("pools.import", "Send a file of codes", most=CODES_FORM_BYTES, file=True),
    ),
    page_route(
        "/console/pools/{pool}/uploads/{upload}",
        pools.OneUpload,
        get=op("pools.read", "One upload"),
    ),
    page_route(
        "/console/pools/{pool}/uploads/{upload}/progress",
        pools.UploadProgress,
        get=op("pools.read", "Its progress, as a fragment"),
    ),
    page_route(
        "/console/pools/{pool}/uploads/{upload}/lines",
        pools.UploadProblems,
        get=op("pools.read", "Its lines that cannot be taken, as a file"),
    ),
    page_route(
        "/console/pools/{pool}/uploads/{upload}/skip",
        pools.SkipLines,
        post=op("pools.import", "Import the others without them"),
    ),
    page_route(
        "/console/pools/{pool}/uploads/{upload}/cancel",
        pools.CancelUpload,
        post=op("pools.import", "Cancel it"),
    ),
    page_route(
        "/console/points",
        points.Points,
        get=op("points.read", "The points programme and its versions"),
    ),
    page_route(
        "/console/points/program",
        points.Program,
        get=op("points.submit", "The programme's own fields"),
        post=op("points.submit", "Submit them for approval"),
    ),
    page_route(
        "/console/points/rule",
        points.Rule,
        get=op("points.submit", "A rule by which points are earned, or a new one"),
        post=op("points.submit", "Submit it for approval"),
    ),
    page_route(
        "/console/points/versions/{version}/approve",
        points.Approve,
        post=op("points.approve", "Approve another's version"),
    ),
    page_route(
        "/console/points/versions/{version}/reject",
        points.Reject,
        post=op("points.approve", "Turn a version down"),
    ),
    page_route(
        "/console/points/customers/{cid}",
        points.AskCorrection,
        get=op("points.read", "A customer's points, and his statement"),
        post=op("points.adjust", "Ask for a correction"),
    ),
    page_route(
        "/console/points/corrections",
        points.Corrections,
        get=op("points.read", "Corrections that were asked for"),
    ),
    page_route(
        "/console/points/corrections/{correction}/approve",
        points.ApproveCorrection,
        post=op("points.approve", "Approve another's correction"),
    ),
    page_route(
        "/console/points/corrections/{correction}/reject",
        points.RejectCorrection,
        post=op("points.approve", "Turn a correction down"),
    ),
    page_route(
        "/console/points/liability",
        points.Liability,
        get=op("points.read", "What the bank owes in points"),
    ),
    page_route(
        "/console/points/liability.csv",
        points.LiabilityCsv,
        get=op("points.read", "The same as a file"),
    ),
)
