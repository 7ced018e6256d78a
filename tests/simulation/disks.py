"""The durable side of a simulated cluster: one store and one log, as each process reaches them.

The stores in memory keep every promise of their ports. A process's handle on them adds what
can go wrong on the way (nothing written, or written and not heard of; another process in
between), and holds what is written against what must be true of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulation.checking import require
from tests.simulation.clockwork import Died, Process

from raysume.actors.kernel.records import InstanceRecord, TurnRecord
from raysume.actors.shard_logs import ShardLog
from raysume.errors import Fenced, InvariantViolated, StoreUnavailable
from raysume.storage.call_ports import Appended, Batch, Partition
from raysume.storage.ports import Decision, Office, OwnedShard, ShardRef, Store, StoreCommit
from raysume.storage.sealing import Seal

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

SEAL = Seal(b"simulation-key-of-32-bytes-length")


def shards_of(workflow: str, version: str, numbers: Iterable[int]) -> list[ShardRef]:
    """Some shards of a version, by number."""
    return [ShardRef(workflow=workflow, version=version, number=number) for number in numbers]


class Witness:
    """What is durable, read from the rows themselves as they are written."""

    def __init__(self) -> None:
        self.logs: dict[int, ShardLog] = {}
        """By key: of every shard that was ever owned; they say how its rows are read."""
        self.records: dict[tuple[str, str], InstanceRecord] = {}
        """(workflow, instance) -> as its last journal row has it."""
        self.asked: set[str] = set()
        """Keys of steps that were asked for, as `step_key()` gives them."""
        self.recorded: set[str] = set()
        """Keys of steps whose result a turn took."""
        self.outgoing: set[tuple[str, int]] = set()
        """(publisher, sequence) of calls that were published."""
        self.completed = 0

    def read(self, log: ShardLog, turns: Sequence[TurnRecord]) -> None:
        """The turns are durable."""
        ref = log.owned.ref
        for turn in turns:
            record = turn.instance
            who = f"{ref.workflow}/{record.id}"
            before = self.records.get((ref.workflow, record.id))
            if before is not None:
                require(
                    before.turn <= record.turn <= before.turn + 1,
                    f"{who} went from turn {before.turn} to {record.turn}",
                )
                asked = {f"{who}/{step.id}" for step in before.steps}
                self.recorded.update(asked.intersection(f"{who}/{leaf.id}" for leaf in turn.ended))
            ended = before is not None and before.status == "completed"
            require(not ended, f"{who} went on after its end")
            self.completed += record.status == "completed"
            self.records[ref.workflow, record.id] = record
            self.asked.update(f"{who}/{step.id}" for step in record.steps)
            publisher = f"{ref.workflow}@{ref.version}/{ref.number}"
            self.outgoing.update((publisher, one.sequence) for one in turn.outgoing)


class _Reached:
    """Something durable as one process reaches it; what has no method of its own is asked as it is."""

    _cluster: Cluster
    _process: Process
    _durable: Any

    def __getattr__(self, name: str) -> Any:
        reads: Callable[..., Any] = getattr(self._durable, name)

        def ask(*arguments: Any, **named: Any) -> Any:
            self._reach(name)
            return reads(*arguments, **named)

        return ask

    def close(self) -> None:
        """The process reaches it no more, and others do."""

    def _reach(self, what: str) -> None:
        """The process lives, and is heard; somebody else may be heard before."""
        if self._process.is_dead:
            raise Died
        self._cluster.overtake()
        if self._process.is_dead:
            raise Died
        self._cluster.may_fail(what)


class SimStore(_Reached):
    """The engine's store as one process reaches it, perhaps for whoever holds an office."""

    def __init__(self, cluster: Cluster, process: Process, durable: Store | None = None) -> None:
        self._cluster, self._process = cluster, process
        self._durable = self._store = durable or cluster.store
        self._office: Office | None = None

    def take_office(self, name: str, *, owner: str) -> Office:
        """See `Store.take_office`."""
        self._reach("take an office")
        taken = self._store.take_office(name, owner=owner)
        self._cluster.offices[name] = taken
        self._cluster.note(f"{self._process} took the office of the {name}: {taken.epoch}")
        self._cluster.outcome_unknown("take an office")
        return taken

    def under(self, office: Office, *, lost: Callable[[], None] | None = None) -> SimStore:
        """See `Store.under`."""
        durable = self._store.under(office, lost=lost)
        made = SimStore(self._cluster, self._process, durable)
        made._office = office
        return made

    def _wrote(self, what: str) -> None:
        """Something is durable: whoever wrote it was allowed to."""
        office = self._office
        require(
            office is None or self._cluster.offices[office.name] == office,
            f"{self._process} {what} for a {office and office.name} that had a successor",
        )

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`."""
        self._reach("take shards over")
        owned = self._store.acquire(refs, owner=owner)
        self._wrote("took shards over")
        for one in owned:
            self._cluster.owners[one.key] = owner
            self._cluster.witness.logs[one.key] = ShardLog(one, SEAL)
        self._cluster.note(f"{owner} took {len(owned)} shards over")
        return owned

    def commit(self, commit: StoreCommit) -> None:
        """See `Store.commit`."""
        self._reach("commit")
        try:
            self._cluster.store.commit(commit)
        except InvariantViolated as error:
            require(
                False, f"{self._process} wrote what does not go on from what is durable: {error}"
            )
            raise
        for key in commit.epochs:
            require(
                self._cluster.owners[key] == repr(self._process),
                f"{self._process} wrote to shard {key} after another incarnation took it over",
            )
        for row in commit.journal:
            log = self._cluster.witness.logs[row.shard]
            read = log.codec.read_journal_row(row.seq, row.body)
            self._cluster.witness.read(log, read.turns)
        self._cluster.outcome_unknown("commit")

    def put_document(self, kind: str, key: str, body: bytes) -> None:
        """See `Store.put_document`."""
        self._reach("put a document")
        self._store.put_document(kind, key, body)
        self._wrote(f"put a document of {kind}")
        self._cluster.outcome_unknown("put a document")

    def decide(self, decisions: Sequence[Decision]) -> list[Decision]:
        """See `Store.decide`."""
        self._reach("decide")
        kept = self._store.decide(decisions)
        self._wrote("decided")
        self._cluster.outcome_unknown("decide")
        return kept


class SimLog(_Reached):
    """The call log as one process reaches it."""

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self._cluster, self._process, self._durable = cluster, process, cluster.log

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        """See `CallLog.append`."""
        self._reach("append")
        appended = self._cluster.log.append(partition, batches)
        if appended.segment is not None:
            require(
                partition not in self._cluster.adopted,
                f"{self._process} appended to a partition that had been adopted",
            )
            self._cluster.ends[partition] = appended.segment.end
        self._cluster.outcome_unknown("append")
        return appended

    def open_partition(self, *, owner: str) -> Partition:
        """See `CallLog.open_partition`."""
        self._reach("open a partition")
        return self._cluster.log.open_partition(owner=owner)


def is_expected(error: BaseException) -> bool:
    """Whether an incarnation may give up because of it."""
    return isinstance(error, Fenced | StoreUnavailable | Died)


def counts_of(ids: Sequence[str]) -> list[str]:
    """The ids that are there more than once."""
    return [one for one, count in Counter(ids).items() if count > 1]
