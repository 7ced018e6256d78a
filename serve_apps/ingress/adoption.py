"""Partitions whose owner is dead or silent: closed, and named for delivery by whoever looks next.

Closing is safe at any time: an owner that lives after all finds its partition closed, opens
another one, and writes what was not stored there. So nobody has to agree with anybody.
"""

from __future__ import annotations

from raysume.crash_points import crash_point
from raysume.storage.call_ports import CallLog, Partition
from raysume.storage.processes import has_ended_here


class Adoption:
    """Looks at the partitions of others, again and again."""

    def __init__(self, log: CallLog) -> None:
        self._log = log
        self._told: set[int] = set()

    def look(self, *, mine: int | None) -> list[Partition]:
        """Abandoned partitions are closed; gives the closed ones that were not given before.

        Also those that somebody else closed: it may have died before it delivered them.

        Args:
            mine: the partition that is left alone.

        Raises:
            StoreUnavailable: some may be closed already; looking again is harmless.
        """
        found: list[Partition] = []
        there: set[int] = set()
        for partition in self._log.partitions():
            if partition.id == mine:
                continue
            if partition.open and is_abandoned(partition):
                crash_point("before_adoption_closes")
                partition = self._log.close_partition(partition.id)
                crash_point("after_adoption_closed")
            if not partition.open:
                there.add(partition.id)
                if partition.next_offset > 0:
                    found.append(partition)
        found = [one for one in found if one.id not in self._told]
        self._told = there
        return found


def is_abandoned(partition: Partition) -> bool:
    """Whether nobody will append to the open partition any more, as far as one can tell."""
    return partition.lapsed or has_ended_here(partition.owner)
