"""A Ray cluster on this machine whose nodes can be killed and started again, the head included.

The harness is no driver: a driver dies with the raylet that it is connected to. It finds the
engine's processes below the raylets that it started itself, so it can end no others.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import structlog

from raysume.serve_apps.proxying import LOOPBACK, SERVING, free_port, own_haproxy
from scale_tests.faults.mourning import Mourner
from scale_tests.processes import TITLES, Part

HEAD_BACK_S_MAX = 120
"""How long a raylet of a worker waits for its head to come back."""

_OBJECTS_BYTES = 100_000_000
_START_ATTEMPTS = 4
_log = structlog.get_logger("faults")


class Nodes:
    """The head, which runs nothing of the engine, and workers: `with Nodes(...) as nodes: ...`."""

    def __init__(self, folder: Path, *, workers: int, environment: Mapping[str, str]) -> None:
        """
        Args:
            folder: of what the head keeps, and of its token.
            workers: how many nodes there are beside the head.
            environment: of every process, with the variables that a restart of the head needs.
        """
        self._folder, self._count = folder, workers
        self._exit = contextlib.ExitStack()
        self._temporary = tempfile.mkdtemp(prefix="rf-", dir="/tmp")
        self._exit.callback(shutil.rmtree, self._temporary, ignore_errors=True)
        self._environment = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_TOKEN_PATH": str(folder / "ray_token"),
            # Sockets lie in it, whose paths may have 107 characters. The file in which Ray notes
            # the machine's current cluster lies there too: ray.init() of others shall not find us.
            "RAY_TMPDIR": self._temporary,
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(folder / "gcs"),
            "RAY_external_storage_namespace": "faults",
            "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_BACK_S_MAX),
            # Processes of steps stay for the next one: starting them takes what the load needs.
            # The job that deployed has ended, and Ray would look for its idle processes, to end
            # them, five times a second.
            "RAY_idle_worker_killing_time_threshold_ms": "60000",
            "RAY_kill_idle_workers_interval_ms": "60000",
            # A dead node is noticed within seconds; one that is only slow is left alone.
            "RAY_health_check_initial_delay_ms": "2000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "10000",
            "RAY_health_check_failure_threshold": "3",
            # Usually Ray's workers step back behind the machine's other processes: here those
            # are nodes that start, again and again, and the load is to go on meanwhile.
            "RAY_worker_niceness": "0",
            # A node that starts makes no process before an actor needs one.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
        self._environment |= SERVING | own_haproxy(self._temporary) | dict(environment)
        self._cluster: Any = None
        self._mourner = Mourner()
        self._exit.callback(self._mourner.close)
        self._port = free_port(LOOPBACK)
        self.address = f"{LOOPBACK}:{self._port}"
        """Where drivers connect."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self) -> None:
        from ray.cluster_utils import Cluster

        (self._folder / "gcs").mkdir(parents=True)
        (Path(self._temporary) / "ray").mkdir()
        token = self._folder / "ray_token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        for name, value in self._environment.items():
            former = os.environ.get(name)
            os.environ[name] = value
            self._exit.callback(_set_again, name, former)
        self._exit.callback(self._keep_logs)
        self._cluster = Cluster(shutdown_at_exit=False)
        self._exit.callback(self._end)
        self._add_head()
        for _ in range(self._count):
            self.add_worker()

    def _add_head(self) -> None:
        self._add(
            num_cpus=0,
            gcs_server_port=self._port,
            include_dashboard=False,
            include_log_monitor=False,
            # Its processes listen all the same, and clusters of others may have the usual ports.
            dashboard_port=free_port(LOOPBACK),
            dashboard_agent_listen_port=free_port(LOOPBACK),
        )

    def add_worker(self) -> None:
        """There is one worker node more, which may still be registering."""
        self._add(num_cpus=2)

    def _add(self, **options: Any) -> None:
        """A node has started: on a busy machine, Ray gives up too early, and it is tried again."""
        for attempt in range(_START_ATTEMPTS):
            before = {process.pid for process in psutil.Process().children()}
            try:
                self._cluster.add_node(
                    wait=False,
                    node_ip_address=LOOPBACK,
                    object_store_memory=_OBJECTS_BYTES,
                    **options,
                )
            except Exception as error:  # Ray raises plain ones
                _log.warning("node_not_started", attempt=attempt, error=str(error))
                for process in psutil.Process().children():
                    if process.pid not in before:
                        _kill(process)
                if attempt + 1 == _START_ATTEMPTS:
                    raise
            else:
                return
            finally:
                self._mourner.learn()

    def kill_worker(self, nth: int) -> int:
        """A worker node got SIGKILL, raylet first; its process id. Its actors end by themselves."""
        workers = sorted(self._cluster.worker_nodes, key=_raylet_pid)
        node = workers[nth % len(workers)]
        pid = _raylet_pid(node)
        os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)
        return pid

    def kill_head(self) -> int:
        """GCS and raylet of the head got SIGKILL; the id of its raylet's process."""
        node = self._cluster.head_node
        pid = _raylet_pid(node)
        orphans = psutil.Process(pid).children(recursive=True)
        self._cluster.remove_node(node, allow_graceful=False)
        # On a real machine they would be gone with it.
        for process in orphans:
            _kill(process)
        return pid

    def start_head(self) -> None:
        """A head with the same address and storage serves."""
        self._add_head()

    def raylets(self) -> list[psutil.Process]:
        """Those of the worker nodes."""
        return _alive(_raylet_pid(node) for node in self._cluster.worker_nodes)

    def head_processes(self) -> list[psutil.Process]:
        """The GCS and the raylet of the head."""
        head = self._cluster.head_node
        [gcs] = head.all_processes["gcs_server"]
        return _alive((int(gcs.process.pid), _raylet_pid(head)))

    def processes(self, part: Part) -> list[psutil.Process]:
        """The engine's processes of this kind that live on our nodes, by id."""
        found: list[psutil.Process] = []
        for node in self._cluster.list_all_nodes():
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(_raylet_pid(node)).children(recursive=True):
                    with contextlib.suppress(psutil.Error, IndexError):
                        if process.cmdline()[0].startswith(TITLES[part]):
                            found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def _keep_logs(self) -> None:
        """What Ray's processes wrote is in the folder."""
        for logs in Path(self._temporary).glob("ray/session_2*/logs"):
            shutil.copytree(logs, self._folder / "logs", dirs_exist_ok=True)

    def _end(self) -> None:
        """Every process of the cluster is gone."""
        left: list[psutil.Process] = []
        for node in self._cluster.list_all_nodes():
            with contextlib.suppress(psutil.Error):
                left += psutil.Process(_raylet_pid(node)).children(recursive=True)
        for node in [*self._cluster.worker_nodes, self._cluster.head_node]:
            if node is not None:
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        for process in left:
            _kill(process)
        psutil.wait_procs(left, timeout=10)


def _raylet_pid(node: Any) -> int:
    [raylet] = node.all_processes["raylet"]
    return int(raylet.process.pid)


def _alive(pids: Iterable[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in sorted(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _set_again(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
