"""What docs/webhooks.md says of signatures holds, and its example runs as it is written."""

from __future__ import annotations

import re
from typing import Any

import pytest

from customers.webhooks import signing
from customers.webhooks.delivering import RETRY
from customers.webhooks.events import EVENTS
from customers.webhooks.sending import judged
from deploy.processes import ROOT

PAGE = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
VECTORS = re.findall(r"^\| `([^`]+)` \| `(\d+)` \| (?:`([^`]*)`)? ?\| `([0-9a-f]{64})` \|$", PAGE, re.MULTILINE)
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def _is_ours() -> Any:
    names: dict[str, Any] = {}
    exec(PYTHON, names)  # noqa: S102 - the page's own example
    return names["is_ours"]


def test_the_page_has_its_vectors() -> None:
    assert len(VECTORS) == 3


@pytest.mark.parametrize(("secret", "second", "body", "expected"), VECTORS)
def test_a_vector_is_what_we_sign_and_the_example_takes_it(secret: str, second: str, body: str, expected: str) -> None:
    assert signing.signature(secret, int(second), body.encode()) == expected
    is_ours, now = _is_ours(), int(second) + 299
    both = signing.signatures(["a newer one", secret], int(second), body.encode())
    for given in (expected, both):
        headers = {"Yinqiao-Timestamp": second, "Yinqiao-Signature": given}
        assert is_ours(secret, headers, body.encode(), now) is True
        assert is_ours(secret, headers, body.encode() + b" ", now) is False
        assert is_ours("another", headers, body.encode(), now) is False
        assert is_ours(secret, headers, body.encode(), now + 2) is False


def test_the_page_lists_every_event_with_what_it_says() -> None:
    rows = re.findall(r"^\| (`[a-z]+\.[^|]+) \| [^|]+ \|([^|]*)\|$", PAGE, re.MULTILINE)
    told = {
        name: set(re.findall(r"`([a-z_]+)`", data)) for names, data in rows for name in re.findall(r"`([^`]+)`", names)
    }
    expected = {one.name: set(one.says).union(*one.kinds.values()) for one in EVENTS.values()}
    expected["customer.left"] |= {"customer", "rm", "sync"}
    assert told == expected


def test_the_page_says_when_tries_come() -> None:
    pauses = [f"{RETRY.delay(attempt):.0f}" for attempt in range(1, 11)]
    assert f"after {', '.join(pauses[:-1])} and {pauses[-1]} seconds, and then every hour" in PAGE
    assert RETRY.delay(11) == RETRY.delay(1_000) == 3_600


@pytest.mark.parametrize(
    ("status", "header", "reason", "wait"),
    [
        (200, "", "", 0),
        (204, "60", "", 0),
        (302, "", "webhook_redirected", 0),
        (400, "", "webhook_refused", 0),
        (410, "", "webhook_gone", 0),
        (429, "30", "webhook_refused", 30),
        (503, "99999999", "webhook_broken", 3_600),
        (503, "Wed, 21 Oct 2015 07:28:30 GMT", "webhook_broken", 30),
        (503, "soon", "webhook_broken", 0),
    ],
)
def test_an_answer_is_judged_by_its_status(status: int, header: str, reason: str, wait: float) -> None:
    outcome = judged(status, {"Retry-After": header} if header else {}, 1_445_412_480.0)
    assert (outcome.reason, outcome.status, outcome.wait) == (reason, status, wait)
