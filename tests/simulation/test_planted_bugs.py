"""The simulation finds bugs: each of these, planted on purpose, fails it within some seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from tests.simulation.checking import check
from tests.simulation.pools import SimPool
from tests.simulation.world import simulate

from raysume.actors import shard_indexes
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import looking_back, routing, turning
from raysume.actors.kernel.commits import Commit, LookedBack, StepEnded
from raysume.actors.kernel.deliveries import Delivery
from raysume.actors.kernel.index_runs import Run, merged
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.intake import Intake
from raysume.actors.kernel.journal import Codec
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.mailboxes import Mailbox, RecentCalls
from raysume.actors.kernel.records import (
    START_OF_LOG,
    InstanceRecord,
    Place,
    ShardHeader,
    StepDone,
    WaitRecord,
)
from raysume.actors.kernel.timers import Timers
from raysume.actors.shard_logs import ShardLog
from raysume.errors import RaysumeError

SEEDS = 300
"""A bug that needs more would hide."""


def always(value: Any) -> Callable[..., Any]:
    """A function that gives the same whatever it is asked."""
    return lambda *_arguments, **_named: value


Plant = Callable[[pytest.MonkeyPatch], None]


def headers_without_watermarks(patch: pytest.MonkeyPatch) -> None:
    """After a recovery, calls are applied again."""
    header_of = Kernel.header_of

    def planted(self: Kernel, number: int) -> ShardHeader:
        return msgspec.structs.replace(header_of(self, number), watermarks={})

    patch.setattr(Kernel, "header_of", planted)


def headers_that_run_ahead(patch: pytest.MonkeyPatch) -> None:
    """After a recovery, calls that were not applied are taken for applied."""
    header_of = Kernel.header_of

    def planted(self: Kernel, number: int) -> ShardHeader:
        header = header_of(self, number)
        ahead = {partition: mark + 1 for partition, mark in header.watermarks.items()}
        return msgspec.structs.replace(header, watermarks=ahead)

    patch.setattr(Kernel, "header_of", planted)


def releases_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Effects of turns that never became durable have happened."""
    boot = SimPool.boot

    def planted(self: SimPool) -> None:
        self.releases_early = True
        boot(self)

    patch.setattr(SimPool, "boot", planted)


def records_without_inbox(patch: pytest.MonkeyPatch) -> None:
    """What an instance took in and did not finish is gone after a crash."""
    record = Instance.record

    def planted(self: Instance) -> InstanceRecord:
        return msgspec.structs.replace(record(self), inbox=[])

    patch.setattr(Instance, "record", planted)


def checkpoints_without_unsent_calls(patch: pytest.MonkeyPatch) -> None:
    """Calls published before a checkpoint and not sent before a crash are gone."""
    checkpoint_header = Codec.checkpoint_header

    def planted(self: Codec, seq: int, header: Any, _unsent: Any, *rest: Any) -> bytes:
        return checkpoint_header(self, seq, header, [], *rest)

    patch.setattr(Codec, "checkpoint_header", planted)


def checkpoints_of_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds records that no journal row at its position holds."""
    prepare = SimPool.commit

    def planted(self: SimPool) -> None:
        logs: dict[int, ShardLog] = self.journal._shards  # pyright: ignore[reportPrivateUsage]
        for log in logs.values():
            for number, record in list(log.dirty.items()):
                applied = self.kernel.instances.get(record.id)
                log.dirty[number] = record if applied is None else applied.record()
        self.store.commit(self.journal.prepare(Commit(), checkpoint=True))
        prepare(self)

    patch.setattr(SimPool, "commit", planted)


def commits_lose_a_shard(patch: pytest.MonkeyPatch) -> None:
    """Batches that are committed together overwrite each other's turns."""

    def planted(self: Commit, later: Commit) -> None:
        turns = dict(self.turns)
        absorb(self, later)
        self.turns.update({n: later.turns[n] for n in turns if n in later.turns})

    absorb = Commit.absorb
    patch.setattr(Commit, "absorb", planted)


def ranges_that_overlap_are_applied_again(patch: pytest.MonkeyPatch) -> None:
    """What a delivery repeats is not cut off."""
    patch.setattr(Intake, "mark", always(0))


def gaps_are_skipped(patch: pytest.MonkeyPatch) -> None:
    """A delivery is applied although calls before it are missing."""
    mark = Intake.mark

    def planted(self: Intake, partition: int) -> int:
        held = self._held.get(partition, [])  # pyright: ignore[reportPrivateUsage]
        return max([mark(self, partition), *(one.start for one in held[:1])])

    patch.setattr(Intake, "mark", planted)


def partitions_overtake_each_other(patch: pytest.MonkeyPatch) -> None:
    """Calls are applied before earlier ones of another partition."""
    add = Intake.add

    def planted(self: Intake, delivery: Delivery) -> None:
        add(self, msgspec.structs.replace(delivery, after=[]))

    patch.setattr(Intake, "add", planted)


def calls_received_when_they_queue(patch: pytest.MonkeyPatch) -> None:
    """A call whose wait ended while it queued is lost for the waits behind it."""
    patch.setattr(looking_back, "again", always(None))


