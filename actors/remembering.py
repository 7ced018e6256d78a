"""What a pool remembers after a recovery: the newest calls that it had applied before."""

from __future__ import annotations

from collections.abc import Mapping

from raysume import limits
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.records import START_OF_LOG, Place
from raysume.storage.call_ports import CallLog


def recent_calls(
    call_log: CallLog, watermarks: Mapping[int, int], methods: frozenset[str]
) -> tuple[list[DeliveredCall], Place]:
    """The newest calls below the watermarks, in order, and the place after which all are there.

    Args:
        watermarks: partition -> offset below which every call was applied.
        methods: the URNs wanted.
    """
    found: list[DeliveredCall] = []
    covers = START_OF_LOG
    for partition in call_log.partitions():
        end = watermarks.get(partition.id, 0)
        start = max(0, end - limits.RECENT_CALLS_MAX)
        first: Place | None = None
        for segment in call_log.read(partition.id, start=start, end=end):
            first = first or (segment.pos, segment.first)
            found.extend(
                DeliveredCall(segment.first + index, segment.pos, call)
                for index, call in enumerate(segment.calls)
                if call.method in methods
            )
        if start > 0 and first is not None:
            covers = max(covers, first)
    found.sort(key=lambda call: (call.pos, call.offset))
    if len(found) > limits.RECENT_CALLS_MAX:
        dropped = found[-limits.RECENT_CALLS_MAX - 1]
        covers = max(covers, (dropped.pos, dropped.offset))
    return [call for call in found if (call.pos, call.offset) > covers], covers
