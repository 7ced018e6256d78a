"""A whole engine as a user runs it: `raysume dev FILE` in a process, looked at from outside."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psutil

from raysume import Client
from raysume.client import Run
from raysume.client.endpoint import ENDPOINT_FILE
from raysume.errors import NotFound
from raysume.ids import instance_id_of

T = TypeVar("T")

RAYSUME = str(Path(sys.executable).with_name("raysume"))
START_S = 300.0
"""Ray, Serve and twenty pools are there in 30 s; a machine that does much else needs minutes."""
ANSWER_S = 60.0
LOOK_S = 0.1
"""Between two looks at a condition that has no signal, such as Ray's list of actors."""

_nothing = threading.Event()


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a user who configured nothing."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "RAYSUME_", "COLUMNS"))
    }
    return kept | {"RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "300"} | more


class Engine:
    """`raysume dev` on a data directory.

    Args:
        target: the .py file.
        data_dir: made when it does not exist.
    """

    def __init__(self, target: Path, data_dir: Path, **environment: str) -> None:
        self.data_dir, self._target = data_dir, target
        self._environment = clean_environment(**environment)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.dashboard = ""

    # --- starting and ending -------------------------------------------------------

    def start(self) -> Engine:
        """It serves: what it prints last has been printed."""
        self.begin()
        try:
            self.line("The token is in")
        except BaseException:
            self.kill_everything()
            raise
        [dashboard] = [line.split()[1] for line in self.output if line.startswith("dashboard")]
        self.dashboard = dashboard
        return self

    def begin(self) -> subprocess.Popen[str]:
        """Its process runs."""
        self.output, self._lines = [], queue.Queue()
        self.process = subprocess.Popen(
            [RAYSUME, "dev", str(self._target), "--port", "0", "--data-dir", str(self.data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._target.parent,
            env=self._environment,
        )
        threading.Thread(target=self._read, args=(self.process, self._lines), daemon=True).start()
        return self.process

    def _read(self, process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    def line(self, wanted: str) -> str:
        """The next printed line that contains `wanted`."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {wanted!r} in:\n{self.text}") from None
            assert line is not None, f"it ended without a line {wanted!r}:\n{self.text}"
            self.output.append(line)
            if wanted in line:
                return line

    def refuses_to_start(self) -> str:
        """It ended with an exit code other than 0; gives what it printed."""
        self.begin()
        code = self._ended()
        assert code not in (0, -signal.SIGKILL), self.text
        return self.text

    def stop(self) -> int:
        """It was interrupted, and has ended; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            self.output.append(line)
        return self.process.wait(timeout=START_S)

    def kill_everything(self) -> None:
        """Every process of it got SIGKILL and is gone."""
        assert self.process is not None
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=ANSWER_S)

    @property
    def text(self) -> str:
        """What it printed so far."""
        return "".join(self.output)

    # --- looking at it ---------------------------------------------------------------

    @property
    def endpoint(self) -> dict[str, str]:
        """Address and token, as they were written for clients."""
        found: dict[str, str] = msgspec.json.decode((self.data_dir / ENDPOINT_FILE).read_bytes())
        return found

    def client(self) -> Client:
        """A client of it."""
        return Client(self.endpoint["url"], self.endpoint["token"])

    def http(self) -> httpx.Client:
        """Plain HTTP to it, with its token."""
        return httpx.Client(
            base_url=self.endpoint["url"],
            headers={
                "Authorization": f"Bearer {self.endpoint['token']}",
                "Content-Type": "application/json",
            },
            timeout=ANSWER_S,
            trust_env=False,
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What the command line does with these words."""
        return subprocess.run(
            [RAYSUME, "--data-dir", str(self.data_dir), *words],
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            timeout=ANSWER_S,
        )

    def actors(self) -> dict[str, dict[str, Any]]:
        """The live actors by name, as Ray's dashboard tells them."""
        token = (self.data_dir / "ray_token").read_text().strip()
        answer = httpx.get(
            f"{self.dashboard}/api/v0/actors",
            params={"detail": True, "limit": 1_000},
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_S,
            trust_env=False,
        )
        actors: list[dict[str, Any]] = answer.json()["data"]["result"]["result"]
        return {one["name"]: one for one in actors if one["state"] == "ALIVE"}

    def pid_of(self, prefix: str, *, other_than: int | None = None) -> int:
        """The process of the actor whose name begins so, once it has one that is alive."""

        def pid() -> int | None:
            for name, actor in self.actors().items():
                if name.startswith(prefix) and actor["pid"] not in (0, other_than):
                    return int(actor["pid"])
            return None

        return until(pid)

    def kill(self, prefix: str) -> int:
        """The process of the actor whose name begins so got SIGKILL; its id."""

        def killed() -> int | None:
            pid = self.pid_of(prefix)
            try:
                # Ray tells of an actor that it is alive for a while after its process has ended.
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    return None
                process.kill()
            except psutil.NoSuchProcess:
                return None
            return pid

        return until(killed)

    def stored_calls(self) -> int:
        """How many calls are in the log."""
        with sqlite3.connect(f"file:{self.data_dir / 'calls.db'}?mode=ro", uri=True) as log:
            [count] = log.execute("SELECT coalesce(sum(count), 0) FROM segment").fetchone()
        log.close()
        return int(count)


def until(look: Callable[[], T | None]) -> T:
    """What was looked for, as soon as it is there."""
    deadline = time.monotonic() + ANSWER_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"{look} found nothing in {ANSWER_S:.0f} s"
        _nothing.wait(LOOK_S)
    return found


class Pipe:
    """A named pipe between a test and a process of the engine; neither waits to open it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def heard(self) -> str:
        """What the other side wrote."""
        ready, _, _ = select.select([self._file], [], [], ANSWER_S)
        assert ready, f"nobody wrote into {self.path.name}"
        return os.read(self._file, 4_096).decode()

    def tell(self, line: str) -> None:
        """The other side reads the line, now or when it comes to it."""
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        """The pipe is gone."""
        os.close(self._file)
        self.path.unlink()


def started_by(client: Client, workflow: str, call_id: str) -> Run[Any]:
    """The instance that the call starts, as soon as it exists."""

    def look() -> Run[Any] | None:
        try:
            return client.instance(instance_id_of(workflow, call_id), workflow)
        except NotFound:
            return None

    return until(look)


def begin(client: Client, workflow: str, method: str, key: str, n: int = 0) -> Run[Any]:
    """The instance that a new call started."""
    call_id = client.push(method, input={"key": key, "n": n}, output=True)
    return started_by(client, workflow, call_id)


def calls_of(method: str, key: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Calls of one method and key, as clients push them."""
    return [{"method": method, "input": {"key": key, "n": n}, "output": True} for n in numbers]
