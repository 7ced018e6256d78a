"""Parts of a checkpoint: what each of them writes, what a start finds between them, and the pauses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.kernel.bench import Bench, begun, one

from raysume import limits, wait, workflow
from raysume.actors.checkpointing import Checkpoints, Part
from raysume.actors.kernel.commits import Commit
from raysume.actors.shard_logs import ShardLog

ALL = range(limits.SHARDS)


@workflow
async def counting() -> int:
    """Two calls for its key, then it ends."""
    first = await wait(begun).match_any()
    await wait(one).match(key=first.input.key)
    await wait(one).match(key=first.input.key)
    return 2


def filled(count: int = 60) -> Bench:
    """A bench with so many instances, of which nothing is checkpointed."""
    bench = Bench(counting, loaded_instances=0)
    for number in range(count):
        bench.push(begun, key=f"k{number}")
    return bench


def write(bench: Bench, part: Part, older_than_us: int = 0) -> int:
    """The part is durable; how many instances it wrote."""
    prepared = bench.journal.prepare(
        Commit(), now_us=bench.now_us, checkpoint=part, older_than_us=older_than_us
    )
    bench.store.commit(prepared)
    bench.journal.let_go(bench.kernel)
    return sum(len(one.rows) for one in prepared.checkpoints)


def states(bench: Bench) -> dict[str, Any]:
    """What a start finds of all instances."""
    bench.restart()
    return {each.id: each.record() for each in bench.kernel.instances.values()}


def rows_in_store(bench: Bench) -> int:
    return sum(len(list(bench.store.instances_of(shard.key))) for shard in bench.store.shards())


def test_a_part_writes_so_many_instances_of_each_shard_and_the_next_goes_on_behind_them() -> None:
    bench = filled()
    sizes = [len(log.dirty) for log in bench.journal.logs.values()]
    assert write(bench, Part(ALL, 2)) == sum(min(2, size) for size in sizes)
    assert bench.journal.dirty == 60 - rows_in_store(bench)
    assert write(bench, Part(ALL)) == sum(max(0, size - 2) for size in sizes)
    assert (bench.journal.dirty, rows_in_store(bench)) == (0, 60)


@pytest.mark.parametrize("again", [False, True], ids=["once", "called meanwhile"])
def test_a_start_between_two_parts_finds_what_was_committed(again: bool) -> None:
    bench = filled()
    expected = states(bench)
    write(bench, Part(ALL, 2))
    assert states(bench) == expected
    if again:
        for number in range(60):
            bench.push(one, key=f"k{number}")
        expected = states(bench)
        write(bench, Part(ALL, 2))
        assert states(bench) == expected
        assert {each.turn for each in expected.values()} == {2}
    write(bench, Part(ALL))
    assert states(bench) == expected


def test_an_end_that_an_early_part_wrote_is_removed_by_the_last_part_of_its_shard() -> None:
    bench = filled(40)
    write(bench, Part(ALL))
    for number in (*range(20), *range(20)):
        bench.push(one, key=f"k{number}")
    bench.now_us += 1_000_000
    while bench.journal.dirty:
        write(bench, Part(ALL, 1), older_than_us=bench.now_us)
    write(bench, Part(ALL), older_than_us=bench.now_us)
    assert rows_in_store(bench) == 20
    assert len(states(bench)) == 20


def logs_with(sizes: Mapping[int, int]) -> dict[int, ShardLog]:
    """The logs of shards that are said to have so many changed instances, by number."""
    logs = {number: log for number, log in filled().journal.logs.items() if number in sizes}
    record = next(record for log in logs.values() for record in log.dirty.values())
    for number, log in logs.items():
        log.dirty = dict.fromkeys(range(sizes[number]), record)
    return logs


def made() -> Checkpoints:
    """Checkpoints of which nobody has to be woken."""
    return Checkpoints(lambda: None)


def write_out(
    checkpoints: Checkpoints, logs: Mapping[int, ShardLog], *, turns: int = 0, meanwhile: int = 0
) -> list[tuple[list[int], int | None]]:
    """The parts of the checkpoint that was asked for, each written as it is taken.

    Args:
        meanwhile: instances of shard 0 that change as each part is written.
    """
    found: list[tuple[list[int], int | None]] = []
    record = next(iter(next(iter(logs.values())).dirty.values()), None)
    while (part := checkpoints.take(logs, turns)) is not None:
        found.append((list(part.shards), part.rows_max))
        for number in part.shards:
            logs[number].take_changed(logs[number].changed(part.rows_max))
        if record is not None and meanwhile:
            logs[0].dirty |= dict.fromkeys(range(1_000, 1_000 + meanwhile), record)
        checkpoints.wrote()
        checkpoints.rested()
    return found


@pytest.fixture
def twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_PART_ROWS_MAX", 20)


@pytest.mark.parametrize(
    ("sizes", "turns", "expected"),
    [
        ({0: 0}, 0, [([0], None)]),
        ({0: 10, 1: 10}, 0, [([0, 1], None)]),
        ({0: 10, 1: 10, 2: 1}, 0, [([0, 1], None), ([2], None)]),
        ({0: 20}, 0, [([0], None)]),
        ({0: 21}, 0, [([0], 20), ([0], None)]),
        ({0: 41, 1: 1}, 0, [([0], 20), ([0], 20), ([0, 1], None)]),
        ({0: 1, 1: 60}, 0, [([0], None), ([1], 20), ([1], 20), ([1], None)]),
        ({0: 41, 1: 1}, 60, [([0], 30), ([0, 1], None)]),
        ({0: 41, 1: 1}, 100, [([0, 1], None)]),
    ],
)
@pytest.mark.usefixtures("twenty")
def test_a_checkpoint_is_parted_by_the_number_of_its_instances_and_of_turns_beside_it(
    sizes: dict[int, int], turns: int, expected: list[tuple[list[int], int | None]]
) -> None:
    checkpoints = made()
    checkpoints.ask(in_haste=False)
    assert write_out(checkpoints, logs_with(sizes), turns=turns) == expected


@pytest.mark.usefixtures("twenty")
def test_however_much_changes_meanwhile_a_checkpoint_comes_to_its_end() -> None:
    checkpoints = made()
    checkpoints.ask(in_haste=False)
    found = write_out(checkpoints, logs_with({0: 50, 1: 5}), meanwhile=1_000)
    assert found == [([0], 20), ([0], 20), ([0], None), ([1], None)]


@pytest.mark.usefixtures("twenty")
def test_after_a_part_there_is_a_pause_unless_somebody_waits() -> None:
    checkpoints, logs = made(), logs_with({0: 50})
    assert checkpoints.take(logs, 0) is None, "nothing is asked for"
    first = checkpoints.ask(in_haste=False)
    assert checkpoints.take(logs, 0) == Part((0,), 20)
    assert checkpoints.wrote()
    assert checkpoints.take(logs, 0) is None
    checkpoints.rested()
    assert checkpoints.take(logs, 0) == Part((0,), 20)
    assert checkpoints.wrote()
    second = checkpoints.ask(in_haste=True)
    assert checkpoints.take(logs, 0) == Part([0]), "somebody waits"
    assert checkpoints.wrote()
    assert checkpoints.has_made(first)
    assert not checkpoints.has_made(second), "it was asked for when another one had begun"
    assert checkpoints.take(logs, 0) == Part([0])
    assert not checkpoints.wrote()
    assert checkpoints.has_made(second)
    assert checkpoints.take(logs, 0) is None


def test_as_long_as_more_could_leave_memory_there_are_parts_that_write_nothing() -> None:
    checkpoints, logs = made(), logs_with({0: 5})
    number = checkpoints.ask(in_haste=True)
    assert checkpoints.take(logs, 0) == Part([0])
    assert checkpoints.wrote(is_more=True)
    assert checkpoints.has_made(number), "nobody waits for what leaves"
    assert checkpoints.take(logs, 0) is None
    checkpoints.rested()
    assert checkpoints.take(logs, 0) == Part(())
    assert not checkpoints.wrote()
    assert checkpoints.take(logs, 0) is None


def test_what_leaves_memory_does_not_hold_up_the_next_checkpoint() -> None:
    checkpoints, logs = made(), logs_with({0: 5})
    checkpoints.ask(in_haste=False)
    checkpoints.take(logs, 0)
    checkpoints.wrote(is_more=True)
    number = checkpoints.ask(in_haste=True)
    assert checkpoints.take(logs, 0) == Part([0])
    assert checkpoints.wrote(is_more=True)
    assert checkpoints.has_made(number)


def test_very_many_instances_and_somebody_who_waits_make_larger_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_PART_ROWS_MAX", 20)
    monkeypatch.setattr(limits, "CHECKPOINT_PARTS_MAX", 4)
    monkeypatch.setattr(limits, "HURRIED_PART_ROWS_MAX", 100)
    checkpoints = made()
    checkpoints.ask(in_haste=False)
    assert write_out(checkpoints, logs_with({0: 200})) == [([0], 50)] * 3 + [([0], None)]
    checkpoints.ask(in_haste=True)
    assert write_out(checkpoints, logs_with({0: 200})) == [([0], 100), ([0], None)]


def test_who_takes_parts_is_woken_when_one_is_asked_for_and_after_a_pause() -> None:
    woken: list[str] = []
    checkpoints = Checkpoints(lambda: woken.append("now"))
    checkpoints.ask(in_haste=False)
    assert woken == ["now"]
    checkpoints.take(logs_with({0: 300}), 0)
    assert checkpoints.wrote()
    checkpoints.rested()
    assert woken == ["now"] * 2


def test_a_shard_that_left_meanwhile_is_not_waited_for() -> None:
    checkpoints, logs = made(), logs_with({0: 300, 1: 5})
    number = checkpoints.ask(in_haste=False)
    checkpoints.take(logs, 0)
    checkpoints.wrote()
    checkpoints.rested()
    del logs[0], logs[1]
    assert checkpoints.take(logs, 0) == Part([0, 1])
    assert not checkpoints.wrote()
    assert checkpoints.has_made(number)
