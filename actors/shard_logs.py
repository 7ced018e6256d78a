"""What a pool knows of one of its shards: what is durable of it, and what its next rows build on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from raysume.actors.departures import Departures
from raysume.actors.history import Positions
from raysume.actors.kernel.index_entries import run_of
from raysume.actors.kernel.journal import Codec, RowsDigest, Sealer
from raysume.actors.kernel.records import InstanceRecord, Outgoing, ShardHeader
from raysume.actors.shard_indexes import Changes, IndexSizes, ShardIndex
from raysume.storage.ports import OwnedShard, Store

NEVER_US: Final = (1 << 63) - 1
"""Later than any moment: of a shard that has no journal rows."""

_MERGED_BYTES: Final = 150
"""Bytes that are merged for each entry that is written, of some 60 bytes: merging keeps up."""


class ShardLog:
    """What one shard has durably, and what its next checkpoint must write."""

    def __init__(self, owned: OwnedShard, sealer: Sealer, sizes: IndexSizes | None = None) -> None:
        self.owned, self.sizes = owned, sizes or IndexSizes()
        self.codec = Codec(
            sealer,
            workflow=owned.ref.workflow,
            version=owned.ref.version,
            shard=owned.ref.number,
        )
        self.rows = RowsDigest(self.codec)
        self.latest = Positions()
        """As of `committed_seq`: where the past of each instance begins."""
        self.index = ShardIndex(owned.key, self.codec, self.sizes)
        self.seq = 0
        """The last journal row written or being written."""
        self.committed_seq = 0
        self.checkpoint_seq = 0
        """A start reads the journal behind it: what changed before is in instance rows."""
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

    def forget_rows(self) -> None:
        """Nothing is known of the instance rows."""
        self.rows, self.latest = RowsDigest(self.codec), Positions()

    def take_expired(self, ended_before_us: int, *, limit: int) -> list[tuple[int, str]]:
        """(number, id) of finished instances that ended before: their rows are no longer counted."""
        gone: list[tuple[int, str]] = []
        for number, id in islice(self.departures.take(ended_before_us), limit):
            if number in self.rows and number not in self.dirty:
                self.rows.remove(number)
                gone.append((number, id))
        return gone

    def changed(self, limit: int | None) -> list[int]:
        """The numbers of instances that changed since, ascending: so many of them, or all."""
        return sorted(self.dirty)[:limit]

    def take_changed(self, numbers: Collection[int]) -> list[InstanceRecord]:
        """Their records, which a checkpoint holds from now on."""
        changed, taken = self.dirty, set(numbers)
        # Made anew, never changed: other threads look at what there was.
        self.dirty = {number: one for number, one in changed.items() if number not in taken}
        return [changed[number] for number in numbers]

    def index_changes(
        self,
        store: Store,
        records: Iterable[tuple[InstanceRecord, bytes]],
        gone: Iterable[int],
        merging: int,
    ) -> Changes:
        """What the checkpoint that writes these instances changes of the index.

        Args:
            records: each with the share of its row, by number.
            gone: numbers of instances that it removes.
            merging: bytes that may be merged, beside what the instances allow.
        """
        written = list(records)
        changes = Changes(merging + _MERGED_BYTES * len(written))
        delta = run_of(written, gone, seq_of=self.latest.of)
        self.index.write(store, delta, changes)
        return changes

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
