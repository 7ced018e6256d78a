"""The port of the engine's state: what is asked of a database, and what is durable when.

That of the call log is in `call_ports`.

Every adapter (memory, SQLite, PostgreSQL) passes the same conformance suite,
tests/conformance/stores. All methods are synchronous and may block on the disk:
callers run them in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from raysume.storage.moments import from_us

# --- engine state ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRef:
    """One shard of one version of one workflow."""

    workflow: str
    version: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedShard:
    """A shard with the epoch under which its owner may write."""

    key: int
    """Small integer that names the shard in the store's rows; stable for ever."""
    ref: ShardRef
    epoch: int
    """Raised by every `acquire`; a commit under an older epoch is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What one process alone may hold at a time, with the epoch under which its holder may write."""

    name: str
    epoch: int
    """Raised by every `take_office`; whatever is written under an older one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One batch of turns of one shard."""

    shard: int
    seq: int
    """1, 2, 3 ... without holes within a shard, over all epochs."""
    at_us: int = 0
    """When it was made (microseconds since the epoch): how long it stays as history."""
    body: bytes
    """Opaque (sealed and compressed by the kernel)."""


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One turn of an instance that outlives the journal row in which it was made."""

    shard: int
    number: int
    """The instance's number within its shard."""
    seq: int
    """The journal position of the turn."""
    nth: int
    """Its place among the turns of that journal row: 0, 1, 2 ..."""
    body: bytes


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A checkpointed instance: columns to search by, and the opaque rest.

    A struct, because recovery makes one for each instance of the shard.
    """

    shard: int
    number: int
    """The instance's number within its shard: 1, 2, 3 ... (with `shard`, the primary key)."""
    id: str
    workflow: str
    version: str
    status: str
    started_us: int
    """Microseconds since the epoch, as all moments of rows."""
    updated_us: int
    body: bytes
    """Opaque (header, waits and sealed state)."""
    tags: Mapping[str, str] = {}
    """By name, to list by. Rows that are read may leave them out: the body has them."""

    @property
    def started_at(self) -> datetime:
        """When the instance started."""
        return from_us(self.started_us)


class IndexRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What start-up must know of instances that checkpoints wrote: a part of the shard's index."""

    shard: int
    page: int
    """0: of any instances; else of those with numbers of one range (see `index_runs`)."""
    nth: int
    """From 1. Within a page, the higher one is newer. None is ever used twice in a shard."""
    body: bytes
    """Opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The dirty instances of one shard as of journal position `seq`, which is committed by then."""

    shard: int
    seq: int
    header: bytes
    """Opaque: watermarks, counters, the digest of all instance rows."""
    rows: Sequence[InstanceRow]
    """Only the instances changed since the last checkpoint, sorted by number. Of a row that
    exists, `status`, `updated_us`, `body` and `tags` are replaced; the rest never changes."""
    removed: Sequence[int] = ()
    """Numbers of instances whose rows go, with all that depends on them; none of them in `rows`."""
    runs: Sequence[IndexRun] = ()
    """New parts of the shard's index."""
    merged: Sequence[tuple[int, int]] = ()
    """(page, nth) of those that go, because others have what they had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommit:
    """What one transaction makes durable, all or nothing."""

    epochs: Mapping[int, int]
    """shard key -> epoch, for every shard that `journal` or `checkpoints` names."""
    journal: Sequence[JournalRow] = ()
    checkpoints: Sequence[Checkpoint] = ()
    """Recovery needs the journal up to their `seq` no more; as history it stays until trimmed."""
    history: Sequence[HistoryRow] = ()
    """Turns of journal rows that `trims` names, kept beyond them. Rows that exist stay as they are."""
    trims: Mapping[int, int] = field(default_factory=dict[int, int])
    """shard key -> journal rows at or before this position are deleted; no checkpoint is behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about one call, among all that run one workflow. The first one stays."""

    workflow: str
    pos: int
    """With `offset`, the call's place in the log."""
    offset: int
    kind: str
    """What about: a call may have several decisions, one of each kind."""
    body: bytes
    """Opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceQuery:
    """A page of instances, newest first. Every None means "any"."""

    workflow: str | None = None
    version: str | None = None
    status: str | None = None
    since: datetime | None = None
    """Started at or after."""
    until: datetime | None = None
    """Started before."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Only instances that have all of these tags, with these values."""
    after: tuple[datetime, str] | None = None
    """(started_at, id) of the last row of the page before."""
    limit: int = 100
    """Rows of a page. Rows that share the place of the last one come with it, beyond the limit."""


