"""A shard's own counters: instance numbers, and the sequence of its outgoing calls."""

from __future__ import annotations

from raysume.actors.kernel.bids import Bid
from raysume.actors.kernel.records import RECORD_FORMAT, Outgoing, Place, ShardHeader


class Shard:
    """The unit of ownership: instances, a journal and an epoch of its own."""

    __slots__ = ("next_number", "next_sequence", "number", "sent", "unsent")

    def __init__(self, number: int, header: ShardHeader | None = None) -> None:
        self.number = number
        self.next_number = 1 if header is None else header.next_number
        self.next_sequence = 1 if header is None else header.next_sequence
        self.sent = 1 if header is None else header.sent
        """Outgoing calls below this sequence number are known to be accepted."""
        self.unsent: dict[int, Outgoing] = {}

    def take_number(self) -> int:
        """A number for a new instance."""
        number = self.next_number
        self.next_number += 1
        return number

    def publish(self, call: bytes) -> Outgoing:
        """The call is numbered, and kept until it is accepted."""
        outgoing = Outgoing(self.next_sequence, call)
        self.unsent[outgoing.sequence] = outgoing
        self.next_sequence += 1
        return outgoing

    def forget_sent(self, upto: int) -> None:
        """Outgoing calls below `upto` were accepted."""
        for sequence in range(self.sent, upto):
            self.unsent.pop(sequence, None)
        self.sent = max(self.sent, upto)

    def header(
        self,
        watermarks: dict[int, int],
        newest: Place,
        next_start_us: int | None = None,
        bid: Bid | None = None,
    ) -> ShardHeader:
        """The counters as they are saved."""
        return ShardHeader(
            format=RECORD_FORMAT,
            watermarks=watermarks,
            next_number=self.next_number,
            next_sequence=self.next_sequence,
            sent=self.sent,
            newest=newest,
            next_start_us=next_start_us,
            bid=bid,
        )
