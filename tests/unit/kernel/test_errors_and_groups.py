"""What comes of errors and cancelling, and how groups end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.kernel.bench import (
    START_US,
    Bench,
    begun,
    one,
    record_of,
    two,
)
from tests.unit.kernel.cases import SECOND, add, collector, slow

from raysume import (
    WaitTimeout,
    all_of,
    any_of,
    group,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.actors.kernel.commits import (
    CancelAsked,
    TimersDue,
    TurnEnded,
)
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import Begin, Cancel, TimerDue
from raysume.actors.kernel.status import FINISHED, Event, Status, next_status
from raysume.errors import InvariantViolated


def status_of(instance: Instance) -> Status:
    """The status now: type checkers take an attribute for what it was when last compared."""
    return instance.status


# --- errors and cancelling -----------------------------------------------------------


def test_a_callback_that_raised_undoes_its_turn_and_passes_the_call_over() -> None:
    raising = [True, False]

    def check(_call: Any) -> None:
        if raising.pop(0):
            raise RuntimeError("not yet")

    @workflow
    async def checked() -> int:
        await wait(begun).match_any()
        return (await wait(one).match_any().after_match(check)).input.n

    bench = Bench(checked, keep_live=True)
    bench.push(begun)
    before = bench.only.state
    bench.push(one, n=1)
    assert bench.only.status is Status.WAITING
    assert bench.only.state == before
    bench.push(one, n=2)
    assert bench.result() == 2


def test_a_callback_that_raised_while_looking_back_leaves_a_wait_that_can_be_met() -> None:
    raising = [True, False]

    def check(_call: Any) -> None:
        if raising.pop(0):
            raise RuntimeError("not yet")

    @workflow
    async def checked() -> int:
        await wait(begun).match_any()
        await wait(two).match_any()
        return (await wait(one).match_any().after_match(check)).input.n

    bench = Bench(checked)
    for method, n in ((begun, 0), (one, 1), (two, 0)):
        bench.push(method, n=n)
    assert bench.only.status is Status.WAITING
    bench.push(one, n=2)
    assert bench.result() == 2


def test_a_callback_that_raised_when_a_timer_rang_fails_the_instance_with_the_timer() -> None:
    def refuse() -> None:
        raise RuntimeError("no")

    @workflow
    async def stuck() -> None:
        await wait(begun).match_any()
        await any_of(wait(one).match_any().when_cancelled(refuse), sleep(timedelta(seconds=1)))

    bench = Bench(stuck)
    bench.push(begun)
    bench.apply(TimersDue(upto_us=START_US + SECOND))
    assert bench.only.status is Status.FAILED
    assert [type(stimulus) for stimulus in bench.only.inbox] == [TimerDue]


def test_state_that_cannot_be_loaded_fails_its_instance_only() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=1)
    bench.push(begun, key="b", n=1)
    bad, good = bench.instances
    bad.state = b"written by another world"
    for n, key in enumerate("ab"):
        bench.push(one, key=key, n=n)
    assert bad.status is Status.FAILED
    assert bench.result(good) == [1]


def test_cancelling_unwinds_through_waits_in_finally() -> None:
    @workflow
    async def closing() -> None:
        await wait(begun).match_any()
        try:
            await wait(one).match_any()
        finally:
            await wait(two).match_any()

    bench = Bench(closing)
    bench.push(begun)
    bench.apply(CancelAsked(instance=bench.only.id))
    assert bench.only.status is Status.WAITING
    assert bench.push(one).turns == {}
    bench.push(two)
    assert status_of(bench.only) is Status.CANCELLED
    assert bench.apply(CancelAsked(instance=bench.only.id)).turns == {}


def test_a_busy_instance_is_cancelled_after_its_turn() -> None:
    bench = Bench(slow)
    bench.push(begun, n=1)
    commit = bench.apply(CancelAsked(instance=bench.only.id))
    inbox = record_of(commit, bench.only.id).inbox
    assert [type(stimulus) for stimulus in inbox] == [Begin, Cancel]
    bench.finish_turns()
    assert bench.only.status is Status.CANCELLED


def test_a_cancel_that_queued_behind_a_failure_is_carried_out() -> None:
    bench = Bench(slow)
    bench.push(begun, n=1)
    bench.apply(CancelAsked(instance=bench.only.id))
    bench.apply(TurnEnded(task=bench.tasks.pop(0), error=RuntimeError("no")))
    bench.finish_turns()
    assert bench.only.status is Status.CANCELLED


def test_a_failed_instance_can_be_cancelled() -> None:
    @workflow
    async def failing() -> None:
        first = await wait(begun).match_any()
        if first.input.n == 0:
            raise RuntimeError("before any saved point")
        await wait(one).match_any()
        raise RuntimeError("after one")

    bench = Bench(failing)
    bench.push(begun, n=0)
    bench.push(begun, n=1)
    bench.push(one)
    for instance in bench.instances:
        assert instance.status is Status.FAILED
        bench.apply(CancelAsked(instance=instance.id))
        assert status_of(instance) is Status.CANCELLED
        assert instance.inbox == []
    assert len(bench.kernel.index) == len(bench.kernel.standing.waits)


def test_cancelling_that_fails_leaves_a_failed_instance_and_no_loop() -> None:
    @workflow
    async def stubborn() -> None:
        await wait(begun).match_any()
        try:
            await wait(one).match_any()
        finally:
            raise RuntimeError("not so fast")

    bench = Bench(stubborn)
    bench.push(begun)
    bench.apply(CancelAsked(instance=bench.only.id))
    assert bench.only.status is Status.FAILED
    assert bench.only.inbox == []


# --- status --------------------------------------------------------------------------


@pytest.mark.parametrize("event", list(Event), ids=str)
def test_every_event_gives_one_status_until_the_end(event: Event) -> None:
    expected = {
        Event.TURN_BEGAN: Status.RUNNING,
        Event.SUSPENDED_AT_WAIT: Status.WAITING,
        Event.SUSPENDED_AT_STEP: Status.RUNNING,
        Event.RETURNED: Status.COMPLETED,
        Event.RAISED: Status.FAILED,
        Event.RETRIED: Status.RUNNING,
        Event.REWOUND: Status.RUNNING,
        Event.UNWOUND: Status.CANCELLED,
    }[event]
    for status in Status:
        ended = status in FINISHED and event is not Event.REWOUND
        if ended or (event is Event.RETRIED and status is not Status.FAILED):
            with pytest.raises(InvariantViolated):
                next_status(status, event)
        else:
            assert next_status(status, event) is expected


# --- groups --------------------------------------------------------------------------


def test_losers_that_wait_in_finally_hold_the_group_up() -> None:
    trail: list[str] = []

    @subflow
    async def loser() -> None:
        try:
            await wait(two).match(key="never")
        finally:
            trail.append("unwinding")
            await wait(two).match(key="unwound")
            trail.append("unwound")

    @workflow
    async def grouped() -> int:
        await wait(begun).match_any()
        first = await any_of(wait(one).match_any(), loser())
        trail.append("decided")
        return first.index

    bench = Bench(grouped)
    bench.push(begun)
    bench.push(one)
    assert trail == ["unwinding"]
    bench.restart()
    bench.push(two, key="unwound")
    assert trail == ["unwinding", "unwound", "decided"]
    assert bench.result() == 0


def test_an_error_in_a_member_is_raised_at_the_group_and_cancels_the_others() -> None:
    cancelled: list[str] = []

    @subflow
    async def bad() -> None:
        await wait(one).match_any()
        raise ValueError("member")

    @workflow
    async def grouped() -> str:
        await wait(begun).match_any()
        try:
            await all_of(
                bad(), wait(two).match_any().when_cancelled(lambda: cancelled.append("two"))
            )
        except ValueError as error:
            return str(error)
        return "none"

    bench = Bench(grouped)
    bench.push(begun)
    bench.push(one)
    assert bench.result() == "member"
    assert cancelled == ["two"]


def test_nested_groups_time_out_together() -> None:
    @workflow
    async def grouped() -> str:
        await wait(begun).match_any()
        inner = any_of(wait(one).match_any(), sleep(timedelta(seconds=9)))
        try:
            await all_of(inner, wait(two).match_any()).timeout(timedelta(seconds=5))
        except WaitTimeout:
            return "timeout"
        return "none"

    bench = Bench(grouped)
    bench.push(begun)
    bench.push(two)
    bench.apply(TimersDue(upto_us=START_US + 5 * SECOND))
    assert bench.result() == "timeout"
    assert bench.kernel.next_due_us is None
    assert len(bench.kernel.index) == 1


def test_a_filter_that_raises_is_raised_at_the_group() -> None:
    @workflow
    async def filtered() -> str:
        await wait(begun).match_any()
        try:
            await group(wait(one).match_any(), wait(two).match_any()).until(
                lambda progress: 1 / (progress.completed - 1) > 0
            )
        except ZeroDivisionError:
            return "refused"
        return "none"

    bench = Bench(filtered)
    bench.push(begun)
    bench.push(one)
    assert bench.result() == "refused"
    assert len(bench.kernel.index) == 1


def test_a_member_that_cannot_be_awaited_leaves_nothing_of_its_group_behind() -> None:
    @workflow
    async def careless() -> str:
        await wait(begun).match_any()
        unmatched = wait(two)
        try:
            await all_of(
                wait(one).match_any().timeout(timedelta(seconds=1)),
                step(add, 1, 2),
                unmatched,
            )
        except Exception as error:
            await wait(one).match_any()
            return type(error).__name__
        return "none"

    bench = Bench(careless)
    commit = bench.push(begun)
    assert commit.steps == []
    assert bench.kernel.next_due_us is None
    bench.push(one)
    assert bench.result() == "UsageError"
