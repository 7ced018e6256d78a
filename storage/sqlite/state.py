"""A `Store` in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from raysume.crash_points import crash_point
from raysume.errors import InvariantViolated, StoreUnavailable
from raysume.limits import JOURNAL_READ_ROWS_MAX, READ_ROWS_MAX, STORE_BUSY_S_MAX
from raysume.storage.commit_rules import Held, check_commit
from raysume.storage.moments import to_us
from raysume.storage.ports import (
    Checkpoint,
    Decision,
    HistoryRow,
    InstanceQuery,
    InstanceRow,
    JournalRow,
    OwnedShard,
    ShardRef,
    StoreCommit,
)
from raysume.storage.processes import end_process, is_other_live_process
from raysume.storage.sqlite import decisions, history
from raysume.storage.sqlite.connections import Database
from raysume.storage.sqlite.decisions import keep
from raysume.storage.sqlite.deleting import remove_instances
from raysume.storage.sqlite.instances import (
    UPSERT,
    find_rows,
    first_key_of,
    key_of,
    list_rows,
    rows_of,
    write_tags,
)

_TAKEOVERS_MAX: Final = 10
"""Owners ended one after the other in one `acquire`: more means that somebody restarts them."""

_HELD: Final = """
SELECT s.epoch,
       coalesce((SELECT max(seq) FROM journal WHERE shard = s.key), 0),
       coalesce((SELECT seq FROM checkpoint WHERE shard = s.key), 0)
FROM shard s WHERE s.key = ?"""

_CHECKPOINT: Final = """
INSERT INTO checkpoint (shard, seq, header) VALUES (?, ?, ?)
ON CONFLICT (shard) DO UPDATE SET seq = excluded.seq, header = excluded.header"""

_JOURNAL: Final = """
SELECT shard, seq, at, body FROM journal
WHERE shard = :shard AND seq > :after
  AND seq > coalesce((SELECT seq FROM checkpoint WHERE shard = :shard), 0)