class Store(Protocol):
    """The durable state of shards: journal, checkpoints, and small documents of the deployment."""

    @property
    def is_shared(self) -> bool:
        """True when processes of other machines may work with it too."""
        ...

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """`owner` owns the shards under new epochs; whoever had them can no longer commit.

        Shards that do not exist yet are created. A former owner that still runs on this
        machine, as another process than this one, is killed first where a stopped writer
        would block the database.

        Args:
            owner: "pid:start_time:label", as `processes.owner_of_this_process` makes it, of this
                process or another one: a directory acquires for the members of its pools.

        Returns:
            The shards in the order of `refs`.

        Raises:
            StoreUnavailable: the takeover did not happen, or it is not known; retry.

        Durability: the takeover is committed before this returns, and reads made
        afterwards see everything the former owner ever committed.
        """
        ...

    def take_office(self, name: str, *, owner: str) -> Office:
        """`owner` holds the office under a new epoch; whoever had it can write nothing more under it.

        A former holder that still runs on this machine, as another process than this one, is
        killed first where a stopped writer would block the database.

        Args:
            owner: "pid:start_time:label", as `processes.owner_of_this_process` makes it.

        Raises:
            StoreUnavailable: it was not taken, or it is not known; take it again.

        Durability: the takeover is committed before this returns, and reads made afterwards see
        everything that was ever written under an older epoch.
        """
        ...

    def check_office(self, office: Office) -> None:
        """The office is still held under this epoch, or was a moment ago.

        Raises:
            Fenced: somebody else has taken it since; the caller must stop for good.
            StoreUnavailable: it is not known; ask again.
        """
        ...

    def under(self, office: Office, *, lost: Callable[[], None] | None = None) -> Store:
        """This store, for whoever holds the office: all that it writes is refused once somebody else
        holds it.

        Each of its methods that writes raises `Fenced` then, and nothing was written: it looks at
        the epoch in the transaction that writes. Both are open until one is closed.

        Args:
            lost: called before `Fenced` is raised, by the thread that was writing.
        """
        ...

    def commit(self, commit: StoreCommit) -> None:
        """Everything in `commit` is durable when this returns.

        Raises:
            Fenced: an epoch is not the current one; nothing was written, and the caller
                must stop for good.
            InvariantViolated: the journal would get a hole, a checkpoint go back or beyond it, a
                trim beyond the checkpoint, an instance exist twice, or an instance or an index run
                be removed that is not there; nothing was written.
            StoreUnavailable: the outcome is not known; the caller must discard its memory
                and recover from what the store holds.
        """
        ...

    def checkpoint_of(self, shard: int) -> tuple[int, bytes] | None:
        """(seq, header) of the shard's last checkpoint; None before the first."""
        ...

    def instances_of(self, shard: int) -> Iterator[InstanceRow]:
        """All checkpointed instances of a shard, by number."""
        ...

    def index_runs(self, shard: int, *, page: int | None = None) -> Iterator[IndexRun]:
        """The index runs of a shard, or of one page of it: by page, the oldest of each first."""
        ...

    def journal_of(self, shard: int, *, after: int) -> Iterator[JournalRow]:
        """The journal rows of a shard with `seq` > `after` that no checkpoint covers, in order."""
        ...

    def journal_row(self, shard: int, seq: int) -> JournalRow | None:
        """One journal row, covered by a checkpoint or not; None once it was trimmed."""
        ...

    def past_journal(self, shard: int, *, limit: int) -> list[JournalRow]:
        """The oldest journal rows of a shard that its checkpoint covers, in order."""
        ...

    def history_of(
        self, shard: int, number: int, *, before: tuple[int, int] | None = None, limit: int
    ) -> list[HistoryRow]:
        """Turns of an instance that were kept beyond the journal, newest first.

        Args:
            before: only turns before this (seq, nth).
        """
        ...

    def find_instance(self, id: str, *, workflow: str | None = None) -> list[InstanceRow]:
        """The checkpointed instances with this id, by workflow and version: one for each version
        of each workflow that used it."""
        ...

    def named_instances(
        self, ids: Collection[str], *, workflow: str, version: str
    ) -> list[InstanceRow]:
        """The checkpointed instances of a version that have one of these ids, in any order."""
        ...

    def list_instances(self, query: InstanceQuery) -> list[InstanceRow]:
        """One page, newest start first, then by id descending."""
        ...

    def shards(self) -> list[OwnedShard]:
        """All shards with their current epochs."""
        ...

    def decide(self, decisions: Sequence[Decision]) -> list[Decision]:
        """For each of these (workflow, place, kind), one decision is kept durably, for ever the same.

        Returns:
            What is kept, in the order given: the given one, or that which was there before.

        Raises:
            StoreUnavailable: it is not known what is kept; ask again.
        """
        ...

    def decisions_of(
        self, workflow: str, *, after: tuple[int, int], upto: tuple[int, int] | None = None
    ) -> Iterator[Decision]:
        """The decisions about calls whose place is behind `after`, in the order of places.

        Args:
            upto: the last place, as (pos, offset); None: all there are.
        """
        ...

    def forget_decisions(self, *, before_pos: int) -> int:
        """Decisions about calls with a smaller `pos` are gone, durably; how many there were.

        At most `DECISIONS_FORGOTTEN_MAX` of them, the oldest ones: asked again, it goes on.
        """
        ...

    def put_document(self, kind: str, key: str, body: bytes) -> None:
        """The document (kind, key) has this body, durably; it is replaced when it existed."""
        ...

    def add_document(self, kind: str, key: str, body: bytes) -> bytes:
        """The document (kind, key) exists, durably; of several who add it, the first one's stays.

        Returns:
            The body that is kept: the given one, or that which was there before.
        """
        ...

    def get_document(self, kind: str, key: str) -> bytes | None:
        """The body of a document, or None."""
        ...

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """All documents of a kind as (key, body), by key."""
        ...

    def delete_document(self, kind: str, key: str) -> None:
        """The document is gone, durably; nothing happens when there was none."""
        ...

    def close(self) -> None:
        """Connections are closed; later calls raise StoreUnavailable."""
        ...
