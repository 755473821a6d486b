"""Whatever is handed in as a campaign: it is a document, or it is refused with its faults."""

from __future__ import annotations

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.document.model import Campaign
from campaigns.document.reading import DocumentError, Problem, read
from tests.support.documents import BRANCHES, REWARDS, WELCOME

bounded = settings(
    max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=8)
    | st.sampled_from(["campaign/v1", "scan", "staff", "1d", "hi", "all", "2026-01-01", "{{customer.id}}", "c", "cup"])
)
KEYS = st.sampled_from(
    [field.alias or name for name, field in Campaign.model_fields.items()]
    + ["id", "when", "send", "tag", "grant", "wait", "exit", "via", "template", "for", "event", "timeout", "else"]
) | SCALARS.filter(lambda value: value == value and not isinstance(value, bytes))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
ODD = st.sampled_from(
    [
        "2026-11-31", "2026-13-01", "!!bool x", "!!int x", "!!timestamp x", "!!float x", "!!binary x",
        "!!python/none x", "0b_", "9" * 5000, "1:99", ".inf", ".nan", "[" * 3000, "{a: " * 3000, "&a x", "*a", "<<: 1",
        "? [a]\n: b", "\x00", '"\\ud800"', "'" + "not " * 3000 + "1'", "'" + "a." * 3000 + "a'", "'" + "(" * 3000 + "'",
        "'channel.code in [1, [2]]'", "\ufeff", "%YAML 9.9",
    ]
)  # fmt: skip


def outcome(text: str) -> Campaign | list[Problem]:
    try:
        return read(text, "f.yaml", BRANCHES)
    except DocumentError as error:
        found = error.problems
    assert found
    assert all(problem.line >= 1 and problem.message for problem in found)
    return found


@bounded
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_mapping_is_a_document_or_refused(value: object) -> None:
    outcome(yaml.safe_dump(value, allow_unicode=True))


@bounded
@given(st.text(max_size=200))
def test_any_text_is_a_document_or_refused(text: str) -> None:
    outcome(text)


def _places(text: str) -> list[tuple[int, int]]:
    """Where the scalars of a YAML text stand."""
    tokens = [token for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)]
    return [(token.start_mark.index, token.end_mark.index) for token in tokens]


@bounded
@given(st.data())
def test_any_one_value_replaced_is_a_document_or_refused(data: st.DataObject) -> None:
    steps = (
        "- {id: hi, send: {via: wecom.welcome, template: hi, fallback: [staff]}}\n"
        "- {id: w, when: \"channel.branch == 'x'\",\n"
        "   wait: {event: reward.claimed, timeout: 1d, else: [{id: x, exit: cold}]}}\n"
    )
    text = data.draw(st.sampled_from([WELCOME + steps, REWARDS]))
    begin, end = data.draw(st.sampled_from(_places(text)))
    value = data.draw(ODD | st.builds(lambda v: yaml.safe_dump(v, default_flow_style=True).strip(), VALUES))
    found = outcome(text[:begin] + value + text[end:])
    if isinstance(found, Campaign):
        assert found.window.starts < found.window.ends
        stored = found.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert Campaign.model_validate(stored) == found
