"""Which calls may start instances of a version: those of its time as the active one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """A version's time as the active one, in places of the call log.

    Of two versions that follow each other, the second begins exactly where the first ends:
    each call can start an instance of one of them only, and of one of them for certain.
    """

    begins: Mapping[int, int] | None = None
    """partition -> offset of the first call that may start an instance; one that is not there
    begins with the first call. None: every call from the beginning of the log may."""
    ends: Mapping[int, int] | None = None
    """partition -> offset of the first call that may not; none of a partition that is not
    there may. None: the version is active."""

    def covers(self, partition: int, offset: int) -> bool:
        """Whether the call at this place may start an instance."""
        if self.begins is not None and offset < self.begins.get(partition, 0):
            return False
        return self.ends is None or offset < self.ends.get(partition, 0)
