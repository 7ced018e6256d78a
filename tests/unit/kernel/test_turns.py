"""Turns with ordinary awaits, timers and steps."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.unit.kernel.bench import (
    START_US,
    Bench,
    begun,
    call,
    one,
    record_of,
    two,
)
from tests.unit.kernel.cases import SECOND, done, looking, racing, slow, stepping

from raysume import (
    WaitTimeout,
    any_of,
    sleep,
    wait,
    workflow,
)
from raysume.actors.kernel.commits import (
    LookedBack,
    StepEnded,
    TimersDue,
    TurnEnded,
)
from raysume.actors.kernel.records import Begin, CallMet, StepDone
from raysume.actors.kernel.status import Status

# --- turns with ordinary awaits ------------------------------------------------------


def test_the_stimulus_of_a_turn_under_way_is_in_the_inbox() -> None:
    bench = Bench(slow)
    commit = bench.push(begun, n=1)
    record = record_of(commit, bench.only.id)
    assert [type(stimulus) for stimulus in record.inbox] == [Begin]
    assert record.status == "running"
    bench.finish_turns()
    assert record_of(bench.committed[-1], bench.only.id).inbox == []


def test_calls_queue_behind_a_turn_and_one_whose_wait_ended_is_found_again() -> None:
    bench = Bench(slow)
    bench.push(begun, n=4)
    bench.finish_turns()
    bench.push(one, key="a", n=1)
    bench.push(two, key="a", n=2)
    bench.push(one, key="a", n=3)
    record = record_of(bench.committed[-2], bench.only.id)
    assert [type(stimulus) for stimulus in record.inbox] == [CallMet, CallMet]
    bench.finish_turns()
    bench.push(two, key="a", n=4)
    bench.finish_turns()
    assert sorted(bench.result()) == [1, 2, 3, 4]


def test_a_crash_in_the_middle_of_a_turn_runs_it_again() -> None:
    bench = Bench(slow)
    bench.push(begun, n=2)
    bench.finish_turns()
    bench.push(one, key="a", n=1)
    bench.push(two, key="a", n=2)
    bench.go_on()
    commit = bench.restart(remembered=(call(two, 2, key="a", n=2),))
    assert [task.instance for task in commit.tasks] == [bench.only.id]
    assert not bench.only.entries, "both waits have their call"
    bench.finish_turns()
    assert bench.result() == [1, 2]


def test_a_turn_reported_twice_counts_once() -> None:
    bench = Bench(slow)
    bench.push(begun, n=1)
    [task] = bench.tasks
    bench.finish_turns()
    assert bench.apply(TurnEnded(task=task)).turns == {}
    assert bench.only.turn == 1


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), RuntimeError("no")])
def test_an_error_outside_the_code_fails_the_instance_only(error: BaseException) -> None:
    bench = Bench(slow)
    bench.push(begun, n=1)
    bench.push(begun, n=0)
    task = bench.tasks.pop(0)
    bench.apply(TurnEnded(task=task, error=error))
    failed, other = bench.instances
    assert failed.status is Status.FAILED
    assert [type(stimulus) for stimulus in failed.inbox] == [Begin]
    bench.finish_turns()
    assert other.status is Status.COMPLETED


@pytest.mark.parametrize("kind", [asyncio.CancelledError, SystemExit])
def test_what_the_code_raises_is_its_own(kind: type[BaseException]) -> None:
    @workflow
    async def leaving() -> None:
        await wait(begun).match_any()
        raise kind()

    bench = Bench(leaving)
    bench.push(begun)
    assert bench.only.status is Status.FAILED
    assert bench.only.error is not None
    assert bench.only.error.type == kind.__name__


# --- timers --------------------------------------------------------------------------


def test_timers_ring_in_the_order_in_which_they_are_due() -> None:
    order: list[int] = []

    @workflow
    async def sleeping() -> None:
        first = await wait(begun).match_any()
        await sleep(timedelta(seconds=first.input.n))
        order.append(first.input.n)

    bench = Bench(sleeping)
    for n in (3, 1, 2):
        bench.push(begun, n=n)
    assert bench.kernel.next_due_us == START_US + SECOND
    bench.apply(TimersDue(upto_us=START_US + 2 * SECOND))
    assert order == [1, 2]
    bench.restart()
    bench.apply(TimersDue(upto_us=START_US + 9 * SECOND))
    assert order == [1, 2, 3]
    assert bench.kernel.next_due_us is None


def test_an_answer_stops_the_timer_and_a_timer_ends_the_wait() -> None:
    bench = Bench(racing)
    bench.push(begun, key="a")
    bench.push(begun, key="b")
    bench.push(one, key="a")
    bench.apply(TimersDue(upto_us=START_US + 60 * SECOND))
    bench.push(one, key="b")
    assert [bench.result(instance) for instance in bench.instances] == ["in time", "timeout"]
    assert bench.kernel.next_due_us is None


@pytest.mark.parametrize("is_found", [True, False])
def test_a_timer_waits_while_the_log_is_read_for_an_earlier_call(is_found: bool) -> None:
    @workflow
    async def impatient() -> str:
        first = await wait(begun).match_any()
        await wait(two).match_any()
        try:
            await wait(one).match(key=first.input.key).timeout(timedelta(seconds=5))
        except WaitTimeout:
            return "timeout"
        return "in time"

    bench = Bench(impatient, recent_calls=2)
    order = looking(bench)
    assert bench.kernel.next_due_us is None
    bench.apply(TimersDue(upto_us=START_US + 60 * SECOND))
    assert bench.only.status is Status.WAITING
    calls = [call(one, 2, key="a")] if is_found else []
    bench.apply(LookedBack(instance=order.instance, wait=order.wait, calls=calls))
    assert bench.kernel.next_due_us == (None if is_found else START_US + 5 * SECOND)
    bench.apply(TimersDue(upto_us=START_US + 60 * SECOND))
    assert bench.result() == ("in time" if is_found else "timeout")


def test_a_failed_instance_keeps_its_waits_and_timers_but_nothing_reaches_it() -> None:
    @workflow
    async def failing() -> None:
        await wait(begun).match_any()
        first = await any_of(
            wait(one).match_any(), wait(two).match_any(), sleep(timedelta(seconds=5))
        )
        if first.index == 0:
            raise RuntimeError("no")

    for checkpointed in (False, True):
        bench = Bench(failing)
        bench.push(begun)
        bench.push(one)
        if checkpointed:
            bench.checkpoint()
        bench.restart()
        instance = bench.only
        assert instance.status is Status.FAILED
        assert len(instance.waits) == 2
        assert len(instance.timers) == 1
        assert instance.entries == {}
        assert bench.push(two).turns == {}
        assert bench.apply(TimersDue(upto_us=START_US + 60 * SECOND)).turns == {}
        assert len(instance.timers) == 1
        assert [type(stimulus) for stimulus in instance.inbox] == [CallMet]


# --- steps ---------------------------------------------------------------------------


def test_a_step_is_asked_tried_again_and_recorded_once() -> None:
    bench = Bench(stepping)
    commit = bench.push(begun)
    [order] = commit.steps
    assert (order.step, order.attempt) == ("1.2", 1)
    assert bench.kernel.step_of(order.instance, order.step).args == (1, 2)
    instance = bench.only.id
    bench.apply(StepEnded(instance=instance, done=done(1, ok=False)))
    assert bench.kernel.next_due_us == START_US + SECOND
    assert bench.apply(StepEnded(instance=instance, done=done(1, ok=False))).turns == {}
    assert bench.apply(StepEnded(instance=instance, done=done(1))).turns == {}
    commit = bench.apply(TimersDue(upto_us=START_US + SECOND))
    assert [order.attempt for order in commit.steps] == [2]
    assert [order.attempt for order in bench.restart().steps] == [2]
    bench.apply(StepEnded(instance=instance, done=done(2)))
    assert bench.result() == 3
    assert bench.apply(StepEnded(instance=instance, done=done(2))).turns == {}
    assert bench.restart().steps == []


def test_after_the_last_attempt_the_workflow_has_the_failure() -> None:
    bench = Bench(stepping)
    bench.push(begun)
    for attempt in (1, 2, 3):
        bench.apply(StepEnded(instance=bench.only.id, done=done(attempt, ok=False)))
        bench.apply(TimersDue(upto_us=START_US + 100 * SECOND))
    assert bench.result() == "failed 3"


def test_a_result_that_cannot_be_read_fails_its_instance_only() -> None:
    bench = Bench(stepping)
    bench.push(begun)
    bench.apply(StepEnded(instance=bench.only.id, done=StepDone("1.2", 1, True, b"no pickle")))
    assert bench.only.status is Status.FAILED
