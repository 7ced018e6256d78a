"""Pushes the calls of the replay to an engine, kills its shards when asked to, reads the results."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from flights_data import DayCall
from flights_figures import Report
from raysume import Client
from raysume.client import Run

KILLS = 3
POLL_S = 0.25
STUCK_AFTER_S = 120.0
"""Without any progress for so long, the replay gives up and says what is unfinished."""

READERS = 4
"""Results that are asked for at the same time."""

Progress = Callable[[int], None]
"""Told how many are done by now."""


class ReplayFailed(Exception):
    """The engine did not do what the replay expects of it."""


class Engine(Protocol):
    """What the replay needs of a development cluster."""

    def pool_pids(self) -> dict[str, int]:
        """Pool of shards -> process id, of those that are up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a replay left behind for `--resume`: which days, and how far it came."""

    day: str
    days: int
    accepted: int = 0
    """Calls from the beginning that are accepted for certain; a few more may be."""

    FILE = "flights-replay.json"

    @property
    def first(self) -> date:
        """The first day of the replay."""
        return date.fromisoformat(self.day)

    def write(self, folder: Path) -> None:
        """The note is in the folder, whole: an interrupted write leaves the one before."""
        beside = folder / f"{self.FILE}.new"
        beside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(beside, folder / self.FILE)

    @classmethod
    def read(cls, folder: Path) -> Note | None:
        """The note in the folder; None when no replay has begun there."""
        try:
            return cls(**json.loads((folder / cls.FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


def portions(count: int, done: int, size: int, marks: Sequence[int] = ()) -> Iterator[range]:
    """Consecutive ranges of at most `size` from `done` to `count`, broken at every mark."""
    at = done
    while at < count:
        end = min([at + size, count, *(mark for mark in marks if mark > at)])
        yield range(at, end)
        at = end


def kill_marks(count: int, done: int) -> list[int]:
    """Where in the rest of the calls the shards are killed: spread evenly, never at its ends."""
    rest = count - done
    return [done + rest * (n + 1) // (KILLS + 1) for n in range(KILLS)]


class Killer:
    """Kills the process of every shard actor, and waits for its successor before the next time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._killed: dict[str, int] = {}
        self.kills = 0

    def kill(self) -> None:
        """The processes got SIGKILL: what was only in their memory is gone."""
        self._killed = self._pids_of_successors()
        for pid in set(self._killed.values()):
            os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def _pids_of_successors(self) -> dict[str, int]:
        deadline = time.monotonic() + STUCK_AFTER_S
        while time.monotonic() < deadline:
            now = self._engine.pool_pids()
            up = {name for name in now if now[name] != self._killed.get(name)}
            if up and up >= set(self._killed):
                return now
            time.sleep(POLL_S)
        raise ReplayFailed(f"a killed shard did not come back within {STUCK_AFTER_S:.0f} s")


def push(
    client: Client,
    calls: Sequence[DayCall],
    note: Note,
    folder: Path,
    *,
    progress: Progress,
    killer: Killer | None = None,
    pace: float | None = None,
) -> Note:
    """All calls are accepted, in their order. The note is written after each portion.

    A call that was accepted, but not noted, before a stop is pushed again; the engine knows
    its id and drops it.

    Args:
        pace: calls a second at most; None: as fast as the engine takes them.
    """
    marks = kill_marks(len(calls), note.accepted) if killer else []
    size = max(100, len(calls) // 50)
    for portion in portions(len(calls), note.accepted, size, marks):
        begun = time.monotonic()
        client.push_many(calls[i].as_call() for i in portion)
        note = replace(note, accepted=portion.stop)
        note.write(folder)
        progress(portion.stop)
        if killer is not None and portion.stop in marks:
            killer.kill()
        if pace is not None:
            time.sleep(max(0.0, len(portion) / pace - (time.monotonic() - begun)))
    return note


def wait_until_finished(client: Client, expected: Mapping[str, int], progress: Progress) -> None:
    """Every expected instance is completed.

    Args:
        expected: workflow -> how many instances there must be.

    Raises:
        ReplayFailed: an instance failed, or nothing has moved for long.
    """
    last, since = -1, time.monotonic()
    total = sum(expected.values())
    while True:
        completed = 0
        for workflow, wanted in expected.items():
            _refuse_failed(client, workflow)
            completed += _completed(client, workflow, wanted)
        progress(completed)
        if completed == total:
            return
        if completed != last:
            last, since = completed, time.monotonic()
        if time.monotonic() - since > STUCK_AFTER_S:
            raise ReplayFailed(_stuck(client, expected, completed))
        time.sleep(POLL_S)


def _completed(client: Client, workflow: str, wanted: int) -> int:
    """How many are completed; counted one by one only when it may be all of them."""
    unfinished = 0
    for status in ("waiting", "running"):
        unfinished += sum(1 for _ in client.instances(workflow=workflow, status=status))
    if unfinished:
        return max(0, wanted - unfinished)
    return sum(1 for _ in client.instances(workflow=workflow, status="completed"))


def _refuse_failed(client: Client, workflow: str) -> None:
    for status in ("failed", "cancelled"):
        for run in client.instances(workflow=workflow, status=status):
            raise ReplayFailed(f"instance {run.id} of {workflow} is {status}: {run.facts.error}")


def _stuck(client: Client, expected: Mapping[str, int], completed: int) -> str:
    lines = [f"{completed} of {sum(expected.values())} instances are completed, and none moves:"]
    for workflow in expected:
        for status in ("waiting", "running"):
            runs = list(client.instances(workflow=workflow, status=status))
            lines += [f"  {run.id} of {workflow} is {status}" for run in runs[:5]]
    return "\n".join(lines)


def results(client: Client, workflow: str, progress: Progress) -> list[Report]:
    """What every completed instance of the workflow returned."""

    def read(run: Run[Any]) -> Report:
        report: Report = run.result(timeout=60)
        return report

    found: list[Report] = []
    with ThreadPoolExecutor(READERS) as pool:
        runs = client.instances(workflow=workflow, status="completed")
        for report in pool.map(read, runs):
            found.append(report)
            progress(len(found))
    return found


def stored_ids(client: Client, methods: Sequence[str]) -> list[str]:
    """The ids of all calls of these methods in the call log."""
    return [call.id for method in methods for call in client.calls(method)]


def stored_inputs(client: Client, method: str) -> list[Mapping[str, Any]]:
    """The inputs of all calls of this method in the call log."""
    return [json.loads(call.raw.input) for call in client.calls(method)]
