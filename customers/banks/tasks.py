"""Names of the tasks that modules of several rooms wake; a task that one module wakes has its name
there. `operations/jobs.py` says what each does."""

from __future__ import annotations

GREET = "campaigns.greet"
HANDLE_INBOX = "campaigns.handle_inbox"
HANDLE_STAFF = "campaigns.handle_staff"
SEND_EFFECTS = "campaigns.send_effects"
SEND_WELCOMES = "campaigns.send_welcomes"
SEND_WEBHOOKS = "customers.send_webhooks"
SPLIT_INTAKE = "customers.split_intake"
JOIN_WAITING = "customers.join_waiting"
