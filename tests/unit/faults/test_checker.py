"""The checker of the proof with real processes sees every kind of broken promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scale_tests.faults.checker import (
    Checker,
    LoggedCall,
    Observed,
    SeenInstance,
    StepLine,
    Verdict,
    longest_gap,
)
from scale_tests.faults.journal import Acknowledged, Journal, Line, Sent, Started
from scale_tests.faults.workflows import ANSWER_WITHIN_S

from raysume.ids import instance_id_of

BEGIN_US = 1_800_000_000_000_000
LIMIT_US = int(ANSWER_WITHIN_S * 1_000_000)

SENT = [
    Sent("greeted", "g", 0),
    Sent("opened", "c", 3),
    Sent("ticked", "c", 0),
    Sent("ticked", "c", 1),
    Sent("ticked", "c", 2),
    Sent("asked", "q", 0),
    Sent("answered", "q", 0),
    Sent("ordered", "o", 0),
    Sent("paid", "o", 7),
    Sent("granted", "group", 0),
    Sent("granted", "group", 1),
]
STARTED = [Started("group-0", "group"), Started("group-1", "group")]
ACKNOWLEDGED = Acknowledged(calls=SENT, starts=STARTED, moments=[])


def call_id(method: str, key: str) -> str:
    return f"id-{method}-{key}"


def logged(sent: Sent, at_us: int = BEGIN_US) -> LoggedCall:
    return LoggedCall(
        id=call_id(sent.method, sent.key), method=sent.method, key=sent.key, n=sent.n, at_us=at_us
    )


def instance(workflow: str, method: str, key: str, result: object) -> SeenInstance:
    return SeenInstance(
        id=instance_id_of(workflow, call_id(method, key)),
        workflow=workflow,
        status="completed",
        result=result,
    )


GREETING = instance("greeting", "greeted", "g", ["g"])
COUNTING = instance("counting", "opened", "c", [0, 1, 2])
QUESTION = instance("question", "asked", "q", "answered")
ORDER = instance("order", "ordered", "o", ["attempt-1", "attempt-2", "7"])
CLAIMS = [
    SeenInstance(id="group-0", workflow="claim", status="completed", result=1),
    SeenInstance(id="group-1", workflow="claim", status="completed", result=0),
]
NOTED = LoggedCall(id="n", method="noted", key="o", n=0, at_us=BEGIN_US, first="attempt-1")
HERE = StepLine(key="o", what="here", step_key="o/1.1", attempt="attempt-1")
THERE = StepLine(key="o", what="there", step_key="o/3.1", attempt="attempt-2")

GOOD = Observed(
    calls=[*(logged(sent) for sent in SENT), NOTED],
    instances=[GREETING, COUNTING, QUESTION, ORDER, *CLAIMS],
    lines=[HERE, THERE],
)


def verdict(observed: Observed) -> Verdict:
    return Checker(ACKNOWLEDGED, observed).check()


def counted(observed: Observed) -> tuple[int, int, int, int]:
    found = verdict(observed)
    assert found.holds == (not found.notes)
    return found.lost, found.doubled, found.disordered, found.stuck


def with_instance(before: SeenInstance, *after: SeenInstance) -> Observed:
    rest = [one for one in GOOD.instances if one is not before]
    return replace(GOOD, instances=[*rest, *after])


def without_call(method: str) -> Observed:
    return replace(GOOD, calls=[call for call in GOOD.calls if call.method != method])


def answered_after(us: int, result: str) -> Observed:
    calls = [
        replace(call, at_us=BEGIN_US + us) if call.method == "answered" else call
        for call in GOOD.calls
    ]
    changed = with_instance(QUESTION, replace(QUESTION, result=result))
    return replace(changed, calls=calls)


def test_what_happened_as_it_should_holds() -> None:
    assert counted(GOOD) == (0, 0, 0, 0)
    assert verdict(GOOD).holds


LOST: dict[str, Callable[[], Observed]] = {
    "an acknowledged call is not in the log": lambda: without_call("paid"),
    "a start made no instance": lambda: with_instance(GREETING),
    "an explicit start made no instance": lambda: with_instance(CLAIMS[0]),
    "a loop did not get a call": lambda: with_instance(COUNTING, replace(COUNTING, result=[0, 2])),
    "an answer in time was beaten by its timeout": lambda: answered_after(LIMIT_US - 1, "late"),
    "a step's result was never made": lambda: replace(GOOD, lines=[HERE]),
    "an outgoing call was not sent": lambda: without_call("noted"),
    "a wait got another call than was sent": lambda: with_instance(
        ORDER, replace(ORDER, result=["attempt-1", "attempt-2", "8"])
    ),
}

DOUBLED: dict[str, Callable[[], Observed]] = {
    "a call is in the log twice": lambda: replace(GOOD, calls=[*GOOD.calls, logged(SENT[2])]),
    "an instance exists twice": lambda: with_instance(GREETING, GREETING, GREETING),
    "an instance exists that nobody started": lambda: replace(
        GOOD, instances=[*GOOD.instances, replace(GREETING, id="another")]
    ),
    "a loop got a call twice": lambda: with_instance(
        COUNTING, replace(COUNTING, result=[0, 1, 1, 2])
    ),
    "two results of a step were taken": lambda: replace(
        GOOD, calls=[replace(call, first="other") if call is NOTED else call for call in GOOD.calls]
    ),
    "a step was asked for twice": lambda: replace(
        GOOD, lines=[HERE, THERE, replace(HERE, step_key="o/2.1", attempt="attempt-3")]
    ),
    "an outgoing call was sent twice": lambda: replace(
        GOOD, calls=[*GOOD.calls, replace(NOTED, id="m")]
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_it_finds_lost(case: str) -> None:
    lost, doubled, disordered, stuck = counted(LOST[case]())
    assert (lost > 0, doubled, disordered, stuck) == (True, 0, 0, 0)


@pytest.mark.parametrize("case", DOUBLED)
def test_it_finds_doubled(case: str) -> None:
    lost, doubled, disordered, stuck = counted(DOUBLED[case]())
    assert (lost, doubled > 0, disordered, stuck) == (0, True, 0, 0)


def test_an_exclusive_call_that_two_got_is_doubled_and_the_other_one_lost() -> None:
    observed = with_instance(CLAIMS[0], replace(CLAIMS[0], result=0))
    assert counted(observed) == (1, 1, 0, 0)


def test_calls_taken_in_another_order_are_found() -> None:
    observed = with_instance(COUNTING, replace(COUNTING, result=[1, 0, 2]))
    assert counted(observed) == (0, 0, 1, 0)


@pytest.mark.parametrize("status", ["waiting", "running", "failed"])
def test_an_instance_that_did_not_finish_is_stuck(status: str) -> None:
    observed = with_instance(COUNTING, replace(COUNTING, status=status, result=None))
    assert counted(observed) == (0, 0, 0, 1)


def test_an_answer_that_came_too_late_may_be_beaten_by_the_timeout() -> None:
    assert verdict(answered_after(LIMIT_US, "late")).holds


def test_an_answer_may_still_be_taken_when_the_wait_was_made_later_than_its_call() -> None:
    assert verdict(answered_after(LIMIT_US + 5_000_000, "answered")).holds


def test_a_step_that_ran_again_before_it_was_recorded_is_allowed_and_counted() -> None:
    found = verdict(replace(GOOD, lines=[HERE, THERE, replace(HERE, attempt="attempt-0")]))
    assert found.holds
    assert found.steps_repeated == 1


def test_the_longest_gap_reaches_from_the_begin_to_the_end() -> None:
    assert longest_gap([], 10.0, 25.0) == 15.0
    assert longest_gap([5.0, 12.0, 13.0, 40.0], 10.0, 25.0) == 12.0
    assert longest_gap([18.0, 11.0, 20.0], 10.0, 25.0) == 7.0


def test_a_journal_gives_back_what_was_written_and_ignores_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "client"
    journal = Journal(path)
    journal.write(Line(2.0, calls=SENT[:2]))
    journal.write(Line(1.0, starts=STARTED))
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"at":3.0,"calls":[["greeted"')
    found = Acknowledged.of([path])
    assert (found.calls, found.starts, found.moments) == (SENT[:2], STARTED, [1.0, 2.0])
