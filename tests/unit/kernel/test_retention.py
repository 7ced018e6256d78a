"""Finished instances leave with a checkpoint, and whatever was remembered about them too."""

from __future__ import annotations

import pytest
from tests.unit.kernel.bench import START_US, Bench, begun, call, delivery, two
from tests.unit.kernel.cases import collector

from raysume import all_of, limits, wait, workflow
from raysume.actors.kernel.commits import CancelAsked, ChildEnded, Commit, Started
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.kernel.records import ChildDone
from raysume.errors import SealBroken
from raysume.storage.ports import Checkpoint, InstanceRow, StoreCommit

LATER_US = START_US + 1_000_000


@workflow
async def explicit(n: int) -> int:
    return n


@workflow
async def with_child(n: int) -> int:
    first = await all_of(wait(two).match(key="x"), explicit(n))
    return len(first)


def start(bench: Bench, id: str, token: int = 1) -> bool:
    """Whether the start made a new instance."""
    request = StartRequest(workflow=bench.workflow.name, id=id, input=b'{"n": 5}', at_us=START_US)
    [(_, answer)] = bench.apply(Started(request=request, token=token)).answers
    assert not isinstance(answer, Exception)
    return answer.created


def clean(bench: Bench, older_than_us: int = LATER_US) -> list[int]:
    """The numbers that one checkpoint removed."""
    prepared = bench.journal.prepare(
        Commit(), now_us=bench.now_us, checkpoint=True, older_than_us=older_than_us
    )
    bench.store.commit(prepared)
    bench.journal.let_go(bench.kernel)
    return [number for checkpoint in prepared.checkpoints for number in checkpoint.removed]


def rows(bench: Bench) -> list[InstanceRow]:
    return [row for shard in bench.store.shards() for row in bench.store.instances_of(shard.key)]


def test_only_what_ended_before_the_moment_is_removed() -> None:
    bench = Bench(explicit)
    start(bench, "early")
    bench.now_us = LATER_US
    start(bench, "late")
    bench.checkpoint()
    assert bench.journal.has_expired(START_US) is False
    assert clean(bench, START_US) == []
    assert bench.journal.has_expired(LATER_US) is True
    assert len(clean(bench)) == 1
    assert [row.id for row in rows(bench)] == ["late"]
    assert bench.journal.has_expired(LATER_US) is False


def test_an_end_is_checkpointed_before_it_is_removed() -> None:
    bench = Bench(explicit)
    start(bench, "x")
    assert clean(bench) == []
    assert [row.id for row in rows(bench)] == ["x"]
    assert clean(bench) == [1]
    assert rows(bench) == []


def test_one_checkpoint_removes_no_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INSTANCES_REMOVED_MAX", 3)
    bench = Bench(explicit)
    for number in range(8):
        start(bench, str(number))
    bench.checkpoint()
    assert [len(clean(bench)) for _ in range(4)] == [3, 3, 2, 0]


def test_running_and_failed_instances_stay_however_old() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=1)
    bench.checkpoint()
    bench.restart()
    assert clean(bench, LATER_US * 2) == []
    assert bench.only.status == "waiting"


def test_rows_and_digest_agree_after_a_removal() -> None:
    bench = Bench(explicit)
    for number in range(20):
        start(bench, str(number))
    bench.checkpoint()
    assert len(clean(bench)) == 20
    start(bench, "new")
    bench.checkpoint()
    bench.restart()
    assert list(bench.kernel.instances) == ["new"]


def test_a_removed_row_that_somebody_puts_back_is_found() -> None:
    bench = Bench(explicit)
    start(bench, "x")
    bench.checkpoint()
    [row] = rows(bench)
    clean(bench)
    [shard] = [one for one in bench.store.shards() if one.key == row.shard]
    saved = bench.store.checkpoint_of(shard.key)
    assert saved is not None
    forged = Checkpoint(shard=shard.key, seq=saved[0], header=saved[1], rows=[row])
    bench.store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[forged]))
    with pytest.raises(SealBroken):
        bench.restart()


def test_nothing_is_remembered_about_removed_instances() -> None:
    bench = Bench(explicit)
    for number in range(50):
        start(bench, f"a{number}")
        bench.checkpoint()
        clean(bench)
    bench.restart()
    assert (list(bench.kernel.instances), bench.kernel.ended, rows(bench)) == ([], {}, [])


def test_an_id_is_new_again_once_its_instance_was_removed() -> None:
    bench = Bench(explicit)
    assert start(bench, "x")
    bench.checkpoint()
    bench.journal.let_go(bench.kernel)
    assert not start(bench, "x")
    clean(bench)
    assert start(bench, "x")
    bench.checkpoint()
    [row] = rows(bench)
    assert (row.id, row.number) == ("x", 2)


def test_a_call_applied_before_starts_nothing_after_its_instance_was_removed() -> None:
    bench = Bench(collector)
    first = call(begun, 0, key="a", n=0)
    bench.apply(delivery(first))
    bench.checkpoint()
    clean(bench)
    bench.restart()
    bench.apply(delivery(first))
    assert bench.kernel.instances == {}


def test_a_finished_instance_stays_until_it_hears_of_its_cancelled_child() -> None:
    bench = Bench(with_child)
    start(bench, "parent")
    [child] = bench.only.children.values()
    bench.apply(CancelAsked(instance="parent"))
    bench.checkpoint()
    assert (bench.only.status, clean(bench)) == ("cancelled", [])
    bench.restart()
    assert clean(bench) == []
    done = ChildDone(child.leaf, child.id, "cancelled", None, None)
    bench.apply(ChildEnded(instance="parent", done=done))
    bench.checkpoint()
    assert clean(bench) == [1]
