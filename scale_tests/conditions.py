"""Where and how a measurement was made: printed with every figure, since both belong together."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final, Literal

import msgspec
import psutil

from raysume.actors.untyped import ray
from scale_tests.postgres_server import PostgresServer

StoreKind = Literal["sqlite", "postgres"]

STORES: Final[dict[StoreKind, str]] = {
    "sqlite": "sqlite, WAL, synchronous=FULL",
    "postgres": "postgres, fsync=on, synchronous_commit=on",
}
"""Every measurement writes as safely as the engine does in use."""

_ADDITIONS: Final = 2_000_000


def _stolen_s() -> float | None:
    seconds: float | None = getattr(psutil.cpu_times(), "steal", None)
    return seconds


_BEGAN: Final = (time.monotonic(), _stolen_s())


def stolen() -> dict[str, float]:
    """`stolen`: the part of the cores' time that the machine under this virtual one gave to others
    since this program began. Latencies above a few milliseconds say little where it is much.

    Empty where the system does not tell.
    """
    began_s, before = _BEGAN
    now = _stolen_s()
    if before is None or now is None:
        return {}
    elapsed = (time.monotonic() - began_s) * (os.cpu_count() or 1)
    return {"stolen": round((now - before) / max(elapsed, 1e-9), 4)}


def addition_ns() -> float:
    """Nanoseconds that one turn of a Python loop takes here and now, on one core.

    Machines of one kind differ by a factor of two, and one machine from hour to hour: figures of
    two runs are compared in proportion to this.
    """
    best = float("inf")
    for _ in range(3):
        began, total = time.perf_counter_ns(), 0
        for number in range(_ADDITIONS):
            total += number
        best = min(best, (time.perf_counter_ns() - began) / _ADDITIONS)
    return round(best, 1)


def conditions(store: StoreKind) -> dict[str, Any]:
    """Machine, versions, load and store of a measurement that is about to be printed."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "addition_ns": addition_ns(),
        "load": round(os.getloadavg()[0], 2),
        "store": STORES[store],
        "versions": {
            "raysume": version("raysume"),
            "ray": ray.__version__,
            "msgspec": msgspec.__version__,
            "python": platform.python_version(),
        },
    }


@contextmanager
def on_store(store: StoreKind) -> Generator[None, None, None]:
    """What is deployed in the block keeps its data there; a server is started for it if need be."""
    if store == "sqlite":
        yield
        return
    with PostgresServer() as server:
        given = {
            "RAYSUME_DATABASE_URL": server.create_database("scale"),
            "RAYSUME_SEAL_KEY": secrets.token_hex(32),
        }
        former = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in former.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
