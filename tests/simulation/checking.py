"""What must hold while a simulation runs, and when it is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.simulation.workloads import Workload, published_of, result_of

from raysume import ids, limits
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import InstanceRecord

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.world import World

_PUBLISHED = ("simulation.closed", "simulation.told", "simulation.left", "simulation.won")


class Broken(AssertionError):
    """Something that raysume promises did not hold; the message says what."""


failures: list[Broken] = []
"""What did not hold, also where the code under test caught the error: it fails the run."""


def require(holds: bool, otherwise: str) -> None:
    """It holds.

    Raises:
        Broken: it does not.
    """
    if not holds:
        failures.append(Broken(otherwise))
        raise failures[-1]


def outcomes(workflow: str, records: Iterable[InstanceRecord]) -> list[str]:
    """The end of every instance."""
    found: list[str] = []
    for record in records:
        if record.status == "completed" and record.result is not None:
            found.append(result_of(workflow, json.loads(record.result)))
        else:
            why = record.error.traceback if record.error else [w.id for w in record.waits]
            found.append(f"{workflow} {record.id} is {record.status}: {why}")
    return found


def outcome(world: World) -> list[str]:
    """The end of every instance, sorted."""
    return sorted(
        line for pool in world.pools for line in outcomes(pool.workflow.name, pool.final_records())
    )


def published(log: Any) -> list[str]:
    """Every call in the log that a workflow published, sorted."""
    return sorted(
        published_of(call.method, json.loads(call.input))
        for partition in log.partitions()
        for segment in log.read(partition.id, start=0, end=partition.next_offset)
        for call in segment.calls
        if call.method in _PUBLISHED
    )


def check(world: World) -> None:
    """Every accepted call was applied where it belongs, once; nothing is left over."""
    for pool in world.pools:
        check_leftovers(pool.workflow.name, pool.kernel)
        records = pool.final_records()
        check_history(pool.workflow.name, pool.journal, records)
    check_results(world.workload, outcome(world), published(world.log))


def check_cluster(cluster: Cluster) -> None:
    """What a new process finds in the store is what a run without faults leaves there."""
    found: list[str] = []
    for member in cluster.members:
        kernel, journal = member.recovered()
        records = [instance.record() for instance in kernel.instances.values()]
        found += outcomes(member.workflow.name, records)
        if not member.hosts:
            raise Broken(f"the pool of {member.workflow.name} is away")
        for host in member.hosts:
            check_leftovers(member.workflow.name, host.kernel)
        check_history(member.workflow.name, journal, records)
    stored = Counter(
        call.id
        for partition in cluster.log.partitions()
        for segment in cluster.log.read(partition.id, start=0, end=partition.next_offset)
        for call in segment.calls
    )
    lost = [id for id in cluster.client.acknowledged if not stored[id]]
    require(not lost, f"acknowledged calls are not in the log: {lost}")
    doubled = [id for id, count in stored.items() if count > 1]
    require(not doubled, f"calls are in the log twice: {doubled}")
    check_results(cluster.workload, sorted(found), published(cluster.log))


def check_results(workload: Workload, found: list[str], calls: list[str]) -> None:
    """Instances ended, and published, as they do without any fault."""
    _check_equal("published calls", calls, workload.published)
    _check_equal("results", found, workload.results)


def _check_equal(what: str, found: Iterable[str], expected: Iterable[str]) -> None:
    there, wanted = Counter(found), Counter(expected)
    missing, extra = sorted((wanted - there).elements()), sorted((there - wanted).elements())
    require(not missing and not extra, f"{what}: missing {missing}, beyond them {extra}")


def check_leftovers(name: str, kernel: Kernel) -> None:
    """Nothing of ended instances is left in memory."""
    standing = len(kernel.standing.waits)
    waits = len(kernel.index)
    require(waits == standing, f"{name} has {waits - standing} waits left")
    require(kernel.next_due_us is None, f"{name} has timers left")
    require(not kernel.looking, f"{name} still reads the log")
    unsent = [number for number, shard in kernel.shards.items() if shard.unsent]
    require(not unsent, f"{name} has unsent calls in shards {unsent}")


def check_history(name: str, journal: PoolJournal, records: Iterable[InstanceRecord]) -> None:
    """The past of every instance leads back, turn by turn, to its start."""
    for record in records:
        shard = ids.shard_of(record.id, limits.SHARDS)
        past = list(journal.past_of(shard, record.number))
        turns = [one.record.turn for one in past]
        who = f"{name} {record.id}"
        require(past[0].record == record, f"the past of {who} does not begin where it stands")
        require(turns == sorted(turns, reverse=True), f"the past of {who} is out of order")
        lacks = set(range(1, record.turn + 1)) - set(turns)
        require(not lacks, f"the past of {who} lacks turns {sorted(lacks)}")
        causes = [one.turn.cause.kind for one in past if one.turn.cause is not None]
        require(causes[-1] == "started", f"the past of {who} does not lead back to its start")
        require(causes.count("started") == 1, f"{who} started twice")
