"""The entries of a shard's index (see `index_runs`), from the records of its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

from raysume.actors.kernel.folding import Folded, folded
from raysume.actors.kernel.index_runs import OVER, SIZE, SLEEPS, UNDER_WAY, Columns, Kind, Odd, Run
from raysume.actors.kernel.records import InstanceRecord, WaitRecord
from raysume.actors.kernel.residents import is_idle
from raysume.actors.kernel.status import Status, may_leave

_WAITING: Final = Status.WAITING.value

_Entry = tuple[int, int, bytes, Folded, bytes, int, int, str]
"""number, seq, share, id, key, order, time, timer."""

_Ints = tuple[int, ...]
_Values = tuple[bytes, ...]
_Transposed = tuple[
    _Ints, _Ints, _Values, tuple[Folded, ...], _Values, _Ints, _Ints, tuple[str, ...]
]
"""The same of several entries, as `Columns` have them."""


def run_of(
    records: Iterable[tuple[InstanceRecord, bytes]],
    gone: Iterable[int] = (),
    *,
    seq_of: Callable[[int], int],
) -> Run:
    """The entries of instances that are checkpointed so.

    Args:
        records: each with the share of its row, by number.
        gone: numbers of others, which were removed.
        seq_of: where the past of an instance begins, by number.
    """
    entries: dict[Kind, list[_Entry]] = {}
    odd: list[Odd] = []
    for record, share in records:
        number, id = record.number, folded(record.id)
        seq, is_folded = seq_of(number), isinstance(id, bytes)
        kind: Kind | None = None
        key, order, time, timer = b"", 0, 0, ""
        if record.status == _WAITING and is_idle(record):
            waits, timers = record.waits, record.timers
            if len(timers) <= 1 and record.exclusive is None:
                if timers:
                    time, timer = timers[0].due_us, timers[0].id
                if len(waits) == 1:
                    wait = waits[0]
                    if len(wait.keys) == 1 and len(wait.keys[0]) == SIZE:
                        key, order = wait.keys[0], wait.order
                        kind = (SLEEPS, wait.method, wait.shape, "", is_folded, bool(timers))
                elif timers and not waits:
                    kind = (SLEEPS, "", (), "", is_folded, True)
        elif not may_leave(record):
            kind = (UNDER_WAY, "", (), "", is_folded, False)
        elif record.exclusive is None:
            kind, time = (OVER, "", (), record.status, is_folded, False), record.updated_us
        if kind is None:
            odd.append(_odd(record, share, seq))
            continue
        entry = (number, seq, share, id, key, order, time, timer)
        several = entries.get(kind)
        if several is None:
            entries[kind] = [entry]
        else:
            several.append(entry)
    return Run([_columns(kind, several) for kind, several in entries.items()], odd, sorted(gone))


def _columns(kind: Kind, entries: list[_Entry]) -> Columns:
    of, method, shape, status, is_folded, has_timers = kind
    transposed = cast("_Transposed", tuple(zip(*entries, strict=True)))
    numbers, seqs, shares, ids, keys, orders, times, timers = transposed
    return Columns(
        kind=of,
        method=method,
        shape=shape,
        status=status,
        order=max(orders),
        numbers=list(numbers),
        seqs=list(seqs),
        shares=b"".join(shares),
        ids=b"".join(cast("_Values", ids)) if is_folded else list(cast("tuple[str, ...]", ids)),
        keys=b"".join(keys),
        times=list(times) if has_timers or of == OVER else [],
        timers=list(timers) if has_timers else [],
    )


def _odd(record: InstanceRecord, share: bytes, seq: int) -> Odd:
    return Odd(
        number=record.number,
        seq=seq,
        share=share,
        id=record.id,
        order=max((wait.order for wait in record.waits), default=0),
        waits=[
            WaitRecord(
                id="",
                method=wait.method,
                shape=wait.shape,
                keys=wait.keys,
                predicate=None if wait.keys else wait.predicate,
                name=None,
                looks_back=False,
                since_us=None,
            )
            for wait in record.waits
        ],
        timers=record.timers,
        exclusive=record.exclusive,
        status=record.status,
        updated_us=record.updated_us,
    )
