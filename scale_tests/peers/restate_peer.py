"""Restate: a server, and a worker that it calls."""

from __future__ import annotations

import time
from typing import Final

import httpx

from raysume.serve_apps.proxying import free_port
from scale_tests.peers import processes
from scale_tests.peers.peer import PeerFailed, Unavailable
from scale_tests.peers.program import Server
from scale_tests.peers.program_peer import ProgramPeer

START_S_MAX: Final = 60.0

RUNNING_AT_ONCE_MIN: Final = 1_000
"""The server's default. It is raised to the number of instances: those that wait count until they
are suspended, a minute later."""


class Restate(ProgramPeer):
    """One node with all roles, as its documentation runs it on one machine."""

    name = "restate"
    set_up = "one node, log fsynced (its default), a worker of one process, awakeables"
    packages = "restate"

    def __init__(self) -> None:
        super().__init__()
        self._server: Server | None = None
        self._ports: list[int] = []

    def start_servers(self) -> None:
        """The server answers."""
        node, ingress, admin, _ = self._ports = [free_port() for _ in range(4)]
        at_once = self.load.instances + self.load.probes + RUNNING_AT_ONCE_MIN
        self._server = Server(
            [self.installed.npm_program("restate-server"), "--no-logo"],
            self.folder / "server.log",
            RESTATE_BASE_DIR=str(self.folder / "data"),
            RESTATE_NODE_NAME="peers",
            RESTATE_LISTEN_MODE="tcp",
            RESTATE_BIND_IP="127.0.0.1",
            RESTATE_BIND_PORT=str(node),
            RESTATE_ADVERTISED_HOST="127.0.0.1",
            RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{ingress}",
            RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{admin}",
            RESTATE_ADMIN__DISABLE_WEB_UI="true",
            RESTATE_DISABLE_TELEMETRY="true",
            RESTATE_LOG_FILTER="warn",
            RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT=str(at_once),
        )
        self._wait_until_healthy(f"http://127.0.0.1:{ingress}/restate/health")
        self._wait_until_healthy(f"{self._admin}/health")

    def stop_servers(self) -> None:
        """The server is gone."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def server_pids(self) -> list[int]:
        """The only one."""
        return [self._server.pid] if self._server is not None else []

    def arguments(self) -> list[str]:
        """The ports of ingress, admin and worker."""
        return [str(port) for port in self._ports[1:]]

    def introduce_worker(self) -> None:
        """The server has asked it for its services."""
        worker = f"http://127.0.0.1:{self._ports[3]}"
        answer = httpx.post(
            f"{self._admin}/deployments", json={"uri": worker}, timeout=60, trust_env=False
        )
        if answer.is_error:
            raise PeerFailed(f"the worker was not registered: {answer.text[:500]}")

    def start_instances(self, group: str, count: int) -> None:
        """Through the ingress."""
        self.sender.ask("start", group=group, count=count)

    def learn_names(self, group: str, count: int) -> None:
        """The identifiers of the awakeables went from the worker to the sender."""
        names = self.worker.ask("names", group=group, count=count)
        self.sender.ask("learn", group=group, names=names)

    def disk_bytes(self) -> int:
        """The log and the partitions' stores."""
        return processes.folder_bytes(self.folder / "data")

    @property
    def _admin(self) -> str:
        return f"http://127.0.0.1:{self._ports[2]}"

    def _wait_until_healthy(self, url: str) -> None:
        assert self._server is not None
        until = time.monotonic() + START_S_MAX
        while self._server.is_running and time.monotonic() < until:
            try:
                if httpx.get(url, timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise Unavailable(f"restate-server did not start: {self._server.said_last()}")
