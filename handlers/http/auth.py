"""Who may do what over HTTP: the catalogue of permissions that `routes.py` puts beside each path.

`customer`, `staff` and `clerk` say which face's session a route needs. A name with a dot needs a
clerk whose role grants it (`customers/banks/clerks.py` lists the roles). A name that is not here
fails when the route table is imported.
"""

from __future__ import annotations

from customers.actors import ClerkActor
from services.errors import Forbidden

PUBLIC = "public"
CUSTOMER = "customer"
STAFF = "staff"
CLERK = "clerk"
COUNTER = "counter"
PARTNER = "partner"
SYSTEM = "system"

PERMISSIONS: dict[str, str] = {
    PUBLIC: "anybody; a callback proves itself by its signature",
    CUSTOMER: "a customer signed in to a mini-program of this bank",
    STAFF: "a relationship manager signed in through WeCom",
    CLERK: "any clerk signed in to the console",
    COUNTER: "a teller, or one of a merchant's people, signed in to a counter of this bank",
    PARTNER: "a partner's program, which signs what it asks",
    SYSTEM: "a system of the bank's own, which signs what it sends",
    "campaigns.read": "see campaigns, their codes, versions and funnels",
    "campaigns.submit": "write a new version of a campaign and hand it in",
    "campaigns.approve": "approve or reject another clerk's version",
    "campaigns.pause": "pause a live campaign and resume it",
    "shipments.read": "see what is sent to customers, addresses masked",
    "shipments.export": "make batches for shippers, download approved ones, bring in tracking numbers",
    "shipments.approve": "approve or reject another clerk's batch",
    "shipments.reveal": "see a delivery address in clear, for a reason; each is in the audit trail",
    "rewards.read": "see the catalogue of rewards, how much of each is left, and the budgets of campaigns",
    "rewards.submit": "submit an item of the catalogue, or its change",
    "rewards.approve": "approve or reject another clerk's item",
    "audit.read": "see the audit trail",
    "sync.read": "see how the sync with WeCom goes, and what it found",
    "sync.run": "begin or cancel a sync with WeCom, and try an object again",
    "events.read": "see what WeCom and WeChat told us, and why something was done or not; customers' ids are masked",
    "events.retry": "have an event, or what failed of it, tried again",
    "events.download": "get a message that could not be read as it came; who and why is in the audit trail",
    "ledger.read": "see the ledger: balances, lines, what became of a transfer, a month as a file",
    "ledger.adjust": "ask for an entry by hand",
    "ledger.approve": "agree to what another clerk asked for, or turn it down",
    "handover.read": "see hand-overs and what members who left have left behind",
    "handover.submit": "ask for customers and groups to go from one RM to another",
    "handover.approve": "approve or reject another clerk's hand-over",
    "archive.see": "see how the message archive goes, and no message",
    "archive.read": "look for archived messages and open them, for a case; each is in the audit trail",
    "intercepts.read": "see the blocked words to customers",
    "intercepts.submit": "propose a change of these words",
    "intercepts.approve": "agree to another clerk's change of them, or turn it down",
    "vouchers.read": "see vouchers, find one by its code, what became of it",
    "vouchers.recall": "ask for a voucher's recall, refund or replacement, or take a write-off back",
    "vouchers.approve": "agree to what another clerk asked for with vouchers, or turn it down",
    "alarms.read": "see alarms, such as lost customers",
    "alarms.handle": "mark alarms as resolved",
    "consents.withdraw": "note that a customer took back what he agreed to",
    "webhooks.read": "see what the bank's own systems are told, and what they did not take",
    "webhooks.replay": "have it sent again, and turn a webhook on again",
    "platform.read": "see how much of the platforms' limits is used, and what they have closed",
    "platform.lift": "open an API again that the platform closed, with a reason",
    "customers.read": "find a customer and see, masked, how the bank knows who he is",
    "intake.read": "see what the bank's own systems sent, and whose it is; customers are masked",
    "intake.join": "say which of the customers with one phone an event is about",
    "fields.read": "see which fields the bank declares, and what a customer's hold, sealed ones hidden",
    "fields.reveal": "see a customer's sealed field, for a reason; each is in the audit trail",
    "segments.read": "see segments and lists, how many are in them, and a masked sample of who",
    "segments.write": "submit a segment, or its change; make, fill, rename and archive lists",
    "segments.export": "download who is on a list or in a segment, masked; each is in the audit trail",
    "segments.reveal": "the same with numbers, names and phones in clear, for a reason",
    "segments.approve": "approve or reject another clerk's segment",
    "clerks.read": "see who is a clerk, with which roles, and when he was there last",
    "clerks.approve": "agree to roles that wait for another clerk, or turn them down",
    "counters.read": "see who may write vouchers off, where, how often today, and when he was there last",
    "counters.approve": "agree to the rights that wait for a counter or a partner, or turn them down",
    "customers.unmerge": "ask for a merge to be undone or answer who is who; another clerk must agree",
    "pools.read": "see code pools, their uploads and recalls, and find a code",
    "pools.import": "make a code pool and bring files of codes in",
    "pools.recall": "take unused codes back; ask for them as a file, or agree to another clerk's asking",
    "tags.read": "see corp tags, how many customers have each, and which campaigns use it",
    "tags.write": "make, sort and rename tags; ask for a merge or a deletion, or agree to another clerk's asking",
    "points.read": "see the points programme, customers' points, and what the bank owes",
    "points.submit": "submit a change of the points programme",
    "points.adjust": "ask for a correction of a customer's points, with a reason",
    "points.approve": "approve or reject another clerk's change of the programme, or correction",
}


class UnknownPermission(Exception):
    """A programming error: a route asks for a permission that the catalogue does not have."""


def require(permission: str) -> str:
    """`permission`, if the catalogue has it; raises UnknownPermission otherwise."""
    if permission not in PERMISSIONS:
        raise UnknownPermission(permission)
    return permission


def check_granted(actor: ClerkActor, permission: str) -> None:
    """Raises Forbidden `not_permitted` unless the clerk's roles grant `permission`."""
    if permission != CLERK and permission not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {permission}")
