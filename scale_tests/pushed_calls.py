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
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from raysume.actors.untyped import actor_named, ray
from raysume.client import AsyncClient, AsyncRun
from raysume.errors import NotFound
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development
from scale_tests.conditions import STORES, conditions, on_store

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


class Engine:
    """Looks at the running engine from outside its hot path."""

    def __init__(self, development: Development, pool: str = POOL) -> None:
        self._pool = next(
            actor_named(name) for name in development.pool_pids() if name.startswith(pool + "@")
        )

    def stats(self) -> dict[str, Any]:
        """The figures of the pool."""
        stats: dict[str, Any] = ray.get(self._pool.stats.remote())
        return stats

    def state(self, instance: str) -> dict[str, Any]:
        """The saved state of an instance."""
        state: dict[str, Any] = ray.get(self._pool.state.remote(instance))
        return state

    def wait_for_turns(self, turns: int, *, patience_s: float) -> dict[str, Any]:
        """The stats, once that many turns are durable or nothing has moved for `patience_s`."""
        seen, since = -1, time.monotonic()
        while True:
            stats = self.stats()
            if stats["turns"] >= turns or time.monotonic() - since > patience_s:
                return stats
            if stats["turns"] != seen:
                seen, since = stats["turns"], time.monotonic()
            time.sleep(0.02)


def cpu_of_engine() -> float:
    """Seconds of CPU used so far by every process that this one started, directly or not."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


async def push_for(
    development: Development,
    options: argparse.Namespace,
    rng: random.Random,
    counts: list[int],
    seconds: float,
) -> float:
    """Payments are pushed for the time asked, and counted by account; the seconds taken."""
    stop = time.monotonic() + seconds
    encoder = msgspec.json.Encoder()
    limits = httpx.Limits(max_connections=options.connections)
    path = "/v1/calls" if options.single else "/v1/calls:batch"

    async def worker(client: httpx.AsyncClient) -> None:
        while time.monotonic() < stop:
            accounts = [rng.randrange(options.waits) for _ in range(options.batch)]
            calls = [
                {"method": "scale.paid", "input": {"account": one, "amount": 3, "note": "x" * 40}}
                for one in accounts
            ]
            answer = await client.post(
                path, content=encoder.encode(calls[0] if options.single else calls)
            )
            if answer.status_code == 429:
                await asyncio.sleep(float(answer.headers.get("retry-after", "0.1")))
                continue
            if answer.status_code != 202:
                raise SystemExit(f"refused: {answer.status_code} {answer.text[:500]}")
            for one in accounts:
                counts[one] += 1

    begun = time.monotonic()
    async with httpx.AsyncClient(
        base_url=development.url,
        headers={
            "Authorization": f"Bearer {development.token}",
            "Content-Type": "application/json",
        },
        limits=limits,
        timeout=30,
        trust_env=False,
    ) as client:
        await asyncio.gather(*(worker(client) for _ in range(options.connections)))
    return time.monotonic() - begun


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


def open_accounts(development: Development, engine: Engine, waits: int) -> float:
    """`waits` instances wait for payments; bytes of the pool's memory for each."""
    before = engine.stats()["rss_bytes"]
    with development.client() as client:
        client.push_many(
            {"method": "scale.opened", "id": f"open-{number}", "input": {"account": number}}
            for number in range(waits)
        )
    stats = engine.wait_for_turns(waits, patience_s=30)
    if stats["instances"]["waiting"] != waits:
        raise SystemExit(f"{stats['instances']} instances instead of {waits} waiting")
    return float(stats["rss_bytes"] - before) / waits


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
    with Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development:
        engine = Engine(development)
        bytes_per_wait = open_accounts(development, engine, options.waits)
        latencies = asyncio.run(measure_latency(development, probes=options.probes, rate=50))
        counts = [0] * options.waits
        first = engine.stats()["turns"]
        asyncio.run(push_for(development, options, rng, counts, WARM_UP_S))
        engine.wait_for_turns(first + sum(counts), patience_s=20)
        found: list[Figures] = []
        for _ in range(options.runs):
            before, cpu, sent = engine.stats()["turns"], cpu_of_engine(), sum(counts)
            own_cpu, begun = time.process_time(), time.monotonic()
            pushed_s = asyncio.run(push_for(development, options, rng, counts, options.seconds))
            accepted = sum(counts) - sent
            turns = engine.wait_for_turns(before + accepted, patience_s=20)["turns"] - before
            took = time.monotonic() - begun
            found.append(
                Figures(
                    accepted_per_s=round(accepted / pushed_s, 1),
                    committed_per_s=round(turns / took, 1),
                    lost=accepted - turns,
                    behind_s=round(took - pushed_s, 2),
                    resume_p50_ms=round(statistics.median(latencies), 2),
                    resume_p99_ms=round(statistics.quantiles(latencies, n=100)[98], 2),
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


def spread(found: list[Figures], name: str) -> list[float]:
    """One figure of all runs, from the least to the greatest."""
    return sorted(getattr(one, name) for one in found)


def main() -> None:
    """Runs the measurement and prints its figures."""
    options = parsed()
    made_in = conditions(options.store)
    with (
        tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder,
        on_store(options.store),
    ):
        found = run(options, Path(folder))
    figures = sorted(found, key=lambda one: one.committed_per_s)[len(found) // 2]
    figures = replace(figures, lost=max(one.lost for one in found))
    line = asdict(figures) | {"spread": {name: spread(found, name) for name in SPREAD}}
    if options.json:
        print(json.dumps(line | {"conditions": made_in}))
        return
    for name, value in line.items():
        print(f"{name:<24} {value!s:>14}")


if __name__ == "__main__":
    main()
