"""What a pool does for a call, stage by stage: `python -m scale_tests.kernel_costs [--waits N]`.

Instances of `account` wait, each for its own payments, in one kernel on a real SQLite file with
synchronous=FULL. Payments are delivered in batches; every one is matched, resumes its instance
and is journalled. Prints one JSON object: microseconds of CPU of this process for each
call, as the median of the batches and (`_least`) in the batch that other work disturbed least.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from raysume import limits
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, Delivered
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.records import CallRecord
from raysume.storage.opening import open_store
from raysume.storage.ports import ShardRef, Store, StoreCommit
from raysume.storage.sealing import Seal
from raysume.workflows import Workflow
from scale_tests.workloads import account

BATCH = 500
BEGIN_US = 1_700_000_000_000_000
SEAL_KEY = b"k" * 32


class Bench:
    """A kernel and its journal; what each stage took."""

    def __init__(
        self,
        store: Store,
        workflow: Workflow[..., Any] = account,
        *,
        loaded_instances: int | None = None,
        recent_calls: int = limits.RECENT_CALLS_MAX,
        writes: bool = True,
    ) -> None:
        """
        Args:
            loaded_instances, recent_calls: see `Kernel`.
            writes: False: what is prepared goes nowhere, and no cache of the store grows.
        """
        refs = [
            ShardRef(workflow=workflow.name, version="1", number=n) for n in range(limits.SHARDS)
        ]
        self._store = store
        self._journal = PoolJournal(store, store.acquire(refs, owner="bench"), Seal(SEAL_KEY))
        self.kernel = Kernel(
            workflow,
            "1",
            methods=method_of,
            runs_inline=True,
            loaded_instances=loaded_instances,
            recent_calls=recent_calls,
        )
        self._journal.recover(self.kernel)
        turn = learning_turn(workflow, "1", BEGIN_US)
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

    def checkpoint(self) -> None:
        """What the deliveries so far changed is in the instance table."""
        moment_us = BEGIN_US + self._offset
        self._write(self._journal.prepare(Commit(), now_us=moment_us, checkpoint=True))
        self._journal.let_go(self.kernel)

    def _write(self, prepared: StoreCommit) -> None:
        if self._writes:
            self._store.commit(prepared)


def call_of(method: str, number: int, body: bytes) -> CallRecord:
    """The call with this number."""
    id = f"018f0000-0000-7000-8000-{number:012x}"
    return CallRecord(id, method, "scale", BEGIN_US + number, body, b"true")


def main() -> None:
    """Everything has been measured and printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--profile", action="store_true", help="print where the time went")
    options = parser.parse_args()
    chance = random.Random(1)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        closing(open_store("", Path(folder))) as store,
    ):
        bench = Bench(store)
        for low in range(0, options.waits, BATCH):
            high = min(options.waits, low + BATCH)
            bench.deliver("scale.opened", [b'{"account":%d}' % n for n in range(low, high)])
        bench.spent.clear()
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        for _ in range(0, options.calls, BATCH):
            numbers = [chance.randrange(options.waits) for _ in range(BATCH)]
            bench.deliver("scale.paid", [b'{"account":%d,"amount":1}' % n for n in numbers])
        profile.disable()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)
    costs: dict[str, float] = {}
    for name, spent in bench.spent.items():
        costs[f"{name}_us"] = round(statistics.median(spent) / 1000 / BATCH, 2)
        costs[f"{name}_us_least"] = round(min(spent) / 1000 / BATCH, 2)
    print(json.dumps(costs | {"calls": options.calls, "waits": options.waits}))


if __name__ == "__main__":
    main()
