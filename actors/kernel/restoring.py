"""Instances are in a kernel again as the index of their shard tells them: asleep, or ended; and they
leave it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysume.actors.kernel.folding import folded, unfolded
from raysume.actors.kernel.index_runs import OVER, SLEEPS, chunks
from raysume.actors.kernel.status import Status

if TYPE_CHECKING:
    from raysume.actors.kernel.index_runs import Columns, Odd, Run
    from raysume.actors.kernel.kernel import Kernel


def restore_run(kernel: Kernel, run: Run) -> None:
    """The instances that sleep are there, cold, and calls and timers find them; those that ended are
    known as such. Instances with something under way are restored by their records."""
    for columns in run.columns:
        if columns.kind == SLEEPS:
            _sleeping(kernel, columns)
        elif columns.kind == OVER:
            status = Status(columns.status)
            kernel.ended.update((unfolded(one), status) for one in columns.folded_ids)
    for odd in run.odd:
        _odd(kernel, odd)


def forget_run(kernel: Kernel, run: Run) -> list[str]:
    """Instances of the run that are cold and wait for one key are not there any more.

    Args:
        run: has the newest entries of these instances.

    Returns:
        Their ids.
    """
    forgotten: list[str] = []
    cold = kernel.instances.cold
    for columns in run.columns:
        if columns.kind != SLEEPS or not columns.method:
            continue
        keyed = zip(chunks(columns.keys), columns.folded_ids, strict=True)
        left = [(key, one) for key, one in keyed if unfolded(one) in cold]
        if left:
            keys, kept = [key for key, _ in left], [one for _, one in left]
            kernel.index.drop_sleeping(columns.method, columns.shape, keys, kept)
            forgotten += map(unfolded, kept)
    for id in forgotten:
        kernel.instances.forget_cold(id)
    return forgotten


def _sleeping(kernel: Kernel, columns: Columns) -> None:
    kept = columns.folded_ids
    kernel.last_order = max(kernel.last_order, columns.order)
    if columns.method:
        kernel.index.add_sleeping(columns.method, columns.shape, chunks(columns.keys), kept)
    if columns.timers:
        kernel.timers.restore_all(columns.times, map(unfolded, kept), columns.timers)
    kernel.instances.add_cold(kept)


def _odd(kernel: Kernel, odd: Odd) -> None:
    if odd.exclusive is not None:
        kernel.exclusives.restore_places(odd.exclusive)
    if odd.status != Status.WAITING:
        kernel.ended[odd.id] = Status(odd.status)
        return
    kept = folded(odd.id)
    kernel.last_order = max(kernel.last_order, odd.order)
    kernel.index.add_packed(kept, odd.waits)
    for timer in odd.timers:
        kernel.timers.restore_all([timer.due_us], [odd.id], [timer.id])
    kernel.instances.add_cold([kept])
