"""What one request costs Ray Serve when nothing is done with it: the floor of one call a request.

    python -m scale_tests.serve_costs --json

An application that answers 202 at once stands behind the same proxy as the ingress, in a process of
its own; requests of the size of a call come from as many connections as there are for
`pushed_calls --single`. What `pushed_calls --single` takes beyond this is raysume's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from raysume.actors.garbage import collect_seldom
from raysume.actors.untyped import serve
from raysume.serve_apps.development import Development
from scale_tests.conditions import conditions
from scale_tests.measuring import spread
from scale_tests.processes import cpu_by_process, used_between
from scale_tests.pushed_calls import WORKLOADS, payment, per_call
from scale_tests.pushing import Load, push_for
from scale_tests.telling import printing_options, tell

PATH: Final = "/bare"
WARM_UP_S: Final = 2.0
SPREAD: Final = ("answered_per_s", "cpu_us_per_call")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run showed; CPU as in `pushed_calls`. The application's process is most of `other`."""

    answered_per_s: float
    cpu_us_per_call: float
    client_cpu_us_per_call: float
    cpu_us_by_process: dict[str, float]
    busiest_thread_us: dict[str, float]
    calls: int
    connections: int


class Bare:
    """Answers everything at once."""

    def __init__(self) -> None:
        collect_seldom()

    def __serve_build_asgi_app__(self) -> Any:
        return answer


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """202, when the whole body is there."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def push(development: Development, connections: int, seconds: float) -> tuple[int, float]:
    """How many requests were answered, and the seconds that took."""
    load = Load(batch=1, connections=connections, is_single=True, path=PATH)
    answered = [0]
    took = asyncio.run(push_for(development, load, payment, random.Random(1), answered, seconds))
    return answered[0], took


def measure(development: Development, options: argparse.Namespace) -> Figures:
    """The figures of one run."""
    kinds = dict.fromkeys(development.pool_pids().values(), "pool")
    before, own = cpu_by_process(kinds), time.process_time()
    calls, took = push(development, options.connections, options.seconds)
    used, own = used_between(before, cpu_by_process(kinds)), time.process_time() - own
    return Figures(
        answered_per_s=round(calls / took, 1),
        calls=calls,
        connections=options.connections,
        **per_call(used, own, calls),
    )


def run(options: argparse.Namespace, data_dir: Path) -> list[Figures]:
    """The figures of several runs."""
    with Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development:
        deployment = serve().deployment(
            serve().ingress()(Bare),
            name="bare",
            max_ongoing_requests=1_000,
            ray_actor_options={"num_cpus": 0.01},
        )
        serve().run(deployment.bind(), name="bare", route_prefix=PATH)
        push(development, options.connections, WARM_UP_S)
        return [measure(development, options) for _ in range(options.runs)]


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each run lasts")
    parser.add_argument("--runs", type=int, default=3)
    printing_options(parser)
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the measurement and prints its figures."""
    options = parsed()
    made_in = conditions("sqlite")
    with tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder:
        found = run(options, Path(folder))
    figures = sorted(found, key=lambda one: one.answered_per_s)[len(found) // 2]
    tell(asdict(figures) | {"spread": spread(found, SPREAD)}, made_in, options)


if __name__ == "__main__":
    main()
