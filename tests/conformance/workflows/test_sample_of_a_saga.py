"""SCENARIOS rows 76 to 79 in the shell: the sample of a trip that is booked, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.workflows.conftest import Deploy

from raysume.errors import NotRetriable
from raysume.testing import Counts, TestShell
from samples_letters import Post
from samples_trips import Bookings, book_trip, confirm, get_bookings


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """What the desk notes."""
    return Post(tmp_path / "letters.txt")


def opened(deploy: Deploy, post: Post) -> TestShell:
    """A shell with a desk that notes in `post`."""
    return deploy(book_trip, overrides={get_bookings: Bookings(post)})


@pytest.mark.row(76)
async def test_a_trip_that_is_booked_stays_booked(deploy: Deploy, post: Post) -> None:
    async with opened(deploy, post) as shell:
        run = await shell.start(book_trip, "rome", "Ritz", "van")
        await shell.push(confirm, trip="rome", output=True)
        assert run.result == ["flight-direct", "hotel-Ritz", "car-van"]
        await shell.cancel(run)
        assert run.status == "completed"
        assert shell.counts() == Counts(calls=1, waits=1, completed=1)
    assert post.about("rome") == [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "desk: asked for car van",
    ]


@pytest.mark.row(76, 79)
@pytest.mark.logs_errors("SoldOut: car full")
async def test_a_trip_that_fails_is_undone_in_reverse_and_says_why(
    deploy: Deploy, post: Post
) -> None:
    async with opened(deploy, post) as shell:
        run = await shell.start(book_trip, "oslo", "Ritz", "full")
        await shell.push(confirm, trip="oslo", output=True)
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.startswith("StepFailed: ")
        assert "SoldOut: car full" in run.error
        assert len(run.errors) == 1
        with pytest.raises(NotRetriable, match="undone"):
            await shell.retry(run)
        assert shell.counts() == Counts(calls=1, waits=1, completed=0)
    assert post.about("oslo") == [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "desk: asked for car full",
        "desk: released hotel-Ritz",
        "desk: released flight-direct",
    ]


@pytest.mark.row(77)
async def test_cancelling_a_trip_tells_the_traveller_and_undoes_the_bookings(
    deploy: Deploy, post: Post
) -> None:
    async with opened(deploy, post) as shell:
        run = await shell.start(book_trip, "bern", "Ritz", "van")
        await shell.cancel(run, reason="the traveller is ill")
        await shell.cancel(run)
        assert (run.status, [view.status for view in run.waits if view.kind == "wait"]) == (
            "cancelled",
            ["cancelled"],
        )
        await shell.push(confirm, trip="bern", output=True)
        assert shell.counts() == Counts(calls=1, waits=1, completed=0)
    assert post.about("bern") == [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "traveller: your trip is called off",
        "desk: released hotel-Ritz",
        "desk: released flight-direct",
    ]


@pytest.mark.row(78)
async def test_a_busy_line_is_called_again_and_what_is_sold_out_is_not(
    deploy: Deploy, post: Post
) -> None:
    async with opened(deploy, post) as shell:
        run = await shell.start(book_trip, "kyiv", "busy", "van")
        await shell.push(confirm, trip="kyiv", output=True)
        assert run.result == ["flight-direct", "hotel-busy", "car-van"]
    assert post.about("kyiv") == [
        "desk: asked for flight direct",
        *["desk: asked for hotel busy"] * 3,
        "desk: asked for car van",
    ]
