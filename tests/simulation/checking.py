"""What must hold when a simulation is over."""

from __future__ import annotations

import json

from tests.simulation.pools import SimPool
from tests.simulation.workloads import published_of, result_of
from tests.simulation.world import World

from raysume import ids, limits

_PUBLISHED = ("simulation.closed", "simulation.told", "simulation.left")


def outcome(world: World) -> list[str]:
    """The end of every instance, sorted."""
    found: list[str] = []
    for pool in world.pools:
        for record in pool.final_records():
            if record.status == "completed" and record.result is not None:
                found.append(result_of(pool.workflow.name, json.loads(record.result)))
            else:
                why = record.error.traceback if record.error else [w.id for w in record.waits]
                found.append(f"{pool.workflow.name} {record.id} is {record.status}: {why}")
    return sorted(found)


def published(world: World) -> list[str]:
    """Every call in the log that a workflow published, sorted."""
    return sorted(
        published_of(call.method, json.loads(call.input))
        for partition in world.partitions
        for segment in world.log.read(partition, start=0, end=world.ends[partition])
        for call in segment.calls
        if call.method in _PUBLISHED
    )


def check(world: World) -> None:
    """Every accepted call was applied where it belongs, once; nothing is left over."""
    for pool in world.pools:
        _check_pool(pool)
        _check_history(pool)
    assert published(world) == sorted(world.workload.published)
    assert outcome(world) == sorted(world.workload.results)


def _check_pool(pool: SimPool) -> None:
    kernel = pool.kernel
    name = pool.workflow.name
    assert len(kernel.index) == len(kernel.standing.waits), f"{name} has waits left"
    assert kernel.next_due_us is None, f"{name} has timers left"
    assert not kernel.looking, f"{name} still reads the log"
    assert all(not shard.unsent for shard in kernel.shards.values()), f"{name} has unsent calls"


def _check_history(pool: SimPool) -> None:
    """The past of every instance leads back, turn by turn, to its start."""
    for record in pool.final_records():
        shard = ids.shard_of(record.id, limits.SHARDS)
        past = list(pool.journal.past_of(shard, record.number))
        turns = [one.record.turn for one in past]
        who = f"{pool.workflow.name} {record.id}"
        assert past[0].record == record, f"the past of {who} does not begin where it stands"
        assert turns == sorted(turns, reverse=True), f"the past of {who} is out of order"
        assert set(turns) >= set(range(1, record.turn + 1)), f"the past of {who} lacks turns"
        causes = [one.turn.cause.kind for one in past if one.turn.cause is not None]
        assert causes[-1] == "started", f"the past of {who} does not lead back to its start"
        assert causes.count("started") == 1, f"{who} started twice"