ORDER BY seq LIMIT :limit"""


class SqliteStore:
    """Implements `raysume.storage.ports.Store`. Safe to use from several threads.

    Durability: WAL with synchronous=FULL; what is said to be durable has been synced.

    Args:
        path: the file; made, with its folder, when it does not exist.
        busy_s: seconds after which waiting for another writer is given up.

    Raises:
        ConfigurationError: the file cannot be used, and retrying cannot help.
    """

    def __init__(self, path: Path | str, *, busy_s: float = STORE_BUSY_S_MAX) -> None:
        self._database = Database(Path(path), "state", busy_s=busy_s)

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`. The process of a former owner on this machine is killed first:
        one that was stopped inside a transaction would keep the file locked."""
        self._database.check_open()
        for _ in range(_TAKEOVERS_MAX):
            for former in self._owners(refs):
                if former != owner:
                    end_process(former)
            owned = self._take_over(refs, owner)
            if owned is not None:
                return owned
        raise StoreUnavailable(
            f"the shards of {self._database.path} were taken by another process again and again "
            f"while {owner!r} took them over. Let one supervisor alone start their owners."
        )

    def commit(self, commit: StoreCommit) -> None:
        """See `Store.commit`."""
        with self._database.write("commit") as connection:
            held = {
                shard: Held(epoch=row[0], last_seq=max(row[1], row[2]), checkpoint_seq=row[2])
                for shard in commit.epochs
                if (row := connection.execute(_HELD, (shard,)).fetchone()) is not None
            }
            check_commit(commit, held)
            connection.executemany(
                "INSERT INTO journal (shard, seq, epoch, body, at) VALUES (?, ?, ?, ?, ?)",
                [
                    (row.shard, row.seq, commit.epochs[row.shard], row.body, row.at_us)
                    for row in commit.journal
                ],
            )
            crash_point("sqlite_during_commit")
            for checkpoint in commit.checkpoints:
                _write_checkpoint(connection, checkpoint)
            if commit.trims:
                history.write_turns(connection, commit.history)
                history.trim(connection, commit.trims)

    def checkpoint_of(self, shard: int) -> tuple[int, bytes] | None:
        """See `Store.checkpoint_of`."""
        with self._database.read("read a checkpoint") as connection:
            row = connection.execute(
                "SELECT seq, header FROM checkpoint WHERE shard = ?", (shard,)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def instances_of(self, shard: int) -> Iterator[InstanceRow]:
        """See `Store.instances_of`. Rows are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return self._instances_of(shard)

    def journal_of(self, shard: int, *, after: int) -> Iterator[JournalRow]:
        """See `Store.journal_of`. Rows are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return self._journal_of(shard, after)

    def journal_row(self, shard: int, seq: int) -> JournalRow | None:
        """See `Store.journal_row`."""
        with self._database.read("read the journal") as connection:
            return history.row_at(connection, shard, seq)

    def past_journal(self, shard: int, *, limit: int) -> list[JournalRow]:
        """See `Store.past_journal`."""
        with self._database.read("read the journal") as connection:
            return history.past_rows(connection, shard, limit)

    def history_of(
        self, shard: int, number: int, *, before: tuple[int, int] | None = None, limit: int
    ) -> list[HistoryRow]:
        """See `Store.history_of`."""
        with self._database.read("read history") as connection:
            return history.turns_of(connection, shard, number, before, limit)

    def find_instance(self, id: str, *, workflow: str | None = None) -> list[InstanceRow]:
        """See `Store.find_instance`."""
        with self._database.read("find an instance") as connection:
            return find_rows(connection, id, workflow)

    def list_instances(self, query: InstanceQuery) -> list[InstanceRow]:
        """See `Store.list_instances`."""
        with self._database.read("list instances") as connection:
            return list_rows(connection, query)

    def shards(self) -> list[OwnedShard]:
        """See `Store.shards`."""
        with self._database.read("list shards") as connection:
            rows = connection.execute(
                "SELECT key, workflow, version, number, epoch FROM shard ORDER BY key"
            ).fetchall()
        return [
            OwnedShard(
                key=key,
                ref=ShardRef(workflow=workflow, version=version, number=number),
                epoch=epoch,
            )
            for key, workflow, version, number, epoch in rows
        ]

    def decide(self, decisions: Sequence[Decision]) -> list[Decision]:
        """See `Store.decide`."""
        with self._database.write("keep decisions") as connection:
            return keep(connection, decisions)

    def decisions_of(
        self, workflow: str, *, after: tuple[int, int], upto: tuple[int, int] | None = None
    ) -> Iterator[Decision]:
        """See `Store.decisions_of`. Rows are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return self._decisions_of(workflow, after, upto)

    def forget_decisions(self, *, before_pos: int) -> int:
        """See `Store.forget_decisions`."""
        with self._database.write("forget decisions") as connection:
            return decisions.forget(connection, before_pos)

    def put_document(self, kind: str, key: str, body: bytes) -> None:
        """See `Store.put_document`."""
        with self._database.write("write a document") as connection:
            connection.execute(
                "INSERT INTO document (kind, key, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (kind, key, body),
            )

    def get_document(self, kind: str, key: str) -> bytes | None:
        """See `Store.get_document`."""
        with self._database.read("read a document") as connection:
            row = connection.execute(
                "SELECT body FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else row[0]

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """See `Store.documents`."""
        with self._database.read("read documents") as connection:
            return connection.execute(
                "SELECT key, body FROM document WHERE kind = ? ORDER BY key", (kind,)
            ).fetchall()

    def delete_document(self, kind: str, key: str) -> None:
        """See `Store.delete_document`."""
        with self._database.write("delete a document") as connection:
            connection.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key))

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()

    def _owners(self, refs: Sequence[ShardRef]) -> list[str]:
        with self._database.read("take shards over") as connection:
            owners = {_owner_of(connection, ref) for ref in refs}
        return sorted(owner for owner in owners if owner is not None)

    def _take_over(self, refs: Sequence[ShardRef], owner: str) -> list[OwnedShard] | None:
        """The shards under new epochs; None when another process took one of them meanwhile."""
        with self._database.write("take shards over") as connection:
            for ref in refs:
                former = _owner_of(connection, ref)
                if former not in (None, owner) and is_other_live_process(str(former)):
                    return None
            return [_raise_epoch(connection, ref, owner) for ref in refs]

    def _instances_of(self, shard: int) -> Iterator[InstanceRow]:
        after = first_key_of(shard) - 1
        while True:
            with self._database.read("read instances") as connection:
                rows = rows_of(connection, shard, after)
            yield from rows
            if len(rows) < READ_ROWS_MAX:
                return
            after = key_of(shard, rows[-1].number)

    def _decisions_of(
        self, workflow: str, after: tuple[int, int], upto: tuple[int, int] | None
    ) -> Iterator[Decision]:
        last = (*after, decisions.BEHIND_ALL_KINDS)
        while True:
            with self._database.read("read decisions") as connection:
                found = decisions.page(connection, workflow, last, upto)
            yield from found
            if len(found) < READ_ROWS_MAX:
                return
            last = (found[-1].pos, found[-1].offset, found[-1].kind)

    def _journal_of(self, shard: int, after: int) -> Iterator[JournalRow]:
        while True:
            with self._database.read("read the journal") as connection:
                rows = connection.execute(
                    _JOURNAL, {"shard": shard, "after": after, "limit": JOURNAL_READ_ROWS_MAX}
                ).fetchall()
            for key, seq, at, body in rows:
                yield JournalRow(shard=key, seq=seq, at_us=at, body=body)
            if len(rows) < JOURNAL_READ_ROWS_MAX:
                return
            after = rows[-1][1]


def _owner_of(connection: sqlite3.Connection, ref: ShardRef) -> str | None:
    row = connection.execute(
        "SELECT owner FROM shard WHERE workflow = ? AND version = ? AND number = ?",
        (ref.workflow, ref.version, ref.number),
    ).fetchone()
    return None if row is None else str(row[0])


def _raise_epoch(connection: sqlite3.Connection, ref: ShardRef, owner: str) -> OwnedShard:
    key, epoch = connection.execute(
        "INSERT INTO shard (key, workflow, version, number, epoch, owner) "
        "VALUES ((SELECT coalesce(max(key), 0) + 1 FROM shard), ?, ?, ?, 1, ?) "
        "ON CONFLICT (workflow, version, number) "
        "DO UPDATE SET epoch = epoch + 1, owner = excluded.owner RETURNING key, epoch",
        (ref.workflow, ref.version, ref.number, owner),
    ).fetchone()
    return OwnedShard(key=key, ref=ref, epoch=epoch)


def _write_checkpoint(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    base = key_of(checkpoint.shard, 0)
    try:
        connection.executemany(
            UPSERT,
            [
                (
                    base + row.number,
                    row.id,
                    row.workflow,
                    row.version,
                    row.status,
                    to_us(row.started_at),
                    to_us(row.updated_at),
                    row.body,
                )
                for row in checkpoint.rows
            ],
        )
    except sqlite3.IntegrityError as error:
        raise InvariantViolated(
            f"an instance of shard {checkpoint.shard} exists twice in its version: {error}"
        ) from error
    write_tags(connection, checkpoint.rows)
    if checkpoint.removed:
        remove_instances(connection, [base + number for number in checkpoint.removed])
    crash_point("sqlite_during_checkpoint")
    connection.execute(_CHECKPOINT, (checkpoint.shard, checkpoint.seq, checkpoint.header))
