"""Journal rows and checkpoints: sealed, numbered, and enough to go on from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.kernel.bench import (
    SEAL,
    START_US,
    Bench,
    begun,
    call,
    delivery,
    one,
    record_of,
    two,
)
from tests.unit.kernel.cases import collector, slow

from raysume import push_call, wait, workflow
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.commits import CallsSent, Commit
from raysume.actors.kernel.journal import Codec, RowsDigest
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import START_OF_LOG, Outgoing, ShardHeader
from raysume.actors.kernel.shards import Shard
from raysume.actors.loading import method_of
from raysume.errors import ConfigurationError, SealBroken
from raysume.storage.ports import InstanceRow, JournalRow
from raysume.storage.sealing import Seal

HEADER = ShardHeader(1, {7: 3}, 1, 1, 1, START_OF_LOG)


def codec(key: bytes = b"bench-key", *, shard: int = 0, workflow: str = "w") -> Codec:
    return Codec(Seal(key * 5), workflow=workflow, version="1", shard=shard)


def test_a_journal_row_is_read_as_it_was_written() -> None:
    body = codec().journal_row(5, HEADER, [])
    assert codec().read_journal_row(5, body).header == HEADER


@pytest.mark.parametrize(
    ("reader", "seq"),
    [
        (codec(), 6),
        (codec(shard=1), 5),
        (codec(workflow="v"), 5),
        (codec(b"other-key"), 5),
    ],
    ids=["another place", "another shard", "another workflow", "another key"],
)
def test_a_journal_row_is_refused_elsewhere(reader: Codec, seq: int) -> None:
    body = codec().journal_row(5, HEADER, [])
    with pytest.raises(SealBroken):
        reader.read_journal_row(seq, body)


def test_a_changed_byte_breaks_the_seal_wherever_it_is() -> None:
    body = codec().checkpoint_header(5, HEADER, [], 0, 0)
    for place in range(len(body)):
        changed = bytearray(body)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            codec().read_checkpoint_header(5, bytes(changed))


def test_a_row_of_a_newer_release_is_refused_with_the_remedy() -> None:
    newer = msgspec.structs.replace(HEADER, format=99)
    with pytest.raises(ConfigurationError, match="newer release"):
        codec().read_journal_row(1, codec().journal_row(1, newer, []))


def two_checkpointed(bench: Bench) -> tuple[Any, dict[str, InstanceRow]]:
    """Two instances of one shard, checkpointed; the shard and its rows by id."""
    shared: list[int] = []
    for n in range(40):
        bench.push(begun, key=str(n), n=2)
        shards = [instance.shard for instance in bench.kernel.instances.values()]
        shared = [shard for shard in shards if shards.count(shard) > 1]
        if shared:
            break
    bench.checkpoint()
    found: Any = next(s for s in bench.store._shards.values() if s.owned.ref.number == shared[0])  # pyright: ignore[reportPrivateUsage]
    return found, dict(found.instances)


def test_exchanged_rows_are_refused() -> None:
    bench = Bench(collector)
    shard, _ = two_checkpointed(bench)
    (n, first), (m, second) = list(shard.instances.items())[:2]
    shard.instances[n] = msgspec.structs.replace(first, body=second.body)
    shard.instances[m] = msgspec.structs.replace(second, body=first.body)
    with pytest.raises(SealBroken):
        bench.restart()


def test_an_older_row_of_the_same_instance_is_refused() -> None:
    bench = Bench(collector)
    shard, _ = two_checkpointed(bench)
    number, old = next(iter(shard.instances.items()))
    record = bench.journal.read_row(old)
    bench.now_us += 1
    bench.push(one, key=key_of(bench, record.id), n=1)
    bench.checkpoint()
    assert shard.instances[number].body != old.body
    shard.instances[number] = old
    with pytest.raises(SealBroken, match="set back"):
        bench.restart()


def key_of(bench: Bench, instance_id: str) -> str:
    """The key under which the instance waits."""
    return str([one.id for one in bench.instances].index(instance_id))


@pytest.mark.parametrize("change", ["removed", "added"])
def test_a_row_too_few_or_too_many_is_refused(change: str) -> None:
    bench = Bench(collector)
    shard, _ = two_checkpointed(bench)
    number, row = next(iter(shard.instances.items()))
    if change == "removed":
        del shard.instances[number]
    else:
        record = msgspec.structs.replace(bench.journal.read_row(row), number=99)
        body = codec_of(bench, shard).instance_row(record)
        shard.instances[99] = msgspec.structs.replace(row, number=99, body=body)
    with pytest.raises(SealBroken, match="removed, added or set back"):
        bench.restart()


def codec_of(bench: Bench, shard: Any) -> Codec:
    return Codec(SEAL, workflow=bench.workflow.name, version="1", shard=shard.owned.ref.number)


def test_swapped_journal_rows_are_refused() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=3)
    for n in (1, 2):
        bench.push(one, key="a", n=n)
    shard = next(s for s in bench.store._shards.values() if len(s.journal) == 3)  # pyright: ignore[reportPrivateUsage]
    first, second = shard.journal[1], shard.journal[2]
    shard.journal[1] = JournalRow(shard=first.shard, seq=1, body=second.body)
    with pytest.raises(SealBroken):
        bench.restart()


def test_the_digest_follows_rows_that_are_replaced() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=2)
    before = record_of(bench.committed[-1], bench.only.id)
    bench.push(one, key="a", n=1)
    after = record_of(bench.committed[-1], bench.only.id)
    replaced, fresh = RowsDigest(codec()), RowsDigest(codec())
    replaced.put(before)
    replaced.put(after)
    fresh.put(after)
    assert replaced.total == fresh.total
    assert len(replaced) == 1


# --- checkpoints ---------------------------------------------------------------------


def test_a_checkpoint_holds_what_is_committed_and_nothing_newer() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=2)
    bench.push(one, key="a", n=1)
    ahead = bench.kernel.apply([_delivery(2, n=2)], bench.now_us)
    assert bench.only.status == "completed"
    bench.checkpoint()
    bench.restart(remembered=())
    assert bench.only.status == "waiting"
    assert bench.kernel.watermarks == {1: 2}
    assert ahead.turns
    bench.apply(_delivery(2, n=2))
    assert bench.result() == [1, 2]


def _delivery(offset: int, **input: Any) -> Any:
    return delivery(call(one, offset, key="a", **input))


def test_a_checkpoint_together_with_a_commit_leaves_the_commit_in_the_journal() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=1)
    item = call(one, 1, key="a", n=5)
    bench.save(bench.kernel.apply([delivery(item)], bench.now_us), checkpoint=True)
    assert len(bench.journal.uncheckpointed()) == 1
    bench.restart()
    assert bench.result() == [5]
    bench.checkpoint()
    assert bench.journal.uncheckpointed() == []
    bench.restart()
    assert bench.result() == [5]


def test_a_checkpoint_keeps_the_inbox() -> None:
    bench = Bench(slow)
    bench.push(begun, n=1)
    bench.checkpoint()
    bench.restart()
    bench.finish_turns()
    bench.push(two, key="a", n=4)
    bench.finish_turns()
    assert bench.result() == [4]


def test_what_only_the_journal_holds_is_known() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=1)
    assert bench.journal.dirty == 1
    bench.checkpoint()
    assert bench.journal.dirty == 0
    bench.restart()
    assert bench.journal.dirty == 0
    bench.push(one, key="a", n=1)
    bench.restart()
    assert [record.status for record in bench.journal.uncheckpointed()] == ["completed"]


# --- outgoing calls --------------------------------------------------------------------


@push_call("bench.noted")
def noted(n: int) -> None:
    """Something was noted."""


@workflow
async def noting() -> None:
    first = await wait(begun).match_any()
    for n in range(first.input.n):
        noted(n)
    await wait(one).match_any()
    noted(100)


def test_outgoing_calls_are_numbered_by_shard_and_kept_until_they_are_accepted() -> None:
    bench = Bench(noting)
    commit = bench.push(begun, n=3)
    shard = bench.only.shard
    assert [(of, call.sequence) for of, call in commit.outgoing] == [(shard, n) for n in (1, 2, 3)]
    bench.checkpoint()
    bench.apply(CallsSent(shard=shard, upto=3))
    again = bench.restart()
    assert [call.sequence for _, call in again.outgoing] == [1, 2, 3], "not recorded as sent yet"
    bench.apply(CallsSent(shard=shard, upto=3))
    commit = bench.push(one)
    assert [call.sequence for _, call in commit.outgoing] == [4]
    assert [call.sequence for _, call in bench.restart().outgoing] == [3, 4]
    bench.checkpoint()
    assert [call.sequence for _, call in bench.restart().outgoing] == [3, 4]


def test_a_turn_that_fails_publishes_nothing() -> None:
    @workflow
    async def failing() -> None:
        await wait(begun).match_any()
        noted(1)
        raise RuntimeError("no")

    bench = Bench(failing)
    assert bench.push(begun).outgoing == []


def test_a_shard_forgets_what_was_sent_however_it_hears_of_it() -> None:
    shard = Shard(0)
    assert [shard.publish(b"x") for _ in range(3)] == [Outgoing(n, b"x") for n in (1, 2, 3)]
    shard.forget_sent(3)
    shard.forget_sent(2)
    assert list(shard.unsent) == [3]
    assert shard.sent == 3
    assert Shard(0, shard.header({}, START_OF_LOG)).next_sequence == 4


def test_commits_that_are_made_durable_together_keep_the_newest_header() -> None:
    bench = Bench(collector)
    first = bench.kernel.apply([delivery(call(begun, 0, key="a", n=1))], START_US)
    second = bench.kernel.apply([delivery(call(one, 1, key="a", n=1))], START_US)
    together = Commit()
    together.absorb(first)
    together.absorb(second)
    [(number, turns)] = together.turns.items()
    assert len(turns) == 2
    assert together.headers[number].watermarks == {1: 2}
    bench.save(together)
    bench.restart()
    assert bench.result() == [1]


def test_recovering_twice_gives_the_same() -> None:
    bench = Bench(collector)
    for n in range(5):
        bench.push(begun, key=str(n), n=2)
    bench.checkpoint()
    bench.push(one, key="1", n=1)

    def recovered() -> list[Any]:
        kernel = Kernel(collector, "1", methods=method_of)
        refs = [owned.ref for owned in bench.store.shards()]
        journal = PoolJournal(bench.store, bench.store.acquire(refs, owner="x"), SEAL)
        assert journal.recover(kernel) == 5
        return sorted((one.record() for one in kernel.instances.values()), key=lambda r: r.id)

    assert recovered() == recovered()
