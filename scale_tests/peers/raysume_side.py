"""raysume itself, run as `raysume dev` runs it: Ray and everything else on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from raysume.actors.untyped import RayError, ray
from raysume.client import AsyncClient, Client
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development
from scale_tests.measuring import Engine
from scale_tests.peers import processes
from scale_tests.peers.peer import Load, PeerFailed

WORKFLOWS: Final = Path(__file__).with_name("raysume_workflows.py")
ONE: Final = "one_event"
MANY: Final = "many_events"
LONG: Final = 0
"""The number of the only long instance."""
STREAMS: Final = 4
"""Clients that send many calls at once, as `pushed_calls` has connections."""
LOOK_S: Final = 0.01
"""How often the long instance is looked at; its moments are its own, not those of the look."""


class Raysume:
    """One development cluster in a round, on SQLite."""

    name = "raysume"
    set_up = "Ray on one machine, SQLite (WAL, synchronous=FULL), one pool a workflow"

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._development: Development | None = None
        self._client: Client | None = None
        self._load: Load | None = None
        self._folder: Path | None = None
        self._engines: dict[str, Engine] = {}
        self._turns = 0

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the engine and of Ray."""
        return {"raysume": version("raysume"), "ray": ray.__version__}

    def prepare(self, cache: Path) -> None:
        """It is installed: it is this project."""
        _ = cache

    def begin(self, folder: Path, load: Load) -> None:
        """The cluster runs."""
        self._folder, self._load = folder, load
        development = Development(WORKFLOWS, data_dir=folder, port=0, dashboard=False)
        self._development = self._exit.enter_context(development)
        self._client = self._exit.enter_context(development.client())

    def start_probes(self) -> None:
        """The probes wait for their event; their numbers follow those of the other instances."""
        self._start(self.load.instances, self.load.probes)
        self._wait_for_turns(self.load.probes)

    def start_waits(self) -> None:
        """All other instances wait for theirs."""
        self._start(0, self.load.instances)
        self._wait_for_turns(self.load.probes + self.load.instances)

    def probe(self) -> list[float]:
        """For each probe the milliseconds from sending its event to its next line."""
        sent: list[int] = []
        numbers = range(self.load.instances, self.load.instances + self.load.probes)
        for number in numbers:
            time.sleep(1 / self.load.probes_per_s)
            sent.append(time.monotonic_ns())
            self.client.push("peers.happened", input={"number": number})
        return [(self._result(number) - at) / 1e6 for number, at in zip(numbers, sent, strict=True)]

    def send_all(self) -> None:
        """Each waiting instance was sent its event."""
        self._turns = int(self._engine(ONE).stats()["turns"])
        asyncio.run(self._send_all())

    def wait_until_completed(self) -> None:
        """All of them have ended, durably."""
        self._wait_for_turns(self._turns + self.load.instances)

    def start_long(self) -> None:
        """One more instance waits for many events."""
        self.client.push("peers.opened-long", input={"number": LONG}, id="long")
        self._wait_for_passed(0)

    def feed_long(self, first: int, count: int) -> None:
        """It has gone past these events."""
        self.client.push_many(
            {"method": "peers.happened-long", "input": {"number": LONG}} for _ in range(count)
        )
        self._wait_for_passed(first + count)

    def wake_long(self, number: int) -> float:
        """Milliseconds from sending it this one event to its next line."""
        return (self._reached_after(number, time.monotonic_ns())) / 1e6

    def kill_and_recover(self, number: int) -> float:
        """Seconds until a new event led to the long instance's next line again.

        Ray itself starts the killed process again.
        """
        began = time.monotonic_ns()
        [pid] = [
            pid for name, pid in self.development.pool_pids().items() if name.startswith(f"{MANY}@")
        ]
        os.kill(pid, signal.SIGKILL)
        return self._reached_after(number, began) / 1e9

    def memory_bytes(self) -> int:
        """Of all that this process started: Ray, the directory, pools and ingress."""
        return processes.memory_bytes(processes.descendants())

    def disk_bytes(self) -> int:
        """The data directory."""
        assert self._folder is not None
        return processes.folder_bytes(self._folder)

    def cpu_s(self) -> float:
        """Of all that this process started."""
        return processes.cpu_s(processes.descendants())

    def stop(self) -> None:
        """The cluster is gone."""
        self._engines.clear()
        self._exit.close()
        self._development = self._client = None

    # --- what is inside ------------------------------------------------------------

    @property
    def load(self) -> Load:
        """What this round asks."""
        assert self._load is not None
        return self._load

    @property
    def client(self) -> Client:
        """The client that stays connected."""
        assert self._client is not None
        return self._client

    @property
    def development(self) -> Development:
        """The cluster."""
        assert self._development is not None
        return self._development

    def _engine(self, workflow: str) -> Engine:
        if workflow not in self._engines:
            self._engines[workflow] = Engine(self.development, workflow)
        return self._engines[workflow]

    def _start(self, first: int, count: int) -> None:
        self.client.push_many(
            {"method": "peers.opened", "id": f"open-{number}", "input": {"number": number}}
            for number in range(first, first + count)
        )

    async def _send_all(self) -> None:
        async def stream(client: AsyncClient, first: int) -> None:
            await client.push_many(
                {"method": "peers.happened", "input": {"number": number}}
                for number in range(first, self.load.instances, STREAMS)
            )

        async with AsyncClient(self.development.url, self.development.token) as client:
            await asyncio.gather(*(stream(client, first) for first in range(STREAMS)))

    def _wait_for_turns(self, turns: int) -> None:
        stats = self._engine(ONE).wait_for_turns(turns, patience_s=self.load.patience_s)
        if stats["turns"] < turns:
            raise PeerFailed(f"{stats['turns']} of {turns} turns, then none")

    def _result(self, number: int) -> int:
        id = instance_id_of(ONE, f"open-{number}")
        result: int = self.client.instance(id, workflow=ONE).result(timeout=self.load.patience_s)
        return result

    def _reached_after(self, number: int, began: int) -> int:
        self.client.push("peers.happened-long", input={"number": LONG})
        return int(self._wait_for_passed(number + 1)["reached_ns"]) - began

    def _wait_for_passed(self, passed: int) -> dict[str, Any]:
        """The long instance's variables, once it has gone past so many events."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < self.load.patience_s:
            found = self._long_variables()
            now = int(found.get("passed", -1))
            if now >= passed:
                return found
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(LOOK_S)
        raise PeerFailed(f"{seen} of {passed} events passed, then none")

    def _long_variables(self) -> dict[str, Any]:
        """Empty while there is no instance, or no process that has it."""
        try:
            state = self._engine(MANY).state(instance_id_of(MANY, "long"))
        except RayError:
            return {}
        variables: dict[str, Any] = state["frames"][0]["locals"]
        return variables
