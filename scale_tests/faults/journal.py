"""What clients were told was accepted: lines on disk, each fsynced before it counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """One call as the client made it."""

    method: str
    """The last part of its URN."""
    key: str
    n: int


class Started(msgspec.Struct, array_like=True, frozen=True):
    """An instance that was started by its id."""

    id: str
    group: str


class Line(msgspec.Struct, frozen=True):
    """One answer of the engine."""

    at: float
    """Seconds since the epoch, when the answer had come."""
    calls: list[Sent] = []
    starts: list[Started] = []


class Journal:
    """Written by one client, by any of its threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._lock = threading.Lock()

    def write(self, line: Line) -> None:
        """The line is on disk."""
        with self._lock:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """The file is closed."""
        self._file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """All that was acknowledged to all clients."""

    calls: list[Sent]
    starts: list[Started]
    moments: list[float]
    """When answers came, in order."""

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Acknowledged:
        """What the journals say. A line that was cut off was not on disk: it does not count."""
        lines = [line for path in paths for line in _lines(path)]
        return cls(
            calls=[call for line in lines for call in line.calls],
            starts=[start for line in lines for start in line.starts],
            moments=sorted(line.at for line in lines),
        )


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_bytes().split(b"\n")[:-1]:
        yield msgspec.json.decode(text, type=Line)
