"""What storing costs, for each item: `python -m scale_tests.storage_costs [--instances N]`.

Figures are microseconds of CPU (of this process alone) and of wall time for each
item on SQLite with synchronous=FULL, in a new temporary folder of the current disk. `--folder`
chooses another, `--store postgres` a server of its own with its data there.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from raysume.ids import uuid7
from raysume.storage.call_ports import Batch, CallLog, NewCall
from raysume.storage.moments import to_us
from raysume.storage.opening import open_call_log, open_store
from raysume.storage.ports import (
    Checkpoint,
    InstanceRow,
    JournalRow,
    OwnedShard,
    ShardRef,
    Store,
    StoreCommit,
)
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sealing import Seal
from scale_tests.conditions import conditions
from scale_tests.postgres_server import PostgresServer
from scale_tests.telling import printing_options, tell

Costs = dict[str, dict[str, float]]

START = datetime(2013, 2, 8, tzinfo=UTC)
BATCH = 500


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    printing_options(parser)
    return parser.parse_args(arguments)


def main() -> None:
    """Everything has been measured and printed."""
    options = parsed()
    made_in = conditions(options.store)
    costs: Costs = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        with database(options.store, Path(folder)) as url:
            with closing(open_call_log(url, Path(folder))) as log:
                measure_calls(log, costs)
            with closing(open_store(url, Path(folder))) as store:
                measure_state(store, options.instances, costs)
        files = {path.name: path.stat().st_size for path in Path(folder).glob("*.db")}
    measure_seal(costs)
    table = [f"{name:<44} cpu {one['cpu']:>9} wall {one['wall']:>9}" for name, one in costs.items()]
    figures = {"microseconds_an_item": costs, "bytes_of_files": files}
    tell(figures, made_in, options, table=table)


@contextmanager
def database(kind: str, folder: Path) -> Generator[str | None]:
    """The URL of an empty database; None means files in the data directory."""
    if kind == "sqlite":
        yield None
        return
    folder.chmod(0o755)
    with PostgresServer(folder / "server") as server:
        yield server.create_database("costs")


def measure(costs: Costs, name: str, items: int, work: Callable[[], object]) -> None:
    """The cost of `work`, which does `items` things, stands in `costs`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    costs[name] = {
        "cpu": round((time.process_time() - cpu) / items * 1e6, 3),
        "wall": round((time.perf_counter() - wall) / items * 1e6, 3),
    }


def calls(count: int, *, client_id: bool = False) -> list[NewCall]:
    """Payments with 60 random characters each, so that compression cannot cheat."""
    return [
        NewCall(
            id=uuid7(),
            method="orders.paid",
            service="shop",
            input=b'{"order_id":"order-%d","amount":3,"note":"%s"}'
            % (random.randrange(1_000_000), os.urandom(30).hex().encode()),
            client_id=client_id,
        )
        for _ in range(count)
    ]


def measure_calls(log: CallLog, costs: Costs) -> None:
    """Appending calls in segments and one by one, and reading them."""
    partition = log.open_partition(owner=owner_of_this_process("costs")).id

    def append(batches: list[Batch]) -> Callable[[], object]:
        return lambda: [log.append(partition, [batch]) for batch in batches]

    segments = [Batch(calls=calls(BATCH)) for _ in range(100)]
    measure(costs, "call in a segment of 500", 100 * BATCH, append(segments))
    named = [Batch(calls=calls(BATCH, client_id=True)) for _ in range(20)]
    measure(costs, "call with a client id in a segment of 500", 20 * BATCH, append(named))
    measure(costs, "repeated call with a client id", 20 * BATCH, append(named))
    single = [Batch(calls=calls(1)) for _ in range(300)]
    measure(costs, "call alone in a segment", 300, append(single))
    end = log.close_partition(partition).next_offset
    measure(costs, "call read by range", end, lambda: list(log.read(partition, start=0, end=end)))
    found = random.sample([call.id for batch in segments for call in batch.calls], 100)
    measure(costs, "call found by a server id", 100, lambda: [log.find_call(id) for id in found])


def rows(shard: OwnedShard, numbers: Iterator[int] | range | list[int]) -> list[InstanceRow]:
    """Instance rows with a body of 260 bytes."""
    body = os.urandom(60) + b"x" * 200
    return [
        InstanceRow(
            shard=shard.key,
            number=number,
            id=f"{number * 7919:032x}",
            workflow="orders.fulfil",
            version="3f2a91",
            status="waiting",
            started_us=to_us(START + timedelta(milliseconds=number)),
            updated_us=to_us(START),
            body=body,
        )
        for number in numbers
    ]


def measure_state(store: Store, instances: int, costs: Costs) -> None:
    """Journal, checkpoints of new and of random instances, and recovery."""
    ref = ShardRef(workflow="orders.fulfil", version="3f2a91", number=0)
    [shard] = store.acquire([ref], owner=owner_of_this_process("costs"))
    epochs = {shard.key: shard.epoch}
    seq = 0

    def journal() -> None:
        nonlocal seq
        for _ in range(100):
            seq += 1
            row = JournalRow(shard=shard.key, seq=seq, body=os.urandom(BATCH * 60))
            store.commit(StoreCommit(epochs=epochs, journal=[row]))

    def checkpoint(batches: list[list[InstanceRow]]) -> Callable[[], None]:
        def write() -> None:
            for batch in batches:
                made = Checkpoint(shard=shard.key, seq=seq, header=b"h" * 200, rows=batch)
                store.commit(StoreCommit(epochs=epochs, checkpoints=[made]))

        return write

    measure(costs, "turn in a journal row of 500", 100 * BATCH, journal)
    new = [rows(shard, range(n, n + 5_000)) for n in range(1, instances, 5_000)]
    count = sum(len(batch) for batch in new)
    measure(costs, "new instance in a checkpoint", count, checkpoint(new))
    chosen = [sorted(random.sample(range(1, count + 1), 5_000)) for _ in range(10)]
    later = [
        [
            msgspec.structs.replace(row, updated_us=to_us(START + timedelta(days=1)))
            for row in rows(shard, numbers)
        ]
        for numbers in chosen
    ]
    measure(costs, "random instance in a checkpoint", 50_000, checkpoint(later))
    measure(costs, "turn in a journal row of 500, trimming", 100 * BATCH, journal)
    measure(costs, "instance read for recovery", count, lambda: list(store.instances_of(shard.key)))


def measure_seal(costs: Costs) -> None:
    """Sealing, opening and digesting 260 bytes."""
    seal, context, body = Seal(os.urandom(32)), os.urandom(40), os.urandom(260)
    sealed = seal.seal(context, body)
    times = range(100_000)
    measure(costs, "seal", len(times), lambda: [seal.seal(context, body) for _ in times])
    measure(costs, "open a seal", len(times), lambda: [seal.open(context, sealed) for _ in times])
    measure(costs, "digest", len(times), lambda: [seal.digest(context) for _ in times])


if __name__ == "__main__":
    main()
