"""What is durable of a shard, read: its instance rows or their index, and the journal behind them.

Of a shard with many instances only the index is read, and the rows of those with something under
way; what sleeps is read when it is met. An index that is missing, that does not fit the checkpoint
or that was written by an older release is not used: then all rows are read, and checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raysume import limits
from raysume.actors.history import Chronicle
from raysume.actors.kernel.folding import unfolded
from raysume.actors.kernel.index_runs import OVER, UNDER_WAY, Run, without
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import CheckpointHeader, InstanceRecord
from raysume.actors.kernel.restoring import restore_run
from raysume.actors.kernel.shards import Shard
from raysume.actors.kernel.status import ENDED, Status
from raysume.actors.shard_indexes import NO_RUNS
from raysume.actors.shard_logs import NEVER_US, ShardLog
from raysume.storage.ports import InstanceRow, Store

_SCANNED_PART: Final = 4
"""With more than one of so many rows under way, all are fetched in order: that is faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read of a shard; the rest is in its `ShardLog`."""

    records: list[InstanceRecord]
    """Of instances that the kernel needs, as the checkpoint or the journal behind it has them."""
    runs: list[Run]
    """Of all others, as the checkpoint has them."""
    ended: list[str]
    """Those of the records whose end is checkpointed."""
    count: int
    """How many instances there are."""


def read_shard(store: Store, log: ShardLog) -> Read:
    """What is durable of the shard.

    Raises:
        SealBroken: the database was changed by somebody without the key.
    """
    key = log.owned.key
    saved = store.checkpoint_of(key)
    checkpoint: CheckpointHeader | None = None
    if saved is not None:
        log.seq, body = saved
        checkpoint = log.codec.read_checkpoint_header(log.seq, body)
        log.header = checkpoint.header
        log.unsent = {outgoing.sequence: outgoing for outgoing in checkpoint.unsent}
    by_number, runs = _checkpointed(store, log, checkpoint)
    log.committed_seq = log.checkpoint_seq = log.seq
    _read_journal(store, log, by_number)
    ended: list[str] = []
    for record in by_number.values():
        if record.number not in log.dirty:
            log.departures.add(record)
            if record.status in ENDED:
                ended.append(record.id)
    runs = [without(run, log.dirty.keys()) for run in runs]
    for run in runs:
        _note_ends(log, run)
    new = sum(number not in log.rows for number in log.dirty)
    records = list(by_number.values())
    return Read(records=records, runs=runs, ended=ended, count=len(log.rows) + new)


def adopt(kernel: Kernel, log: ShardLog, read: Read) -> None:
    """The kernel holds the shard as it was read."""
    shard = Shard(log.owned.ref.number, log.header)
    shard.unsent = dict(sorted(log.unsent.items()))
    kernel.adopt(shard, log.header)
    for run in read.runs:
        restore_run(kernel, run)
    for record in read.records:
        kernel.restore(record, shard=shard.number)


def _checkpointed(
    store: Store, log: ShardLog, checkpoint: CheckpointHeader | None
) -> tuple[dict[int, InstanceRecord], list[Run]]:
    """The instances of the checkpoint: those that were read, by number, and entries of the others."""
    mark = NO_RUNS if checkpoint is None else checkpoint.index
    is_large = checkpoint is not None and checkpoint.rows > log.sizes.whole_rows
    runs = log.index.read(store, mark, decodes=is_large)
    if checkpoint is not None and is_large and runs is not None:
        by_number = _by_index(store, log, checkpoint, runs)
        if by_number is not None:
            return by_number, runs
        log.forget_rows()
        runs = None
    records: list[tuple[InstanceRecord, bytes]] = []
    for row in store.instances_of(log.owned.key):
        record = log.codec.read_instance_row(row.number, row.body)
        records.append((record, log.rows.put(record)))
        log.latest.put(row.number, record.journal_seq)
    if checkpoint is not None:
        ref = log.owned.ref
        log.rows.check(checkpoint, where=f"shard {ref.number} of {ref.workflow}")
    if runs is None:
        log.index.begin_anew(records, seq_of=log.latest.of)
    return {record.number: record for record, _ in records}, []


def _by_index(
    store: Store, log: ShardLog, checkpoint: CheckpointHeader, runs: list[Run]
) -> dict[int, InstanceRecord] | None:
    """The instances with something under way; None: the index is not that of the rows."""
    under_way: dict[int, str] = {}
    for run in runs:
        for columns in run.columns:
            log.rows.put_all(columns.numbers, columns.shares)
            log.latest.put_all(columns.numbers, columns.seqs)
            if columns.kind == UNDER_WAY:
                under_way.update(
                    zip(columns.numbers, map(unfolded, columns.folded_ids), strict=True)
                )
        for odd in run.odd:
            log.rows.put_all([odd.number], odd.share)
            log.latest.put_all([odd.number], [odd.seq])
    if not log.rows.fits(checkpoint):
        return None
    found: dict[int, InstanceRecord] = {}
    for row in _rows_of(store, log, under_way):
        record = log.codec.read_instance_row(row.number, row.body)
        if log.rows.has(record):
            found[row.number] = record
    return found if found.keys() == under_way.keys() else None


def _rows_of(store: Store, log: ShardLog, numbers: dict[int, str]) -> list[InstanceRow]:
    key, ref = log.owned.key, log.owned.ref
    if len(numbers) * _SCANNED_PART > len(log.rows):
        return [row for row in store.instances_of(key) if row.number in numbers]
    ids = list(numbers.values())
    rows: list[InstanceRow] = []
    for at in range(0, len(ids), limits.COLD_READ_MAX):
        some = ids[at : at + limits.COLD_READ_MAX]
        rows += store.named_instances(some, workflow=ref.workflow, version=ref.version)
    return [row for row in rows if row.shard == key]


def _read_journal(store: Store, log: ShardLog, by_number: dict[int, InstanceRecord]) -> None:
    """What is committed behind the checkpoint has taken the place of what is in it."""
    key = log.owned.key
    oldest_us = Chronicle(store, key, log.codec).oldest_us()
    log.oldest_us = NEVER_US if oldest_us is None else oldest_us
    for journal in store.journal_of(key, after=log.seq):
        log.oldest_us = min(log.oldest_us, journal.at_us)
        read = log.codec.read_journal_row(journal.seq, journal.body)
        for turn in read.turns:
            by_number[turn.instance.number] = turn.instance
            log.unsent.update((outgoing.sequence, outgoing) for outgoing in turn.outgoing)
        log.seq = journal.seq
        log.committed(journal.seq, read.header, (turn.instance for turn in read.turns))


def _note_ends(log: ShardLog, run: Run) -> None:
    for columns in run.columns:
        if columns.kind == OVER:
            ids = map(unfolded, columns.folded_ids)
            for number, id, ended_us in zip(columns.numbers, ids, columns.times, strict=True):
                log.departures.put(number, id, ended_us)
    for odd in run.odd:
        if odd.status != Status.WAITING:
            log.departures.put(odd.number, odd.id, odd.updated_us)
