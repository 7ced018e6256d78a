"""Partitions left behind by a dead ingress: closed, and named for delivery."""

from __future__ import annotations

from functools import partial

from raysume.crash_points import crash_point
from raysume.storage.call_ports import CallLog, Partition
from raysume.storage.processes import is_other_live_process


def adopt(log: CallLog) -> list[Partition]:
    """Partitions of dead owners are closed; all that hold calls are returned, in log order.

    The order is that of their last calls: pools are told in it, and a pool that was told of a
    later one first would apply later calls before earlier ones.

    A partition of a living process is left alone. One of this process was left by an
    ingress that ended without closing it; if it did not end, its next append finds the
    partition closed and opens another one.

    Raises:
        StoreUnavailable: some may be closed already; adopting again is harmless.
    """
    found: list[Partition] = []
    for partition in log.partitions():
        if partition.open and not is_other_live_process(partition.owner):
            crash_point("before_adoption_closes")
            partition = log.close_partition(partition.id)
            crash_point("after_adoption_closed")
        if partition.next_offset > 0:
            found.append(partition)
    return sorted(found, key=partial(_last_pos, log))


def _last_pos(log: CallLog, partition: Partition) -> int:
    """The place in the log of the partition's last segment; 0 when retention has deleted it."""
    end = partition.next_offset
    return max(
        (segment.pos for segment in log.read(partition.id, start=end - 1, end=end)), default=0
    )
