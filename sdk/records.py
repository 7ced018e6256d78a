"""The wire and disk forms of a call: what travels between client, ingress, log and shard.

Inputs and outputs stay JSON bytes from the client to the workflow that reads them:
nobody on the way parses more than it needs.
"""

from __future__ import annotations

import msgspec


class CallRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One accepted call."""

    id: str
    """The call's id."""
    method: str
    """The method's URN."""
    service: str
    """The service that published it."""
    at_us: int
    """When it was accepted: microseconds since the epoch, UTC."""
    input: bytes
    """JSON object: the parameters by name, or the external model's fields."""
    output: bytes | None = None
    """JSON of the returned value; None when the call carries none (`null` is b"null")."""
    error: str | None = None
    """The text of the exception of a call published with `on_error=True`."""
    headers: dict[str, str] | None = None
    """Headers given by the publisher; None when there are none."""
    local_only: bool = False
    """Whether only workflows of `service` see it: as its method was declared when it was accepted."""

    def is_seen_by(self, service: str) -> bool:
        """Whether workflows of the service may meet the call."""
        return not self.local_only or self.service == service


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """Consecutive calls of one partition, as delivered and as stored: offsets first .. first+len-1."""

    partition: int
    first: int
    """Offset of `calls[0]`."""
    pos: int
    """Place of the segment in the store-wide order of segments."""
    calls: list[CallRecord]
    after: dict[int, int] = msgspec.field(default_factory=dict)
    """partition -> its end when this segment was stored, for those that had grown since the last
    segment of this partition. What lies below comes before these calls, in the order of the log."""

    @property
    def end(self) -> int:
        """The offset after the last call."""
        return self.first + len(self.calls)


class OutgoingCall(msgspec.Struct, array_like=True, frozen=True):
    """A call on its way to the engine: a `CallRecord` that has not been accepted yet."""

    id: str
    method: str
    service: str
    input: bytes
    output: bytes | None = None
    error: str | None = None
    headers: dict[str, str] | None = None
