"""What `active_waits` measures in one process: a kernel and its journal, one case and one size.

Everything is in this process: its CPU and its memory are what is measured. Every case returns
figures, or lists of them, one for each run.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import random
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

from raysume import limits
from raysume.actors.loading import Target, load
from raysume.matching import Parsed
from raysume.records import CallRecord
from raysume.storage.opening import open_store
from raysume.storage.ports import Store
from raysume.workflows import Workflow
from scale_tests.active_workloads import auditor, examiner, watcher
from scale_tests.kernel_costs import BATCH, Bench, call_of

T = TypeVar("T")

Figures = dict[str, Any]

SAMPLE_MAX: Final = 10_000
"""Instances that are called where they are to be in memory as objects: fewer than a pool keeps."""
CHECKPOINT_EVERY: Final = 2_000
"""Instances made between two checkpoints."""
WARM_UP: Final = 10_000
"""Instances made before memory is looked at first."""
WOKEN: Final = 100
"""Instances that wait for the same call."""
EACH: Final = 20
"""Instances of each of many workflows."""
TRIES: Final = 20
"""Calls that wake a hundred."""


# --- means -----------------------------------------------------------------------


@contextlib.contextmanager
def fresh_store() -> Generator[Store, None, None]:
    """A real SQLite file with synchronous=FULL."""
    with (
        tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder,
        contextlib.closing(open_store("", Path(folder))) as store,
    ):
        yield store


def opening(numbers: Iterable[int]) -> list[bytes]:
    """The inputs of calls that begin instances."""
    return [b'{"account":%d}' % number for number in numbers]


def paying(accounts: Iterable[int], amount: int = 1) -> list[bytes]:
    """The inputs of payments."""
    return [b'{"account":%d,"amount":%d}' % (one, amount) for one in accounts]


def portions(numbers: Sequence[T], size: int = BATCH) -> Generator[Sequence[T], None, None]:
    """The numbers, so many at a time."""
    for low in range(0, len(numbers), size):
        yield numbers[low : low + size]


def begin(bench: Bench, numbers: Sequence[int]) -> None:
    """For each number an instance waits, and is in a checkpoint."""
    for place, portion in enumerate(portions(numbers)):
        bench.deliver("scale.opened", opening(portion))
        if (place + 1) * BATCH % CHECKPOINT_EVERY == 0:
            bench.checkpoint()
    bench.checkpoint()


def resident_bytes() -> int:
    """The memory of this process, after what is free in it was given back."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def cost_us(items: Sequence[T], do: Callable[[T], object]) -> float:
    """Microseconds of CPU for one of the items."""
    began = time.process_time_ns()
    for item in items:
        do(item)
    return round((time.process_time_ns() - began) / len(items) / 1_000, 3)


def payments(accounts: Iterable[int], amount: int = 1) -> list[CallRecord]:
    """Payments, as a kernel gets them."""
    return [call_of("scale.paid", n, body) for n, body in enumerate(paying(accounts, amount))]


# --- cases -----------------------------------------------------------------------


def memory(size: int, loaded: int, *, are_cold: bool = False) -> Figures:
    """Bytes of this process for each of `size` waiting instances.

    Args:
        loaded: how many of them are objects; the others are packed.
        are_cold: the others are in the store only.
    """
    with fresh_store() as store:
        # Two things do not grow with the instances for ever, and are left out: the calls that are
        # kept for look-back, and the database's cache of pages.
        bench = Bench(store, loaded_instances=loaded, recent_calls=1_000, writes=False)
        if are_cold:
            bench.kernel.instances.bytes_max = 0
        begin(bench, range(WARM_UP))
        before = resident_bytes()
        begin(bench, range(WARM_UP, WARM_UP + size))
        grown = resident_bytes() - before
        if are_cold and (left := bench.kernel.instances.packed) > size // 100:
            raise SystemExit(f"{left} instances are not cold")
        return {"bytes_per_wait": round(grown / size, 1)}


def keyed(size: int, runs: int) -> Figures:
    """What a call costs when so many instances wait, each with a key of its own.

    `match_us` is finding the wait of a call, of an instance that is an object; `call_us` all that
    a kernel and its journal do for such a call; `any_call_us` the same for any instance, which may be packed.
    """
    chance = random.Random(1)
    with fresh_store() as store:
        bench = Bench(store)
        begin(bench, range(size))
        called = chance.sample(range(size), min(size, SAMPLE_MAX))
        pay(bench, called)
        calls = payments(called)
        index = bench.kernel.index
        found = [cost_us(calls, lambda call: index.find(Parsed(call))) for _ in range(runs + 1)]
        hot = [pay(bench, called) for _ in range(runs + 1)]
        anybody = [pay(bench, [chance.randrange(size) for _ in called]) for _ in range(runs)]
    return {"match_us": found[1:], "call_us": hot[1:], "any_call_us": anybody}


def pay(bench: Bench, accounts: Sequence[int]) -> float:
    """Each of the accounts was paid once; microseconds of CPU for one payment."""
    began = time.process_time_ns()
    for portion in portions(accounts):
        turns = bench.deliver("scale.paid", paying(portion))
        assert turns == len(portion), f"{len(portion)} payments led to {turns} turns"
    return round((time.process_time_ns() - began) / len(accounts) / 1_000, 3)


