"""A checkpoint in parts: which instances each of them writes, and when its turn has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysume import limits

if TYPE_CHECKING:
    from raysume.actors.shard_logs import ShardLog


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction writes of a checkpoint."""

    shards: Collection[int]
    """Their numbers."""
    rows_max: int | None = None
    """Changed instances of each shard that are written; None: all of them. What is left is written
    by a later part: only that one moves the place from which the journal is read at a start."""


class Checkpoints:
    """The checkpoints that were asked of a pool, made one after the other, part by part.

    A part takes the interpreter's lock as well as the turn of a commit: after each of them whoever
    applies and commits calls has as much time to himself, unless somebody waits for the end.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: whoever takes the parts looks for one.
        """
        self._wake = wake
        self._asked = self._made = self._making = self._hurried = 0
        self._shards: deque[int] = deque()
        """Those that the checkpoint under way has still to write."""
        self._left = 0
        """Instances of the first of them that may be written in parts."""
        self._rows_max = 0
        self._is_more = self._rests = False

    def ask(self, *, in_haste: bool) -> int:
        """Another one is asked for, of what is committed when it begins; its number."""
        self._asked += 1
        if in_haste:
            self._hurried = self._asked
        self._wake()
        return self._asked

    def has_made(self, number: int) -> bool:
        """Whether the one with this number is durable."""
        return self._made >= number

    def take(self, logs: Mapping[int, ShardLog], turns: int) -> Part | None:
        """The part that is to be written now; None: nothing is asked for, or there is a pause.

        Shards with few changed instances go together; one with many gets several parts. What
        changes meanwhile goes with the last one of its shard, which may be larger by that.

        Args:
            logs: of the pool's shards, by number.
            turns: how many are committed together with the part: it may be half as large.
        """
        is_hurried = self._made < self._hurried
        if self._rests and not is_hurried:
            return None
        if self._made >= self._asked:
            return Part(()) if self._is_more else None
        if self._making == self._made:
            self._making = self._asked
            changed = sum(len(log.dirty) for log in logs.values())
            self._rows_max = max(
                limits.CHECKPOINT_PART_ROWS_MAX, changed // limits.CHECKPOINT_PARTS_MAX
            )
            self._begin(logs, logs)
        most, rows = max(self._rows_max, turns // 2), 0
        if is_hurried:
            most = max(most, limits.HURRIED_PART_ROWS_MAX)
        together: list[int] = []
        while self._shards:
            number = self._shards[0]
            size = len(logs[number].dirty) if number in logs else 0
            if rows + size > most and together:
                break
            if size > most and self._left > most:
                self._left -= most
                return Part((number,), most)
            together.append(number)
            rows += size
            self._begin(logs, tuple(self._shards)[1:])
        return Part(together)

    def _begin(self, logs: Mapping[int, ShardLog], shards: Iterable[int]) -> None:
        self._shards = deque(shards)
        first = logs.get(self._shards[0]) if self._shards else None
        self._left = 0 if first is None else len(first.dirty)

    def wrote(self, *, is_more: bool = False) -> bool:
        """The part that was taken is durable, and what it allows has left memory.

        Args:
            is_more: more could leave: that is what parts are for that write nothing, when there are
                no others.

        Returns:
            Whether there is a pause now, until `rested`.
        """
        self._is_more = is_more
        if not self._shards:
            self._made = self._making
        self._rests = is_more or self._made < self._asked
        return self._rests

    def rested(self) -> None:
        """The pause is over."""
        self._rests = False
        self._wake()
