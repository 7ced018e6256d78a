"""A pool with several members: scaled under load, paused, killed; each call counts once."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.cluster.running import ANSWER_S, Engine, begin, calls_of, until

from raysume import Client, ids, limits
from raysume.client import Run

KEYS = [f"tally-{n}" for n in range(48)]
PACE_S = 0.004


class Tallies:
    """One instance for each key, and a stream of numbered calls for them until it is ended."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self.keys = [f"{prefix}-{key}" for key in KEYS]
        self.runs: dict[str, Run[Any]] = {
            key: begin(client, "tallying", "engine.tally_begun", key) for key in self.keys
        }
        self._pushed: dict[str, list[int]] = defaultdict(list)
        self._ending = threading.Event()
        self._failed: BaseException | None = None
        self._grown = threading.Condition()
        self._count = 0
        self._thread = threading.Thread(target=self._push)
        self._thread.start()

    def _calls(self) -> Iterator[dict[str, Any]]:
        while not self._ending.wait(PACE_S):
            key = self.keys[self._count % len(self.keys)]
            number = self._count // len(self.keys)
            yield calls_of("engine.tallied", key, [number])[0]
            self._pushed[key].append(number)
            with self._grown:
                self._count += 1
                self._grown.notify_all()
        for key in self.keys:
            yield from calls_of("engine.tallied", key, [-1])

    def _push(self) -> None:
        try:
            self._client.push_many(self._calls())
        except BaseException as error:
            self._failed = error

    def flow(self, more: int) -> None:
        """So many more calls were taken from it."""
        with self._grown:
            wanted = self._count + more
            assert self._grown.wait_for(lambda: self._count >= wanted, ANSWER_S), self._failed

    def end(self) -> None:
        """Nothing is pushed any more."""
        self._ending.set()
        self._thread.join()

    def check(self, ledger: Path) -> None:
        """Every instance has received each of its calls once, in order, by one step each."""
        assert self._failed is None
        for key, run in self.runs.items():
            assert run.result(timeout=ANSWER_S) == self._pushed[key], key
        instances = {run.id for run in self.runs.values()}
        noted = {
            line for line in ledger.read_text().splitlines() if line.split("/")[1] in instances
        }
        assert len(noted) == sum(len(pushed) for pushed in self._pushed.values())


@pytest.fixture
def scaled(engine: Engine) -> Iterator[None]:
    """The workflow has three members; afterwards one, as it had before."""
    scale(engine, 3)
    yield
    scale(engine, 1)


def scale(engine: Engine, members: int) -> dict[str, list[int]]:
    """The pool has so many members; actor -> its shards."""
    answer = engine.command(
        "workflow", "scale", "tallying", "--members", str(members), "-o", "json"
    )
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)
    found = {row["actor"]: [int(n) for n in row["shards"].split(", ")] for row in rows}
    assert sorted(n for shards in found.values() for n in shards) == list(range(limits.SHARDS))
    assert len(found) == members
    return found


def test_a_pool_that_is_scaled_under_load_loses_and_doubles_nothing(
    engine: Engine, client: Client, signals: Path
) -> None:
    tallies = Tallies(client, "scaled")
    try:
        tallies.flow(50)
        three = scale(engine, 3)
        tallies.flow(100)
        assert _listed(engine, tallies) == dict.fromkeys(_ids(tallies), 1)
        owned = {n: actor for actor, shards in three.items() for n in shards}
        spread = Counter(owned[ids.shard_of(id, limits.SHARDS)] for id in _ids(tallies))
        assert set(spread) == set(three)
        two = scale(engine, 2)
        assert set(two) < set(three)
        tallies.flow(50)
        assert _listed(engine, tallies) == dict.fromkeys(_ids(tallies), 1)
    finally:
        tallies.end()
    tallies.check(signals / "tally.txt")
    assert len(scale(engine, 1)) == 1


@pytest.mark.usefixtures("scaled")
def test_a_member_that_is_paused_is_replaced_and_writes_nothing_when_it_wakes(
    engine: Engine, client: Client, signals: Path
) -> None:
    tallies = Tallies(client, "paused")
    try:
        tallies.flow(50)
        name = next(
            one for one in engine.actors() if one.startswith("tallying@") and one[-1] == "1"
        )
        pid = engine.pid_of(name)
        paused = psutil.Process(pid)
        os.kill(pid, signal.SIGSTOP)
        tallies.flow(20)
        engine.pid_of(name, other_than=pid)
        if paused.is_running():
            os.kill(pid, signal.SIGCONT)
        until(lambda: True if not paused.is_running() else None)
        tallies.flow(50)
    finally:
        tallies.end()
    tallies.check(signals / "tally.txt")


@pytest.mark.usefixtures("scaled")
def test_members_that_are_killed_come_back_with_their_shards(
    engine: Engine, client: Client, signals: Path
) -> None:
    tallies = Tallies(client, "killed")
    try:
        for number in ("2", "0"):
            tallies.flow(50)
            name = next(
                one for one in engine.actors() if one.startswith("tallying@") and one[-1] == number
            )
            killed = engine.kill(name)
            engine.pid_of(name, other_than=killed)
        tallies.flow(50)
    finally:
        tallies.end()
    tallies.check(signals / "tally.txt")


def _ids(tallies: Tallies) -> list[str]:
    return [run.id for run in tallies.runs.values()]


def _listed(engine: Engine, tallies: Tallies) -> dict[str, int]:
    """How often each of the instances is in the listing, of which a page has five."""
    wanted = set(_ids(tallies))
    found: Counter[str] = Counter()
    with engine.http() as http:
        query: dict[str, Any] = {"workflow": "tallying", "limit": 5}
        while True:
            page = http.get("/v1/instances", params=query).json()
            found.update(row["id"] for row in page["items"] if row["id"] in wanted)
            if page["next"] is None:
                return dict(found)
            query["after"] = page["next"]
