"""What start-up must know of checkpointed instances, in columns: the runs of a shard's index.

A run has an entry for each instance that some checkpoints wrote: its number, what its row must be
(`RowsDigest`), where its past begins, and, if nothing of it is under way, what the kernel's indexes
have of it. Of several entries of an instance the newest counts, as in the sorted runs of a
log-structured merge tree. Instances with something under way are only named: their rows are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Final

import msgspec

from raysume.actors.kernel.folding import Folded
from raysume.actors.kernel.records import ExclusiveRecord, TimerRecord, WaitRecord

SIZE: Final = 16
"""Bytes of a folded id, a key and a share."""

SLEEPS: Final = 0
"""Of entries: the instance only waits, and need not be read."""
OVER: Final = 1
"""It has ended, and nothing is to happen with it but its removal."""
UNDER_WAY: Final = 2
"""Its row is to be read."""


class Columns(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The usual entries: instances of one kind that wait for one key or for none, by number."""

    kind: int
    method: str
    """With `shape`, what sleeping ones wait for; empty: for a timer alone."""
    shape: tuple[str, ...]
    status: str
    """Of ended ones."""
    order: int
    """No wait of them was registered later."""
    numbers: list[int]
    """Ascending."""
    seqs: list[int]
    """See `Positions`."""
    shares: bytes
    """See `RowsDigest`."""
    ids: bytes | list[str]
    """Folded where all of them are."""
    keys: bytes = b""
    """Of sleeping ones that wait for a call."""
    times: list[int] = []
    """When ended ones ended; when the one timer of sleeping ones is due, if they have one."""
    timers: list[str] = []
    """Its ids."""

    @property
    def folded_ids(self) -> Sequence[Folded]:
        """The ids as they are kept."""
        return chunks(self.ids) if isinstance(self.ids, bytes) else self.ids


