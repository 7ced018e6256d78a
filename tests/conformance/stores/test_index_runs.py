"""Index runs: written and removed with checkpoints, and read in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from raysume import limits
from raysume.errors import Fenced, InvariantViolated
from raysume.storage.ports import Checkpoint, IndexRun, OwnedShard, ShardRef, Store, StoreCommit


def own(store: Store, *numbers: int) -> list[OwnedShard]:
    refs = [ShardRef(workflow="w", version="1", number=number) for number in numbers]
    return store.acquire(refs, owner="1:0:test")


def run(shard: OwnedShard, page: int, nth: int) -> IndexRun:
    return IndexRun(shard=shard.key, page=page, nth=nth, body=b"run %d.%d\0" % (page, nth))


def write(
    store: Store,
    shard: OwnedShard,
    runs: Sequence[tuple[int, int]] = (),
    merged: Sequence[tuple[int, int]] = (),
    *,
    of: OwnedShard | None = None,
) -> None:
    """A checkpoint of the shard writes the runs (page, nth), and removes others."""
    made = Checkpoint(
        shard=shard.key,
        seq=0,
        header=b"h",
        rows=(),
        runs=[run(of or shard, *one) for one in runs],
        merged=merged,
    )
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[made]))


def places(store: Store, shard: OwnedShard, page: int | None = None) -> list[tuple[int, int]]:
    found = list(store.index_runs(shard.key, page=page))
    assert found == [run(shard, one.page, one.nth) for one in found]
    return [(one.page, one.nth) for one in found]


def test_runs_are_read_by_page_the_oldest_first(store: Store) -> None:
    left, right = own(store, 0, 1)
    assert places(store, left) == []
    write(store, left, [(0, 1)])
    write(store, left, [(3, 2), (0, 3), (1, 4), (0, 12)])
    write(store, right, [(0, 7)])
    assert places(store, left) == [(0, 1), (0, 3), (0, 12), (1, 4), (3, 2)]
    assert places(store, left, 0) == [(0, 1), (0, 3), (0, 12)]
    assert places(store, left, 1) == [(1, 4)]
    assert places(store, left, 2) == []
    assert places(store, right) == [(0, 7)]


def test_many_runs_are_read_in_parts(store: Store) -> None:
    [shard] = own(store, 0)
    most = limits.INDEX_RUNS_READ_MAX
    there = [(nth % 3, nth) for nth in range(1, 3 * most + 2)]
    write(store, shard, there)
    assert places(store, shard) == sorted(there)
    assert places(store, shard, 1) == sorted(one for one in there if one[0] == 1)


def test_a_checkpoint_replaces_runs_by_one(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, [(0, 1), (0, 2), (1, 3)])
    write(store, shard, [(0, 4)], merged=[(0, 1), (0, 2)])
    assert places(store, shard) == [(0, 4), (1, 3)]


def test_a_run_that_is_not_there_is_not_replaced(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, [(0, 1)])
    with pytest.raises(InvariantViolated, match="is not there"):
        write(store, shard, [(0, 3)], merged=[(0, 1), (0, 2)])
    assert places(store, shard) == [(0, 1)]


def test_a_run_of_another_shard_is_refused(store: Store) -> None:
    left, right = own(store, 0, 1)
    with pytest.raises(InvariantViolated, match="another shard"):
        write(store, left, [(0, 1)], of=right)
    assert places(store, left) == places(store, right) == []


def test_a_former_owner_changes_no_run(store: Store) -> None:
    [former] = own(store, 0)
    write(store, former, [(0, 1)])
    [current] = own(store, 0)
    with pytest.raises(Fenced):
        write(store, former, [(0, 2)], merged=[(0, 1)])
    assert places(store, current) == [(0, 1)]


def test_runs_outlive_the_process(open_store: Callable[[], Store]) -> None:
    first = open_store()
    [shard] = own(first, 0)
    write(first, shard, [(0, 1), (2, 2)])
    write(first, shard, [(0, 3)], merged=[(0, 1)])
    first.close()
    assert places(open_store(), shard) == [(0, 3), (2, 2)]
