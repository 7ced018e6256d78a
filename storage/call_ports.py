"""The port of the call log: what the engine asks of it, and what is durable when.

Every adapter passes the same conformance suite, tests/conformance/stores. All methods are
synchronous and may block on the disk: callers run them in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from raysume.records import CallRecord, Segment
from raysume.storage.retention import Deleted


class NewCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call to be appended: everything but its time, which the append gives."""

    id: str
    method: str
    service: str
    input: bytes
    output: bytes | None = None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    client_id: bool = False
    """True when the client chose the id: it is then remembered, for 200 or 409. All of the call
    but its headers counts as the body that must be the same."""
    local_only: bool = False
    """True when only workflows of `service` may see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Where a batch comes from, for dropping what was sent before."""

    id: str
    first: int
    """Sequence number of the batch's first call; the others follow without holes. A batch that
    begins later than expected is accepted, since publishers may lose what they had not sent, unless
    `in_order` says otherwise."""
    in_order: bool = False
    """True: while calls of the publisher before `first` are missing, the batch is "early". A
    publisher that is not known may begin anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Calls that are accepted together or not at all."""

    calls: Sequence[NewCall]
    publisher: Publisher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of one batch."""

    outcomes: Sequence[Literal["accepted", "duplicate", "conflict", "early"]]
    """One for each call. With any "conflict" (a client id used before with another body),
    nothing of the batch was stored, and "accepted" says what would have been. A publisher's
    sequence seen before is "duplicate". When one is "early", all are, and nothing was stored."""

    @property
    def is_early(self) -> bool:
        """Whether calls of the publisher before the batch are missing."""
        return "early" in self.outcomes[:1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The result of one append transaction."""

    segment: Segment | None
    """What was stored, ready to deliver; None when everything was a duplicate or in conflict."""
    accepted: Sequence[Accepted]
    """One for each batch, in the order given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition as the log sees it now."""

    id: int
    next_offset: int
    open: bool
    owner: str
    lapsed: bool = False
    """True when it is open and its lease was over, by the store's clock, when this was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """A page of accepted calls, oldest first. Every None means "any"."""

    service: str | None = None
    method: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[int, int] | None = None
    """(pos, offset) of the last call of the page before."""
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCall:
    """A call with its place in the log."""

    call: CallRecord
    partition: int
    offset: int
    pos: int


class CallLog(Protocol):
    """Every accepted call, in segments of partitions, until retention deletes it."""

    def open_partition(self, *, owner: str) -> Partition:
        """A new, empty, open partition of `owner` ("pid:start_time:label") exists, durably.

        Its id is random and never used again. Its lease lasts `PARTITION_LEASE_S`, by the store's
        clock, and every append to it renews it.
        """
        ...

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        """The new calls of all batches are one durable segment when this returns.

        `at_us` of the calls is taken inside the transaction, after the log's write lock, and
        never goes back within the log. Duplicates inside one append are found too. The segment's
        `after` is read in the same transaction, after the same lock: together, the segments of
        all partitions are in the order of `pos`, and no reader needs to see them in that order.

        Raises:
            PartitionClosed: the partition is closed or unknown; nothing was stored.
            StoreUnavailable: the outcome is not known; the partition must be closed.
        """
        ...

    def renew(self, partition: int) -> None:
        """The partition's lease lasts `PARTITION_LEASE_S` from now on, durably.

        Raises:
            PartitionClosed: the partition is closed or unknown: somebody took its owner for dead.
            StoreUnavailable: it may have been renewed or not; retry.
        """
        ...

    def close_partition(self, partition: int) -> Partition:
        """The partition takes no more calls, durably; the returned `next_offset` is final.

        When its owner hangs inside a transaction and runs on this machine, it is killed.

        Raises:
            PartitionClosed: there is no such partition.
            StoreUnavailable: it is not known whether it is closed; retry.
        """
        ...

    def partitions(self) -> list[Partition]:
        """All partitions that still hold calls or are open, by id."""
        ...

    def forgotten(self, partitions: Iterable[int]) -> set[int]:
        """Those of the partitions that the log knows nothing of any more (`delete_before`)."""
        ...

    def barrier(self) -> dict[int, int]:
        """partition -> next_offset, after waiting for every append that is under way.

        Any call accepted before this returned lies below these offsets, and every call
        accepted later has a later `at_us` than the moment this was asked.
        """
        ...

    def read(self, partition: int, *, start: int, end: int) -> Iterator[Segment]:
        """The calls with start <= offset < end, as segments (cut to the range), in order.

        Offsets that do not exist (yet, or any more) are left out.
        """
        ...

    def search(
        self, *, method: str, after_pos: int, since: datetime | None = None
    ) -> Iterator[Segment]:
        """Segments with at least one call of `method`, `pos` > after_pos, accepted at or after
        `since`, in order of `pos`; other methods' calls in them are kept. For look-back."""
        ...

    def list_calls(self, query: CallQuery) -> list[FoundCall]:
        """One page, in the order of (pos, offset)."""
        ...

    def find_call(self, call_id: str) -> FoundCall | None:
        """The call with this id, or None when it is unknown, or was deleted.

        Client ids are looked up in their own table. Server ids lead to their time (UUIDv7),
        and so to the few segments around it: a call accepted over a minute after its id was
        made may not be found.
        """
        ...

    def delete_before(self, before: datetime, *, applied: Mapping[int, int] | None) -> Deleted:
        """A batch of the oldest calls is gone, durably, with the names kept for them.

        Segments go in order of `pos`, up to the first one that was accepted at or after
        `before`, or that somebody may still need. Ids of clients go once their calls are gone
        and `CALL_ID_WINDOW` has passed, publishers once they were silent for `PUBLISHER_WINDOW`,
        partitions once they were closed for `PARTITION_KEPT_S` and hold no calls any more.

        Args:
            applied: partition -> offset below which nobody needs calls any more; no call of a
                partition that is not named goes. None: nobody needs any.
        """
        ...

    def close(self) -> None:
        """Connections are closed; later calls raise StoreUnavailable."""
        ...