def keyless(size: int, runs: int, waiting: Workflow[..., Any]) -> Figures:
    """What finding nobody costs for a call when so many instances wait without a key."""
    with fresh_store() as store:
        bench = Bench(store, waiting)
        begin(bench, range(size))
        index = bench.kernel.index
        calls = payments(range(max(2, SAMPLE_MAX // size)), amount=-1)
        found = [cost_us(calls, lambda call: index.find(Parsed(call))) for _ in range(runs + 1)]
    return {"match_us": found[1:]}


def ranged(size: int, runs: int) -> Figures:
    """The same, where each instance has a bound of its own: finding nobody, and finding ten.

    `first_call_ms` is the first call, for which all the bounds are put in order.
    """
    with fresh_store() as store:
        bench = Bench(store, watcher)
        begin(bench, range(size))
        index = bench.kernel.index
        nobody, ten = (payments(range(100), amount=amount) for amount in (-1, 10))
        first = cost_us(nobody[:1], lambda call: index.find(Parsed(call))) / 1e3
        assert len(index.find(Parsed(ten[0]))[0]) == 10
        found = [
            [cost_us(calls, lambda call: index.find(Parsed(call))) for _ in range(runs + 1)]
            for calls in (nobody, ten)
        ]
    return {
        "first_call_ms": round(first, 3),
        "match_us": found[0][1:],
        "match_ten_us": found[1][1:],
    }


def wake(size: int, runs: int) -> Figures:
    """One call wakes a hundred instances among so many: until all their turns are durable."""
    cpu_ms: list[float] = []
    elapsed_ms: list[float] = []
    with fresh_store() as store:
        bench = Bench(store)
        begin(bench, range(max(0, size - WOKEN)))
        begin(bench, [size] * WOKEN)
        for _ in range(runs + 1):
            cpu, begun = time.process_time_ns(), time.perf_counter_ns()
            for _ in range(TRIES):
                turns = bench.deliver("scale.paid", paying([size]))
                assert turns == WOKEN, f"{turns} instances were woken, not {WOKEN}"
            cpu_ms.append(round((time.process_time_ns() - cpu) / TRIES / 1e6, 3))
            elapsed_ms.append(round((time.perf_counter_ns() - begun) / TRIES / 1e6, 3))
    return {"woken": WOKEN, "cpu_ms": cpu_ms[1:], "elapsed_ms": elapsed_ms[1:]}


FLOW: Final = """
@workflow
async def flow_{number}() -> None:
    first = await wait(opened).match_any()
    number: int = first.input.account
    while True:
        await wait(paid).match(account=number)
"""


def workflows(count: int, runs: int) -> Figures:
    """So many workflows wait for the same method, each with a kernel of its own, some instances each.

    In a cluster each of them has a process of its own: here are only their kernels.
    """
    chance = random.Random(1)
    code = "from raysume import wait, workflow\nfrom scale_tests.workloads import opened, paid\n"
    code += "".join(FLOW.format(number=number) for number in range(count))
    with fresh_store() as store, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many_flows.py"
        file.write_text(code, encoding="ascii")
        before, cpu = resident_bytes(), time.process_time()
        found = load(Target.of(file)).workflows
        compiled_ms = (time.process_time() - cpu) / count * 1e3
        benches = [Bench(store, found[f"flow_{number}"]) for number in range(count)]
        ready_ms = (time.process_time() - cpu) / count * 1e3
        per_workflow = (resident_bytes() - before) / count
        for number, bench in enumerate(benches):
            begin(bench, range(number * EACH, (number + 1) * EACH))
        costs: list[float] = []
        for _ in range(runs + 1):
            inputs = paying(chance.randrange(count * EACH) for _ in range(100))
            for bench in benches:
                bench.spent.clear()
            turns = sum(bench.deliver("scale.paid", inputs) for bench in benches)
            assert turns == len(inputs), f"{len(inputs)} payments led to {turns} turns"
            spent = sum(ns for bench in benches for stage in STAGES for ns in bench.spent[stage])
            costs.append(round(spent / len(inputs) / 1e3, 1))
    return {
        "workflows": count,
        "waits": count * EACH,
        "compiled_ms_per_workflow": round(compiled_ms, 2),
        "ready_ms_per_workflow": round(ready_ms, 2),
        "bytes_per_workflow": round(per_workflow),
        "call_us": costs[1:],
    }


STAGES: Final = ("decode", "apply")
"""What every kernel does for a call that is nothing to its instances."""


def run_case(name: str, size: int, runs: int) -> Figures:
    """The figures of a case, measured in this process."""
    gc.set_threshold(*limits.GARBAGE_THRESHOLDS)  # as in a pool
    match name:
        case "hot":
            return memory(size, size + WARM_UP)
        case "warm":
            return memory(size, 0)
        case "cold":
            return memory(size, 0, are_cold=True)
        case "keyed":
            return keyed(size, runs)
        case "keyless":
            return keyless(size, runs, examiner)
        case "keyless_ranged":
            return ranged(size, runs)
        case "keyless_shared":
            return keyless(size, runs, auditor)
        case "wake":
            return wake(size, runs)
        case "workflows":
            return workflows(size, runs)
        case _:
            raise SystemExit(f"there is no case {name!r}")
