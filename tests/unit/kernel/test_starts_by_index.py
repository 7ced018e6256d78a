"""A start that reads the index finds what one finds that reads all rows, or reads all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.kernel.bench import SEAL, Bench, begun, call, one, two

from raysume import WaitTimeout, any_of, limits, step, wait, workflow
from raysume.actors.checkpointing import Part
from raysume.actors.kernel.commits import Commit, TimersDue
from raysume.actors.kernel.journal import Codec
from raysume.actors.kernel.records import CheckpointHeader
from raysume.actors.kernel.restoring import forget_run
from raysume.actors.shard_indexes import IndexSizes
from raysume.errors import SealBroken
from raysume.matching import Parsed
from raysume.storage.ports import Checkpoint, IndexRun, OwnedShard, StoreCommit

BY_INDEX = IndexSizes(page=2, runs=2, spread_bytes=400, merge_bytes=1_000, whole_rows=0)
BY_ROWS = IndexSizes(page=2, runs=2, spread_bytes=400, merge_bytes=1_000)
KEYS = "abcdef"
FAR_US = 1 << 62
HOUR_US = 3_600_000_000


def work(n: int) -> int:
    """A step."""
    return n


@workflow
async def varied() -> int:
    """Goes through waits of all kinds, as its calls say."""
    first = await wait(begun).match_any()
    key, kind = first.input.key, first.input.n
    total = 0
    if kind == 1:
        await any_of(wait(one).match(key=key), step(work, 1))
    elif kind == 2:
        await any_of(wait(one).match(key=key), wait(two).match(key=key))
    elif kind == 3:
        await wait(two).match_if(lambda call: call.input.n > 90)
    elif kind == 4:
        await wait(one).match(key=key).exclusive()
    try:
        while total < 5:
            call = await wait(one).match(key=key).timeout(timedelta(hours=1))
            total += call.input.n
    except WaitTimeout:
        return -1
    if kind == 5:
        raise ValueError("too much")
    return total


def bench_of(sizes: IndexSizes = BY_INDEX) -> Bench:
    return Bench(varied, loaded_instances=0, index_sizes=sizes)


def checkpoint(bench: Bench, older_than_us: int = 0, rows_max: int | None = None) -> None:
    """What is committed is in rows, and in the index; or so much of each shard."""
    part = Part(range(limits.SHARDS), rows_max)
    prepared = bench.journal.prepare(
        Commit(), now_us=bench.now_us, checkpoint=part, older_than_us=older_than_us
    )
    bench.store.commit(prepared)
    bench.journal.let_go(bench.kernel)


def found(bench: Bench, sizes: IndexSizes) -> dict[str, Any]:
    """What a start finds, which writes nothing."""
    bench.index_sizes = sizes
    bench._boot()  # pyright: ignore[reportPrivateUsage]
    kernel, journal = bench.kernel, bench.journal
    journal.let_go(kernel)
    parsed = [Parsed(call(of, 0, key=key, n=0).call) for of in (one, two) for key in KEYS]
    logs = [log for n in range(limits.SHARDS) if (log := journal.log_of(n)) is not None]
    numbers = range(1, 50)
    return {
        "instances": {each.id: each.record() for each in kernel.instances.values()},
        "ended": dict(kernel.ended),
        "waits": len(kernel.index),
        "asleep": [sorted(kernel.index.asleep(each)) for each in parsed],
        "shapes": {of.urn: sorted(kernel.index.shapes_of(of.urn)) for of in (one, two)},
        "due": (kernel.next_due_us, sorted(kernel.timers.due(FAR_US))),
        "taken": sorted(kernel.exclusives.places()),
        "order": kernel.last_order,
        "past": [[log.latest.of(number) for number in numbers] for log in logs],
        "rows": [(log.rows.total, len(log.rows)) for log in logs],
        "dirty": [log.dirty for log in logs],
        "leaving": [list(log.departures.take(FAR_US)) for log in logs],
    }


def same(bench: Bench) -> bool:
    """Both ways to start find the same; the bench goes on from the index, if it is taken."""
    by_rows = found(bench, BY_ROWS)
    by_index = found(bench, BY_INDEX)
    for what, expected in by_rows.items():
        assert by_index[what] == expected, what
    logs = [log for n in range(limits.SHARDS) if (log := bench.journal.log_of(n)) is not None]
    is_taken = not any(log.index.is_behind for log in logs)
    bench._learn()  # pyright: ignore[reportPrivateUsage]
    bench.kernel.remember((), covers_after=bench.kernel.newest)
    bench.save(bench.kernel.resume(bench.now_us))
    return is_taken


ACTS = st.one_of(
    st.tuples(st.just("begun"), st.sampled_from(KEYS), st.integers(0, 5)),
    st.tuples(st.just("one"), st.sampled_from(KEYS), st.integers(1, 3)),
    st.tuples(st.just("two"), st.sampled_from(KEYS), st.integers(89, 92)),
    st.tuples(st.just("checkpoint"), st.just(""), st.just(0)),
    st.tuples(st.just("part"), st.just(""), st.integers(1, 2)),
    st.tuples(st.just("clean"), st.just(""), st.just(0)),
    st.tuples(st.just("time"), st.just(""), st.integers(1, 80)),
    st.tuples(st.just("restart"), st.just(""), st.just(0)),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(st.lists(ACTS, min_size=5, max_size=40))
def test_a_start_by_the_index_finds_what_all_rows_tell(acts: list[tuple[str, str, int]]) -> None:
    bench = bench_of()
    methods = {"begun": begun, "one": one, "two": two}
    for name, key, n in acts:
        if name in methods:
            bench.push(methods[name], key=key, n=n)
        elif name == "time":
            bench.now_us += n * 60_000_000
            bench.apply(TimersDue(upto_us=bench.now_us))
        elif name == "restart":
            assert same(bench)
        else:
            older_than_us = bench.now_us - HOUR_US if name == "clean" else 0
            checkpoint(bench, older_than_us, n if name == "part" else None)
    checkpoint(bench)
    assert same(bench)


# --- what the index is worth when somebody has changed it ---------------------------


def waiting(keys: str = KEYS) -> Bench:
    """An instance waits for each key; each was written by a checkpoint of its own."""
    bench = bench_of()
    for key in keys:
        bench.push(begun, key=key)
        checkpoint(bench)
    return bench


def runs_of(bench: Bench) -> list[IndexRun]:
    return [run for shard in bench.store.shards() for run in bench.store.index_runs(shard.key)]


def forge(
    bench: Bench,
    of: int,
    runs: Iterable[IndexRun] = (),
    merged: Iterable[IndexRun] = (),
    header: Callable[[OwnedShard, tuple[int, bytes]], bytes] | None = None,
) -> None:
    """Somebody without the key changes what is stored of a shard, beside its header."""
    [shard] = [shard for shard in bench.store.shards() if shard.key == of]
    saved = bench.store.checkpoint_of(of)
    assert saved is not None
    made = Checkpoint(
        shard=of,
        seq=saved[0],
        header=header(shard, saved) if header else saved[1],
        rows=(),
        runs=list(runs),
        merged=[(run.page, run.nth) for run in merged],
    )
    bench.store.commit(StoreCommit(epochs={of: shard.epoch}, checkpoints=[made]))


def crowded(bench: Bench) -> list[IndexRun]:
    """The runs of a shard that has several."""
    by_shard: dict[int, list[IndexRun]] = {}
    for run in runs_of(bench):
        by_shard.setdefault(run.shard, []).append(run)
    return next(runs for runs in by_shard.values() if len(runs) > 1)


def test_what_was_not_changed_is_taken() -> None:
    assert same(waiting())


def test_a_missing_run_makes_the_start_read_all_rows_and_write_the_index_anew() -> None:
    bench = waiting()
    gone = runs_of(bench)[0]
    forge(bench, gone.shard, merged=[gone])
    assert not same(bench)
    checkpoint(bench)
    assert same(bench)


def test_runs_with_each_others_bodies_are_not_taken() -> None:
    bench = waiting(KEYS * 6)
    first, second = crowded(bench)[:2]
    swapped = [
        IndexRun(shard=first.shard, page=first.page, nth=first.nth, body=second.body),
        IndexRun(shard=first.shard, page=second.page, nth=second.nth, body=first.body),
    ]
    forge(bench, first.shard, merged=[first, second])
    forge(bench, first.shard, runs=swapped)
    assert not same(bench)
    checkpoint(bench)
    assert same(bench)


def test_an_older_state_of_the_index_is_not_taken() -> None:
    bench = waiting("a")
    [before] = runs_of(bench)
    bench.push(one, key="a", n=1)
    checkpoint(bench)
    now = [run for run in runs_of(bench) if run.shard == before.shard]
    forge(bench, before.shard, merged=now)
    forge(bench, before.shard, runs=[before])
    assert not same(bench)
    assert [each.turn for each in bench.instances] == [2]


def test_a_removed_run_that_somebody_puts_back_is_not_taken() -> None:
    bench = bench_of()
    kept: list[IndexRun] = []
    for key in KEYS * 6:
        bench.push(begun, key=key)
        checkpoint(bench)
        kept += runs_of(bench)
    there = runs_of(bench)
    back = next(run for run in kept if run not in there)
    forge(bench, back.shard, runs=[back])
    assert not same(bench)


def without_mark(shard: OwnedShard, saved: tuple[int, bytes]) -> bytes:
    """The header as a release wrote it that had no index."""
    ref = shard.ref
    codec = Codec(SEAL, workflow=ref.workflow, version=ref.version, shard=ref.number)
    read: CheckpointHeader = codec.read_checkpoint_header(*saved)
    digest = int.from_bytes(read.digest, "big")
    return codec.checkpoint_header(saved[0], read.header, read.unsent, digest, read.rows)


@pytest.mark.parametrize("is_left", [False, True], ids=["no runs", "runs of a later release"])
def test_a_database_without_an_index_gets_one_with_the_next_checkpoints(is_left: bool) -> None:
    bench = waiting()
    for shard in bench.store.shards():
        if bench.store.checkpoint_of(shard.key) is not None:
            runs = [] if is_left else list(bench.store.index_runs(shard.key))
            forge(bench, shard.key, merged=runs, header=without_mark)
    assert not same(bench)
    bench.push(one, key="a", n=1)
    checkpoint(bench)
    assert same(bench)


def test_an_index_of_many_pages_is_written_by_several_checkpoints() -> None:
    bench = waiting(KEYS * 8)
    for shard in bench.store.shards():
        if bench.store.checkpoint_of(shard.key) is not None:
            forge(bench, shard.key, header=without_mark)
    assert not same(bench)
    written: list[int] = []
    for key in KEYS * 3:
        bench.push(one, key=key, n=1)
        checkpoint(bench)
        written.append(len(runs_of(bench)))
    assert written[0] < written[2] < written[4], "some at a time"
    assert same(bench)


def test_a_run_that_changes_while_the_pool_runs_ends_it_and_the_next_start_makes_it_anew() -> None:
    bench = waiting("a")
    [before] = runs_of(bench)
    forged = IndexRun(
        shard=before.shard, page=before.page, nth=before.nth, body=before.body[:-1] + b"\0"
    )
    forge(bench, before.shard, merged=[before])
    forge(bench, before.shard, runs=[forged])
    bench.push(one, key="a", n=1)
    checkpoint(bench)
    bench.push(one, key="a", n=1)
    with pytest.raises(SealBroken):
        checkpoint(bench)
    assert not same(bench)


def test_a_row_with_something_under_way_that_was_set_back_is_refused() -> None:
    bench = bench_of()
    bench.push(begun, key="a", n=1)
    checkpoint(bench)
    [shard] = [shard for shard in bench.store.shards() if bench.store.checkpoint_of(shard.key)]
    [before] = bench.store.instances_of(shard.key)
    bench.now_us += 1
    bench.push(one, key="a", n=1)
    bench.push(begun, key="a", n=1)
    checkpoint(bench)
    saved = bench.store.checkpoint_of(shard.key)
    assert saved is not None
    forged = Checkpoint(shard=shard.key, seq=saved[0], header=saved[1], rows=[before])
    bench.store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[forged]))
    bench.restart()
    with pytest.raises(SealBroken):
        bench.push(one, key="a", n=1)


def test_runs_are_merged_so_that_few_are_left() -> None:
    bench = waiting("abc")
    for n in range(60):
        bench.push(begun, key=KEYS[n % 6], n=5)
        bench.push(one, key=KEYS[n % 6], n=6)
        bench.now_us += 1
        checkpoint(bench, bench.now_us - 5)
    assert len(runs_of(bench)) < 16 * 8
    assert same(bench)


def test_cold_instances_leave_as_the_index_tells_what_they_wait_for() -> None:
    bench = waiting(KEYS * 2)
    bench.push(begun, key="a", n=2)
    checkpoint(bench)
    assert same(bench)
    kernel = bench.kernel
    left = [
        id for run in bench.journal.index_of(range(limits.SHARDS)) for id in forget_run(kernel, run)
    ]
    assert len(left) == len(set(left)) == 2 * len(KEYS)
    assert len(kernel.instances) == 1, "what waits for two keys is woken instead"
    assert len(kernel.index) == len(kernel.standing.waits) + 2
    bench.push(one, key="b", n=9)
    assert len(kernel.instances) == 1


def test_an_index_that_is_being_written_tells_nothing() -> None:
    bench = waiting("a")
    [run] = runs_of(bench)
    forge(bench, run.shard, merged=[run])
    assert not same(bench)
    assert bench.journal.index_of(range(limits.SHARDS)) == []
