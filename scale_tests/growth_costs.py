"""How the cost of a call grows with the members of a pool, and with versions that live side by side.

    python -m scale_tests.growth_costs --waits 4000 --calls 10000

Every member of a pool, and the pool of every version that awaits a method, gets all calls of it:
one of them takes a call, the others look for its wait in vain. Here are only their kernels and
journals, one after the other in this process, without Ray and HTTP, on a real SQLite file with
synchronous=FULL. `members` and `versions` have, by number, microseconds of CPU for a call: of
all of them together, and of the one that does most, which on enough cores is the limit. `member_us`
is what one more member costs for each call, `version_us` what one more version does.

Of several members each owns as many shards, and about as many of the waits; of several versions
the last one has all waits, and the older ones have none any more.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from raysume import limits
from raysume.actors.garbage import collect_seldom
from raysume.storage.opening import open_store
from scale_tests.conditions import conditions
from scale_tests.kernel_costs import BATCH, Bench
from scale_tests.telling import printing_options, tell

STAGES: Final = ("decode", "apply", "encode", "store", "note")
"""What everybody does who gets a batch."""


def of_members(number: int) -> list[range]:
    """The shards of each of so many members."""
    ends = [limits.SHARDS * one // number for one in range(number + 1)]
    return [range(low, high) for low, high in itertools.pairwise(ends)]


def spent_us(bench: Bench) -> float:
    """Microseconds that the bench spent for a call: the median of the batches, of each stage."""
    return sum(statistics.median(bench.spent[stage]) for stage in STAGES) / BATCH / 1e3


def pay(benches: Sequence[Bench], waits: int, calls: int) -> int:
    """So many calls reached all of the benches; the turns that they led to."""
    chance, turns = random.Random(1), 0
    for _ in range(0, calls, BATCH):
        inputs = [b'{"account":%d,"amount":1}' % chance.randrange(waits) for _ in range(BATCH)]
        turns += sum(bench.deliver("scale.paid", inputs) for bench in benches)
    return turns


def begin(benches: Sequence[Bench], waits: int) -> None:
    """So many instances wait, each where its shard is."""
    for low in range(0, waits, BATCH):
        inputs = [b'{"account":%d}' % n for n in range(low, min(waits, low + BATCH))]
        for bench in benches:
            bench.deliver("scale.opened", inputs)
    for bench in benches:
        bench.spent.clear()


def costs(benches: Sequence[Bench], waits: int, calls: int) -> dict[str, float]:
    """What a call costs all of them together, and the one that does most."""
    turns = pay(benches, waits, calls)
    assert turns == calls, f"{calls} calls led to {turns} turns"
    each = [spent_us(bench) for bench in benches]
    return {"all_us": round(sum(each), 2), "busiest_us": round(max(each), 2)}


def members_case(folder: Path, number: int, waits: int, calls: int) -> dict[str, float]:
    """A pool of so many members."""
    with closing(open_store("", folder)) as store:
        benches = [Bench(store, shards=shards) for shards in of_members(number)]
        begin(benches, waits)
        return costs(benches, waits, calls)


def versions_case(folder: Path, number: int, waits: int, calls: int) -> dict[str, float]:
    """So many versions, of which the last one has the waits."""
    with closing(open_store("", folder)) as store:
        benches = [Bench(store, version=str(one + 1)) for one in range(number)]
        begin(benches[-1:], waits)
        return costs(benches, waits, calls)


def figures_of(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of all cases."""
    found: dict[str, dict[int, dict[str, float]]] = {"members": {}, "versions": {}}
    collect_seldom()
    for kind, case in (("members", members_case), ("versions", versions_case)):
        for number in getattr(options, kind):
            with tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder:
                found[kind][number] = case(Path(folder), number, options.waits, options.calls)
    return {
        **found,
        "member_us": one_more_us({n: one["all_us"] for n, one in found["members"].items()}),
        "version_us": one_more_us(
            {n: one["all_us"] - one["busiest_us"] for n, one in found["versions"].items()}
        ),
        "waits": options.waits,
        "calls": options.calls,
    }


def one_more_us(by_number: Mapping[int, float]) -> float:
    """What one more costs: the line of least squares; 0.0 where there is only one number."""
    if len(by_number) < 2:
        return 0.0
    slope = statistics.linear_regression(list(by_number), list(by_number.values())).slope
    return round(max(0.0, slope), 2)


def numbers(text: str) -> list[int]:
    """Numbers with commas between them, each at least 1."""
    found = [int(one) for one in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--members", type=numbers, default=[1, 2, 4, 8, 16], help="with commas")
    add("--versions", type=numbers, default=[1, 2, 4, 8, 16], help="with commas")
    add("--waits", type=int, default=4_000)
    add("--calls", type=int, default=10_000, help="a multiple of 500")
    printing_options(parser)
    options = parser.parse_args(arguments)
    if max(options.members) > limits.SHARDS:
        parser.error(f"a pool has at most {limits.SHARDS} members")
    if options.calls <= 0 or options.calls % BATCH:
        parser.error(f"--calls is a multiple of {BATCH}")
    return options


def main() -> None:
    """Everything has been measured and printed."""
    options = parsed()
    made_in = conditions("sqlite")
    tell(figures_of(options), made_in, options)


if __name__ == "__main__":
    main()
