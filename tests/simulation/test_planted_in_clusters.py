"""Each of these bugs, planted on purpose, is found by the check that it breaks, and named there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pytest
import structlog
from tests.simulation.checking import Broken, check_cluster
from tests.simulation.cluster import Cluster
from tests.simulation.disks import SimStore
from tests.simulation.faults import Faults
from tests.simulation.seeds import be_silent

from raysume.actors.hosting import PoolHost
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.commits import Commit
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import InstanceRecord, ShardHeader
from raysume.records import Segment
from raysume.serve_apps.ingress import acceptance
from raysume.serve_apps.ingress.acceptance import Acceptor
from raysume.serve_apps.ingress.adoption import Adoption
from raysume.serve_apps.ingress.delivery import Dispatcher, PoolStream
from raysume.storage.call_ports import Accepted, CallLog, Partition
from raysume.storage.commit_rules import Held, check_commit
from raysume.storage.memory import state
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.ports import OwnedShard, ShardRef, StoreCommit

ACCEPTED: Final = "accepted"

SEEDS = 60
"""A bug that needs more would hide."""

SILENT = Faults(pause_s=3.0, slow=0.1, overtaking=0.5, crash=0.002)
"""Pools fall silent, are replaced, and go on."""

CHECKPOINTS = Faults(point="after_checkpoint", favourite=0.5, slow=0.3, late=0.1, batch=1)
"""Pools die after checkpoints, while batches wait for the disk."""

SLOW = Faults(kill_s=3.0, slow=0.2, late=0.3, lost=0.05, crash=0.005, batch=1, delivery=1)
"""Much is under way whenever a process ends."""

SILENT_REPLICAS = Faults(replica_pause_s=3.0, slow=0.2)
"""Ingress replicas fall silent, are replaced, and go on."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    be_silent()
    yield
    structlog.reset_defaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A bug, the faults under which it shows, and the check that finds it."""

    plant: Callable[[pytest.MonkeyPatch], None]
    faults: Faults | None = None
    """None: those of the seed."""
    found_by: str


def skip_the_fence(patch: pytest.MonkeyPatch) -> None:
    """A store writes what a former owner of a shard commits."""

    def planted(commit: StoreCommit, held: Mapping[int, Held]) -> None:
        now = {
            key: Held(
                epoch=commit.epochs[key], last_seq=one.last_seq, checkpoint_seq=one.checkpoint_seq
            )
            for key, one in held.items()
        }
        check_commit(commit, now)

    patch.setattr(state, "check_commit", planted)


def read_before_taking_over(patch: pytest.MonkeyPatch) -> None:
    """A pool takes its shards over when it writes first: what the former owner commits between the
    reading and that is not seen."""
    acquire, commit = SimStore.acquire, SimStore.commit
    waiting: dict[int, Callable[[], Any]] = {}

    def planted_acquire(self: SimStore, refs: Sequence[ShardRef], *, owner: str) -> Any:
        held = {one.ref: one for one in self.shards()}
        if not all(ref in held for ref in refs):
            return acquire(self, refs, owner=owner)
        waiting[id(self)] = lambda: acquire(self, refs, owner=owner)
        return [OwnedShard(key=held[r].key, ref=r, epoch=held[r].epoch + 1) for r in refs]

    def planted_commit(self: SimStore, prepared: StoreCommit) -> None:
        waiting.pop(id(self), lambda: None)()
        commit(self, prepared)

    patch.setattr(SimStore, "acquire", planted_acquire)
    patch.setattr(SimStore, "commit", planted_commit)


def nothing(*_arguments: Any, **_named: Any) -> None:
    """What a method does that was planted away."""


def release_effects_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Steps run and calls go out for turns that may never become durable."""
    applied = PoolHost._applied_commit  # pyright: ignore[reportPrivateUsage]
    release = PoolHost._release  # pyright: ignore[reportPrivateUsage]

    def planted(self: PoolHost, commit: Commit) -> None:
        applied(self, commit)
        release(self, commit)

    patch.setattr(PoolHost, "_applied_commit", planted)
    patch.setattr(PoolHost, "_release", nothing)


