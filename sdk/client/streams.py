"""Publishers of a client: under which id and sequence the calls of `push_many` are sent.

The engine takes the batches of one publisher in the order of their sequence and drops what
it has seen, so each running `push_many` has a publisher of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from raysume.client.retries import Patience
from raysume.errors import DuplicateCall, InvalidCall
from raysume.ids import uuid7
from raysume.limits import CLIENT_REQUESTS_IN_FLIGHT


@dataclass(slots=True)
class Stream:
    """One publisher, used by one `push_many` at a time."""

    publisher: str
    next_sequence: int = 1
    """The sequence of the next call to be sent."""
    accepted: int = 0
    """Calls accepted for the `push_many` that has it now."""
    is_over: bool = False
    """Whether that has failed or was cancelled: what is still under way is not sent again."""
    _under_way: set[int] = field(default_factory=set[int])
    """The first sequences of batches that are not accepted yet."""

    @property
    def in_flight_max(self) -> int:
        """How many requests may be under way: an engine that does not know the publisher takes
        whatever comes first, so the first one goes alone."""
        return CLIENT_REQUESTS_IN_FLIGHT if self.accepted else 1

    def take(self, count: int) -> int:
        """The sequence of the first of the next `count` calls, which are under way now."""
        first = self.next_sequence
        self.next_sequence += count
        self._under_way.add(first)
        return first

    def patience(self, usual: Patience, sequence: int) -> Patience:
        """How long the batch that begins with this sequence is tried."""
        return replace(
            usual,
            wanted=lambda: not self.is_over,
            held_up=lambda: any(one < sequence for one in tuple(self._under_way)),
        )

    def has_taken(self, sequence: int) -> None:
        """The batch that begins with this sequence is accepted."""
        self._under_way.discard(sequence)


class Streams:
    """The publishers of a client: used again by the next `push_many`, as the engine keeps a row each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Stream] = []

    @contextmanager
    def stream(self) -> Generator[Stream, None, None]:
        """A publisher that nobody else uses, until the end of the block.

        After an error it is not used again: what became of its last calls may be unknown.
        A refusal tells how many calls were accepted before it (`details["accepted"]`).
        """
        with self._lock:
            stream = self._free.pop() if self._free else Stream(publisher=uuid7())
        stream.accepted, stream.is_over = 0, False
        try:
            yield stream
        except (InvalidCall, DuplicateCall) as error:
            error.details["accepted"] = stream.accepted
            raise
        with self._lock:
            self._free.append(stream)
