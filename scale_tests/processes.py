"""The engine's processes, told apart by what they call themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil

Part = Literal["pool", "directory", "ingress", "runner", "controller", "proxy"]
"""A kind of the engine's processes."""

TITLES: Final[Mapping[Part, str]] = {
    "pool": "ray::Pool",
    "directory": "ray::Directory",
    "ingress": "ray::ServeReplica:raysume:ingress",
    "runner": "ray::Runner",
    "controller": "ray::ServeController",
    "proxy": "ray::ProxyActor",
}
"""How the process of an actor calls itself."""


PROGRAMS: Final[Mapping[str, str]] = {
    "haproxy": "haproxy",
    "gcs_server": "gcs",
    "raylet": "raylet",
    "postgres": "postgres",
}
"""What is no actor, by the file name of its program."""


def part_of(title: str) -> Part | None:
    """The part whose process calls itself so; None: it is Ray's own, or nobody's."""
    for part, begin in TITLES.items():
        if title.startswith(begin):
            return part
    return None


def resident_mb() -> dict[str, float]:
    """Memory (RSS, MB) of every part, of `ray` (all of its own processes) and of the `engine`.

    The engine is everything that this process started, directly or not.
    """
    found: dict[str, float] = {"engine": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
            held = process.memory_info().rss / 1e6
        except psutil.Error:
            continue  # it has just ended
        name = part_of(title) or "ray"
        found[name] = found.get(name, 0.0) + held
        found["engine"] += held
    return found


# --- CPU -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Used:
    """CPU that a process has used so far."""

    kind: str
    seconds: float
    threads: Mapping[int, float]
    """Thread -> seconds."""


@dataclass(slots=True)
class KindUsed:
    """CPU that all processes of one kind used meanwhile."""

    seconds: float = 0.0
    busiest_thread_s: float = 0.0
    """Of all threads of all these processes, the one that used most."""


def kind_of(title: str) -> str:
    """The kind of process that calls itself so: a part of the engine, a program, or `other`.

    The proxy has two: HAProxy itself, and the actor of Ray's beside it.
    """
    if title.startswith("ray::HAProxyManager"):
        return "proxy"
    program = Path(title.partition(":")[0]).name  # PostgreSQL's call themselves "postgres: writer"
    return part_of(title) or PROGRAMS.get(program, "other")


def cpu_by_process(kinds: Mapping[int, str]) -> dict[int, Used]:
    """Process -> what it has used, of every one that this one started, directly or not.

    Args:
        kinds: the kinds of some of them, which their titles do not tell.
    """
    found: dict[int, Used] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            found[process.pid] = Used(
                kinds.get(process.pid) or kind_of((process.cmdline() or [""])[0]),
                times.user + times.system,
                {one.id: one.user_time + one.system_time for one in process.threads()},
            )
        except psutil.Error:
            continue  # it has just ended
    return found


def used_between(before: Mapping[int, Used], after: Mapping[int, Used]) -> dict[str, KindUsed]:
    """What each kind of process used between two looks. Of those that ended, nothing is known."""
    found: dict[str, KindUsed] = {}
    for pid, now in after.items():
        then = before.get(pid)
        if then is None or then.seconds > now.seconds:  # another process under the same number
            then = Used(now.kind, 0.0, {})
        kind = found.setdefault(now.kind, KindUsed())
        kind.seconds += now.seconds - then.seconds
        busiest = max(
            (used - then.threads.get(id, 0.0) for id, used in now.threads.items()), default=0.0
        )
        kind.busiest_thread_s = max(kind.busiest_thread_s, busiest)
    return found
