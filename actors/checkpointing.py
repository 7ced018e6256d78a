"""A checkpoint in parts: which instances each of them writes, and when its turn has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
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


def parts_of(logs: Mapping[int, ShardLog]) -> list[Part]:
    """The parts of a checkpoint of these shards, by number: at least one.

    Shards with few changed instances go together; one with many gets several parts. What changes
    meanwhile goes with the last one of its shard, which may be larger by that.
    """
    found: list[Part] = []
    together: list[int] = []
    rows, most = 0, limits.CHECKPOINT_PART_ROWS_MAX
    for number, log in logs.items():
        if rows + len(log.dirty) > most and together:
            found.append(Part(together))
            together, rows = [], 0
        found += [Part((number,), most)] * ((len(log.dirty) - 1) // most)
        together.append(number)
        rows += min(len(log.dirty), most)
    return [*found, Part(together)]


class Checkpoints:
    """The checkpoints that were asked of a pool, made one after the other, part by part.

    A part takes the interpreter's lock as well as the turn of a commit: after each of them whoever
    applies and commits calls has as much time to himself, unless somebody waits for the end.
    """

    def __init__(self) -> None:
        self._asked = self._made = self._making = self._hurried = 0
        self._parts: deque[Part] = deque()
        self._next_s = 0.0

    def ask(self, *, in_haste: bool) -> int:
        """Another one is asked for, of what is committed when it begins; its number."""
        self._asked += 1
        if in_haste:
            self._hurried = self._asked
        return self._asked

    def has_made(self, number: int) -> bool:
        """Whether the one with this number is durable."""
        return self._made >= number

    def take(self, logs: Mapping[int, ShardLog], now_s: float) -> Part | None:
        """The part that is to be written now; None: nothing is asked for, or it has time.

        Args:
            logs: of the pool's shards, by number.
        """
        if self._made >= self._asked or (now_s < self._next_s and self._made >= self._hurried):
            return None
        if not self._parts:
            self._making = self._asked
            self._parts.extend(parts_of(logs))
        return self._parts.popleft()

    def wrote(self, began_s: float, now_s: float, *, is_more: bool = False) -> float | None:
        """The part that was taken is durable, and what it allows has left memory.

        Args:
            is_more: more could leave, which happens after parts: another one, which writes nothing,
                is behind the last one then.

        Returns:
            Seconds after which the next one is due; None: there is none.
        """
        if is_more and not self._parts:
            self._parts.append(Part(()))
        if not self._parts:
            self._made = self._making
            if self._made >= self._asked:
                return None
        pause_s = now_s - began_s
        self._next_s = now_s + pause_s
        return pause_s
