"""Exclusive waits: a call that one instance got by such a wait is nobody else's of the workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysume import limits
from raysume.actors.kernel.records import START_OF_LOG, CallMet, ExclusiveRecord, Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raysume.actors.kernel.records import InstanceRecord


class Exclusives:
    """The calls that went to one instance alone, over all instances of a kernel.

    Live calls need no list: they are given once. It is for exclusive waits that look back.
    """

    __slots__ = ("_floor", "_places")

    def __init__(self) -> None:
        self._places: dict[Place, None] = {}
        self._floor = START_OF_LOG
        """Calls at or before this place count as taken: the list no longer knows them."""

    def take(self, place: Place) -> None:
        """The call at `place` is taken."""
        self._places[place] = None
        if len(self._places) > limits.EXCLUSIVE_CALLS_MAX:
            oldest = next(iter(self._places))
            del self._places[oldest]
            self._floor = max(self._floor, oldest)

    def give_back(self, place: Place) -> None:
        """The call at `place` was not received after all."""
        self._places.pop(place, None)

    def is_taken(self, place: Place) -> bool:
        """Whether an exclusive wait may not have the call at `place` any more."""
        return place in self._places or place <= self._floor

    def places(self) -> list[Place]:
        """The calls that were taken, as far as they are listed."""
        return list(self._places)

    def pass_over(self, place: Place) -> None:
        """Calls up to this place count as taken: they came before this version."""
        self._floor = max(self._floor, place)

    def restore(self, record: InstanceRecord) -> None:
        """What the saved instance took, and has in its inbox, is taken."""
        if record.exclusive is not None:
            self.restore_places(record.exclusive)
        for stimulus in record.inbox:
            if isinstance(stimulus, CallMet) and stimulus.exclusive:
                self.take((stimulus.call.pos, stimulus.call.offset))

    def restore_places(self, record: ExclusiveRecord) -> None:
        """What a saved instance took is taken."""
        self._floor = max(self._floor, record.passed)
        for place in record.places:
            self.take(place)


def with_place(record: ExclusiveRecord | None, place: Place) -> ExclusiveRecord:
    """What an instance took by exclusive waits, with one more place; the newest are kept."""
    places = [] if record is None else record.places
    passed = START_OF_LOG if record is None else record.passed
    if place in places:
        return ExclusiveRecord(places, passed)
    places = [*places, place]
    if len(places) > limits.MAILBOX_PLACES_MAX:
        passed, places = max(passed, places[0]), places[1:]
    return ExclusiveRecord(places, passed)


def queued_in(inbox: Iterable[object]) -> list[CallMet]:
    """The calls of an inbox that came by exclusive waits."""
    return [one for one in inbox if isinstance(one, CallMet) and one.exclusive]
