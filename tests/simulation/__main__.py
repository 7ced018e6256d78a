"""Many seeds of the simulation, on all cores: `python -m tests.simulation --seeds 20000`."""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.seeds import be_silent, replay_command, run_cluster, run_world

TOLD_EVERY_S = 30.0
"""Seconds between two lines that say how far it is."""


COLLECTED_EVERY = 5
"""Seeds of one process between two collections of garbage, which take a sixth of the time if
Python chooses when."""

_begun = itertools.count()


def begin() -> None:
    """A process is about to run seeds."""
    be_silent()
    gc.disable()
    gc.freeze()  # what is imported stays


def run(seed: int) -> tuple[int, str, str]:
    """(seed, digest, failure); the failure is empty when there was none."""
    if next(_begun) % COLLECTED_EVERY == 0:
        gc.collect()
    try:
        run_world(seed)
        return seed, run_cluster(seed).digest, ""
    except Exception as error:
        return seed, "", "".join(traceback.format_exception(error))


def main() -> int:
    """The process's exit code: 0 when every seed held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--digests", action="store_true", help="print what each run came to")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    failing: list[int] = []
    began = told = time.monotonic()
    with ProcessPoolExecutor(min(asked.jobs, len(seeds)), initializer=begin) as workers:
        for done, (seed, digest, failure) in enumerate(workers.map(run, seeds, chunksize=4), 1):
            if asked.digests:
                print(f"{seed} {digest}", flush=True)
            if failure:
                failing.append(seed)
                print(f"{failure}\nseed {seed} failed: {replay_command(seed)}", flush=True)
            if time.monotonic() > told + TOLD_EVERY_S or done == len(seeds):
                told = time.monotonic()
                rate = done / max(told - began, 0.001)
                print(
                    f"{done:,} of {len(seeds):,} seeds, {len(failing)} failed, {rate:.1f}/s",
                    flush=True,
                )
    for seed in sorted(failing):
        print(replay_command(seed))
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
