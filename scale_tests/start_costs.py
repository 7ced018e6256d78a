"""What a start takes for each instance that waits: `python -m scale_tests.start_costs [--waits N]`.

Instances of `account` wait, checkpointed, in one kernel on a real SQLite file. A new kernel starts
on it, again and again: by the index of the rows, as pools do, and by all rows, as they do when
there is none. Figures are the least microseconds of CPU for each instance and seconds in all, for
both; and the bytes of the index for each instance.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from raysume import limits
from raysume.actors.garbage import collect_seldom
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.loading import method_of
from raysume.actors.shard_indexes import IndexSizes
from raysume.storage.opening import open_store
from raysume.storage.ports import ShardRef
from raysume.storage.sealing import Seal
from scale_tests.conditions import conditions
from scale_tests.kernel_costs import BATCH, SEAL_KEY, Bench
from scale_tests.telling import printing_options, tell
from scale_tests.workloads import account

CHECKPOINT_EVERY: Final = 10
"""Batches between two checkpoints."""

BY_ROWS: Final = IndexSizes(whole_rows=limits.INSTANCES_PER_SHARD_MAX)


def fill(folder: Path, waits: int) -> None:
    """So many instances wait, and all of them are in rows."""
    with closing(open_store("", folder)) as store:
        bench = Bench(store)
        for low in range(0, waits, BATCH):
            high = min(waits, low + BATCH)
            bench.deliver("scale.opened", [b'{"account":%d}' % n for n in range(low, high)])
            if low // BATCH % CHECKPOINT_EVERY == 0:
                bench.checkpoint()
        bench.checkpoint()


def start(folder: Path, waits: int, sizes: IndexSizes | None) -> tuple[float, float]:
    """One start: microseconds of CPU for each instance, and seconds."""
    with closing(open_store("", folder)) as store:
        refs = [
            ShardRef(workflow=account.name, version="1", number=n) for n in range(limits.SHARDS)
        ]
        owned = store.acquire(refs, owner="bench")
        journal = PoolJournal(store, owned, Seal(SEAL_KEY), sizes=sizes)
        kernel = Kernel(account, "1", methods=method_of)
        cpu, begun = time.process_time(), time.perf_counter()
        found = journal.recover(kernel)
        spent, seconds = time.process_time() - cpu, time.perf_counter() - begun
        if found != waits:
            raise SystemExit(f"{found} instances were found, not {waits}")
        return spent / waits * 1e6, seconds


def index_bytes(folder: Path) -> int:
    """How long all index runs are."""
    with closing(open_store("", folder)) as store:
        return sum(len(run.body) for shard in store.shards() for run in store.index_runs(shard.key))


def main() -> None:
    """Everything has been measured and printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    printing_options(parser)
    options = parser.parse_args()
    made_in = conditions("sqlite")
    collect_seldom()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        fill(folder, options.waits)
        by_index = [start(folder, options.waits, None) for _ in range(options.runs)]
        by_rows = [start(folder, options.waits, BY_ROWS) for _ in range(options.runs)]
        figures = {
            "waits": options.waits,
            "start_us": round(min(by_index)[0], 2),
            "start_s": round(min(seconds for _, seconds in by_index), 2),
            "by_rows_us": round(min(by_rows)[0], 2),
            "by_rows_s": round(min(seconds for _, seconds in by_rows), 2),
            "index_bytes": round(index_bytes(folder) / options.waits, 1),
        }
    tell(figures, made_in, options)


if __name__ == "__main__":
    main()
