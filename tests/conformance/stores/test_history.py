"""History: journal rows behind a checkpoint, and turns that outlive their journal row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from raysume.errors import Fenced, InvariantViolated
from raysume.storage.ports import (
    Checkpoint,
    HistoryRow,
    JournalRow,
    OwnedShard,
    ShardRef,
    Store,
    StoreCommit,
)


def own(store: Store, *numbers: int) -> list[OwnedShard]:
    refs = [ShardRef(workflow="w", version="1", number=number) for number in numbers]
    return store.acquire(refs, owner="1:0:test")


def write(
    store: Store,
    shard: OwnedShard,
    *,
    rows: Sequence[int] = (),
    covered: int | None = None,
    kept: Sequence[tuple[int, int, int]] = (),
    trimmed: Mapping[int, int] | None = None,
) -> None:
    """Journal rows, a checkpoint, kept turns (number, seq, nth) and trims, in one commit."""
    checkpoints = (
        []
        if covered is None
        else [Checkpoint(shard=shard.key, seq=covered, header=b"header", rows=())]
    )
    store.commit(
        StoreCommit(
            epochs={shard.key: shard.epoch},
            journal=[
                JournalRow(shard=shard.key, seq=seq, at_us=seq * 10, body=b"row %d" % seq)
                for seq in rows
            ],
            checkpoints=checkpoints,
            history=[turn(shard, *one) for one in kept],
            trims=trimmed or {},
        )
    )


def turn(shard: OwnedShard, number: int, seq: int, nth: int) -> HistoryRow:
    body = b"turn %d.%d of %d" % (seq, nth, number)
    return HistoryRow(shard=shard.key, number=number, seq=seq, nth=nth, body=body)


def past(store: Store, shard: OwnedShard, limit: int = 100) -> list[int]:
    return [row.seq for row in store.past_journal(shard.key, limit=limit)]


def test_journal_rows_behind_a_checkpoint_stay_until_they_are_trimmed(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, rows=range(1, 6))
    assert past(store, shard) == []
    write(store, shard, covered=4)
    assert past(store, shard) == [1, 2, 3, 4]
    assert past(store, shard, limit=2) == [1, 2]
    assert [row.seq for row in store.journal_of(shard.key, after=0)] == [5]
    row = JournalRow(shard=shard.key, seq=3, at_us=30, body=b"row 3")
    assert store.journal_row(shard.key, 3) == row
    write(store, shard, trimmed={shard.key: 3})
    assert past(store, shard) == [4]
    assert store.journal_row(shard.key, 3) is None
    assert store.journal_row(shard.key, 5) is not None


def test_a_journal_that_was_trimmed_goes_on_behind_its_checkpoint(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, rows=[1, 2], covered=2, trimmed={shard.key: 2})
    write(store, shard, rows=[3])
    assert [row.seq for row in store.journal_of(shard.key, after=0)] == [3]


def test_turns_outlive_their_journal_row_newest_first(store: Store) -> None:
    left, right = own(store, 0, 1)
    for shard in (left, right):
        write(
            store,
            shard,
            rows=[1, 2, 3],
            covered=3,
            kept=[(7, 1, 0), (8, 1, 1), (7, 2, 0), (7, 2, 3)],
            trimmed={shard.key: 2},
        )
    seven = [turn(left, 7, 2, 3), turn(left, 7, 2, 0), turn(left, 7, 1, 0)]
    assert store.history_of(left.key, 7, limit=10) == seven
    assert store.history_of(left.key, 7, limit=2) == seven[:2]
    assert store.history_of(left.key, 7, before=(2, 3), limit=10) == seven[1:]
    assert store.history_of(left.key, 7, before=(2, 0), limit=1) == seven[2:]
    assert store.history_of(left.key, 9, limit=10) == []
    assert store.history_of(right.key, 8, limit=10) == [turn(right, 8, 1, 1)]


def test_a_journal_is_not_trimmed_beyond_its_checkpoint(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, rows=[1, 2, 3], covered=2)
    with pytest.raises(InvariantViolated, match="beyond its checkpoint"):
        write(store, shard, trimmed={shard.key: 3})
    with pytest.raises(InvariantViolated, match="its journal row stays"):
        write(store, shard, kept=[(1, 2, 0)], trimmed={shard.key: 1})
    assert past(store, shard) == [1, 2]
    assert store.history_of(shard.key, 1, limit=1) == []


def test_a_former_owner_trims_nothing(store: Store) -> None:
    [shard] = own(store, 0)
    write(store, shard, rows=[1], covered=1)
    own(store, 0)
    with pytest.raises(Fenced):
        write(store, shard, kept=[(1, 1, 0)], trimmed={shard.key: 1})
    assert past(store, shard) == [1]
