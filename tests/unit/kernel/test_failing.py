"""What a failed instance keeps: the results that come meanwhile, and its compensations."""

from __future__ import annotations

from tests.unit.kernel.bench import Bench, begun, one

from raysume import step, wait, workflow
from raysume.actors.kernel.commits import CancelAsked, RetryAsked, StepEnded, StepOrder
from raysume.actors.kernel.records import StepDone
from raysume.actors.kernel.status import Status
from raysume.compiler import dumps

broken: list[bool] = []


def book() -> str:
    """Booked."""
    return "booked"


def release() -> None:
    """Released."""


@workflow
async def booking() -> str:
    """The turn that takes the step's result may raise."""
    await wait(begun).match_any()
    booked = await step(book, compensate=release)
    if broken:
        raise RuntimeError("not now")
    await wait(one).match_any()
    return booked


def ended(bench: Bench, order: StepOrder) -> StepEnded:
    done = StepDone(order.step, order.attempt, True, dumps("booked"))
    return StepEnded(instance=bench.only.id, done=done)


def test_compensations_are_asked_again_after_a_restart_and_recorded_once() -> None:
    broken[:] = [True]
    bench = Bench(booking)
    [booked] = bench.push(begun).steps
    [undone] = bench.apply(ended(bench, booked)).steps
    assert bench.only.is_active
    assert bench.kernel.step_of(undone.instance, undone.step).function is release
    assert bench.restart().steps == [undone]
    bench.apply(ended(bench, undone))
    assert bench.only.status is Status.FAILED
    assert bench.restart().steps == []
    [(_, refusal)] = bench.apply(RetryAsked(instance=bench.only.id)).replies
    assert "undone" in str(refusal)


def test_cancelling_undoes_what_was_recorded_before_a_restart() -> None:
    broken.clear()
    bench = Bench(booking)
    [booked] = bench.push(begun).steps
    bench.apply(ended(bench, booked))
    bench.restart()
    [undone] = bench.apply(CancelAsked(instance=bench.only.id)).steps
    assert bench.kernel.step_of(undone.instance, undone.step).function is release
    assert bench.apply(CancelAsked(instance=bench.only.id)).steps == []
    bench.apply(ended(bench, undone))
    assert bench.only.status is Status.CANCELLED


def test_a_command_for_an_unknown_instance_is_refused() -> None:
    bench = Bench(booking)
    [(token, refusal)] = bench.apply(CancelAsked(instance="nobody", token=7)).replies
    assert (token, "no instance 'nobody'" in str(refusal)) == (7, True)


def unlucky() -> str:
    """Fails."""
    raise AssertionError("it is not run here")


@workflow
async def trying() -> str:
    """A step without a Retry."""
    await wait(begun).match_any()
    return await step(unlucky)


def test_a_retry_asks_for_another_attempt_of_the_step_that_failed_for_good() -> None:
    bench = Bench(trying)
    [first] = bench.push(begun).steps
    failed = StepDone(first.step, 1, False, dumps(ValueError("no")), False)
    bench.apply(StepEnded(instance=bench.only.id, done=failed))
    assert bench.only.status is Status.FAILED
    [again] = bench.apply(RetryAsked(instance=bench.only.id)).steps
    assert (again.step, again.attempt) == (first.step, 2)
    assert bench.restart().steps == [again]
    bench.apply(StepEnded(instance=bench.only.id, done=failed))
    assert bench.only.error is None, "the outcome of the first attempt counts no more"
    done = StepDone(again.step, 2, True, dumps("at last"))
    bench.apply(StepEnded(instance=bench.only.id, done=done))
    assert (bench.only.status, bench.only.result) == (Status.COMPLETED, b'"at last"')
