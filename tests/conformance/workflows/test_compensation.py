"""SCENARIOS 76 to 79: completed steps are undone, in reverse, each once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from tests.conformance.workflows.methods import m1, m2

from raysume import Retry, StepFailed, all_of, step, undo, wait, workflow
from raysume.errors import NotRetriable, UsageError
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


@dataclass
class Bookings:
    """Functions that book and release, and what they did."""

    book: Callable[[str], str]
    release: Callable[..., None]
    log: list[str]
    refuses: set[str]


def make_bookings() -> Bookings:
    """Functions over lists of their own."""
    log: list[str] = []
    refuses: set[str] = set()

    def book(what: str) -> str:
        log.append(f"book {what}")
        if what in refuses:
            raise ConnectionError(f"no {what}")
        return f"{what}-7"

    def release(what: str, *, result: str) -> None:
        log.append(f"release {what} {result}")
        if f"release {what}" in refuses:
            raise ConnectionError(f"{what} stays")

    return Bookings(book, release, log, refuses)


@pytest.mark.row(76)
@pytest.mark.logs_errors("no car")
async def test_completed_steps_are_undone_in_reverse_when_the_instance_fails(
    deploy: Deploy,
) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release
    bookings.refuses.add("car")

    @workflow
    async def trip() -> None:
        await wait(m1).match_any()
        await step(lambda: book("flight"), compensate=lambda: release("flight", result="x"))
        await step(book, "hotel", compensate=release)
        await step(book, "car", compensate=release)

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        assert run.status == "failed"
        assert run.error is not None
        assert "no car" in run.error
        assert bookings.log[3:] == ["release hotel hotel-7", "release flight x"]
        with pytest.raises(NotRetriable, match="undone"):
            await shell.retry(run)
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert len(bookings.log) == 5


@pytest.mark.row(77)
async def test_completed_steps_are_undone_when_the_instance_is_cancelled(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release

    @workflow
    async def trip() -> None:
        await wait(m1).match_any()
        try:
            await all_of(
                step(book, "flight", compensate=release), step(book, "hotel", compensate=release)
            )
            await wait(m2).match_any()
        finally:
            bookings.log.append("finally")

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert bookings.log[2:] == ["finally", "release hotel hotel-7", "release flight flight-7"]


@pytest.mark.row(78)
@pytest.mark.logs_errors("hotel stays")
async def test_a_compensation_is_retried_and_then_waits_for_somebody(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release
    bookings.refuses.add("release hotel")

    @workflow
    async def trip() -> None:
        await wait(m1).match_any()
        await step(book, "flight", compensate=release, retry=Retry(max_attempts=2))
        await step(book, "hotel", compensate=release, retry=Retry(max_attempts=2))
        await wait(m2).match_any()

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        await shell.cancel(run)
        assert run.status == "failed"
        assert run.error is not None
        assert "hotel stays" in run.error
        assert bookings.log[2:] == ["release hotel hotel-7"] * 2
        bookings.refuses.clear()
        await shell.retry(run)
        assert run.status == "cancelled"
    assert bookings.log[4:] == ["release hotel hotel-7", "release flight flight-7"]


@pytest.mark.row(79)
@pytest.mark.logs_errors("RuntimeError: no", "flight stays")
async def test_undoing_that_cannot_succeed_is_given_up_by_cancelling(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release
    bookings.refuses.add("release flight")

    @workflow
    async def trip() -> None:
        await wait(m1).match_any()
        await step(book, "flight", compensate=release, retry=Retry(max_attempts=1))
        raise RuntimeError("no")

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        assert (run.status, len(bookings.log)) == ("failed", 2)
        assert run.error is not None
        assert "RuntimeError: no" in run.error
        await shell.cancel(run)
        assert (run.status, len(bookings.log)) == ("cancelled", 2)


@pytest.mark.row(76)
@pytest.mark.logs_errors("right behind it")
async def test_a_step_whose_result_a_failing_turn_took_is_undone_too(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release

    @workflow(retry=Retry(max_attempts=2, initial=timedelta(minutes=1)))
    async def trip() -> None:
        await wait(m1).match_any()
        await step(book, "flight", compensate=release)
        raise RuntimeError("right behind it")

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        assert bookings.log == ["book flight"]
        await shell.advance(timedelta(minutes=1))
        assert run.status == "failed"
    assert bookings.log == ["book flight", "release flight flight-7"]


async def test_undo_runs_compensations_on_purpose_and_once(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release

    @workflow
    async def trip() -> str:
        await undo()
        await wait(m1).match_any()
        await step(book, "flight", compensate=release)
        try:
            await step(book, "hotel", compensate=release)
        except StepFailed:
            await undo()
        await step(book, "train", compensate=release)
        await wait(m2).match_any()
        await undo()
        return "done"

    bookings.refuses.add("hotel")
    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        assert bookings.log[2:] == ["release flight flight-7", "book train"]
        await shell.push(m2)
        assert run.result == "done"
    assert bookings.log[4:] == ["release train train-7"]


async def test_steps_of_a_completed_instance_stay(deploy: Deploy) -> None:
    bookings = make_bookings()
    book, release = bookings.book, bookings.release

    @workflow
    async def trip() -> str:
        await wait(m1).match_any()
        return await step(book, "flight", compensate=release)

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        assert run.result == "flight-7"
        await shell.cancel(run)
        assert run.status == "completed"
    assert bookings.log == ["book flight"]


def test_a_compensation_that_cannot_take_its_steps_arguments_is_refused() -> None:
    def book(what: str) -> str:
        return what

    def release(what: str, when: str) -> None:
        raise AssertionError((what, when))

    with pytest.raises(UsageError, match="release"):
        step(book, "flight", compensate=release)
