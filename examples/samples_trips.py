"""A trip is booked, or not at all: each booking has a compensation that undoes it.

When the instance fails for good or is cancelled, the compensations of its completed steps run
in reverse order, each once. The workflow says nothing about it but `compensate=`.
"""

from __future__ import annotations

from datetime import timedelta

from raysume import Depends, Retry, push_call, step, wait, workflow
from samples_letters import Post, get_post


class SoldOut(Exception):
    """Asking again does not help."""


class Bookings:
    """The desk of a travel agent, which notes by letter what it does."""

    ATTEMPTS_WHEN_BUSY = 3

    def __init__(self, post: Post) -> None:
        self._post = post

    def book(self, what: str, name: str, trip: str) -> str:
        """It is booked; gives the booking's number.

        Raises:
            SoldOut: its name is "full".
            ConnectionError: its name is "busy", and it was asked less than three times.
        """
        asked = f"asked for {what} {name}"
        self._post.send("desk", trip, asked)
        if name == "full":
            raise SoldOut(f"{what} {name}")
        attempts = self._post.about(trip).count(f"desk: {asked}")
        if name == "busy" and attempts < self.ATTEMPTS_WHEN_BUSY:
            raise ConnectionError("the line is busy")
        return f"{what}-{name}"

    def release(self, _what: str, _name: str, trip: str, *, result: str) -> None:
        """The booking with the number that `book` gave is undone."""
        self._post.send("desk", trip, f"released {result}")

    def call_off(self, trip: str) -> None:
        """Nobody waits for the traveller's confirmation any more."""
        self._post.send("traveller", trip, "your trip is called off")


def get_bookings() -> Bookings:
    """The desk."""
    return Bookings(get_post())


@push_call("trips.confirmed", external=True)
def confirm(trip: str) -> bool:
    """The traveller says that he goes."""
    return bool(trip)


ASK_AGAIN = Retry(max_attempts=5, initial=timedelta(milliseconds=20), give_up_on=(SoldOut,))


@workflow
async def book_trip(
    trip: str, hotel: str, car: str, desk: Bookings = Depends(get_bookings)
) -> list[str]:
    """Flight, hotel and, once the traveller has confirmed, a car: started by `client.start`."""
    flight = await step(
        desk.book, "flight", "direct", trip, compensate=desk.release, retry=ASK_AGAIN
    )
    room = await step(desk.book, "hotel", hotel, trip, compensate=desk.release, retry=ASK_AGAIN)
    await (
        wait(confirm, name="confirmation")
        .match(trip=trip)
        .when_cancelled(lambda: desk.call_off(trip))
    )
    wheels = await step(desk.book, "car", car, trip, compensate=desk.release, retry=ASK_AGAIN)
    return [flight, room, wheels]
