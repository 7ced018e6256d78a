"""The call log of a shell: everything that was pushed to it, until it is old."""

from __future__ import annotations

from raysume.actors.kernel.commits import LookBackOrder, LookedBack
from raysume.actors.kernel.deliveries import DeliveredCall


class ShellCalls:
    """The calls of a shell in order, in one partition whose offsets are also their places."""

    def __init__(self) -> None:
        self._kept: list[DeliveredCall] = []
        self._first = 0
        """Offset of the oldest call that is kept."""

    @property
    def end(self) -> int:
        """The offset of the next call: how many were pushed so far."""
        return self._first + len(self._kept)

    def append(self, item: DeliveredCall) -> None:
        """The call is the newest one."""
        self._kept.append(item)

    def between(self, start: int, end: int) -> list[DeliveredCall]:
        """The calls with start <= offset < end that are kept."""
        return self._kept[max(0, start - self._first) : max(0, end - self._first)]

    def find(self, call_id: str) -> DeliveredCall | None:
        """The call with this id; None when it was not pushed, or deleted."""
        return next((one for one in self._kept if one.call.id == call_id), None)

    def search(self, look: LookBackOrder) -> LookedBack:
        """What a look-back finds."""
        found = [
            item
            for item in self._kept
            if item.call.method == look.method
            and look.after < (item.pos, item.offset) <= look.upto
            and item.call.at_us >= look.since_us
        ]
        return LookedBack(instance=look.instance, wait=look.wait, calls=found)

    def delete_before(self, before_us: int, *, applied: int) -> None:
        """Calls pushed before this moment are gone, up to the first that a pool has not applied."""
        old = 0
        for item in self._kept:
            if item.call.at_us >= before_us or item.offset >= applied:
                break
            old += 1
        del self._kept[:old]
        self._first += old
