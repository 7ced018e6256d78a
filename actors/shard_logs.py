"""What a pool knows of one of its shards: what is durable of it, and what its next rows build on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from raysume.actors.departures import Departures
from raysume.actors.history import Positions
from raysume.actors.kernel.journal import Codec, RowsDigest, Sealer
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import InstanceRecord, Outgoing, ShardHeader
from raysume.actors.kernel.shards import Shard
from raysume.storage.ports import OwnedShard

NEVER_US: Final = (1 << 63) - 1
"""Later than any moment: of a shard that has no journal rows."""


class ShardLog:
    """What one shard has durably, and what its next checkpoint must write."""

    def __init__(self, owned: OwnedShard, sealer: Sealer) -> None:
        self.owned = owned
        self.codec = Codec(
            sealer,
            workflow=owned.ref.workflow,
            version=owned.ref.version,
            shard=owned.ref.number,
        )
        self.rows = RowsDigest(self.codec)
        self.latest = Positions()
        """As of `committed_seq`: where the past of each instance begins."""
        self.seq = 0
        """The last journal row written or being written."""
        self.committed_seq = 0
        self.header: ShardHeader | None = None
        """As of `committed_seq`."""
        self.dirty: dict[int, InstanceRecord] = {}
        """By number: the committed records that no checkpoint holds yet."""
        self.unsent: dict[int, Outgoing] = {}
        self.departures = Departures()
        self.oldest_us = NEVER_US
        """No journal row is older."""
        self.is_parting = False
        """Whether the next checkpoint holds the header even when no instance changed."""

    def take_expired(self, ended_before_us: int, *, limit: int) -> list[tuple[int, str]]:
        """(number, id) of finished instances that ended before: their rows are no longer counted."""
        gone: list[tuple[int, str]] = []
        for number, id in islice(self.departures.take(ended_before_us), limit):
            if number in self.rows and number not in self.dirty:
                self.rows.remove(number)
                gone.append((number, id))
        return gone

    def committed(self, seq: int, header: ShardHeader, records: Iterable[InstanceRecord]) -> None:
        """The journal row `seq` is durable."""
        self.committed_seq = seq
        for record in records:
            self.dirty[record.number] = record
            self.latest.put(record.number, seq)
        self.stands(header)

    def stands(self, header: ShardHeader) -> None:
        """This is the shard's header now: calls that it says were sent are not kept any more."""
        self.header = header
        for sequence in [number for number in self.unsent if number < header.sent]:
            del self.unsent[sequence]


def adopt(kernel: Kernel, log: ShardLog, records: Collection[InstanceRecord]) -> int:
    """The kernel holds the shard as it was read; how many instances it has."""
    shard = Shard(log.owned.ref.number, log.header)
    shard.unsent = dict(sorted(log.unsent.items()))
    kernel.adopt(shard, log.header)
    for record in records:
        kernel.restore(record, shard=shard.number)
    return len(records)
