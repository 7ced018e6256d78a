"""Calls pushed through HTTP, matched, resumed and committed, while many instances wait.

    python -m scale_tests.pushed_calls --waits 10000 --seconds 10 --json

Everything runs on this machine, the load generator included, on SQLite unless --store says
otherwise. After some seconds to warm up, calls are pushed several times: the figures are those of
the run in the middle, `spread` has the others. Latency is what a client sees at low load: from
sending a call to holding the result of the instance that it resumed. `cpu_us_by_process` has the
CPU of each kind of process for one call, `busiest_thread_us` that of the busiest thread of each.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from raysume import configure, limits
from raysume.client import AsyncClient, AsyncRun
from raysume.errors import NotFound
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development
from scale_tests.conditions import STORES, conditions
from scale_tests.measuring import (
    Engine,
    fresh_folder,
    open_instances,
    percentile,
    spread,
)
from scale_tests.processes import KindUsed, cpu_by_process, used_between
from scale_tests.pushing import Load, push_for
from scale_tests.telling import printing_options, tell

WORKLOADS = Path(__file__).with_name("workloads.py")
POOL = "account"
WARM_UP_S = 3.0
SPREAD = ("accepted_per_s", "committed_per_s", "cpu_us_per_call")
"""What is told of every run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run printed."""

    accepted_per_s: float
    committed_per_s: float
    lost: int
    behind_s: float
    """How long it took after the last call was accepted until all were committed."""
    resume_p50_ms: float
    resume_p99_ms: float
    cpu_us_per_call: float
    """CPU of the engine's processes; the load generator's is `client_cpu_us_per_call`."""
    client_cpu_us_per_call: float
    cpu_us_by_process: dict[str, float]
    """The same by kind of process; `pool` is that of the workflow that is called, all members
    together, and `generator` the load generator."""
    busiest_thread_us: dict[str, float]
    """Of each kind, CPU of its busiest thread for a call: no process of it does more than one in
    so long."""
    members: int
    """Of the pool."""
    replicas: int
    """Of the ingress."""
    bytes_per_wait: float
    calls: int
    waits: int
    seconds: float
    batch: int
    connections: int


async def measure_latency(development: Development, *, probes: int, rate: float) -> list[float]:
    """Milliseconds from sending a call to holding the result of the instance it resumed."""
    async with AsyncClient(development.url, development.token) as client:
        ids = [f"probe-{number}" for number in range(probes)]
        await client.push_many(
            {"method": "scale.prepared", "id": id, "input": {"probe": number}}
            for number, id in enumerate(ids)
        )
        runs = [await _instance(client, instance_id_of("probe", id)) for id in ids]

        async def one(number: int) -> float:
            await asyncio.sleep(number / rate)
            result = asyncio.create_task(runs[number].result(timeout=30))
            await asyncio.sleep(0.25)
            begun = time.perf_counter()
            await client.push("scale.asked", input={"probe": number})
            await result
            return (time.perf_counter() - begun) * 1_000

        return list(await asyncio.gather(*(one(number) for number in range(probes))))


async def _instance(client: AsyncClient, id: str) -> AsyncRun[Any]:
    """The probe, once it waits for its question."""
    while True:
        try:
            run = await client.instance(id, workflow="probe")
            if await run.status() == "waiting":
                return run
        except NotFound:
            pass
        await asyncio.sleep(0.02)


def payment(account: int) -> dict[str, Any]:
    """A payment into the account."""
    return {"method": "scale.paid", "input": {"account": account, "amount": 3, "note": "x" * 40}}


def count_lost(engine: Engine, counts: list[int], turns: int, rng: random.Random) -> int:
    """Accepted calls without a durable turn; a sample of the accounts is compared one by one."""
    lost = sum(counts) - turns
    for account in rng.sample(range(len(counts)), min(200, len(counts))):
        state = engine.state(instance_id_of(POOL, f"open-{account}"))
        payments = int(state["frames"][0]["locals"]["payments"])
        if payments != counts[account]:
            lost = max(lost, 1)
            print(f"account {account}: {payments} of {counts[account]}", file=sys.stderr)
    return lost


def kinds_of(pools: Mapping[str, int]) -> dict[int, str]:
    """Process -> `pool` for the members of the pool that is called, `other pools` for the others.

    Args:
        pools: name -> process.
    """
    return {
        pid: "pool" if name.startswith(f"{POOL}@") else "other pools" for name, pid in pools.items()
    }


def per_call(used: Mapping[str, KindUsed], generator_s: float, calls: int) -> dict[str, Any]:
    """The figures of CPU, from what each kind of process used for so many calls."""

    def us(seconds: float) -> float:
        return round(seconds / calls * 1e6, 1)

    by_kind = sorted(used.items(), key=lambda one: -one[1].seconds)
    return {
        "cpu_us_per_call": us(sum(one.seconds for one in used.values())),
        "client_cpu_us_per_call": us(generator_s),
        "cpu_us_by_process": {kind: us(one.seconds) for kind, one in by_kind}
        | {"generator": us(generator_s)},
        "busiest_thread_us": {kind: us(one.busiest_thread_s) for kind, one in by_kind},
    }


class Pushing:
    """Measures one engine."""

    def __init__(self, options: argparse.Namespace, development: Development) -> None:
        self._options, self._development = options, development
        self._engine = Engine(development, POOL)
        self._rng = random.Random(options.seed)
        self._load = Load(
            batch=options.batch, connections=options.connections, is_single=options.single
        )
        self._counts = [0] * options.waits

    def measure(self) -> list[Figures]:
        """The figures of all runs."""
        options, engine = self._options, self._engine
        bytes_per_wait = open_instances(self._development, engine, "scale.opened", options.waits)
        latencies = asyncio.run(measure_latency(self._development, probes=options.probes, rate=50))
        first = engine.stats()["turns"]
        self._push(WARM_UP_S)
        engine.wait_for_turns(first + sum(self._counts), patience_s=20)
        found = [self._run(latencies, bytes_per_wait) for _ in range(options.runs)]
        turns = engine.stats()["turns"] - first
        lost = count_lost(engine, self._counts, turns, self._rng)
        found[0] = replace(found[0], lost=max(found[0].lost, lost))
        return found

    def _run(self, latencies: list[float], bytes_per_wait: float) -> Figures:
        kinds = kinds_of(self._development.pool_pids())
        before, sent = self._engine.stats()["turns"], sum(self._counts)
        used, own_cpu, begun = cpu_by_process(kinds), time.process_time(), time.monotonic()
        pushed_s = self._push(self._options.seconds)
        accepted = sum(self._counts) - sent
        turns = self._engine.wait_for_turns(before + accepted, patience_s=20)["turns"] - before
        took, own_cpu = time.monotonic() - begun, time.process_time() - own_cpu
        return Figures(
            accepted_per_s=round(accepted / pushed_s, 1),
            committed_per_s=round(turns / took, 1),
            lost=accepted - turns,
            behind_s=round(took - pushed_s, 2),
            resume_p50_ms=round(percentile(latencies, 50), 2),
            resume_p99_ms=round(percentile(latencies, 99), 2),
            **per_call(used_between(used, cpu_by_process(kinds)), own_cpu, accepted),
            members=self._options.members,
            replicas=self._options.replicas,
            bytes_per_wait=round(bytes_per_wait, 1),
            calls=accepted,
            waits=self._options.waits,
            seconds=round(took, 2),
            batch=self._options.batch,
            connections=self._options.connections,
        )

    def _push(self, seconds: float) -> float:
        return asyncio.run(
            push_for(self._development, self._load, payment, self._rng, self._counts, seconds)
        )


def run(options: argparse.Namespace, data_dir: Path) -> list[Figures]:
    """Several measurements of one engine on a fresh data directory."""
    configure(pool_members=options.members, ingress_replicas=options.replicas)
    with Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development:
        return Pushing(options, development).measure()


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=10_000, help="instances that wait")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long calls are pushed")
    parser.add_argument("--batch", type=int, default=500, help="calls in one request")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--single", action="store_true", help="one call in each request")
    parser.add_argument("--store", choices=sorted(STORES), default="sqlite")
    parser.add_argument("--runs", type=int, default=3, help="how often calls are pushed so long")
    parser.add_argument("--probes", type=int, default=200, help="latencies measured")
    parser.add_argument("--members", type=int, default=1, help="of each pool")
    parser.add_argument("--replicas", type=int, default=1, help="of the ingress")
    parser.add_argument("--seed", type=int, default=1)
    printing_options(parser)
    options = parser.parse_args(arguments)
    if not 1 <= options.members <= limits.SHARDS:
        parser.error(f"--members is from 1 to {limits.SHARDS}")
    if options.single:
        options.batch = 1
    return options


def main() -> None:
    """Runs the measurement and prints its figures."""
    options = parsed()
    made_in = conditions(options.store)
    with fresh_folder(options.store) as folder:
        found = run(options, folder)
    figures = sorted(found, key=lambda one: one.committed_per_s)[len(found) // 2]
    figures = replace(figures, lost=max(one.lost for one in found))
    line = asdict(figures) | {"spread": spread(found, SPREAD)}
    tell(line, made_in, options)


if __name__ == "__main__":
    main()