class Odd(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An entry with more than `Columns` can say, sleeping or ended."""

    number: int
    seq: int
    share: bytes
    id: str
    order: int
    waits: list[WaitRecord]
    """Only as far as the index needs them."""
    timers: list[TimerRecord]
    exclusive: ExclusiveRecord | None
    status: str
    updated_us: int


class Run(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Entries of different instances."""

    columns: list[Columns]
    odd: list[Odd]
    gone: list[int]
    """Numbers of instances that were removed, ascending: older entries of them do not count."""

    def __bool__(self) -> bool:
        return bool(self.columns or self.odd or self.gone)

    def numbers(self) -> Iterator[int]:
        """Of all instances that it says something about."""
        for one in self.columns:
            yield from one.numbers
        for odd in self.odd:
            yield odd.number
        yield from self.gone


Kind = tuple[int, str, tuple[str, ...], str, bool, bool]
"""Of columns: kind, method, shape, status, whether ids are folded, whether there are timers."""


def chunks(column: bytes) -> list[bytes]:
    """The values of a column of bytes."""
    return [column[at : at + SIZE] for at in range(0, len(column), SIZE)]


# --- newest first --------------------------------------------------------------------


class Newest:
    """Of several runs, given the newest first, what none of the newer ones says.

    Args:
        known: numbers of instances of which something newer is known.
    """

    def __init__(self, known: Iterable[int] = ()) -> None:
        self.known = set(known)
        """The instances of the runs given so far, too."""

    def of(self, run: Run, *, is_last: bool = False) -> Run:
        """What counts of the run.

        Args:
            is_last: no run is older: it may be that nothing is noted of it.
        """
        found = without(run, self.known)
        if not is_last:
            self.known.update(run.numbers())
        return found


def without(run: Run, known: Collection[int]) -> Run:
    """The entries of the run but for these instances."""
    if not known:
        return run
    numbers = known if isinstance(known, set) else set(known)
    columns = [_without(one, numbers) for one in run.columns]
    return Run(
        [one for one in columns if one.numbers],
        [odd for odd in run.odd if odd.number not in numbers],
        [number for number in run.gone if number not in numbers],
    )


def _without(columns: Columns, known: set[int]) -> Columns:
    if known.isdisjoint(columns.numbers):
        return columns
    return _taken(columns, [at for at, one in enumerate(columns.numbers) if one not in known])


def _taken(columns: Columns, places: Sequence[int]) -> Columns:
    """The entries at these places, in this order."""

    def values(column: bytes) -> bytes:
        found = chunks(column)
        return b"".join([found[at] for at in places]) if found else b""

    ids, times, timers = columns.ids, columns.times, columns.timers
    return msgspec.structs.replace(
        columns,
        numbers=[columns.numbers[at] for at in places],
        seqs=[columns.seqs[at] for at in places],
        shares=values(columns.shares),
        ids=values(ids) if isinstance(ids, bytes) else [ids[at] for at in places],
        keys=values(columns.keys),
        times=[times[at] for at in places] if times else [],
        timers=[timers[at] for at in places] if timers else [],
    )


def merged(runs: Iterable[Run], *, is_all: bool) -> Run:
    """One run that says what these say together.

    Args:
        runs: the newest first.
        is_all: there are no older entries of these instances: none need be hidden.
    """
    given = list(runs)
    newest: dict[int, int] = {}
    """number -> which of the runs has the entry that counts."""
    for nth in range(len(given) - 1, -1, -1):
        for one in given[nth].columns:
            newest.update(zip(one.numbers, repeat(nth)))
        newest.update((odd.number, nth) for odd in given[nth].odd)
        newest.update(zip(given[nth].gone, repeat(nth)))
    columns: dict[Kind, list[tuple[Columns, list[int]]]] = {}
    odd: list[Odd] = []
    gone: list[int] = []
    for nth, run in enumerate(given):
        odd += [one for one in run.odd if newest[one.number] == nth]
        gone += [number for number in run.gone if newest[number] == nth]
        for one in run.columns:
            places = [at for at, number in enumerate(one.numbers) if newest[number] == nth]
            if places:
                columns.setdefault(_kind_of(one), []).append((one, places))
    joined = [_joined(several) for several in columns.values()]
    return Run(joined, odd, [] if is_all else sorted(gone))


def _kind_of(columns: Columns) -> Kind:
    is_folded, has_timers = isinstance(columns.ids, bytes), bool(columns.timers)
    return columns.kind, columns.method, columns.shape, columns.status, is_folded, has_timers


def _joined(several: list[tuple[Columns, list[int]]]) -> Columns:
    """The entries at these places of columns of one kind, by number."""
    first, places = several[0]
    if len(several) == 1:
        return first if len(places) == len(first.numbers) else _taken(first, places)
    parts = [one for one, _ in several]
    ids: bytes | list[str]
    if isinstance(first.ids, bytes):
        ids = b"".join([one.ids for one in parts if isinstance(one.ids, bytes)])
    else:
        ids = [id for one in parts if not isinstance(one.ids, bytes) for id in one.ids]
    together = msgspec.structs.replace(
        first,
        order=max(one.order for one in parts),
        numbers=[number for one in parts for number in one.numbers],
        seqs=[seq for one in parts for seq in one.seqs],
        shares=b"".join([one.shares for one in parts]),
        ids=ids,
        keys=b"".join([one.keys for one in parts]),
        times=[time for one in parts for time in one.times],
        timers=[timer for one in parts for timer in one.timers],
    )
    chosen: list[int] = []
    start = 0
    for one, places in several:
        chosen += [start + at for at in places]
        start += len(one.numbers)
    chosen.sort(key=together.numbers.__getitem__)
    return _taken(together, chosen)


# --- in pages ------------------------------------------------------------------------


def in_pages(run: Run, size: int) -> dict[int, Run]:
    """The run in parts: page, from 1, -> the entries with the `size` numbers of it."""
    pages: dict[int, Run] = {}

    def page_of(number: int) -> Run:
        return pages.setdefault(number // size + 1, Run([], [], []))

    for one in run.columns:
        numbers, start = one.numbers, 0
        while start < len(numbers):
            page = page_of(numbers[start])
            end = bisect_left(numbers, (numbers[start] // size + 1) * size, start)
            page.columns.append(_between(one, start, end))
            start = end
    for odd in run.odd:
        page_of(odd.number).odd.append(odd)
    for number in run.gone:
        page_of(number).gone.append(number)
    return pages


def _between(columns: Columns, start: int, end: int) -> Columns:
    raw = slice(start * SIZE, end * SIZE)
    return msgspec.structs.replace(
        columns,
        numbers=columns.numbers[start:end],
        seqs=columns.seqs[start:end],
        shares=columns.shares[raw],
        ids=columns.ids[raw] if isinstance(columns.ids, bytes) else columns.ids[start:end],
        keys=columns.keys[raw],
        times=columns.times[start:end],
        timers=columns.timers[start:end],
    )
