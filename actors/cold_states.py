"""The states of a pool's cold instances, as its checkpoints have them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from raysume import ids, limits
from raysume.storage.commit_rules import fenced

if TYPE_CHECKING:
    from raysume.actors.journaling import PoolJournal
    from raysume.actors.kernel.records import InstanceRecord
    from raysume.storage.ports import Store


class ColdStates:
    """The `Keeper` of a kernel: what its journal has checkpointed."""

    def __init__(self, store: Store, journal: PoolJournal) -> None:
        self._store, self._journal = store, journal

    def holds(self, record: InstanceRecord) -> bool:
        """See `Keeper`. What is committed behind the checkpoint is not in the rows."""
        log = self._journal.log_of(ids.shard_of(record.id, limits.SHARDS))
        return log is not None and record.number not in log.dirty and log.rows.has(record)

    def read(self, ids: Collection[str]) -> list[InstanceRecord]:
        """See `Keeper`."""
        ref = self._journal.ref
        rows = self._store.named_instances(ids, workflow=ref.workflow, version=ref.version)
        return [self._journal.read_row(row) for row in rows]

    def check_owned(self) -> None:
        """See `Keeper`."""
        epochs = {one.key: one.epoch for one in self._store.shards()}
        for key, epoch in self._journal.keys.items():
            if epochs.get(key) != epoch:
                raise fenced(key, epoch)
