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