def checkpoint_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds instances as they are in memory, beyond its place in the journal."""
    recover, prepare = PoolJournal.recover, PoolJournal.prepare
    kernels: dict[int, Kernel] = {}

    def planted_recover(self: PoolJournal, kernel: Kernel) -> int:
        kernels[id(self)] = kernel
        return recover(self, kernel)

    def planted(self: PoolJournal, commit: Commit, **options: Any) -> StoreCommit:
        for log in self._shards.values():  # pyright: ignore[reportPrivateUsage]
            for number, record in list(log.dirty.items()):
                applied = kernels[id(self)].instances.get(record.id)
                log.dirty[number] = record if applied is None else applied.record()
        return prepare(self, commit, **options)

    patch.setattr(PoolJournal, "recover", planted_recover)
    patch.setattr(PoolJournal, "prepare", planted)


def forget_unfinished_steps_in_a_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """A step that had not ended when the pool died is not asked again."""
    row = PoolJournal._row  # pyright: ignore[reportPrivateUsage]

    def planted(self: PoolJournal, log: Any, record: InstanceRecord) -> Any:
        return row(self, log, msgspec.structs.replace(record, steps=[]))

    patch.setattr(PoolJournal, "_row", planted)


def forget_the_inbox(patch: pytest.MonkeyPatch) -> None:
    """What an instance took in and had not finished is gone after a crash."""
    record = Instance.record

    def planted(self: Instance) -> InstanceRecord:
        return msgspec.structs.replace(record(self), inbox=[])

    patch.setattr(Instance, "record", planted)


def forget_the_watermark(patch: pytest.MonkeyPatch) -> None:
    """After a recovery, calls are applied again."""
    header_of = Kernel.header_of

    def planted(self: Kernel, number: int) -> ShardHeader:
        return msgspec.structs.replace(header_of(self, number), watermarks={})

    patch.setattr(Kernel, "header_of", planted)


def acknowledge_before_the_append(patch: pytest.MonkeyPatch) -> None:
    """Who pushed is told that the calls are durable, and then they are written."""
    write = Acceptor._write  # pyright: ignore[reportPrivateUsage]

    def planted(self: Acceptor, group: Any, *, last: bool) -> None:
        told: list[Any] = [
            (one, Accepted(outcomes=[ACCEPTED for _ in one.batch.calls])) for one in group
        ]
        settled = acceptance._Settled(answers=told)  # pyright: ignore[reportPrivateUsage]
        self._hear(settled)  # pyright: ignore[reportPrivateUsage]
        write(self, group, last=last)

    patch.setattr(Acceptor, "_write", planted)


def adopt_without_closing(patch: pytest.MonkeyPatch) -> None:
    """A silent replica's partition is told to the pools, and the replica goes on appending."""

    def planted(self: Adoption, *, mine: int | None) -> list[Partition]:
        log: CallLog = self._log  # pyright: ignore[reportPrivateUsage]
        return [one for one in log.partitions() if one.id != mine and one.next_offset > 0]

    patch.setattr(Adoption, "look", planted)


def drop_a_filtered_range(patch: pytest.MonkeyPatch) -> None:
    """A pool is not told of ranges in which there is nothing for it."""
    offer = Dispatcher.offer

    def planted(self: Dispatcher, segment: Segment) -> None:
        streams: dict[str, PoolStream] = self._streams  # pyright: ignore[reportPrivateUsage]
        methods = {call.method for call in segment.calls}
        self._streams = {  # pyright: ignore[reportPrivateUsage]
            name: one for name, one in streams.items() if not one.urns.isdisjoint(methods)
        }
        offer(self, segment)
        self._streams = streams  # pyright: ignore[reportPrivateUsage]

    patch.setattr(Dispatcher, "offer", planted)


def ring_a_timer_before_an_earlier_call(patch: pytest.MonkeyPatch) -> None:
    """A timeout beats an answer that was accepted before it."""

    def planted(_self: MemoryCallLog) -> dict[int, int]:
        return {}

    patch.setattr(MemoryCallLog, "barrier", planted)


PLANTS = (
    Plant(
        plant=skip_the_fence,
        faults=SILENT,
        found_by="wrote to shard .* after another incarnation took it over",
    ),
    Plant(
        plant=read_before_taking_over,
        faults=Faults(pause_s=1.0, slow=0.5, overtaking=0.9),
        found_by="does not go on from what is durable",
    ),
    Plant(
        plant=release_effects_before_the_commit,
        found_by="before (it|its turn) was durable",
    ),
    Plant(
        plant=checkpoint_what_is_not_committed,
        faults=CHECKPOINTS,
        found_by="went from turn|lacks turns|does not begin where it stands",
    ),
    Plant(
        plant=forget_unfinished_steps_in_a_checkpoint,
        faults=CHECKPOINTS,
        found_by="instances are stuck",
    ),
    Plant(plant=forget_the_inbox, faults=SLOW, found_by="instances are stuck|results: missing"),
    Plant(plant=forget_the_watermark, found_by="would apply call .* again"),
    Plant(
        plant=acknowledge_before_the_append,
        found_by="acknowledged before it was in the log",
    ),
    Plant(
        plant=adopt_without_closing,
        faults=SILENT_REPLICAS,
        found_by="appended to a partition that had been adopted",
    ),
    Plant(plant=drop_a_filtered_range, found_by="accepted calls are not applied"),
    Plant(
        plant=ring_a_timer_before_an_earlier_call,
        faults=Faults(late=0.3, lost=0.1, delivery=1),
        found_by="(results|published calls): missing",
    ),
)


def failure_of(seed: int, faults: Faults | None) -> str:
    """What is wrong with the run of the seed; empty: nothing."""
    cluster = Cluster(seed, faults=faults)
    try:
        cluster.run()
        check_cluster(cluster)
    except Broken as broken:
        return str(broken)
    return ""


def seed_that_finds(planted: Plant, monkeypatch: pytest.MonkeyPatch) -> int:
    """The first seed with the bug whose run a check ends, and names what is wrong."""
    failures: list[str] = []
    for seed in range(SEEDS):
        with monkeypatch.context() as patch:
            planted.plant(patch)
            failures.append(failure_of(seed, planted.faults))
        if re.search(planted.found_by, failures[-1]):
            return seed
    raise AssertionError(f"{SEEDS} seeds did not find it, only: {sorted(set(failures))}")


@pytest.mark.parametrize("planted", PLANTS, ids=lambda one: one.plant.__name__)
def test_a_check_names(planted: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = seed_that_finds(planted, monkeypatch)
    assert not re.search(planted.found_by, failure_of(seed, planted.faults)), (
        "the same run fails without the bug"
    )
