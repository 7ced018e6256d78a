"""A `Store` in a SQL database, but for how it is taken over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Final, Generic, Self

from raysume.crash_points import crash_point
from raysume.limits import INDEX_RUNS_READ_MAX, JOURNAL_READ_ROWS_MAX, READ_ROWS_MAX
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
from raysume.storage.sql import decisions, history, offices
from raysume.storage.sql.connections import AConnection, Connection, Database
from raysume.storage.sql.decisions import keep
from raysume.storage.sql.deleting import remove_instances
from raysume.storage.sql.index_runs import LAST_PAGE, page_of_runs, write_runs
from raysume.storage.sql.instances import (
    UPSERT,
    find_rows,
    first_key_of,
    key_of,
    list_rows,
    named_rows,
    rows_of,
    write_tags,
)

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


class SqlStore(Generic[AConnection]):
    """Implements all of `raysume.storage.ports.Store` but `acquire`. Safe to use from several
    threads."""

    row_lock: ClassVar[str] = ""
    """The clause with which a SELECT locks rows against whoever changes them, until the end of its
    transaction; empty where only one transaction writes at a time."""

    def __init__(self, database: Database[AConnection]) -> None:
        self._database = database

    def take_office(self, name: str, *, owner: str) -> Office:
        """See `Store.take_office`."""
        with self._database.write("take an office") as connection:
            return offices.take(connection, name, owner=owner, lock=self.row_lock)

    def check_office(self, office: Office) -> None:
        """See `Store.check_office`."""
        with self._database.read("look at an office") as connection:
            held = offices.holding(connection, office.name)
        check_holder(office, held.epoch)

    def under(self, office: Office, *, lost: Callable[[], None] | None = None) -> Self:
        """See `Store.under`."""
        made = copy(self)
        made._database = offices.FencedDatabase(
            self._database, office, lock=self.row_lock, lost=lost
        )
        return made

    def commit(self, commit: StoreCommit) -> None:
        """See `Store.commit`."""
        with self._database.write("commit") as connection:
            check_commit(commit, self._held(connection, commit.epochs))
            connection.executemany(
                "INSERT INTO journal (shard, seq, epoch, body, at) VALUES (?, ?, ?, ?, ?)",
                [
                    (row.shard, row.seq, commit.epochs[row.shard], row.body, row.at_us)
                    for row in commit.journal
                ],
            )
            crash_point("sql_during_commit")
            for checkpoint in commit.checkpoints:
                self._write_checkpoint(connection, checkpoint)
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

    def index_runs(self, shard: int, *, page: int | None = None) -> Iterator[IndexRun]:
        """See `Store.index_runs`. Rows are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return self._index_runs(shard, page)

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

    def named_instances(
        self, ids: Collection[str], *, workflow: str, version: str
    ) -> list[InstanceRow]:
        """See `Store.named_instances`."""
        with self._database.read("read instances") as connection:
            return named_rows(connection, ids, workflow, version)

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

    def add_document(self, kind: str, key: str, body: bytes) -> bytes:
        """See `Store.add_document`."""
        with self._database.write("write a document") as connection:
            connection.execute(
                "INSERT INTO document (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (kind, key, body),
            )
            [kept] = connection.execute(
                "SELECT body FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return bytes(kept)

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

    def _held(self, connection: AConnection, shards: Iterable[int]) -> Mapping[int, Held]:
        """What the database holds of the shards, which nobody takes over before the commit ends."""
        return {
            shard: Held(epoch=row[0], last_seq=max(row[1], row[2]), checkpoint_seq=row[2])
            for shard in shards
            if (row := connection.execute(_HELD, (shard,)).fetchone()) is not None
        }

    def _write_rows(self, connection: AConnection, rows: Sequence[InstanceRow]) -> None:
        """The rows of a checkpoint are written.

        Raises:
            InvariantViolated: an instance exists already, under another number.
        """
        connection.executemany(UPSERT, [columns_of(row) for row in rows])

    def _write_checkpoint(self, connection: AConnection, checkpoint: Checkpoint) -> None:
        self._write_rows(connection, checkpoint.rows)
        write_tags(connection, checkpoint.rows)
        if checkpoint.removed:
            base = key_of(checkpoint.shard, 0)
            remove_instances(connection, [base + number for number in checkpoint.removed])
        write_runs(connection, checkpoint)
        crash_point("sql_during_checkpoint")
        connection.execute(_CHECKPOINT, (checkpoint.shard, checkpoint.seq, checkpoint.header))

    def _instances_of(self, shard: int) -> Iterator[InstanceRow]:
        after = first_key_of(shard) - 1
        while True:
            with self._database.read("read instances") as connection:
                rows = rows_of(connection, shard, after)
            yield from rows
            if len(rows) < READ_ROWS_MAX:
                return
            after = key_of(shard, rows[-1].number)

    def _index_runs(self, shard: int, page: int | None) -> Iterator[IndexRun]:
        after, last = (page or 0, 0), LAST_PAGE if page is None else page
        while True:
            with self._database.read("read index runs") as connection:
                runs = page_of_runs(connection, shard, after, last)
            yield from runs
            if len(runs) < INDEX_RUNS_READ_MAX:
                return
            after = (runs[-1].page, runs[-1].nth)

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


def owner_of(connection: Connection, ref: ShardRef) -> str | None:
    """Who took the shard last; None when it does not exist."""
    row = connection.execute(
        "SELECT owner FROM shard WHERE workflow = ? AND version = ? AND number = ?",
        (ref.workflow, ref.version, ref.number),
    ).fetchone()
    return None if row is None else str(row[0])


def raise_epoch(connection: Connection, ref: ShardRef, owner: str) -> OwnedShard:
    """The shard belongs to `owner` under a new epoch; it is created when it does not exist."""
    key, epoch = connection.execute(
        "INSERT INTO shard (key, workflow, version, number, epoch, owner) "
        "VALUES ((SELECT coalesce(max(key), 0) + 1 FROM shard), ?, ?, ?, 1, ?) "
        "ON CONFLICT (workflow, version, number) "
        "DO UPDATE SET epoch = shard.epoch + 1, owner = excluded.owner RETURNING key, epoch",
        (ref.workflow, ref.version, ref.number, owner),
    ).fetchone()
    return OwnedShard(key=key, ref=ref, epoch=epoch)


def columns_of(row: InstanceRow) -> tuple[Any, ...]:
    """The row as the columns that `UPSERT` names."""
    return (
        key_of(row.shard, row.number),
        row.id,
        row.workflow,
        row.version,
        row.status,
        row.started_us,
        row.updated_us,
        row.body,
    )
