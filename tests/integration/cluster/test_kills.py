"""Under a stream of calls, the processes of the engine are killed: nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.integration.cluster.running import ANSWER_S, Engine, begin, calls_of

from raysume import Client

KEYS = [f"stream-{n}" for n in range(12)]
INGRESS = "SERVE_REPLICA::raysume#ingress"
PARTS = ("counting@", "raysume-directory", INGRESS)
ROUNDS = 3
PACE_S = 0.002


class Stream:
    """Calls for every key, numbered, until it is told to end; then the call that ends each."""

    def __init__(self) -> None:
        self.pushed: dict[str, list[int]] = defaultdict(list)
        self.ending = threading.Event()
        self.failed: BaseException | None = None
        self._grown = threading.Condition()
        self._count = 0

    def calls(self) -> Iterator[dict[str, Any]]:
        """What to push."""
        while not self.ending.wait(PACE_S):
            key = KEYS[self._count % len(KEYS)]
            number = self._count // len(KEYS)
            yield calls_of("engine.ticked", key, [number])[0]
            self.pushed[key].append(number)
            with self._grown:
                self._count += 1
                self._grown.notify_all()
        for key in KEYS:
            yield from calls_of("engine.ticked", key, [-1])

    def push(self, client: Client) -> None:
        """All of it is accepted."""
        try:
            client.push_many(self.calls())
        except BaseException as error:
            self.failed = error

    def flows(self, more: int) -> None:
        """So many more calls were taken from it."""
        with self._grown:
            wanted = self._count + more
            assert self._grown.wait_for(lambda: self._count >= wanted, ANSWER_S), self.failed


def test_kills_of_every_part_lose_no_call_double_none_and_keep_their_order(
    engine: Engine, client: Client
) -> None:
    runs = {key: begin(client, "counting", "engine.begun", key) for key in KEYS}
    stream = Stream()
    thread = threading.Thread(target=stream.push, args=(client,))
    thread.start()
    try:
        for _ in range(ROUNDS):
            for part in PARTS:
                stream.flows(50)
                killed = engine.kill(part)
                engine.pid_of(part, other_than=killed)
    finally:
        stream.ending.set()
        thread.join()
    assert stream.failed is None
    for key, run in runs.items():
        assert run.result(timeout=60) == stream.pushed[key]
    assert min(len(pushed) for pushed in stream.pushed.values()) > 30


def test_what_a_killed_ingress_accepted_is_seen_before_what_its_successor_accepts(
    engine: Engine, client: Client
) -> None:
    run = begin(client, "counting", "engine.begun", "succession")
    pool = engine.pid_of("counting@")
    os.kill(pool, signal.SIGSTOP)
    try:
        for number in range(20):  # each in a request of its own: most wait in the ingress
            client.push("engine.ticked", input={"key": "succession", "n": number}, output=True)
        killed = engine.kill(INGRESS)
        engine.pid_of(INGRESS, other_than=killed)
        client.push_many(calls_of("engine.ticked", "succession", [*range(20, 40), -1]))
    finally:
        with contextlib.suppress(ProcessLookupError):  # it did not answer, and was replaced
            os.kill(pool, signal.SIGCONT)
    assert run.result(timeout=60) == list(range(40))


def test_a_pool_that_dies_while_its_directory_begins_is_brought_back(
    engine: Engine, client: Client
) -> None:
    run = begin(client, "counting", "engine.begun", "both")
    for number in range(3):
        killed = engine.kill("raysume-directory")
        engine.kill("counting@")
        # The new directory asks for a pool that Ray is still starting, again and again.
        engine.pid_of("raysume-directory", other_than=killed)
        engine.kill("counting@")
        client.push_many(calls_of("engine.ticked", "both", [number]))
    client.push_many(calls_of("engine.ticked", "both", [-1]))
    assert run.result(timeout=120) == [0, 1, 2]
