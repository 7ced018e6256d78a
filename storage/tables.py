"""The tables of both databases: engine state and call log.

They live in registries of raysume's own, so that they never appear in the metadata
of a user who works with SQLModel too. The adapters write them in bulk with plain SQL;
this declaration is what migrations are compared with.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, MetaData, String
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a later migration can name it in every database."""

STATE: Final = registry(metadata=MetaData(naming_convention=NAMING))
CALLS: Final = registry(metadata=MetaData(naming_convention=NAMING))

BIG: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; in SQLite only the type INTEGER makes a primary key the row's own id."""

TEXT: Final[TypeEngine[str]] = String().with_variant(String(collation="C"), "postgresql")
"""Compared byte by byte everywhere, as Python compares it, whatever the server's language."""

_WITHOUT_ROWID: Final[dict[str, Any]] = {"sqlite_with_rowid": False}
"""For narrow tables with a primary key of several columns: one tree instead of two."""


def _big(*, primary_key: bool = False) -> Any:
    return Field(primary_key=primary_key, sa_type=BIG, sa_column_kwargs={"autoincrement": False})


def _text(*, primary_key: bool = False) -> Any:
    return Field(primary_key=primary_key, sa_type=TEXT)


def _bytes(*, primary_key: bool = False) -> Any:
    return Field(primary_key=primary_key, sa_type=LargeBinary)


# --- engine state ----------------------------------------------------------------


class StateTable(SQLModel, registry=STATE):
    """A table of the engine's state."""


class ShardTable(StateTable, table=True):
    """Who owns a shard; `epoch` fences former owners."""

    __tablename__: ClassVar[Any] = "shard"
    __table_args__: ClassVar[Any] = (Index(None, "workflow", "version", "number", unique=True),)
    key: int = _big(primary_key=True)
    workflow: str = _text()
    version: str = _text()
    number: int = _big()
    epoch: int = _big()
    owner: str = _text()


class JournalTable(StateTable, table=True):
    """One batch of turns of a shard."""

    __tablename__: ClassVar[Any] = "journal"
    shard: int = _big(primary_key=True)
    seq: int = _big(primary_key=True)
    epoch: int = _big()
    body: bytes = _bytes()
    at: int = Field(sa_type=BIG, sa_column_kwargs={"server_default": "0"})
    """Rows from before there was a history count as old."""


class HistoryTable(StateTable, table=True):
    """A turn that outlives its journal row."""

    __tablename__: ClassVar[Any] = "history"
    instance: int = _big(primary_key=True)
    """The key of its row."""
    seq: int = _big(primary_key=True)
    nth: int = _big(primary_key=True)
    body: bytes = _bytes()


class CheckpointTable(StateTable, table=True):
    """Up to which journal position the instance rows of a shard go."""

    __tablename__: ClassVar[Any] = "checkpoint"
    shard: int = _big(primary_key=True)
    seq: int = _big()
    header: bytes = _bytes()


class InstanceTable(StateTable, table=True):
    """A checkpointed instance. An update changes no indexed column."""

    __tablename__: ClassVar[Any] = "instance"
    __table_args__: ClassVar[Any] = (
        Index(None, "id", "workflow", "version", unique=True),
        Index(None, "workflow", "started_at", "id"),
        Index(None, "started_at", "id"),
    )
    key: int = _big(primary_key=True)
    """shard << 40 | number: neighbours in a checkpoint are neighbours on disk."""
    id: str = _text()
    workflow: str = _text()
    version: str = _text()
    status: str = _text()
    started_at: int = _big()
    updated_at: int = _big()
    body: bytes = _bytes()


class IndexRunTable(StateTable, table=True):
    """What start-up must know of instances that checkpoints wrote."""

    __tablename__: ClassVar[Any] = "index_run"
    shard: int = _big(primary_key=True)
    page: int = _big(primary_key=True)
    nth: int = _big(primary_key=True)
    body: bytes = _bytes()


