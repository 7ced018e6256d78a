"""The engine's processes, told apart by what they call themselves."""

from __future__ import annotations

from collections.abc import Mapping
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
