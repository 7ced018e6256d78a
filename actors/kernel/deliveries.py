"""Deliveries: what an ingress hands to a pool, and the requests and answers around it.

A delivery covers a range of a partition, including the calls filtered out: calls to
Ray actors arrive out of order and a retried one may run twice, so only ranges give
order and exactly-once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Self

import msgspec

from raysume.limits import CATALOGUE_OF_LOG
from raysume.records import CallRecord, Segment
from raysume.storage.ports import InstanceRow


class DeliveredCall(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call of a delivery with its place in the log."""

    offset: int
    pos: int
    call: CallRecord


class Delivery(msgspec.Struct, array_like=True, frozen=True):
    """The calls with start <= offset < end of a partition that the receiver subscribes to."""

    partition: int
    start: int
    end: int
    catalogue: int
    """Version of the catalogue whose subscriptions were used to filter."""
    calls: list[DeliveredCall]
    after: list[tuple[int, dict[int, int]]] = msgspec.field(default_factory=list)
    """(offset, ends of other partitions), in order: calls from the offset on come after the calls
    of those partitions below their ends (`Segment.after`)."""

    @classmethod
    def of(
        cls,
        segments: Iterable[Segment],
        methods: Container[str],
        *,
        partition: int,
        start: int,
        end: int,
    ) -> Self:
        """The range as the log has it, with the calls of these methods."""
        calls: list[DeliveredCall] = []
        after: list[tuple[int, dict[int, int]]] = []
        for segment in segments:
            if segment.after:
                after.append((segment.first, segment.after))
            calls.extend(
                DeliveredCall(segment.first + index, segment.pos, call)
                for index, call in enumerate(segment.calls)
                if call.method in methods
            )
        return cls(partition, start, end, CATALOGUE_OF_LOG, calls, after)


class StartRequest(msgspec.Struct, frozen=True):
    """An explicit start of a workflow with parameters."""

    workflow: str
    id: str
    """Given by the client; empty: the pool makes it, by the workflow's rule if it has one."""
    input: bytes
    """JSON object: the arguments by parameter name."""
    at_us: int
    """When the request came: microseconds since the epoch, UTC."""
    origin: str | None = None
    """Of a child workflow: the await that started it."""
    trace: str | None = None
    """The W3C trace context of the request, or of the turn that started the child."""


class StartAnswer(msgspec.Struct, frozen=True):
    """The instance exists, durably."""

    id: str
    workflow: str
    version: str
    status: str
    created: bool
    """False when the id was used before: the same instance is returned."""

    @classmethod
    def found(cls, row: InstanceRow) -> Self:
        """The answer for an instance that was there before."""
        return cls(
            id=row.id,
            workflow=row.workflow,
            version=row.version,
            status=row.status,
            created=False,
        )
