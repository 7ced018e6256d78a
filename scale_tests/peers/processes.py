"""CPU, memory and disk of the systems that are measured, seen from outside."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def family(roots: Iterable[int]) -> list[psutil.Process]:
    """The processes with these ids and all their descendants, each once."""
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found |= {one.pid: one for one in (root, *root.children(recursive=True))}
    return list(found.values())


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Seconds of CPU used so far, also by their children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Resident memory; what several of them share counts once."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def folder_bytes(folder: Path) -> int:
    """What is written in the files of the folder; what is only set aside for them is not counted."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_size
    return total


def descendants() -> list[psutil.Process]:
    """All processes that this one has started, directly or not, and that still run."""
    return psutil.Process().children(recursive=True)
