"""Ownership of shards, and what a commit makes durable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from raysume.errors import Fenced, InvariantViolated, StoreUnavailable
from raysume.storage.moments import to_us
from raysume.storage.ports import (
    Checkpoint,
    InstanceRow,
    JournalRow,
    OwnedShard,
    ShardRef,
    Store,
    StoreCommit,
)

OWNER = "1:0:test"
START = datetime(2013, 2, 8, 6, 0, tzinfo=UTC)


def own(store: Store, *numbers: int) -> list[OwnedShard]:
    refs = [ShardRef(workflow="flight", version="v1", number=number) for number in numbers]
    return store.acquire(refs, owner=OWNER)


def journal(shard: OwnedShard, *seqs: int) -> StoreCommit:
    return StoreCommit(
        epochs={shard.key: shard.epoch},
        journal=[
            JournalRow(shard=shard.key, seq=seq, body=f"turns {seq}".encode()) for seq in seqs
        ],
    )


def instance(shard: OwnedShard, number: int, *, body: bytes = b"s", turn: int = 1) -> InstanceRow:
    return InstanceRow(
        shard=shard.key,
        number=number,
        id=f"i-{shard.ref.number}-{number}",
        workflow=shard.ref.workflow,
        version=shard.ref.version,
        status="waiting",
        started_us=to_us(START + timedelta(seconds=number)),
        updated_us=to_us(START + timedelta(seconds=number, microseconds=turn)),
        body=body,
    )


def checkpoint(shard: OwnedShard, seq: int, *rows: InstanceRow) -> StoreCommit:
    header = f"header {seq}".encode()
    return StoreCommit(
        epochs={shard.key: shard.epoch},
        checkpoints=[Checkpoint(shard=shard.key, seq=seq, header=header, rows=rows)],
    )


def seqs_of(store: Store, shard: OwnedShard, after: int = 0) -> list[int]:
    return [row.seq for row in store.journal_of(shard.key, after=after)]


def test_a_shard_is_created_once_and_keeps_its_key(store: Store) -> None:
    first = own(store, 0, 1)
    again = own(store, 1, 0)
    assert [shard.ref.number for shard in again] == [1, 0]
    assert {shard.ref: shard.key for shard in first} == {shard.ref: shard.key for shard in again}
    assert len({shard.key for shard in first}) == 2


def test_every_takeover_raises_the_epoch(store: Store) -> None:
    epochs = [own(store, 0)[0].epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))
    assert [shard.epoch for shard in store.shards()] == [epochs[-1]]


def test_a_takeover_of_one_shard_leaves_the_others_alone(store: Store) -> None:
    _, kept = own(store, 0, 1)
    own(store, 0)
    store.commit(journal(kept, 1))
    assert seqs_of(store, kept) == [1]


def test_a_former_owner_can_not_commit(store: Store) -> None:
    [former] = own(store, 0)
    store.commit(journal(former, 1))
    [current] = own(store, 0)
    with pytest.raises(Fenced):
        store.commit(journal(former, 2))
    with pytest.raises(Fenced):
        store.commit(checkpoint(former, 1, instance(former, 1)))
    assert seqs_of(store, current) == [1]
    assert list(store.instances_of(current.key)) == []
    store.commit(journal(current, 2))
    assert seqs_of(store, current) == [1, 2]


def test_a_commit_of_an_unknown_shard_is_fenced(store: Store) -> None:
    with pytest.raises(Fenced):
        store.commit(StoreCommit(epochs={77: 1}))


def test_a_fenced_commit_stores_nothing_for_its_other_shards(store: Store) -> None:
    kept, lost = own(store, 0, 1)
    own(store, 1)
    with pytest.raises(Fenced):
        store.commit(
            StoreCommit(
                epochs={kept.key: kept.epoch, lost.key: lost.epoch},
                journal=[JournalRow(shard=kept.key, seq=1, body=b"x")],
                checkpoints=[
                    Checkpoint(shard=kept.key, seq=1, header=b"h", rows=[instance(kept, 1)])
                ],
            )
        )
    assert seqs_of(store, kept) == []
    assert store.checkpoint_of(kept.key) is None
    assert list(store.instances_of(kept.key)) == []


def test_a_hole_in_the_journal_is_refused(store: Store) -> None:
    [shard] = own(store, 0)
    store.commit(journal(shard, 1, 2))
    for wrong in ((4,), (2,), (3, 5)):
        with pytest.raises(InvariantViolated):
            store.commit(journal(shard, *wrong))
    store.commit(journal(shard, 3))
    assert seqs_of(store, shard) == [1, 2, 3]


def test_rows_of_a_shard_whose_epoch_is_not_given_are_refused(store: Store) -> None:
    first, second = own(store, 0, 1)
    with pytest.raises(InvariantViolated):
        store.commit(
            StoreCommit(
                epochs={first.key: first.epoch},
                journal=[JournalRow(shard=second.key, seq=1, body=b"x")],
            )
        )
    with pytest.raises(InvariantViolated):
        store.commit(checkpoint(first, 0, instance(second, 1)))
    assert seqs_of(store, second) == []
    assert store.checkpoint_of(first.key) is None


def test_the_journal_continues_behind_a_checkpoint_and_a_takeover(store: Store) -> None:
    [shard] = own(store, 0)
    store.commit(journal(shard, 1, 2, 3))
    store.commit(checkpoint(shard, 3, instance(shard, 1)))
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}))
    [shard] = own(store, 0)
    with pytest.raises(InvariantViolated):
        store.commit(journal(shard, 1))
    store.commit(journal(shard, 4))
    assert seqs_of(store, shard) == [4]


def test_a_checkpoint_can_not_pass_the_journal_or_go_back(store: Store) -> None:
    [shard] = own(store, 0)
    store.commit(journal(shard, 1, 2))
    with pytest.raises(InvariantViolated):
        store.commit(checkpoint(shard, 3))
    store.commit(checkpoint(shard, 2))
    with pytest.raises(InvariantViolated):
        store.commit(checkpoint(shard, 1))
    assert store.checkpoint_of(shard.key) == (2, b"header 2")


def test_a_checkpoint_may_cover_rows_of_its_own_commit(store: Store) -> None:
    [shard] = own(store, 0)
    store.commit(
        StoreCommit(
            epochs={shard.key: shard.epoch},
            journal=[JournalRow(shard=shard.key, seq=1, body=b"x")],
            checkpoints=[Checkpoint(shard=shard.key, seq=1, header=b"h", rows=())],
        )
    )
    assert store.checkpoint_of(shard.key) == (1, b"h")
    assert seqs_of(store, shard) == []


def test_recovery_reads_the_checkpoint_and_the_journal_behind_it(store: Store) -> None:
    [shard] = own(store, 0)
    assert store.checkpoint_of(shard.key) is None
    store.commit(journal(shard, 1, 2))
    store.commit(checkpoint(shard, 2, instance(shard, 1), instance(shard, 3)))
    store.commit(journal(shard, 3))
    store.commit(checkpoint(shard, 3, instance(shard, 2), instance(shard, 3, body=b"t", turn=2)))
    store.commit(journal(shard, 4, 5))
    [taken] = own(store, 0)
    assert store.checkpoint_of(taken.key) == (3, b"header 3")
    assert list(store.instances_of(taken.key)) == [
        instance(shard, 1),
        instance(shard, 2),
        instance(shard, 3, body=b"t", turn=2),
    ]
    assert [(row.seq, row.body) for row in store.journal_of(taken.key, after=3)] == [
        (4, b"turns 4"),
        (5, b"turns 5"),
    ]
    assert seqs_of(store, taken, after=4) == [5]


def test_a_trimmed_journal_never_shows_what_a_checkpoint_covers(store: Store) -> None:
    [shard] = own(store, 0)
    for seq in range(1, 301):
        store.commit(journal(shard, seq))
    store.commit(checkpoint(shard, 290))
    for seq in range(301, 311):
        assert seqs_of(store, shard) == list(range(291, seq))
        store.commit(journal(shard, seq))


def test_many_instances_and_journal_rows_come_back_in_order(store: Store) -> None:
    left, right = own(store, 0, 1)
    for shard in (left, right):
        rows = [instance(shard, number) for number in range(1, 4_502)]
        store.commit(journal(shard, *range(1, 201)))
        store.commit(checkpoint(shard, 0, *rows))
        assert list(store.instances_of(shard.key)) == rows
        assert seqs_of(store, shard) == list(range(1, 201))


def test_an_instance_keeps_its_name_and_start_when_it_is_written_again(store: Store) -> None:
    [shard] = own(store, 0)
    store.commit(checkpoint(shard, 0, instance(shard, 1)))
    changed = InstanceRow(
        shard=shard.key,
        number=1,
        id="other",
        workflow="other",
        version="other",
        status="completed",
        started_us=to_us(START + timedelta(days=1)),
        updated_us=to_us(START + timedelta(days=2)),
        body=b"done",
    )
    store.commit(checkpoint(shard, 0, changed))
    [row] = store.instances_of(shard.key)
    assert (row.id, row.workflow, row.started_at) == (
        "i-0-1",
        "flight",
        instance(shard, 1).started_at,
    )
    assert (row.status, row.updated_us, row.body) == ("completed", changed.updated_us, b"done")


def test_the_same_instance_twice_in_a_version_is_refused(store: Store) -> None:
    left, right = own(store, 0, 1)
    store.commit(checkpoint(left, 0, instance(left, 1)))
    twin = msgspec.structs.replace(instance(left, 1), shard=right.key)
    with pytest.raises(InvariantViolated):
        store.commit(
            StoreCommit(
                epochs={left.key: left.epoch, right.key: right.epoch},
                journal=[JournalRow(shard=left.key, seq=1, body=b"x")],
                checkpoints=[
                    Checkpoint(shard=left.key, seq=1, header=b"h", rows=[instance(left, 2)]),
                    Checkpoint(shard=right.key, seq=0, header=b"h", rows=[twin]),
                ],
            )
        )
    assert list(store.instances_of(left.key)) == [instance(left, 1)]
    assert list(store.instances_of(right.key)) == []
    assert store.checkpoint_of(left.key) == (0, b"header 0")
    assert store.checkpoint_of(right.key) is None
    store.commit(journal(left, 1))


def test_of_racing_owners_only_the_last_one_commits(store: Store) -> None:
    committed: list[int] = []

    def take_and_commit() -> None:
        [shard] = own(store, 0)
        try:
            store.commit(StoreCommit(epochs={shard.key: shard.epoch}))
        except Fenced:
            return
        committed.append(shard.epoch)

    threads = [threading.Thread(target=take_and_commit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [shard] = store.shards()
    assert shard.epoch == 8
    assert shard.epoch in committed


def test_threads_commit_different_shards_at_the_same_time(store: Store) -> None:
    shards = own(store, *range(4))

    def write(shard: OwnedShard) -> None:
        for seq in range(1, 26):
            store.commit(journal(shard, seq))

    threads = [threading.Thread(target=write, args=(shard,)) for shard in shards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seqs_of(store, shard) for shard in shards] == [list(range(1, 26))] * 4


def test_a_closed_store_refuses_everything(store: Store) -> None:
    [shard] = own(store, 0)
    store.close()
    store.close()
    for refused in (
        lambda: own(store, 0),
        lambda: store.commit(journal(shard, 1)),
        lambda: store.checkpoint_of(shard.key),
        lambda: store.instances_of(shard.key),
        lambda: store.journal_of(shard.key, after=0),
        lambda: store.find_instance("x"),
        store.shards,
        lambda: store.put_document("k", "k", b""),
        lambda: store.documents("k"),
    ):
        with pytest.raises(StoreUnavailable):
            refused()


def test_a_store_opened_again_holds_what_was_committed(open_store: Callable[[], Store]) -> None:
    store = open_store()
    [shard] = own(store, 0)
    store.commit(journal(shard, 1, 2))
    store.commit(checkpoint(shard, 1, instance(shard, 1)))
    store.put_document("kind", "key", b"body")
    store.close()
    again = open_store()
    assert again.shards() == [shard]
    assert again.checkpoint_of(shard.key) == (1, b"header 1")
    assert list(again.instances_of(shard.key)) == [instance(shard, 1)]
    assert seqs_of(again, shard) == [2]
    assert again.get_document("kind", "key") == b"body"


def test_two_openings_of_one_store_see_each_other(open_store: Callable[[], Store]) -> None:
    left, right = open_store(), open_store()
    [former] = own(left, 0)
    left.commit(journal(former, 1))
    [current] = own(right, 0)
    assert seqs_of(right, current) == [1]
    with pytest.raises(Fenced):
        left.commit(journal(former, 2))
    right.commit(journal(current, 2))
    assert seqs_of(left, current) == [1, 2]
