"""Every path of the control plane with the function that answers each method."""

from __future__ import annotations

from sandbox.control import (
    acquisition_links,
    bank,
    bulk,
    client,
    corp,
    groups,
    limits,
    member_tasks,
    mini_programs,
    operation,
    people,
)
from sandbox.control.frame import Routes

ROUTES: Routes = [
    *acquisition_links.ROUTES,
    *bank.ROUTES,
    *bulk.ROUTES,
    *client.ROUTES,
    *corp.ROUTES,
    *groups.ROUTES,
    *limits.ROUTES,
    *mini_programs.ROUTES,
    *member_tasks.ROUTES,
    *operation.ROUTES,
    *people.ROUTES,
    ("/members", {"get": people.list_members, "post": corp.add_member}),
]
