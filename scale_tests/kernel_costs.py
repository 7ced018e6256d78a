"""What a pool does for a call, stage by stage: `python -m scale_tests.kernel_costs [--waits N]`.

Instances of `account` wait, each for its own payments, in one kernel on a real SQLite file with
synchronous=FULL. Payments are delivered in batches; every one is matched, resumes its instance
and is journalled; now and then there is a checkpoint. The process looks for garbage as seldom as
a pool does. Figures are microseconds of CPU of this process for each call, as the median of the
batches and (`_least`) in the batch that other work disturbed least. `match_us` is a part of
`apply_us`, measured by itself: finding the waits of calls.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from raysume import limits
from raysume.actors.garbage import collect_seldom
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, Delivered
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.shard_indexes import IndexSizes
from raysume.matching import Parsed
from raysume.records import CallRecord
from raysume.storage.opening import open_store
from raysume.storage.ports import ShardRef, Store, StoreCommit
from raysume.storage.sealing import Seal
from raysume.workflows import Workflow
from scale_tests.conditions import conditions
from scale_tests.telling import printing_options, tell
from scale_tests.workloads import account

BATCH = 500
CHECKPOINT = "checkpoint"
BEGIN_US = 1_700_000_000_000_000
SEAL_KEY = b"k" * 32

_UNREAD = IndexSizes(runs=1 << 60, spread_bytes=1 << 60)
"""Of an index whose runs are never merged."""


class Bench:
    """A kernel and its journal; what each stage took."""

    def __init__(
        self,
        store: Store,
        workflow: Workflow[..., Any] = account,
        *,
        version: str = "1",
        shards: Collection[int] = range(limits.SHARDS),
        loaded_instances: int | None = None,
        recent_calls: int = limits.RECENT_CALLS_MAX,
        writes: bool = True,
    ) -> None:
        """
        Args:
            shards: those that it owns.
            loaded_instances, recent_calls: see `Kernel`.
            writes: False: what is prepared goes nowhere, and no cache of the store grows. Then the
                runs of the index, which are not there, are not merged either.
        """
        refs = [
            ShardRef(workflow=workflow.name, version=version, number=number) for number in shards
        ]
        self._store = store
        self._journal = PoolJournal(
            store,
            store.acquire(refs, owner="bench"),
            Seal(SEAL_KEY),
            sizes=IndexSizes() if writes else _UNREAD,
        )
        self.kernel = Kernel(
            workflow,
            version,
            methods=method_of,
            runs_inline=True,
            loaded_instances=loaded_instances,
            recent_calls=recent_calls,
        )
        self._journal.recover(self.kernel)
        turn = learning_turn(workflow, version, BEGIN_US)
        driving.run_inline(turn, self.kernel.standing.learning(turn))
        self.kernel.standing.stand(self.kernel.index)
        self._offset, self._writes = 0, writes
        self.spent: dict[str, list[int]] = {}
        """Stage -> nanoseconds of CPU of each batch."""

    @contextmanager
    def _stage(self, name: str) -> Generator[None, None, None]:
        began = time.process_time_ns()
        yield
        self.spent.setdefault(name, []).append(time.process_time_ns() - began)

    def deliver(self, method: str, inputs: list[bytes]) -> int:
        """The calls are delivered, applied and durable; how many turns they led to."""
        calls = [
            DeliveredCall(self._offset + n, self._offset, call_of(method, self._offset + n, body))
            for n, body in enumerate(inputs)
        ]
        end = self._offset + len(calls)
        data = msgspec.msgpack.encode(Delivery(1, self._offset, end, 1, calls))
        self._offset = end
        with self._stage("decode"):
            delivery = msgspec.msgpack.decode(data, type=Delivery)
        with self._stage("apply"):
            commit = self.kernel.apply([Delivered(delivery=delivery)], BEGIN_US + end)
        assert not self.kernel.arbitration.is_cut
        with self._stage("encode"):
            prepared = self._journal.prepare(commit, now_us=BEGIN_US + end, checkpoint=False)
        with self._stage("store"):
            self._write(prepared)
        with self._stage("note"):
            self._journal.committed(commit)
        return sum(len(turns) for turns in commit.turns.values())

    def match(self, method: str, inputs: list[bytes]) -> None:
        """The waits of the calls were found; nothing has changed."""
        calls = [call_of(method, number, body) for number, body in enumerate(inputs)]
        find = self.kernel.index.find
        with self._stage("match"):
            for call in calls:
                find(Parsed(call))

    def checkpoint(self) -> None:
        """What the deliveries so far changed is in the instance table."""
        moment_us = BEGIN_US + self._offset
        with self._stage(CHECKPOINT):
            self._write(self._journal.prepare(Commit(), now_us=moment_us, checkpoint=True))
            while self._journal.let_go(self.kernel):
                pass

    def _write(self, prepared: StoreCommit) -> None:
        if self._writes:
            self._store.commit(prepared)


def call_of(method: str, number: int, body: bytes) -> CallRecord:
    """The call with this number."""
    id = f"018f0000-0000-7000-8000-{number:012x}"
    return CallRecord(id, method, "scale", BEGIN_US + number, body, b"true")


def measure(options: argparse.Namespace, store: Store) -> dict[str, Any]:
    """The figures."""
    chance = random.Random(1)
    bench = Bench(store)
    for low in range(0, options.waits, BATCH):
        high = min(options.waits, low + BATCH)
        bench.deliver("scale.opened", [b'{"account":%d}' % n for n in range(low, high)])
    bench.checkpoint()
    collect_seldom()
    bench.spent.clear()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    for low in range(0, options.calls, BATCH):
        numbers = [chance.randrange(options.waits) for _ in range(BATCH)]
        inputs = [b'{"account":%d,"amount":1}' % n for n in numbers]
        bench.match("scale.paid", inputs)
        bench.deliver("scale.paid", inputs)
        if (low + BATCH) % options.checkpoint_every == 0:
            bench.checkpoint()
    profile.disable()
    if options.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(60)
    checkpoints = bench.spent.pop(CHECKPOINT, [])
    costs = per_call(bench.spent, BATCH)
    if checkpoints:
        costs |= per_call({CHECKPOINT: checkpoints}, options.checkpoint_every)
    return costs | {
        "calls": options.calls,
        "waits": options.waits,
        "checkpoint_every": options.checkpoint_every,
    }


def per_call(spent: Mapping[str, Sequence[int]], calls: int) -> dict[str, float]:
    """Microseconds of each stage for a call: the median, and the least.

    Args:
        spent: nanoseconds for so many calls each.
    """
    costs: dict[str, float] = {}
    for name, found in spent.items():
        costs[f"{name}_us"] = round(statistics.median(found) / 1000 / calls, 2)
        costs[f"{name}_us_least"] = round(min(found) / 1000 / calls, 2)
    return costs


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--waits", type=int, default=10_000)
    add("--calls", type=int, default=50_000)
    add("--checkpoint-every", type=int, default=20_000, help="calls, as a multiple of 500")
    add("--folder", type=Path, default=Path.cwd())
    add("--profile", action="store_true", help="print where the time went")
    printing_options(parser)
    options = parser.parse_args(arguments)
    if options.checkpoint_every <= 0 or options.checkpoint_every % BATCH:
        parser.error(f"--checkpoint-every is a multiple of {BATCH}")
    return options


def main() -> None:
    """Everything has been measured and printed."""
    options = parsed()
    made_in = conditions("sqlite")
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        closing(open_store("", Path(folder))) as store,
    ):
        figures = measure(options, store)
    tell(figures, made_in, options)


if __name__ == "__main__":
    main()
