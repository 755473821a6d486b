"""The retry policy: pauses that double up to a bound, and an end."""

from __future__ import annotations

from services.queue.retry import DEAD_LETTER, FAIL, Retry


def test_pauses_double_up_to_their_bound() -> None:
    patient = Retry()
    assert [patient.delay(n) for n in (0, 1, 2, 3, 9, 10, 10_000)] == [1.0, 1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    quick = Retry(first=0.5, most=3.0)
    assert [quick.delay(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]


def test_what_the_other_side_asks_for_is_waited_for() -> None:
    retry = Retry(first=0.5, most=3.0)
    assert [retry.delay(1, at_least=2.0), retry.delay(4, at_least=2.0), retry.delay(4, at_least=60.0)] == [
        2.0,
        3.0,
        60.0,
    ]


def test_tries_end_where_the_policy_says() -> None:
    retry = Retry(12, then=FAIL)
    assert [retry.is_over(n) for n in (0, 11, 12, 13)] == [False, False, True, True]
    assert (retry.then, Retry(3).then) == (FAIL, DEAD_LETTER)
    assert not Retry().is_over(1_000_000)