def places_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An instance receives a call again."""
    patch.setattr(Mailbox, "is_open", always(True))
    patch.setattr(Mailbox, "floor", always(START_OF_LOG))


def memory_pretends_to_cover_everything(patch: pytest.MonkeyPatch) -> None:
    """Older calls are not looked for in the log."""
    patch.setattr(RecentCalls, "covers", always(True))


def timers_ring_without_a_barrier(patch: pytest.MonkeyPatch) -> None:
    """A timeout beats an answer that was accepted before it."""

    def planted(self: SimPool) -> None:
        self.barrier = (self.world.now_us, {})

    patch.setattr(SimPool, "ask_barrier", planted)


def timers_are_not_saved(patch: pytest.MonkeyPatch) -> None:
    """After a crash nothing rings."""
    record = Instance.record

    def planted(self: Instance) -> InstanceRecord:
        return msgspec.structs.replace(record(self), timers=[])

    patch.setattr(Instance, "record", planted)


def steps_are_not_asked_again(patch: pytest.MonkeyPatch) -> None:
    """A step that was under way in a crash never ends."""
    resume = Kernel.resume

    def planted(self: Kernel, now_us: int) -> Commit:
        commit = resume(self, now_us)
        commit.steps = []
        return commit

    patch.setattr(Kernel, "resume", planted)


def results_of_steps_count_twice(patch: pytest.MonkeyPatch) -> None:
    """A late duplicate of an attempt's end is taken for the next attempt's."""
    step_ended = turning.end_step

    def planted(self: Kernel, event: Any) -> None:
        instance = self.instances.get(event.instance)
        asked = None if instance is None else instance.steps.get(event.done.step)
        if asked is not None:
            done = event.done
            now = StepDone(done.step, asked.attempt, done.succeeded, done.payload, done.retriable)
            event = StepEnded(instance=event.instance, done=now)
        step_ended(self, event)

    patch.setattr(turning, "end_step", planted)


def checkpoints_forget_rows(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint leaves out one of the instances that changed."""
    checkpoints = PoolJournal._checkpoints  # pyright: ignore[reportPrivateUsage]

    def planted(self: PoolJournal, logs: list[ShardLog], *rest: Any) -> Any:
        for log in logs:
            if len(log.dirty) > 1:
                log.dirty.popitem()
        return checkpoints(self, logs, *rest)

    patch.setattr(PoolJournal, "_checkpoints", planted)


def parts_of_checkpoints_move_on(patch: pytest.MonkeyPatch) -> None:
    """A start reads the journal behind a part of a checkpoint that left changed instances out."""
    take_changed = ShardLog.take_changed

    def planted(self: ShardLog, numbers: Any) -> Any:
        self.checkpoint_seq = self.committed_seq
        return take_changed(self, numbers)

    patch.setattr(ShardLog, "take_changed", planted)


def readings_miss_what_comes_meanwhile(patch: pytest.MonkeyPatch) -> None:
    """A call that is applied while the log is read for a wait never meets it."""

    def planted(kernel: Kernel, event: LookedBack) -> None:
        kernel.looking.pop((event.instance, event.wait), None)
        instance = kernel.instances.get(event.instance)
        entry = None if instance is None else instance.entries.get(event.wait)
        if instance is None or entry is None or instance.busy or instance.inbox:
            return
        for item in event.calls:
            if routing.fits(kernel, instance, entry, item):
                routing.meet(kernel, instance, entry, item)
                return
        entry.wait = instance.waits[event.wait] = looking_back.seen(entry.wait)

    patch.setattr(looking_back, "end", planted)


def timers_are_not_in_the_index(patch: pytest.MonkeyPatch) -> None:
    """Instances that a start by the index leaves asleep are not woken by their timers."""
    patch.setattr(Timers, "restore_all", always(None))


def merging_an_index_keeps_what_is_older(patch: pytest.MonkeyPatch) -> None:
    """Index runs do not fit the rows after they were merged."""

    def planted(runs: Iterable[Run], *, is_all: bool) -> Run:
        return merged(reversed(list(runs)), is_all=is_all)

    patch.setattr(shard_indexes, "merged", planted)


def one_horizon_for_all_methods(patch: pytest.MonkeyPatch) -> None:
    """A long loop over one method makes early calls of another one disappear."""
    floor = Mailbox.floor

    def planted(self: Mailbox, wait: WaitRecord) -> Place:
        return max(floor(self, wait), *(record.passed for record in self.records()), START_OF_LOG)

    patch.setattr(Mailbox, "floor", planted)


PLANTS: tuple[Plant, ...] = (
    headers_without_watermarks,
    headers_that_run_ahead,
    releases_before_the_commit,
    records_without_inbox,
    checkpoints_without_unsent_calls,
    checkpoints_of_what_is_not_committed,
    commits_lose_a_shard,
    ranges_that_overlap_are_applied_again,
    gaps_are_skipped,
    partitions_overtake_each_other,
    calls_received_when_they_queue,
    places_are_forgotten,
    memory_pretends_to_cover_everything,
    timers_ring_without_a_barrier,
    timers_are_not_saved,
    steps_are_not_asked_again,
    results_of_steps_count_twice,
    checkpoints_forget_rows,
    parts_of_checkpoints_move_on,
    readings_miss_what_comes_meanwhile,
    timers_are_not_in_the_index,
    merging_an_index_keeps_what_is_older,
    one_horizon_for_all_methods,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_the_simulation_finds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            check(simulate(seed))
        except (AssertionError, RaysumeError):
            return
    raise AssertionError(f"{SEEDS} seeds did not find it: {plant.__doc__}")
