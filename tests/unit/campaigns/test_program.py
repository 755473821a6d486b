"""`advance`, the one pure function that moves a run along its campaign."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.engine.advance import START, TIMER, State, advance
from campaigns.engine.program import Program
from tests.support.documents import WELCOME, program

NOW = 1_800_000_000.0
CLAIMED, BLOCKED = "reward.claimed", "customer.blocked"
WAITING = (
    "- {id: a, tag: {add: [one]}}\n"
    "- {id: w, wait: {event: reward.claimed, timeout: 1d, else: [{id: n, send: {via: staff, template: note}}]}}\n"
    "- {id: b, tag: {add: [two]}}\n"
)


def start(p: Program, facts: dict[str, Any] | None = None) -> State:
    return advance(p, State(position=None), START, facts or {}, NOW)


def did(state: State) -> list[str]:
    return [step.id for step in state.effects]


def test_a_run_goes_on_until_it_waits() -> None:
    state = start(program(WAITING))
    assert (state.position, state.status, state.waiting, state.wake) == ("w", "active", CLAIMED, NOW + 86_400)
    assert did(state) == ["a"]


def test_the_event_before_the_timer_skips_the_else() -> None:
    p = program(WAITING)
    state = advance(p, start(p), CLAIMED, {}, NOW + 60)
    assert (state.position, state.status, state.wake, state.waiting, did(state)) == (None, "done", None, None, ["b"])
    assert state.trail[-2:] == (("w", CLAIMED), ("b", "tag"))


def test_the_timer_before_the_event_takes_the_else_and_goes_on_after_it() -> None:
    p = program(WAITING)
    state = advance(p, start(p), TIMER, {}, NOW + 86_400)
    assert (state.status, did(state)) == ("done", ["n", "b"])
    assert ("w", "timeout") in state.trail
    assert advance(p, state, CLAIMED, {}, NOW + 86_401) == state


def test_a_timer_that_rings_too_early_changes_nothing() -> None:
    p = program(WAITING)
    waiting = start(p)
    assert advance(p, waiting, TIMER, {}, NOW + 86_399) == waiting


def test_an_event_that_nobody_waits_for_changes_nothing() -> None:
    p = program(WAITING)
    waiting = start(p)
    for event in (BLOCKED, "account.opened", "", "w"):
        assert advance(p, waiting, event, {}, NOW) == waiting


def test_an_event_does_not_end_a_plain_wait() -> None:
    p = program("- {id: w, wait: {for: 1h}}\n- {id: x, exit: over}\n")
    waiting = start(p)
    assert advance(p, waiting, CLAIMED, {}, NOW) == waiting
    over = advance(p, waiting, TIMER, {}, NOW + 3600)
    assert (over.status, over.reason, over.effects) == ("exited", "over", ())


def test_a_wait_until_a_moment_that_is_past_is_over_at_once() -> None:
    p = program('- {id: w, wait: {until: "2020-01-01T00:00:00+08:00"}}\n- {id: a, tag: {add: [t]}}\n')
    assert did(advance(p, start(p), TIMER, {}, NOW)) == ["a"]


def test_a_step_whose_condition_fails_is_passed_over_even_when_it_waits() -> None:
    steps = (
        "- {id: a, when: \"channel.branch == 'x'\", tag: {add: [t]}}\n"
        "- {id: w, when: \"channel.branch == 'x'\", wait: {for: 1d}}\n"
        "- {id: b, tag: {add: [u]}}\n"
    )
    p = program(steps)
    state = start(p, {"channel.branch": "y"})
    assert (state.status, did(state), state.trail[:2]) == ("done", ["b"], (("a", "skipped"), ("w", "skipped")))
    assert (start(p, {"channel.branch": "x"}).position, did(start(p, {"channel.branch": "x"}))) == ("w", ["a"])


def test_an_exit_rule_ends_a_run_out_of_any_wait() -> None:
    head = WELCOME.replace("steps:\n", "exit: [{event: customer.blocked, as: lost}]\nsteps:\n")
    for steps in (WAITING, "- {id: w, wait: {for: 1d}}\n", '- {id: w, wait: {until: "2030-01-01T00:00:00+08:00"}}\n'):
        p = program(steps, head)
        state = advance(p, start(p), BLOCKED, {}, NOW)
        assert (state.status, state.reason, state.wake, state.waiting, state.effects) == (
            "exited",
            "lost",
            None,
            None,
            (),
        )


def test_an_exit_rule_comes_before_a_wait_for_the_same_event() -> None:
    head = WELCOME.replace("steps:\n", "exit: [{event: reward.claimed, as: won}]\nsteps:\n")
    p = program(WAITING, head)
    state = advance(p, start(p), CLAIMED, {}, NOW)
    assert (state.status, state.reason, state.effects) == ("exited", "won", ())


def test_a_run_that_is_over_stays_as_it_is() -> None:
    p = program(WAITING)
    for over in (State(position=None, status="done"), State(position="w", status="exited", wake=NOW, waiting=CLAIMED)):
        for cause in (START, TIMER, CLAIMED, BLOCKED):
            assert advance(p, over, cause, {}, NOW + 1e9) == over


def test_a_campaign_without_steps_is_over_at_once() -> None:
    assert start(program(" []\n")).status == "done"


NAMES = iter(range(10**9))


def _step(inner: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[dict[str, Any]]:
    verbs = st.one_of(
        st.just({"tag": {"add": ["t"]}}),
        st.just({"exit": "over"}),
        st.builds(lambda n: {"wait": {"for": f"{n}h"}}, st.integers(0, 5)),
        st.just({"wait": {"until": "2027-06-01T00:00:00+08:00"}}),
        st.builds(
            lambda event, other: {"wait": {"event": event, "timeout": "1d", "else": other}},
            st.sampled_from([CLAIMED, BLOCKED]),
            inner,
        ),
    )
    when = st.sampled_from([{}, {"when": "channel.branch == 'x'"}, {"when": "channel.branch != 'x'"}])
    return st.builds(lambda verb, w: {"id": f"s{next(NAMES)}", **w, **verb}, verbs, when)


STEPS = st.recursive(st.just([]), lambda inner: st.lists(_step(inner), max_size=5), max_leaves=8)


@settings(max_examples=200, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS, st.lists(st.sampled_from([TIMER, CLAIMED, BLOCKED, "other"]), max_size=20), st.sampled_from("xy"))
def test_every_run_ends_and_does_each_step_at_most_once(steps: list[Any], causes: list[str], branch: str) -> None:
    p = program(f" {json.dumps(steps)}\n")
    facts = {"channel.branch": branch}
    state, now, done = start(p, facts), NOW, []
    done += did(state)
    for cause in [*causes, *[TIMER] * (len(p.ops) + 1)]:
        now = max(now, state.wake or now) if cause == TIMER else now
        after = advance(p, state, cause, facts, now)
        done += did(after) if after != state else []
        state = after
    assert state.status in ("done", "exited")
    assert len(done) == len(set(done))
    assert (state.wake, state.waiting) == (None, None)
