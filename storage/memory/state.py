"""A `Store` in memory: it keeps every promise of the port but surviving the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

import msgspec

from raysume.errors import InvariantViolated, StoreUnavailable
from raysume.limits import DECISIONS_FORGOTTEN_MAX
from raysume.storage.commit_rules import Held, check_commit, check_holder
from raysume.storage.ports import (
    Checkpoint,
    Decision,
    HistoryRow,
    IndexRun,
    InstanceQuery,
    InstanceRow,
    JournalRow,
    Office,
    OwnedShard,
    ShardRef,
    StoreCommit,
)


@dataclass(slots=True, kw_only=True)
class _Shard:
    owned: OwnedShard
    owner: str
    journal: dict[int, JournalRow] = field(default_factory=dict[int, JournalRow])
    last_seq: int = 0
    checkpoint: tuple[int, bytes] | None = None
    instances: dict[int, InstanceRow] = field(default_factory=dict[int, InstanceRow])
    history: dict[int, list[HistoryRow]] = field(default_factory=dict[int, list[HistoryRow]])
    """By the instance's number, oldest first."""
    runs: dict[tuple[int, int], IndexRun] = field(default_factory=dict[tuple[int, int], IndexRun])
    """By (page, nth)."""

    @property
    def checkpoint_seq(self) -> int:
        return 0 if self.checkpoint is None else self.checkpoint[0]


