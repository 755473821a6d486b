"""The verbs of campaigns, one module each: a new one is its module and its line here."""

from __future__ import annotations

from typing import Any

from campaigns.engine.verbs.exit import EXIT
from campaigns.engine.verbs.grant import GRANT
from campaigns.engine.verbs.send import SEND
from campaigns.engine.verbs.tag import TAG
from campaigns.engine.verbs.verb import Verb
from campaigns.engine.verbs.wait import WAIT

VERBS: tuple[Verb[Any], ...] = (SEND, TAG, GRANT, WAIT, EXIT)
BY_NAME = {verb.name: verb for verb in VERBS}
