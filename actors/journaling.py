"""Between a kernel and its store: journal rows out, checkpoints now and then, recovery in.

A checkpoint holds records that are committed, never what is applied but not committed:
it is made of the latest committed record of every instance that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from raysume import limits
from raysume.actors.checkpointing import Part
from raysume.actors.cold_states import ColdStates
from raysume.actors.history import Chronicle, Past, Position
from raysume.actors.kernel.commits import Commit
from raysume.actors.kernel.index_runs import Run
from raysume.actors.kernel.journal import Codec, Sealer
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import InstanceRecord, ShardHeader
from raysume.actors.kernel.status import ENDED
from raysume.actors.recovering import Read, adopt, read_shard
from raysume.actors.shard_indexes import IndexSizes
from raysume.actors.shard_logs import NEVER_US, ShardLog
from raysume.crash_points import crash_point
from raysume.errors import ShardMoved
from raysume.storage.ports import (
    Checkpoint,
    HistoryRow,
    InstanceRow,
    JournalRow,
    OwnedShard,
    ShardRef,
    Store,
    StoreCommit,
)


class PoolJournal:
    """The journal and the checkpoints of all shards of one kernel."""

    def __init__(
        self,
        store: Store,
        owned: Iterable[OwnedShard],
        sealer: Sealer,
        *,
        sizes: IndexSizes | None = None,
    ) -> None:
        """
        Args:
            sizes: how the shards' indexes are kept; None: as `limits` says.
        """
        self._store, self._sealer, self._sizes = store, sealer, sizes or IndexSizes()
        self._ended: list[str] = []
        self._removed: list[str] = []
        self._first_end_us: int | None = None
        self._write_only(ShardLog(one, sealer, self._sizes) for one in owned)

    # --- recovery ----------------------------------------------------------------

    def recover(self, kernel: Kernel) -> int:
        """The kernel knows everything that was durable; call `kernel.resume` next.

        Returns:
            How many instances there are.

        Raises:
            SealBroken: the database was changed by somebody without the key.
        """
        crash_point("after_takeover")
        kernel.instances.keeper = ColdStates(self._store, self)
        found = 0
        for log in self._shards.values():
            read = read_shard(self._store, log)
            adopt(kernel, log, read)
            self._ended += read.ended
            found += read.count
        self._look_ahead()
        crash_point("after_recovery")
        return found

    def read(self, owned: Iterable[OwnedShard]) -> list[tuple[ShardLog, Read]]:
        """What is durable of shards that come from elsewhere (see `take`)."""
        logs = [ShardLog(one, self._sealer, self._sizes) for one in owned]
        found = [(log, read_shard(self._store, log)) for log in logs]
        self._ended += [id for _, read in found for id in read.ended]
        return found

    def index_of(self, numbers: Iterable[int]) -> list[Run]:
        """What the index says of the instances of these shards, each once, as checkpointed.

        Nothing of a shard whose index is being written anew, or changes meanwhile.
        """
        found: list[Run] = []
        for log in [self._shards[number] for number in numbers]:
            alike = ShardLog(log.owned, self._sealer, self._sizes)
            found += alike.index.read(self._store, log.index.mark, decodes=True) or ()
        return found

    def take(self, logs: Iterable[ShardLog]) -> None:
        """The journal writes these shards too, which were read and adopted."""
        self._write_only([*self._shards.values(), *logs])

    def part_with(self, numbers: Iterable[int]) -> list[ShardRef]:
        """The journal writes these shards no more."""
        gone = set(numbers)
        refs = [self._shards[number].owned.ref for number in gone]
        self._write_only(log for number, log in self._shards.items() if number not in gone)
        return refs

    def _write_only(self, logs: Iterable[ShardLog]) -> None:
        """Made anew, never changed: other threads look at what there was."""
        self._shards = {log.owned.ref.number: log for log in logs}
        self._epochs = {log.owned.key: log.owned.epoch for log in self._shards.values()}
        self._look_ahead()

    def epochs(self) -> dict[int, int]:
        """shard number -> the epoch under which it is written."""
        return {number: log.owned.epoch for number, log in self._shards.items()}

    @property
    def keys(self) -> Mapping[int, int]:
        """The key of each shard in the store -> the epoch under which it is written."""
        return self._epochs

    def writes(self, key: int) -> bool:
        """Whether the shard with this key in the store is written here."""
        return key in self._epochs

    def note_places(self, headers: Mapping[int, ShardHeader]) -> None:
        """The next checkpoint holds these headers, of shards of which all is durable."""
        for number, header in headers.items():
            log = self._shards[number]
            log.stands(header)
            log.is_parting = True

    # --- commits -----------------------------------------------------------------

    def prepare(
        self,
        commit: Commit,
        *,
        now_us: int = 0,
        checkpoint: bool | Part | None = None,
        older_than_us: int = 0,
    ) -> StoreCommit:
        """The transaction that makes `commit` durable.

        Args:
            now_us: when that is (microseconds).
            checkpoint: whether what came before it goes into instance rows; or what of it.
            older_than_us: a checkpoint removes a batch of the finished instances whose end, and of
                the journal rows whose time, is before this moment.
        """
        part = Part(self._shards.keys()) if checkpoint is True else checkpoint or Part(())
        logs = [self._shards[number] for number in part.shards if number in self._shards]
        checkpoints = self._checkpoints(logs, older_than_us, part.rows_max)
        covering = {one.shard for one in checkpoints}
        kept, trims = self._compacted(logs, older_than_us, covering)
        rows: list[JournalRow] = []
        for number, turns in commit.turns.items():
            log = self._shards[number]
            log.seq += 1
            before = [log.latest.of(turn.instance.number) for turn in turns]
            body = log.codec.journal_row(log.seq, commit.headers[number], turns, before)
            log.oldest_us = min(log.oldest_us, now_us)
            rows.append(JournalRow(shard=log.owned.key, seq=log.seq, at_us=now_us, body=body))
        touched = {row.shard for row in rows} | covering | trims.keys()
        crash_point("before_commit")
        return StoreCommit(
            epochs={key: epoch for key, epoch in self._epochs.items() if key in touched},
            journal=rows,
            checkpoints=checkpoints,
            history=kept,
            trims=trims,
        )

    def committed(self, commit: Commit) -> None:
        """`commit` is durable: its records are part of the next checkpoint."""
        crash_point("after_commit")
        for number, turns in commit.turns.items():
            log = self._shards[number]
            for turn in turns:
                if turn.outgoing:
                    log.unsent.update((outgoing.sequence, outgoing) for outgoing in turn.outgoing)
            log.committed(log.seq, commit.headers[number], (turn.instance for turn in turns))

    @property
    def logs(self) -> Mapping[int, ShardLog]:
        """What is known of the shards that are written here, by number."""
        return self._shards

    @property
    def dirty(self) -> int:
        """How many instances changed since they were last checkpointed."""
        return sum(len(log.dirty) for log in self._shards.values())

    @property
    def is_behind(self) -> bool:
        """Whether instances changed since, or a shard's index is not whole in the store."""
        return any(log.dirty or log.index.is_behind for log in self._shards.values())

    def uncheckpointed(self) -> list[InstanceRecord]:
        """The committed records that only the journal holds."""
        return [record for log in self._shards.values() for record in log.dirty.values()]

    @property
    def ref(self) -> ShardRef:
        """The workflow, version and number of its first shard."""
        return min((log.owned.ref for log in self._shards.values()), key=lambda ref: ref.number)

    @property
    def name(self) -> str:
        """The same for every incarnation of an actor: that of its first shard."""
        ref = self.ref
        return f"{ref.workflow}@{ref.version}/{ref.number}"

    def log_of(self, number: int) -> ShardLog | None:
        """What is known of the shard with this number, if it is written here."""
        return self._shards.get(number)

    @property
    def length(self) -> int:
        """How many journal rows were ever committed: it grows whenever something is durable."""
        return sum(log.committed_seq for log in self._shards.values())

    def has_expired(self, older_than_us: int) -> bool:
        """Whether the next checkpoint with this moment has something to remove, or to look at."""
        if self._first_end_us is not None and self._first_end_us < older_than_us:
            return True
        return any(log.oldest_us < older_than_us for log in self._shards.values())

    def _look_ahead(self) -> None:
        ends = [log.departures.first_us for log in self._shards.values()]
        self._first_end_us = min((one for one in ends if one is not None), default=None)

    def _checkpoints(
        self, logs: Iterable[ShardLog], older_than_us: int, rows_max: int | None
    ) -> list[Checkpoint]:
        made: list[Checkpoint] = []
        left, merging = limits.INSTANCES_REMOVED_MAX, self._sizes.merge_bytes
        for log in logs:
            numbers = log.changed(rows_max)
            is_whole = len(numbers) == len(log.dirty)
            gone = log.take_expired(older_than_us, limit=left) if is_whole else []
            left -= len(gone)
            if log.header is None or not (numbers or gone or log.is_parting or log.index.is_behind):
                continue
            records = log.take_changed(numbers)
            if is_whole:
                log.is_parting, log.checkpoint_seq = False, log.committed_seq
            shares = [log.rows.put(record) for record in records]
            for record in records:
                log.departures.add(record)
            removed = [number for number, _ in gone]
            changes = log.index_changes(
                self._store, zip(records, shares, strict=True), removed, merging
            )
            merging = changes.left
            header = log.codec.checkpoint_header(
                log.checkpoint_seq,
                log.header,
                list(log.unsent.values()),
                log.rows.total,
                len(log.rows),
                log.index.mark,
            )
            made.append(
                Checkpoint(
                    shard=log.owned.key,
                    seq=log.checkpoint_seq,
                    header=header,
                    rows=[self._row(log, record) for record in records],
                    removed=removed,
                    runs=changes.runs,
                    merged=changes.merged,
                )
            )
            self._ended.extend(record.id for record in records if record.status in ENDED)
            self._removed.extend(id for _, id in gone)
        self._look_ahead()
        return made

    def _compacted(
        self, logs: Iterable[ShardLog], older_than_us: int, covering: set[int]
    ) -> tuple[list[HistoryRow], dict[int, int]]:
        """Turns to keep beyond their journal rows, and up to where the journals may be trimmed.

        Args:
            covering: shards with a checkpoint in this commit: their journal is past only then.
        """
        kept: list[HistoryRow] = []
        trims: dict[int, int] = {}
        for log in logs:
            if log.oldest_us >= older_than_us:
                continue
            chronicle = Chronicle(self._store, log.owned.key, log.codec)
            rows, next_us = chronicle.outlived(older_than_us)
            if next_us is None:  # what this commit covers is looked at next time
                next_us = older_than_us if log.owned.key in covering else NEVER_US
            log.oldest_us = next_us
            if rows:
                kept += chronicle.turns_to_keep(rows, log.rows)
                trims[log.owned.key] = rows[-1].seq
        return kept, trims

    # --- the past ----------------------------------------------------------------

    def past_of(
        self, shard: int, instance_number: int, *, before: Position | None = None
    ) -> Iterator[Past]:
        """The committed turns of an instance, newest first, read as they are asked for.

        Args:
            shard: its number.
            before: only turns before this position.
        """
        log = self._shards.get(shard)
        if log is None:
            return iter(())
        ref = log.owned.ref
        codec = Codec(self._sealer, workflow=ref.workflow, version=ref.version, shard=ref.number)
        chronicle = Chronicle(self._store, log.owned.key, codec)
        return chronicle.read(instance_number, latest=log.latest.of(instance_number), before=before)

    def take_checkpointed_ends(self) -> list[str]:
        """The finished instances that are in checkpoints, since this was last asked or recovered."""
        ended, self._ended = self._ended, []
        return ended

    def let_go(self, kernel: Kernel, under_way: Iterable[Commit] = ()) -> bool:
        """What is in checkpoints has left memory: finished instances, and some that wait long.

        Removed ones are forgotten.

        Args:
            under_way: commits that are not durable yet.

        Returns:
            Whether more of those that wait could leave.
        """
        for instance in self.take_checkpointed_ends():
            kernel.forget(instance)
        for instance in self.take_removed():
            kernel.expire(instance)
        is_more = kernel.instances.leave_surplus(
            lambda: {
                turn.instance.id
                for commit in under_way
                for turns in commit.turns.values()
                for turn in turns
            }
        )
        crash_point("after_checkpoint")
        return is_more

    def take_removed(self) -> list[str]:
        """The instances that checkpoints have removed, since this was last asked."""
        removed, self._removed = self._removed, []
        return removed

    def _row(self, log: ShardLog, record: InstanceRecord) -> InstanceRow:
        return InstanceRow(
            shard=log.owned.key,
            number=record.number,
            id=record.id,
            workflow=log.owned.ref.workflow,
            version=log.owned.ref.version,
            status=record.status,
            started_us=record.started_us,
            updated_us=record.updated_us,
            body=log.codec.instance_row(
                msgspec.structs.replace(record, journal_seq=log.latest.of(record.number))
            ),
            tags=record.tags,
        )

    def read_row(self, row: InstanceRow) -> InstanceRecord:
        """The instance of a row that `Store.find_instance` or a listing gave.

        Raises:
            SealBroken: it is not what this deployment wrote.
            ShardMoved: the shard of the row belongs to another member of the pool.
        """
        log = next((log for log in self._shards.values() if log.owned.key == row.shard), None)
        if log is None:
            raise ShardMoved(
                f"instance {row.id!r} of {row.workflow!r} is with another member of the pool. Look "
                "up which one, and ask there.",
                id=row.id,
                retry_after=limits.RETRY_BACKOFF_S_MIN,
            )
        return log.codec.read_instance_row(row.number, row.body)