class MemoryStore:
    """Implements `raysume.storage.ports.Store`. Safe to use from several threads.

    Durability: none; what is said to be durable lives as long as this object.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._shards: dict[int, _Shard] = {}
        self._keys: dict[ShardRef, int] = {}
        self._places: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._documents: dict[tuple[str, str], bytes] = {}
        self._decisions: dict[tuple[int, int, str, str], Decision] = {}
        self._offices: dict[str, tuple[int, str]] = {}
        """By name: the epoch, and the holder under it."""
        self._closed = threading.Event()
        self._held: Office | None = None
        """The office under which this object writes; what it holds, it shares with the others."""
        self._lost: Callable[[], None] | None = None

    @property
    def is_shared(self) -> bool:
        """See `Store.is_shared`."""
        return False

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`."""
        with self._writing():
            return [self._acquire_one(ref, owner) for ref in refs]

    def take_office(self, name: str, *, owner: str) -> Office:
        """See `Store.take_office`."""
        with self._writing():
            epoch = self._epoch_of(name) + 1
            self._offices[name] = (epoch, owner)
            return Office(name=name, epoch=epoch)

    def check_office(self, office: Office) -> None:
        """See `Store.check_office`."""
        with self._lock:
            self._check_open()
            check_holder(office, self._epoch_of(office.name))

    def under(self, office: Office, *, lost: Callable[[], None] | None = None) -> Self:
        """See `Store.under`."""
        made = copy(self)
        made._held, made._lost = office, lost
        return made

    def commit(self, commit: StoreCommit) -> None:
        """See `Store.commit`."""
        with self._writing():
            held = {
                key: Held(
                    epoch=shard.owned.epoch,
                    last_seq=shard.last_seq,
                    checkpoint_seq=shard.checkpoint_seq,
                )
                for key, shard in self._shards.items()
                if key in commit.epochs
            }
            check_commit(commit, held)
            self._check_unique(commit.checkpoints)
            self._check_removed(commit.checkpoints)
            for row in commit.journal:
                shard = self._shards[row.shard]
                shard.journal[row.seq] = row
                shard.last_seq = row.seq
            for checkpoint in commit.checkpoints:
                self._write_checkpoint(checkpoint)
            for turn in commit.history:
                self._shards[turn.shard].history.setdefault(turn.number, []).append(turn)
            for key, upto in commit.trims.items():
                journal = self._shards[key].journal
                for seq in [seq for seq in journal if seq <= upto]:
                    del journal[seq]

    def checkpoint_of(self, shard: int) -> tuple[int, bytes] | None:
        """See `Store.checkpoint_of`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            return None if found is None else found.checkpoint

    def instances_of(self, shard: int) -> Iterator[InstanceRow]:
        """See `Store.instances_of`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            rows = {} if found is None else found.instances
            return iter([rows[number] for number in sorted(rows)])

    def index_runs(self, shard: int, *, page: int | None = None) -> Iterator[IndexRun]:
        """See `Store.index_runs`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            runs = {} if found is None else found.runs
            return iter([runs[place] for place in sorted(runs) if page in (None, place[0])])

    def journal_of(self, shard: int, *, after: int) -> Iterator[JournalRow]:
        """See `Store.journal_of`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            if found is None:
                return iter(())
            after = max(after, found.checkpoint_seq)
            return iter([row for seq, row in found.journal.items() if seq > after])

    def journal_row(self, shard: int, seq: int) -> JournalRow | None:
        """See `Store.journal_row`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            return None if found is None else found.journal.get(seq)

    def past_journal(self, shard: int, *, limit: int) -> list[JournalRow]:
        """See `Store.past_journal`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            if found is None:
                return []
            past = (row for row in found.journal.values() if row.seq <= found.checkpoint_seq)
            return list(islice(past, limit))

    def history_of(
        self, shard: int, number: int, *, before: tuple[int, int] | None = None, limit: int
    ) -> list[HistoryRow]:
        """See `Store.history_of`."""
        with self._lock:
            self._check_open()
            found = self._shards.get(shard)
            turns = [] if found is None else found.history.get(number, [])
            past = (row for row in reversed(turns) if before is None or (row.seq, row.nth) < before)
            return list(islice(past, limit))

    def find_instance(self, id: str, *, workflow: str | None = None) -> list[InstanceRow]:
        """See `Store.find_instance`."""
        with self._lock:
            self._check_open()
            return [
                self._shards[shard].instances[number]
                for (found, of, _), (shard, number) in sorted(self._places.items())
                if found == id and workflow in (None, of)
            ]

    def named_instances(
        self, ids: Collection[str], *, workflow: str, version: str
    ) -> list[InstanceRow]:
        """See `Store.named_instances`."""
        with self._lock:
            self._check_open()
            places = [self._places.get((id, workflow, version)) for id in set(ids)]
            return [self._shards[one[0]].instances[one[1]] for one in places if one is not None]

    def list_instances(self, query: InstanceQuery) -> list[InstanceRow]:
        """See `Store.list_instances`."""
        with self._lock:
            self._check_open()
            rows = [
                row
                for shard in self._shards.values()
                for row in shard.instances.values()
                if _belongs(row, query)
            ]
        rows.sort(key=lambda row: (row.workflow, row.version))
        rows.sort(key=_place, reverse=True)
        end = query.limit
        while 0 < end < len(rows) and _place(rows[end]) == _place(rows[end - 1]):
            end += 1
        return rows[:end]

    def shards(self) -> list[OwnedShard]:
        """See `Store.shards`."""
        with self._lock:
            self._check_open()
            return [self._shards[key].owned for key in sorted(self._shards)]

    def decide(self, decisions: Sequence[Decision]) -> list[Decision]:
        """See `Store.decide`."""
        with self._writing():
            return [
                self._decisions.setdefault((one.pos, one.offset, one.workflow, one.kind), one)
                for one in decisions
            ]

    def decisions_of(
        self, workflow: str, *, after: tuple[int, int], upto: tuple[int, int] | None = None
    ) -> Iterator[Decision]:
        """See `Store.decisions_of`."""
        with self._lock:
            self._check_open()
            found = [
                decision
                for (pos, offset, of, _), decision in sorted(self._decisions.items())
                if of == workflow
                and after < (pos, offset)
                and (upto is None or (pos, offset) <= upto)
            ]
        return iter(found)

    def forget_decisions(self, *, before_pos: int) -> int:
        """See `Store.forget_decisions`."""
        with self._writing():
            old = [key for key in sorted(self._decisions) if key[0] < before_pos]
            for key in old[:DECISIONS_FORGOTTEN_MAX]:
                del self._decisions[key]
            return len(old[:DECISIONS_FORGOTTEN_MAX])

    def put_document(self, kind: str, key: str, body: bytes) -> None:
        """See `Store.put_document`."""
        with self._writing():
            self._documents[kind, key] = body

    def add_document(self, kind: str, key: str, body: bytes) -> bytes:
        """See `Store.add_document`."""
        with self._writing():
            return self._documents.setdefault((kind, key), body)

    def get_document(self, kind: str, key: str) -> bytes | None:
        """See `Store.get_document`."""
        with self._lock:
            self._check_open()
            return self._documents.get((kind, key))

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """See `Store.documents`."""
        with self._lock:
            self._check_open()
            return sorted((key, body) for (of, key), body in self._documents.items() if of == kind)

    def delete_document(self, kind: str, key: str) -> None:
        """See `Store.delete_document`."""
        with self._writing():
            self._documents.pop((kind, key), None)

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._closed.set()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StoreUnavailable("the store in memory was closed; open a new one")

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Nobody else writes meanwhile, and whoever writes may."""
        with self._lock:
            self._check_open()
            if self._held is not None:
                check_holder(self._held, self._epoch_of(self._held.name), lost=self._lost)
            yield

    def _epoch_of(self, office: str) -> int:
        epoch, _ = self._offices.get(office, (0, ""))
        return epoch

    def _acquire_one(self, ref: ShardRef, owner: str) -> OwnedShard:
        key = self._keys.setdefault(ref, len(self._keys) + 1)
        shard = self._shards.get(key)
        if shard is None:
            shard = _Shard(owned=OwnedShard(key=key, ref=ref, epoch=0), owner=owner)
            self._shards[key] = shard
        shard.owned = replace(shard.owned, epoch=shard.owned.epoch + 1)
        shard.owner = owner
        return shard.owned

    def _check_unique(self, checkpoints: Sequence[Checkpoint]) -> None:
        new: dict[tuple[str, str, str], tuple[int, int]] = {}
        for checkpoint in checkpoints:
            for row in checkpoint.rows:
                name, place = (row.id, row.workflow, row.version), (row.shard, row.number)
                if self._places.get(name, place) != place or new.setdefault(name, place) != place:
                    raise InvariantViolated(
                        f"instance {row.id!r} of {row.workflow} exists twice in version "
                        f"{row.version}"
                    )

    def _check_removed(self, checkpoints: Sequence[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            shard = self._shards[checkpoint.shard]
            if not shard.instances.keys() >= set(checkpoint.removed):
                raise InvariantViolated("an instance that is not there was to be removed")
            if not shard.runs.keys() >= set(checkpoint.merged):
                raise InvariantViolated("an index run that is not there was to be removed")

    def _remove(self, shard: _Shard, number: int) -> None:
        """The instance is gone, with everything that depends on it."""
        row = shard.instances.pop(number)
        shard.history.pop(number, None)
        del self._places[row.id, row.workflow, row.version]

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        shard = self._shards[checkpoint.shard]
        for row in checkpoint.rows:
            old = shard.instances.get(row.number)
            if old is None:
                shard.instances[row.number] = row
                self._places[row.id, row.workflow, row.version] = (row.shard, row.number)
            else:
                shard.instances[row.number] = msgspec.structs.replace(
                    old,
                    status=row.status,
                    updated_us=row.updated_us,
                    body=row.body,
                    tags=row.tags,
                )
        for number in checkpoint.removed:
            self._remove(shard, number)
        for merged in checkpoint.merged:
            del shard.runs[merged]
        shard.runs.update(((run.page, run.nth), run) for run in checkpoint.runs)
        shard.checkpoint = (checkpoint.seq, checkpoint.header)


def _place(row: InstanceRow) -> tuple[object, str]:
    return (row.started_us, row.id)


def _belongs(row: InstanceRow, query: InstanceQuery) -> bool:
    return (
        (query.workflow is None or row.workflow == query.workflow)
        and (query.version is None or row.version == query.version)
        and (query.status is None or row.status == query.status)
        and query.tags.items() <= row.tags.items()
        and (query.since is None or row.started_at >= query.since)
        and (query.until is None or row.started_at < query.until)
        and (query.after is None or (row.started_at, row.id) < query.after)
    )
