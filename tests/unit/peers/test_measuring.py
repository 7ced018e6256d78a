"""One round, with a system that only writes down what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from scale_tests.peers.conversation import Refused
from scale_tests.peers.measuring import COLD_PROBES, measure
from scale_tests.peers.peer import Load, PeerFailed, Unavailable

LOAD = Load(instances=10, probes=COLD_PROBES + 3, probes_per_s=10, long_events=10, patience_s=1)


class Written:
    """A system whose memory grows by 100 bytes for each instance, and that may raise somewhere."""

    name = "written"
    set_up = "none"
    versions: Mapping[str, str] = {}

    def __init__(self, raised: dict[str, Exception] | None = None) -> None:
        self.asked: list[str] = []
        self._raised = raised or {}
        self._instances = 0

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self._raised:
            raise self._raised[what]

    def prepare(self, cache: Path) -> None:
        self._ask(f"prepare {cache}")

    def begin(self, folder: Path, load: Load) -> None:
        self._ask(f"begin {folder.name} {load.instances}")

    def start_probes(self) -> None:
        self._instances += LOAD.probes
        self._ask("start_probes")

    def start_waits(self) -> None:
        self._instances += LOAD.instances
        self._ask("start_waits")

    def probe(self) -> list[float]:
        return [1_000.0] * COLD_PROBES + [1.0, 2.0, 3.0]

    def send_all(self) -> None:
        self._ask("send_all")

    def wait_until_completed(self) -> None:
        self._ask("wait_until_completed")

    def start_long(self) -> None:
        self._ask("start_long")

    def feed_long(self, first: int, count: int) -> None:
        self._ask(f"feed_long {first} {count}")

    def wake_long(self, number: int) -> float:
        self._ask(f"wake_long {number}")
        return float(number)

    def kill_and_recover(self, number: int) -> float:
        self._ask(f"kill_and_recover {number}")
        return 0.5

    def memory_bytes(self) -> int:
        return 5_000 + 100 * self._instances

    def disk_bytes(self) -> int:
        return 7 * self._instances

    def cpu_s(self) -> float:
        return 0.001 * len(self.asked)

    def stop(self) -> None:
        self._ask("stop")


def test_a_round_asks_in_order_and_leaves_cold_probes_and_warm_memory_out(tmp_path: Path) -> None:
    peer = Written()
    found = measure(peer, LOAD, tmp_path / "data")
    assert peer.asked == [
        *("begin data 10", "start_probes", "start_waits", "send_all", "wait_until_completed"),
        *("start_long", "feed_long 0 4"),
        *(f"wake_long {number}" for number in range(4, 9)),
        *("kill_and_recover 9", "stop"),
    ]
    figures = found.figures
    assert figures["memory_per_instance_bytes"] == 100
    assert figures["disk_per_instance_bytes"] == 7
    assert figures["latency_p50_ms"] == 2
    assert figures["latency_p99_ms"] == pytest.approx(2.98)
    assert figures["cpu_per_event_us"] == pytest.approx(200)
    assert figures["long_wake_ms"] == 6
    assert figures["recovery_s"] == 0.5
    assert (found.refused, found.failed) == (None, None)


def test_what_was_measured_before_a_refusal_stands(tmp_path: Path) -> None:
    peer = Written({"feed_long 0 4": Refused("no more than 3 events")})
    found = measure(peer, LOAD, tmp_path)
    assert found.refused == "no more than 3 events"
    assert "resumed_per_s" in found.figures
    assert "recovery_s" not in found.figures
    assert peer.asked[-1] == "stop"


@pytest.mark.parametrize(
    ("error", "told"),
    [(PeerFailed("no answer"), "no answer"), (KeyError("turns"), "KeyError: 'turns'")],
)
def test_a_failure_is_told_and_the_system_stopped(
    tmp_path: Path, error: Exception, told: str
) -> None:
    peer = Written({"send_all": error})
    found = measure(peer, LOAD, tmp_path)
    assert found.failed == told
    assert "latency_p50_ms" in found.figures
    assert peer.asked[-1] == "stop"


def test_a_system_that_does_not_start_is_stopped_too(tmp_path: Path) -> None:
    peer = Written({f"begin {tmp_path.name} 10": Unavailable("no such program")})
    with pytest.raises(Unavailable, match="no such program"):
        measure(peer, LOAD, tmp_path)
    assert peer.asked[-1] == "stop"
