"""The population's decisions, which follow from a seed, and the file of what must be true."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from sandbox.people import bank, command, truth_file
from sandbox.people.plan import CLAIMS, FORGERIES, TRICKS, Digest, Stage, is_hunter, name_of, schedule
from sandbox.people.truth_file import BadTruth, Customer, Head, Truth

STAGE = Stage(
    states=("branch-q1.gz", "branch-q1.sz"),
    userids=("rm.chen", "rm.li"),
    appids=("wx1", "wx2"),
    groups=("chat-a", "chat-b"),
    links=("link-a",),
    bank=True,
)
EVERYTHING = {
    *("scan", "add", "click", "open", "phone", "claim", "subscribe", "write", "leave", "dismissed", "join", "quit"),
    *("invite", "trick", "forge", "bank"),
}


def digest(seed: int, customers: int = 300, stage: Stage = STAGE) -> str:
    decided = Digest()
    for step in schedule(seed, customers, 0.1, stage):
        decided.add(step)
    return decided.hex()


def test_the_same_seed_decides_the_same_in_the_same_order_and_another_does_not() -> None:
    first, again = list(schedule(7, 300, 0.1, STAGE)), list(schedule(7, 300, 0.1, STAGE))
    assert first == again
    assert digest(7) == digest(7) != digest(8)


def test_groups_and_links_are_named_by_position_so_that_their_ids_decide_nothing() -> None:
    assert digest(7) == digest(7, stage=STAGE.model_copy(update={"groups": ("x", "y"), "links": ("z",)}))


def test_a_customer_decides_the_same_in_a_larger_crowd() -> None:
    def of(crowd: int) -> list[str]:
        return [step.model_dump_json() for step in schedule(3, crowd, 0.1, STAGE) if step.customer == 17]

    assert of(20) == of(500)


def test_everybody_does_his_steps_in_order_and_customers_overlap() -> None:
    steps = list(schedule(5, 100, 0.1, STAGE))
    for customer in range(100):
        numbers = [step.number for step in steps if step.customer == customer]
        assert numbers == list(range(len(numbers)))
        assert numbers
    assert [step.customer for step in steps] != sorted(step.customer for step in steps)


def test_a_large_crowd_does_everything_there_is_to_do() -> None:
    steps = list(schedule(1, 2000, 0.05, STAGE))
    assert {step.kind for step in steps} == EVERYTHING
    assert {step.which for step in steps if step.kind == "claim"} == set(CLAIMS)
    assert {step.which for step in steps if step.kind == "trick"} == set(TRICKS)
    assert {step.which for step in steps if step.kind == "forge"} == set(FORGERIES)


def test_a_banks_customer_becomes_one_first_and_a_hunter_never_does() -> None:
    acts: dict[int, list[str]] = {}
    steps = list(schedule(1, 2000, 0.05, STAGE))
    for step in steps:
        if step.kind == "bank":
            acts.setdefault(step.customer, []).append(step.which)
    assert {one[0] for one in acts.values()} == {"become"}
    assert {verb for one in acts.values() for verb in one} == {*bank.NAMES, "again"}
    assert 1000 < len(acts) < 1300
    assert not [one for one in acts if is_hunter(1, one, 0.05)]
    first = [step for step in steps if step.number == 0]
    assert len([step for step in first if step.kind == "bank"]) > 400
    bare = STAGE.model_copy(update={"bank": False})
    assert not [step for step in schedule(1, 300, 0.05, bare) if step.kind == "bank"]


def test_only_hunters_hunt_and_their_share_is_what_was_asked_for() -> None:
    hunting = {step.customer for step in schedule(1, 2000, 0.05, STAGE) if step.kind in ("trick", "forge")}
    assert hunting == {number for number in range(2000) if is_hunter(1, number, 0.05)}
    assert 60 <= len(hunting) <= 140
    assert not [step for step in schedule(1, 500, 0.0, STAGE) if step.kind in ("trick", "forge")]


def test_a_bank_without_codes_groups_or_links_is_played_with_what_it_has() -> None:
    bare = Stage(states=(), userids=("rm.chen",), appids=("wx1",))
    kinds = Counter(step.kind for step in schedule(1, 300, 0.1, bare))
    assert kinds["add"] > 200
    assert not kinds.keys() & {"scan", "click", "join"}


def test_names_are_the_same_again() -> None:
    assert [name_of(4, n) for n in range(50)] == [name_of(4, n) for n in range(50)]
    assert len({name_of(4, n) for n in range(50)}) > 20


def truth() -> Truth:
    known = Truth(head=Head(seed=1, customers=2, hunters=0.5, stage=STAGE, done=9, plan="abc"))
    first = Customer(id="c0", name="刘敏")
    for _ in range(2):
        first.acknowledge("acq.coffee", "k", "r1")
    first.refuse("acq.coffee", "quota_customer")
    known.customers = {"c0": first, "c1": Customer(id="c1", ring="ring-0")}
    known.trouble("503")
    known.forged.sent = 3
    return known


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    truth_file.write(file, truth())
    assert truth_file.read(file) == truth()
    totals = truth_file.read(file).totals()
    assert (totals["granted"], totals["acknowledged"], totals["refused"]) == (1, 2, {"quota_customer": 1})
    assert (totals["hunters"], totals["forged"], totals["troubles"]) == (1, 3, {"503": 1})


def test_a_file_that_was_cut_short_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    truth_file.write(file, truth())
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(BadTruth, match="totals, is missing"):
        truth_file.read(file)
    file.write_text("\n".join([lines[0], lines[1][:30]]), encoding="utf-8")
    with pytest.raises(BadTruth, match=r"truth\.jsonl:2"):
        truth_file.read(file)


@pytest.mark.parametrize("wrong", [["--customers", "0"], ["--rate", "0"], ["--hunters", "1.5"]])
def test_numbers_that_make_no_population_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(wrong) == 1
    assert "are expected" in capsys.readouterr().err


def test_the_digest_of_what_was_skipped_and_of_the_rest_is_that_of_the_whole() -> None:
    whole, parts = Digest(), Digest()
    for step in schedule(2, 50, 0.1, STAGE):
        whole.add(step)
    steps = schedule(2, 50, 0.1, STAGE)
    for step in islice(steps, 40):
        parts.add(step)
    for step in steps:
        parts.add(step)
    assert parts.hex() == whole.hex()
