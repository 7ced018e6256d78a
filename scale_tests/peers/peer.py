"""What every system under comparison does, raysume included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Unavailable(Exception):
    """The peer cannot be installed or started here: it is skipped, and the message says why."""


class PeerFailed(Exception):
    """A peer that ran did not do what was asked; the message says what it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much one round asks of a system."""

    instances: int
    """They wait for one event each."""
    probes: int
    """More instances, to which single events are sent at low load."""
    probes_per_s: float
    long_events: int
    """All events that one instance gets, the last ones after it was long already."""
    patience_s: float
    """A system that moves nothing for so long has failed."""


class Peer(Protocol):
    """One system; not running until `begin`. Methods are called in the order they stand here.

    `Refused` may be raised by any of those for the long instance: the peer has a limit there.
    """

    @property
    def name(self) -> str:
        """As it is named on the command line."""
        ...

    @property
    def set_up(self) -> str:
        """What kind of set-up this is, in a few words, printed with the figures."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Of what is measured."""
        ...

    def prepare(self, cache: Path) -> None:
        """Everything is installed.

        Raises:
            Unavailable: it cannot be.
        """
        ...

    def begin(self, folder: Path, load: Load) -> None:
        """Servers and workers run on an empty folder and take instances.

        Raises:
            Unavailable: they cannot be started.
        """
        ...

    def start_probes(self) -> None:
        """The probes wait for their event: the first instances, which warm everything up."""
        ...

    def start_waits(self) -> None:
        """All other instances of the load wait for their event."""
        ...

    def probe(self) -> list[float]:
        """For each probe the milliseconds from sending its event to its next line."""
        ...

    def send_all(self) -> None:
        """Each waiting instance was sent its event, as fast as the system takes them."""
        ...

    def wait_until_completed(self) -> None:
        """All of them have ended, durably."""
        ...

    def start_long(self) -> None:
        """One more instance waits for many events."""
        ...

    def feed_long(self, first: int, count: int) -> None:
        """It has gone past these events, which were sent as fast as the system takes them."""
        ...

    def wake_long(self, number: int) -> float:
        """Milliseconds from sending it this one event to its next line."""
        ...

    def kill_and_recover(self, number: int) -> float:
        """Seconds until a new event led to the long instance's next line again.

        They begin with SIGKILL for the process that runs the instances' code.
        """
        ...

    def memory_bytes(self) -> int:
        """Of all its processes: servers and workers, not the senders."""
        ...

    def disk_bytes(self) -> int:
        """Of all that it keeps on disk."""
        ...

    def cpu_s(self) -> float:
        """Seconds of CPU that its processes have used so far: servers and workers."""
        ...

    def stop(self) -> None:
        """Nothing that it started runs. May be called at any time."""
        ...
