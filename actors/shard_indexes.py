"""The index of a shard as the store has it: in runs, which checkpoints write and merge.

Each checkpoint writes one run with what it changed, on page 0. Several of these are merged, and
distributed to the pages of their instances' numbers once they are large enough; the runs of a page
are merged into one when they are together as long as the largest. So a start reads each entry
about once, and what one transaction merges is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from raysume import limits
from raysume.actors.kernel.index_entries import run_of
from raysume.actors.kernel.index_runs import Newest, Run, in_pages, merged
from raysume.actors.kernel.journal import Codec
from raysume.actors.kernel.records import IndexMark, InstanceRecord
from raysume.errors import SealBroken
from raysume.storage.ports import IndexRun, Store

_ANY: Final = 0
"""The page of runs with instances of any numbers: newer than those of all other pages."""

_WRITTEN_PART: Final = 8
"""What is only written costs this part of what is merged."""

_MASK: Final = (1 << 128) - 1

NO_RUNS: Final = IndexMark(0, bytes(16))
"""Before the first checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSizes:
    """How an index is kept."""

    page: int = limits.INDEX_PAGE
    runs: int = limits.INDEX_RUNS_MAX
    spread_bytes: int = limits.INDEX_SPREAD_BYTES
    merge_bytes: int = limits.INDEX_MERGE_BYTES
    whole_rows: int = limits.READ_WHOLE_ROWS_MAX


@dataclass(slots=True)
class Changes:
    """What a checkpoint changes of the index."""

    left: int
    """Bytes that may still be merged in this transaction."""
    runs: list[IndexRun] = field(default_factory=list[IndexRun])
    merged: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


class ShardIndex:
    """Which runs there are of one shard, and what is next to be done with them."""

    def __init__(self, key: int, codec: Codec, sizes: IndexSizes) -> None:
        self._key, self._codec, self._sizes = key, codec, sizes
        self._held: dict[int, dict[int, int]] = {}
        """page -> nth -> its bytes."""
        self._last, self._digest = 0, 0
        self._due: dict[int, None] = {}
        """Pages whose runs are to be merged, longest due first."""
        self._pending: deque[IndexRun] = deque()
        """Runs made of all rows at the start, not written yet."""
        self._stale: list[tuple[int, int]] = []
        """Runs that mean nothing, not removed yet."""

    @property
    def mark(self) -> IndexMark:
        """What the header of the checkpoint that is being made says."""
        return IndexMark(self._last, b"" if self._pending else self._digest.to_bytes(16, "big"))

    @property
    def is_behind(self) -> bool:
        """Whether the next checkpoint writes something even when no instance changed."""
        return bool(self._pending or self._stale)

    # --- at the start ------------------------------------------------------------

    def read(self, store: Store, mark: IndexMark | None, *, decodes: bool) -> list[Run] | None:
        """What the runs say, each instance once; nothing of it is kept here.

        Args:
            mark: of the checkpoint.
            decodes: False: they are only looked at, and nothing is given.

        Returns:
            None if they are not those of the checkpoint, or not what was written there: `begin_anew`.
        """
        found: list[Run] = []
        newer: set[int] = set()
        is_whole = True
        for page, rows in groupby(store.index_runs(self._key), key=lambda row: row.page):
            runs: list[Run] = []
            for row in rows:
                self._note(row)
                try:
                    if decodes and is_whole:
                        runs.append(self._codec.read_index_run(page, row.nth, row.body))
                    else:
                        self._codec.open_index_run(page, row.nth, row.body)
                except SealBroken:
                    is_whole = False
            newest = Newest(newer)
            for at in range(len(runs) - 1, -1, -1):
                found.append(newest.of(runs[at], is_last=at == 0 and page != _ANY))
            if page == _ANY:
                newer = newest.known
        if mark is None:
            return None
        self._last = max(self._last, mark.last)
        return found if is_whole and mark == self.mark else None

    def begin_anew(
        self,
        records: Iterable[tuple[InstanceRecord, bytes]],
        *,
        seq_of: Callable[[int], int],
    ) -> None:
        """The next checkpoints write the index of these instances, and remove what there was.

        Args:
            records, seq_of: see `run_of`; of all that have rows.
        """
        self._stale = [(page, nth) for page, held in self._held.items() for nth in held]
        self._held, self._due, self._digest = {}, {}, 0
        size = self._sizes.page
        for _, some in groupby(records, key=lambda one: one[0].number // size):
            run = run_of(some, seq_of=seq_of)
            for page, part in in_pages(run, size).items():
                self._pending.append(self._made(page, part))

    # --- at a checkpoint ---------------------------------------------------------

    def write(self, store: Store, delta: Run, changes: Changes) -> None:
        """The checkpoint that is being made writes the entries, and merges others.

        Raises:
            SealBroken: runs are not those that were written.
            StoreUnavailable: they cannot be read.
        """
        changes.merged += self._stale
        self._stale = []
        if self._pending:
            while self._pending and changes.left > 0:
                run = self._pending.popleft()
                self._add(run, changes)
                changes.left -= len(run.body) // _WRITTEN_PART
        else:
            # What is written here is not read here: first pages, then what goes to them.
            for page in sorted(self._due, key=lambda page: page == _ANY):
                if changes.left > 0:
                    self._merge(store, page, changes)
        if delta:
            self._add(self._made(_ANY, delta), changes)

    def _merge(self, store: Store, page: int, changes: Changes) -> None:
        rows = list(store.index_runs(self._key, page=page))
        held = self._held.pop(page)
        if {row.nth: len(row.body) for row in rows} != held:
            raise SealBroken(
                "index runs are not those of their shard's checkpoint: somebody else changed them. "
                "The next start makes them anew from the instance rows."
            )
        del self._due[page]
        for row in rows:
            changes.merged.append((page, row.nth))
            self._digest -= self._codec.run_digest(page, row.nth)
        self._digest &= _MASK
        runs = [self._codec.read_index_run(page, row.nth, row.body) for row in reversed(rows)]
        changes.left -= sum(held.values())
        together = merged(runs, is_all=page != _ANY)
        if page != _ANY or sum(held.values()) < self._sizes.spread_bytes:
            self._write(page, together, changes)
            return
        for to, part in in_pages(together, self._sizes.page).items():
            self._write(to, part if to in self._held else Run(part.columns, part.odd, []), changes)

    def _write(self, page: int, run: Run, changes: Changes) -> None:
        if run:
            self._add(self._made(page, run), changes)

    def _made(self, page: int, run: Run) -> IndexRun:
        self._last += 1
        body = self._codec.index_run(page, self._last, run)
        return IndexRun(shard=self._key, page=page, nth=self._last, body=body)

    def _add(self, run: IndexRun, changes: Changes) -> None:
        changes.runs.append(run)
        self._note(run)

    def _note(self, run: IndexRun) -> None:
        """The store has the run, or will when the checkpoint that is being made is durable."""
        held = self._held.setdefault(run.page, {})
        held[run.nth] = len(run.body)
        self._last = max(self._last, run.nth)
        self._digest = (self._digest + self._codec.run_digest(run.page, run.nth)) & _MASK
        if self._is_due(run.page, held.values()):
            self._due[run.page] = None

    def _is_due(self, page: int, sizes: Iterable[int]) -> bool:
        found = list(sizes)
        total, largest = sum(found), max(found)
        if page == _ANY:
            return len(found) >= self._sizes.runs or total >= self._sizes.spread_bytes
        return len(found) > self._sizes.runs + 1 or 2 * largest <= total
