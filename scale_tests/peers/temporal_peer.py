"""Temporal: the development server that its command line brings, and a worker."""

from __future__ import annotations

import socket
import time
from typing import Final

from raysume.serve_apps.proxying import free_port
from scale_tests.peers import processes
from scale_tests.peers.peer import Unavailable
from scale_tests.peers.program import Server
from scale_tests.peers.program_peer import ProgramPeer

START_S_MAX: Final = 60.0


class Temporal(ProgramPeer):
    """The development server keeps its data in a file, as safely as SQLite can."""

    name = "temporal"
    set_up = "development server on SQLite (WAL, synchronous=FULL), a worker of one process"
    packages = "temporal"

    def __init__(self) -> None:
        super().__init__()
        self._server: Server | None = None
        self._port = 0

    def start_servers(self) -> None:
        """The server takes connections."""
        self._port = free_port()
        (self.folder / "data").mkdir()
        self._server = Server(
            [
                *(self.installed.script("temporal"), "server", "start-dev", "--headless"),
                *("--ip", "127.0.0.1", "--port", str(self._port)),
                *("--db-filename", self.folder / "data" / "temporal.sqlite"),
                *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL"),
                *("--log-level", "error"),
            ],
            self.folder / "server.log",
        )
        self._wait_until_listening()

    def stop_servers(self) -> None:
        """The server is gone."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def server_pids(self) -> list[int]:
        """The only one."""
        return [self._server.pid] if self._server is not None else []

    def arguments(self) -> list[str]:
        """Where the server is, and how many instances a worker has to remember."""
        cached = self.load.instances + self.load.probes + 1
        return [f"127.0.0.1:{self._port}", str(cached)]

    def start_instances(self, group: str, count: int) -> None:
        """By the client."""
        self.sender.ask("start", group=group, count=count)

    def disk_bytes(self) -> int:
        """The database with its journal."""
        return processes.folder_bytes(self.folder / "data")

    def _wait_until_listening(self) -> None:
        assert self._server is not None
        until = time.monotonic() + START_S_MAX
        while self._server.is_running and time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Unavailable(f"temporal server did not start: {self._server.said_last()}")