class InstanceTagTable(StateTable, table=True):
    """A tag of a checkpointed instance: listings by tag begin here."""

    __tablename__: ClassVar[Any] = "instance_tag"
    __table_args__: ClassVar[Any] = (Index(None, "instance"), _WITHOUT_ROWID)
    name: str = _text(primary_key=True)
    value: str = _text(primary_key=True)
    instance: int = _big(primary_key=True)
    """The key of its row."""


class DecisionTable(StateTable, table=True):
    """What was decided about a call, among all that run one workflow."""

    __tablename__: ClassVar[Any] = "decision"
    __table_args__: ClassVar[Any] = (Index(None, "pos"), _WITHOUT_ROWID)
    workflow: str = _text(primary_key=True)
    pos: int = _big(primary_key=True)
    offset: int = _big(primary_key=True)
    kind: str = _text(primary_key=True)
    body: bytes = _bytes()


class DocumentTable(StateTable, table=True):
    """Small documents of the deployment."""

    __tablename__: ClassVar[Any] = "document"
    kind: str = _text(primary_key=True)
    key: str = _text(primary_key=True)
    body: bytes = _bytes()


# --- the call log ----------------------------------------------------------------


class CallsTable(SQLModel, registry=CALLS):
    """A table of the call log."""


class PartitionTable(CallsTable, table=True):
    """A partition: its appends take their offsets from here."""

    __tablename__: ClassVar[Any] = "partition"
    id: int = _big(primary_key=True)
    next_offset: int = _big()
    open: int = _big()
    owner: str = _text()
    last_pos: int = Field(sa_type=BIG, sa_column_kwargs={"server_default": "0"})
    """`pos` of its newest segment, also when that was deleted; 0 when there never was one."""
    lease: int = Field(sa_type=BIG, sa_column_kwargs={"server_default": "0"})
    """Until when its owner is believed to live; of a closed one, when it was closed."""


class SegmentTable(CallsTable, table=True):
    """Consecutive calls of one partition. `accepted_at` never goes back with `pos`."""

    __tablename__: ClassVar[Any] = "segment"
    __table_args__: ClassVar[Any] = (
        Index(None, "partition", "first", unique=True),
        Index(None, "accepted_at"),
    )
    pos: int = _big(primary_key=True)
    partition: int = _big()
    first: int = _big()
    count: int = _big()
    generation: int = _big()
    accepted_at: int = _big()
    body: bytes = _bytes()
    after: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The ends of other partitions that come before it (`Segment.after`); NULL when there are none."""


class SegmentMethodTable(CallsTable, table=True):
    """Which methods a segment holds: queries by method, service and time read no others.

    A range of time is a range of `pos`, by the index of `segment`.
    """

    __tablename__: ClassVar[Any] = "segment_method"
    __table_args__: ClassVar[Any] = (Index(None, "service", "pos"), _WITHOUT_ROWID)
    method: str = _text(primary_key=True)
    pos: int = _big(primary_key=True)
    service: str = _text(primary_key=True)
    count: int = _big()


class ClockTable(CallsTable, table=True):
    """One row: the last `pos` and time given to a segment, kept when segments are deleted."""

    __tablename__: ClassVar[Any] = "clock"
    id: int = _big(primary_key=True)
    pos: int = _big()
    at: int = _big()


class PublisherTable(CallsTable, table=True):
    """The sequence number that a publisher is expected to send next."""

    __tablename__: ClassVar[Any] = "publisher"
    __table_args__: ClassVar[Any] = _WITHOUT_ROWID
    id: str = _text(primary_key=True)
    next_sequence: int = _big()
    at: int = _big()


class ClientCallTable(CallsTable, table=True):
    """A call id chosen by a client, kept for answering 200 or 409."""

    __tablename__: ClassVar[Any] = "client_call"
    __table_args__: ClassVar[Any] = (Index(None, "at"), _WITHOUT_ROWID)
    id_hash: bytes = _bytes(primary_key=True)
    partition: int = _big()
    offset: int = _big()
    digest: bytes = _bytes()
    at: int = _big()
