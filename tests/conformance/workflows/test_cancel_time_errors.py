"""SCENARIOS section 4: timers, cancelling, failures, steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.workflows.methods import decide, m1, m2, m3, m4, m5, submit
from tests.conformance.workflows.seen import logged_errors, statuses

from raysume import (
    WaitTimeout,
    all_of,
    any_of,
    sleep,
    sleep_until,
    subflow,
    wait,
    workflow,
)
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


async def test_a_wait_times_out_when_nobody_answers(deploy: Deploy) -> None:
    @workflow
    async def approval() -> str:
        start = await wait(submit).match_if(lambda call: call.output)
        try:
            answer = await (
                wait(decide).match(request=start.input.request).timeout(timedelta(days=3))
            )
        except WaitTimeout:
            return "escalated"
        return answer.output

    async with deploy(approval) as shell:
        await shell.push(submit, request=1, output=True)
        await shell.push(submit, request=2, output=True)
        await shell.push(submit, request=3, output=False)
        await shell.advance(timedelta(days=2))
        await shell.push(decide, request=2, answer="yes", output="yes")
        await shell.advance(timedelta(days=2))
        assert [run.result for run in shell.instances(approval)] == ["escalated", "yes"]


async def test_a_decision_is_asked_for_again_when_time_runs_out(deploy: Deploy) -> None:
    asked: list[int] = []

    @workflow
    async def deferred() -> int:
        start = await wait(submit).match_any()
        request = start.input.request
        while True:
            asked.append(request)
            first = await any_of(wait(decide).match(request=request), sleep(timedelta(days=2)))
            if first.index == 0:
                return len(asked)

    async with deploy(deferred) as shell:
        await shell.push(submit, request=5, output=True)
        await shell.advance(timedelta(days=2))
        await shell.push(decide, request=6, answer="", output="")
        [run] = shell.instances(deferred)
        assert run.status == "waiting"
        await shell.push(decide, request=5, answer="", output="")
        assert run.result == 2
        assert shell.counts() == Counts(calls=3, waits=7, completed=1)
        assert statuses(run) == {"completed": 5, "cancelled": 2}
        assert logged_errors(shell) == []
    assert asked == [5, 5]


async def test_an_answer_stops_the_timer(deploy: Deploy) -> None:
    @workflow
    async def answered() -> list[int]:
        start = await wait(submit).match_any()
        won: list[int] = []
        for _ in range(2):
            first = await any_of(
                wait(decide).match(request=start.input.request), sleep(timedelta(days=2))
            )
            won.append(first.index)
        return won

    async with deploy(answered) as shell:
        await shell.push(submit, request=5, output=True)
        await shell.advance(timedelta(days=1))
        await shell.push(decide, request=5, answer="", output="")
        await shell.advance(timedelta(days=1, hours=12))
        [run] = shell.instances(answered)
        assert run.status == "waiting", "the first timer rang although its group was decided"
        await shell.advance(timedelta(days=1))
        assert run.result == [0, 1]
        assert statuses(run) == {"completed": 5, "cancelled": 2}
        assert logged_errors(shell) == []


async def test_a_sleep_resumes_at_every_tick(deploy: Deploy) -> None:
    ready = [False, False, True]

    @workflow
    async def poll() -> int:
        await wait(m1).match_any()
        ticks = 0
        while not ready[ticks]:
            await sleep(timedelta(minutes=1))
            ticks += 1
        return ticks

    async with deploy(poll) as shell:
        await shell.push(m1)
        await shell.advance(timedelta(minutes=1))
        [run] = shell.instances(poll)
        assert run.status == "waiting"
        await shell.advance(timedelta(minutes=1))
        assert run.result == 2


async def test_sleeping_until_a_moment_ends_then(deploy: Deploy) -> None:
    @workflow
    async def until() -> str:
        await wait(m1).match_any()
        await sleep_until(datetime.now(UTC) + timedelta(hours=5))
        return "awake"

    async with deploy(until) as shell:
        await shell.push(m1)
        [run] = shell.instances(until)
        await shell.advance(timedelta(hours=4))
        assert run.status == "waiting"
        await shell.advance(timedelta(hours=2))
        assert run.result == "awake"


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=-1)])
def test_a_delay_must_be_positive(delay: timedelta) -> None:
    with pytest.raises(ValueError, match="above zero"):
        sleep(delay)


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_must_be_positive(delay: timedelta) -> None:
    with pytest.raises(ValueError, match="above zero"):
        wait(m1).match_any().timeout(delay)
    with pytest.raises(ValueError, match="above zero"):
        any_of(wait(m1).match_any()).timeout(delay)


def test_a_moment_in_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="has passed"):
        sleep_until(datetime.now(UTC) - timedelta(seconds=1))


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        sleep_until(datetime(2030, 1, 1))


async def test_an_error_before_the_first_wait_leaves_others_alone(deploy: Deploy) -> None:
    @workflow
    async def broken() -> None:
        raise RuntimeError("no paper")

    @workflow
    async def sound() -> int:
        return (await wait(m1).match_any()).input.id

    async with deploy(broken, sound) as shell:
        [line] = shell.refused
        assert "'broken'" in line
        assert "before its first wait" in line
        assert "RuntimeError: no paper" in line
        await shell.push(m1, id=4)
        assert shell.instances(broken) == []
        assert [run.result for run in shell.instances(sound)] == [4]


async def test_an_error_after_the_first_wait_fails_the_instance(deploy: Deploy) -> None:
    @workflow
    async def failing() -> None:
        await wait(m1).match_any()
        await wait(m2).match_any()
        raise RuntimeError("the printer is on fire")

    async with deploy(failing) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(failing)
        assert run.status == "failed"
        assert run.error == "RuntimeError: the printer is on fire"
        assert [view.status for view in run.waits] == ["completed", "waiting"]


async def test_an_error_in_after_match_leaves_the_wait(deploy: Deploy) -> None:
    attempts: list[int] = []

    def once(_call: object) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    @workflow
    async def callback() -> str:
        await wait(m1).match_any()
        call = await wait(m2).match_any().after_match(once)
        return call.input.text

    async with deploy(callback) as shell:
        await shell.push(m1)
        await shell.push(m2, text="first")
        [run] = shell.instances(callback)
        assert run.status == "waiting"
        assert len(run.errors) == 1
        assert "not yet" in run.errors[0]
        await shell.push(m2, text="second")
        assert run.result == "second"


async def test_an_error_in_one_match_does_not_touch_others(deploy: Deploy) -> None:
    @workflow
    async def picky() -> int:
        start = await wait(m1).match_any()
        number = start.input.id
        await wait(m2).match_if(lambda call: 10 / number > 0 and call.input.id == 5)
        return number

    async with deploy(picky) as shell:
        await shell.push(m1, id=0)
        await shell.push(m1, id=1)
        await shell.push(m2, id=5)
        broken, fine = shell.instances(picky)
        assert (broken.status, fine.result) == ("waiting", 1)
        assert "ZeroDivisionError" in broken.errors[0]


async def test_cancelling_runs_finally_and_its_waits(deploy: Deploy) -> None:
    done: list[str] = []

    @subflow
    async def inner() -> None:
        try:
            await wait(m2).match_any().when_cancelled(lambda: done.append("callback"))
        finally:
            done.append("inner")

    @workflow
    async def cancelled() -> None:
        await wait(m1).match_any()
        try:
            await inner()
        except Exception:
            done.append("swallowed")
        finally:
            done.append("outer")

    async with deploy(cancelled) as shell:
        await shell.push(m1)
        [run] = shell.instances(cancelled)
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert done == ["callback", "inner", "outer"]


class Cancellations:
    """What was cancelled, counted by a method."""

    def __init__(self) -> None:
        self.counter = 0

    def seven(self) -> None:
        """Counts seven."""
        self.counter += 7


async def test_callbacks_of_cancelled_waits_run_once(deploy: Deploy) -> None:
    @workflow
    async def callbacks() -> tuple[int, int]:
        counted, captured = Cancellations(), 3

        def five() -> None:
            nonlocal captured
            captured += 1
            counted.counter += 5

        await any_of(
            wait(m1).match_any(),
            wait(m2).match_any().when_cancelled(five),
            wait(m3).match_any().when_cancelled(counted.seven),
        )
        await wait(m4).match_any()
        return counted.counter, captured

    async with deploy(callbacks) as shell:
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=5, completed=0)
        await shell.push(m4)
        assert shell.counts() == Counts(calls=2, waits=5, completed=1)
        [run] = shell.instances(callbacks)
        assert run.result == (12, 4)
        assert statuses(run) == {"completed": 3, "cancelled": 2}
        assert logged_errors(shell) == []


async def test_callbacks_of_a_later_and_nested_group_run_once_after_a_reload(
    deploy: Deploy,
) -> None:
    @workflow
    async def nested() -> tuple[int, int]:
        counted, captured = Cancellations(), 3

        def five() -> None:
            nonlocal captured
            captured += 1
            counted.counter += 5

        await wait(submit).match_any()
        await any_of(
            wait(m1).match_any(),
            all_of(
                wait(m2).match_any().when_cancelled(five),
                wait(m3).match_any().when_cancelled(counted.seven),
                wait(m5).match_any().when_cancelled(five),
            ),
        )
        await wait(m4).match_any()
        return counted.counter, captured

    async with deploy(nested) as shell:
        await shell.push(submit, request=1, output=True)
        await shell.push(m5)
        await shell.push(m1)
        await shell.push(m4)
        [run] = shell.instances(nested)
        assert run.result == (12, 4)
        assert shell.counts() == Counts(calls=4, waits=8, completed=1)
        assert statuses(run) == {"completed": 5, "cancelled": 3}
        assert logged_errors(shell) == []
