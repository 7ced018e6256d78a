"""Scheduled starts across restarts: none is doubled, and of those missed one is made up for."""

from __future__ import annotations

from datetime import timedelta

from raysume import sleep, workflow
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, TimersDue
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import START_OF_LOG, InstanceRecord, ShardHeader
from raysume.actors.kernel.shards import Shard
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.kernel.tenure import Tenure
from raysume.limits import SHARDS
from raysume.methods import Method
from raysume.workflows import Workflow

HOUR = 3_600_000_000


@workflow(every="0 * * * *")
async def hourly() -> None:
    """Starts at every full hour."""


@workflow
async def recurring() -> None:
    """Starts whenever its first sleep ends."""
    await sleep(timedelta(hours=1))


def no_methods(urn: str) -> Method:
    raise LookupError(urn)


class Store:
    """What was durable of a pool, and its incarnations one after the other."""

    def __init__(self, workflow: Workflow[[], None]) -> None:
        self.workflow = workflow
        self.headers: dict[int, ShardHeader] = {}
        self.records: dict[str, tuple[int, InstanceRecord]] = {}

    def boot(self, now_us: int) -> Kernel:
        """A kernel that goes on from what is durable."""
        kernel = Kernel(self.workflow, "1", methods=no_methods)
        turn = learning_turn(self.workflow, "1", now_us)
        assert driving.run_inline(turn, kernel.standing.learning(turn)) is driving.FINISHED
        for number in range(SHARDS):
            header = self.headers.get(number)
            kernel.adopt(Shard(number, header), header)
        for shard, record in self.records.values():
            kernel.restore(record, shard=shard)
        kernel.remember([], covers_after=START_OF_LOG)
        self.keep(kernel.resume(now_us))
        return kernel

    def keep(self, commit: Commit) -> None:
        """The commit is durable."""
        self.headers.update(commit.headers)
        for shard, turns in commit.turns.items():
            self.records.update((turn.instance.id, (shard, turn.instance)) for turn in turns)

    def ring(self, kernel: Kernel, now_us: int) -> None:
        self.keep(kernel.apply([TimersDue(upto_us=now_us)], now_us))

    @property
    def starts(self) -> list[float]:
        """When instances started, in hours."""
        return sorted(record.started_us / HOUR for _, record in self.records.values())


def test_a_restart_neither_doubles_nor_moves_a_start() -> None:
    store = Store(hourly)
    store.boot(HOUR // 2)
    kernel = store.boot(HOUR // 2 + HOUR // 4)
    assert kernel.next_due_us == HOUR
    store.ring(kernel, HOUR)
    kernel = store.boot(HOUR)
    store.ring(kernel, HOUR)
    assert (store.starts, kernel.next_due_us) == ([1], 2 * HOUR)


def test_a_start_that_was_not_committed_is_made_again_as_the_same_instance() -> None:
    store = Store(hourly)
    kernel = store.boot(HOUR // 2)
    lost = kernel.apply([TimersDue(upto_us=HOUR)], HOUR)
    [[turn]] = [turns for turns in lost.turns.values() if turns]
    again = store.boot(HOUR + 1)
    store.ring(again, HOUR + 1)
    assert list(store.records) == [turn.instance.id]


def test_of_the_starts_missed_while_nothing_ran_one_is_made_up_for() -> None:
    for of in (hourly, recurring):
        store = Store(of)
        store.boot(HOUR // 2)
        kernel = store.boot(10 * HOUR + 1)
        store.ring(kernel, 10 * HOUR + 1)
        assert len(store.starts) == 1
        due_us = kernel.next_due_us
        assert due_us is not None
        assert 10 * HOUR + 1 < due_us <= 11 * HOUR, moment(due_us)


def test_a_version_that_is_no_longer_active_starts_nothing() -> None:
    store = Store(hourly)
    kernel = store.boot(HOUR // 2)
    kernel.tenure = Tenure(ends={})
    store.ring(kernel, HOUR)
    assert (store.starts, kernel.next_due_us) == ([], None)
    kernel.tenure = Tenure()
    store.ring(kernel, 5 * HOUR // 2)
    assert (store.starts, kernel.next_due_us) == ([], 3 * HOUR)
