"""The ingress replicas that follow the catalogue: a deployment is over when all work with it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Followers:
    """Which version of the catalogue each replica works with, as its questions tell.

    Args:
        silent_s: seconds after which a replica that does not ask any more is gone.
    """

    def __init__(self, *, silent_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._silent_s, self._now_s = silent_s, now_s
        self._known: dict[str, tuple[int, float]] = {}
        """Replica -> the version it works with, and when it last asked for a newer one."""

    def asked(self, replica: str, known: int) -> bool:
        """The replica works with version `known`; whether that is news."""
        before = self._known.get(replica)
        self._known[replica] = (known, self._now_s())
        return before is None or before[0] != known

    def all_know(self, version: int) -> bool:
        """Whether every replica works with this version or a later one."""
        limit_s = self._now_s() - self._silent_s
        self._known = {
            name: (known, at_s) for name, (known, at_s) in self._known.items() if at_s >= limit_s
        }
        return all(known >= version for known, _ in self._known.values())
