"""Calls pushed through HTTP, matched, resumed and committed, while many instances wait.

    python -m scale_tests.pushed_calls --waits 10000 --seconds 10 --json

Everything runs on this machine, the load generator included, on SQLite unless --store says
otherwise. After some seconds to warm up, calls are pushed several times: the figures are those of
the run in the middle, `spread` has the others. Latency is what a client sees at low load: from
sending a call to holding the result of the instance that it resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from raysume.client import AsyncClient, AsyncRun
from raysume.errors import NotFound
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development
from scale_tests.conditions import STORES, conditions
from scale_tests.measuring import (
    Engine,
    cpu_of_engine,
    fresh_folder,
    open_instances,
    percentile,
    spread,
    tell,
)
from scale_tests.pushing import Load, push_for

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


def run(options: argparse.Namespace, data_dir: Path) -> list[Figures]:
    """Several measurements of one engine on a fresh data directory."""
    rng = random.Random(options.seed)
    load = Load(batch=options.batch, connections=options.connections, is_single=options.single)
    with Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development:
        engine = Engine(development, POOL)
        bytes_per_wait = open_instances(development, engine, "scale.opened", options.waits)
        latencies = asyncio.run(measure_latency(development, probes=options.probes, rate=50))
        counts = [0] * options.waits
        first = engine.stats()["turns"]
        asyncio.run(push_for(development, load, payment, rng, counts, WARM_UP_S))
        engine.wait_for_turns(first + sum(counts), patience_s=20)
        found: list[Figures] = []
        for _ in range(options.runs):
            before, cpu, sent = engine.stats()["turns"], cpu_of_engine(), sum(counts)
            own_cpu, begun = time.process_time(), time.monotonic()
            pushed_s = asyncio.run(
                push_for(development, load, payment, rng, counts, options.seconds)
            )
            accepted = sum(counts) - sent
            turns = engine.wait_for_turns(before + accepted, patience_s=20)["turns"] - before
            took = time.monotonic() - begun
            found.append(
                Figures(
                    accepted_per_s=round(accepted / pushed_s, 1),
                    committed_per_s=round(turns / took, 1),
                    lost=accepted - turns,
                    behind_s=round(took - pushed_s, 2),
                    resume_p50_ms=round(percentile(latencies, 50), 2),
                    resume_p99_ms=round(percentile(latencies, 99), 2),
                    cpu_us_per_call=round((cpu_of_engine() - cpu) / accepted * 1e6, 1),
                    client_cpu_us_per_call=round(
                        (time.process_time() - own_cpu) / accepted * 1e6, 1
                    ),
                    bytes_per_wait=round(bytes_per_wait, 1),
                    calls=accepted,
                    waits=options.waits,
                    seconds=round(took, 2),
                    batch=options.batch,
                    connections=options.connections,
                )
            )
        turns = engine.stats()["turns"] - first
        found[0] = replace(
            found[0], lost=max(found[0].lost, count_lost(engine, counts, turns, rng))
        )
        return found


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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    options = parser.parse_args(arguments)
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
    tell(line, made_in if options.json else {}, as_json=options.json)


if __name__ == "__main__":
    main()
