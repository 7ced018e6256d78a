"""One round of one system: every figure once."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scale_tests.peers.conversation import Refused
from scale_tests.peers.peer import Load, Peer, PeerFailed, Unavailable

WAKES: Final = 5
"""Single events to the long instance, before it is killed."""
AFTER_KILL: Final = 1
"""The event that shows that it is back."""
COLD_PROBES: Final = 3
"""The first ones open connections; they are left out."""
PROBES_MIN: Final = COLD_PROBES + 2
LONG_EVENTS_MIN: Final = WAKES + AFTER_KILL + 1


@dataclass(slots=True, kw_only=True)
class Round:
    """What one round found."""

    figures: dict[str, float] = field(default_factory=dict[str, float])
    refused: str | None = None
    """Why the system did not do all of the long instance, by a limit of its own."""
    failed: str | None = None
    """What went wrong; the figures before it stand."""


def measure(peer: Peer, load: Load, folder: Path) -> Round:
    """The figures of one round. The system does not run afterwards.

    Raises:
        Unavailable: it did not start.
    """
    found = Round()
    try:
        peer.begin(folder, load)
        _measure_waits(peer, load, found.figures)
        _measure_latency(peer, found.figures)
        _measure_resuming(peer, load, found.figures)
        _measure_long(peer, load, found.figures)
    except Refused as reason:
        found.refused = str(reason)
    except Unavailable:
        raise
    except PeerFailed as reason:
        found.failed = str(reason)
    except Exception as error:
        # Whatever breaks one system, the figures of the others are worth their hour.
        found.failed = f"{type(error).__name__}: {error}"
    finally:
        peer.stop()
    return found


def _measure_waits(peer: Peer, load: Load, figures: dict[str, float]) -> None:
    peer.start_probes()
    memory, disk = peer.memory_bytes(), peer.disk_bytes()
    peer.start_waits()
    count = load.instances
    figures["memory_per_instance_bytes"] = round((peer.memory_bytes() - memory) / count, 1)
    figures["disk_per_instance_bytes"] = round((peer.disk_bytes() - disk) / count, 1)


def _measure_latency(peer: Peer, figures: dict[str, float]) -> None:
    found = peer.probe()[COLD_PROBES:]
    figures["latency_p50_ms"] = round(statistics.median(found), 2)
    figures["latency_p99_ms"] = round(statistics.quantiles(found, n=100, method="inclusive")[98], 2)


def _measure_resuming(peer: Peer, load: Load, figures: dict[str, float]) -> None:
    cpu_s, began = peer.cpu_s(), time.monotonic()
    peer.send_all()
    accepted_s = time.monotonic() - began
    peer.wait_until_completed()
    took_s = time.monotonic() - began
    figures["accepted_per_s"] = round(load.instances / accepted_s, 1)
    figures["resumed_per_s"] = round(load.instances / took_s, 1)
    figures["cpu_per_event_us"] = round((peer.cpu_s() - cpu_s) / load.instances * 1e6, 1)


def _measure_long(peer: Peer, load: Load, figures: dict[str, float]) -> None:
    fed = load.long_events - WAKES - AFTER_KILL
    peer.start_long()
    began = time.monotonic()
    peer.feed_long(0, fed)
    figures["long_events_per_s"] = round(fed / (time.monotonic() - began), 1)
    wakes = [peer.wake_long(number) for number in range(fed, fed + WAKES)]
    figures["long_wake_ms"] = round(statistics.median(wakes), 2)
    figures["recovery_s"] = round(peer.kill_and_recover(fed + WAKES), 2)
