"""The past of instances: turns in journal rows, and those that outlived their journal row.

A journal row stays behind its checkpoint for as long as history is kept. Each turn names the
row with the turn before it, so reading the past of an instance touches only its own rows. When
a row is too old, the turns of instances that still exist go into the history table.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from raysume import limits
from raysume.actors.kernel.journal import Codec
from raysume.actors.kernel.records import InstanceRecord, PastTurn, Place, TurnRecord
from raysume.storage.ports import HistoryRow, JournalRow, Store

Position = tuple[int, int]
"""(seq, nth) of a turn: its journal row, and its place in it."""


class Positions:
    """For every instance of a shard, the last journal row with a turn of it: 8 bytes each."""

    __slots__ = ("_seqs",)

    def __init__(self) -> None:
        self._seqs = array("Q")

    def of(self, number: int) -> int:
        """The position; 0 when nothing is known."""
        return self._seqs[number] if number < len(self._seqs) else 0

    def put(self, number: int, seq: int) -> None:
        """The instance's last turn is in row `seq`."""
        missing = number + 1 - len(self._seqs)
        if missing > 0:
            self._seqs.extend([0] * missing)
        self._seqs[number] = seq

    def put_all(self, numbers: Sequence[int], seqs: Sequence[int]) -> None:
        """The last turns of these instances are in these rows.

        Args:
            numbers: ascending.
        """
        if not numbers:
            return
        first, last = numbers[0], numbers[-1]
        self.put(last, seqs[-1])
        if last - first == len(numbers) - 1:
            self._seqs[first : last + 1] = array("Q", seqs)
        else:
            for number, seq in zip(numbers, seqs, strict=True):
                self._seqs[number] = seq


@dataclass(frozen=True, slots=True)
class Past:
    """One turn of an instance, with its place."""

    position: Position
    turn: TurnRecord
    before: int
    """See `PastTurn.before`."""
    newest: Place
    """See `PastTurn.newest`."""

    @property
    def record(self) -> InstanceRecord:
        """The instance after the turn."""
        return self.turn.instance


class Chronicle:
    """Reads the past of one shard's instances, and moves what is too old for the journal.

    Made anew by each thread that reads: its codec is not shared.
    """

    def __init__(self, store: Store, shard: int, codec: Codec) -> None:
        self._store, self._shard, self._codec = store, shard, codec

    def read(self, number: int, *, latest: int, before: Position | None = None) -> Iterator[Past]:
        """The turns of an instance, newest first, read as they are asked for.

        Args:
            latest: the journal row with its last turn, or with those of `before`.
            before: only turns before this position.

        Raises:
            SealBroken: a row is not what was written there.
        """
        seq = latest if before is None else before[0]
        while seq > 0:
            row = self._store.journal_row(self._shard, seq)
            if row is None:
                yield from self._kept(number, before)
                return
            found = [one for one in self._turns_of(row) if one.record.number == number]
            for past in reversed(found):
                if before is None or past.position < before:
                    yield past
            if not found:
                return
            seq = found[0].before
            before = found[0].position

    def _kept(self, number: int, before: Position | None) -> Iterator[Past]:
        """The turns in the history table: all that came before the oldest journal row."""
        while True:
            rows = self._store.history_of(
                self._shard, number, before=before, limit=limits.HISTORY_TURNS_MAX
            )
            for row in rows:
                past = self._codec.read_history_row(number, row.seq, row.nth, row.body)
                yield Past((row.seq, row.nth), past.turn, past.before, past.newest)
            if len(rows) < limits.HISTORY_TURNS_MAX:
                return
            before = (rows[-1].seq, rows[-1].nth)

    def _turns_of(self, row: JournalRow) -> list[Past]:
        body = self._codec.read_journal_row(row.seq, row.body)
        before = body.before or [0] * len(body.turns)
        return [
            Past((row.seq, nth), turn, at, body.header.newest)
            for nth, (turn, at) in enumerate(zip(body.turns, before, strict=True))
        ]

    def oldest_us(self) -> int | None:
        """When the oldest journal row that a checkpoint covers was made; None: there is none."""
        oldest = self._store.past_journal(self._shard, limit=1)
        return oldest[0].at_us if oldest else None

    def outlived(self, older_than_us: int) -> tuple[list[JournalRow], int | None]:
        """The journal rows that are too old to stay, oldest first, some at a time.

        Returns:
            With them, when the first row was made that stays for now; None: there is none that a
            checkpoint covers.
        """
        most = limits.JOURNAL_COMPACT_ROWS_MAX
        rows = self._store.past_journal(self._shard, limit=most + 1)
        old = list(takewhile(lambda row: row.at_us < older_than_us, rows[:most]))
        return old, rows[len(old)].at_us if len(old) < len(rows) else None

    def turns_to_keep(self, rows: list[JournalRow], there: Container[int]) -> list[HistoryRow]:
        """The turns of these journal rows as history rows, of the instances that are still there."""
        return [
            HistoryRow(
                shard=self._shard,
                number=past.record.number,
                seq=past.position[0],
                nth=past.position[1],
                body=self._codec.history_row(
                    *past.position, PastTurn(past.turn, past.before, past.newest)
                ),
            )
            for row in rows
            for past in self._turns_of(row)
            if past.record.number in there
        ]
