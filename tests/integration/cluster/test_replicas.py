"""An engine with two ingress replicas on a small disk: replicas die and sleep, and the disk fills up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cluster.running import ANSWER_S, Engine, begin, calls_of, until
from tests.integration.ingress.processes import SmallDisk, small_disk

from raysume import Client
from raysume.limits import PARTITION_LEASE_S

INGRESS = "SERVE_REPLICA::raysume#ingress"
KEYS = [f"k{n}" for n in range(6)]
PACE_S = 0.03
_nothing = threading.Event()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """The disk that holds the engine's data."""
    folder = tmp_path_factory.mktemp("replicas") / "disk"
    with small_disk(folder, megabytes=64) as found:
        yield found


@pytest.fixture(scope="module")
def engine(disk: SmallDisk) -> Iterator[Engine]:
    """The engine, with the workflows of replica_workflows.py."""
    target = Path(__file__).with_name("replica_workflows.py")
    engine = Engine(target, disk.folder / "data", RAYSUME_INGRESS_REPLICAS="2").start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """A client of it."""
    with engine.client() as client:
        yield client


def pids(engine: Engine) -> set[int]:
    """The processes of the ingress replicas that live."""
    return {one["pid"] for name, one in engine.actors().items() if name.startswith(INGRESS)}


def both(engine: Engine, *, without: int = 0) -> set[int]:
    """The processes of two replicas, as soon as there are two."""

    def look() -> set[int] | None:
        found = pids(engine) - {0, without}
        return found if len(found) == 2 else None

    return until(look)


class Stream:
    """Numbered calls for every key, one after the other, until it is told to end."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.numbers = 0
        self.failed: BaseException | None = None
        self._grown = threading.Condition()

    def _calls(self) -> Iterator[dict[str, Any]]:
        while not self.ending.wait(PACE_S):
            for key in KEYS:
                yield calls_of("replicas.ticked", key, [self.numbers])[0]
            with self._grown:
                self.numbers += 1
                self._grown.notify_all()
        for key in KEYS:
            yield from calls_of("replicas.ticked", key, [-1])

    def push(self, client: Client) -> None:
        """All of it is accepted."""
        try:
            client.push_many(self._calls())
        except BaseException as error:
            self.failed = error

    def flows(self, more: int) -> None:
        """So many more calls for each key were taken from it."""
        with self._grown:
            wanted = self.numbers + more
            assert self._grown.wait_for(lambda: self.numbers >= wanted, ANSWER_S), self.failed


def test_a_clients_stream_stays_whole_and_in_order_though_replicas_die_and_sleep(
    engine: Engine, client: Client
) -> None:
    runs = {key: begin(client, "counting", "replicas.begun", key) for key in KEYS}
    stream = Stream()
    pushing = threading.Thread(target=stream.push, args=(client,))
    pushing.start()
    try:
        stream.flows(50)
        dead = min(both(engine))
        os.kill(dead, signal.SIGKILL)
        stream.flows(50)
        sleeper = max(both(engine, without=dead))
        os.kill(sleeper, signal.SIGSTOP)
        try:
            _nothing.wait(PARTITION_LEASE_S + 6)
        finally:
            os.kill(sleeper, signal.SIGCONT)
        stream.flows(50)
    finally:
        stream.ending.set()
        pushing.join(5 * ANSWER_S)
    assert stream.failed is None
    assert not pushing.is_alive()
    for run in runs.values():
        assert run.result(timeout=ANSWER_S) == list(range(stream.numbers))
    assert engine.stored_calls() == (stream.numbers + 2) * len(KEYS)


def test_a_full_disk_stops_acceptance_and_pools_come_back_by_themselves(
    engine: Engine, client: Client, disk: SmallDisk
) -> None:
    both(engine)
    nap = begin(client, "napping", "replicas.nap_asked", "nap", 3)
    counted = begin(client, "counting", "replicas.begun", "full")
    with engine.http() as http:
        push = {"method": "replicas.ticked", "input": {"key": "full", "n": 1}, "output": True}
        disk.fill()
        large = {**push, "input": {"key": "x" * 100_000, "n": 1}}

        def refused() -> bool | None:
            answer = http.post("/v1/calls", json=large)
            if answer.status_code == 202:
                return None
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            return True

        until(refused)
        processes: set[int] = set()
        for _ in range(100):  # ten seconds, in which the timer is due and cannot be recorded
            actors = engine.actors()
            processes |= {one["pid"] for name, one in actors.items() if name.startswith("napping@")}
            _nothing.wait(0.1)
        assert len(processes) <= 12, "it waits longer and longer between two attempts"
        disk.free()

        def accepted() -> bool | None:
            return True if http.post("/v1/calls", json=push).status_code == 202 else None

        until(accepted)
        until(lambda: http.get("/v1/health").json()["status"] == "ok" or None)
    client.push("replicas.ticked", input={"key": "full", "n": -1}, output=True)
    assert counted.result(timeout=ANSWER_S) == [1]
    assert nap.result(timeout=ANSWER_S) == "nap"
