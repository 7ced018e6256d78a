"""One machine, everything on it: Ray, directory, pools and ingress, on a data directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from raysume import limits
from raysume.configuration import settings
from raysume.errors import Unavailable

if TYPE_CHECKING:
    from raysume.actors.loading import Target
    from raysume.client import Client

LOOPBACK = "127.0.0.2"
"""Ray's own address: unlike 127.0.0.1, it is not replaced by the machine's address."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Nobody else sends requests to this machine's ingress while it stops.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
}
"""Read by Ray when it is imported and by every process that it starts."""


class Development:
    """A running development cluster: `with Development(target=..., data_dir=...) as dev: ...`.

    Leaving the block stops Ray's processes; the data directory stays, and the next start
    on it goes on where this one ended.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        data_dir: Path | None = None,
        port: int | None = None,
        dashboard: bool = True,
        cpus: int = 4,
    ) -> None:
        """
        Args:
            target: the .py file or the module that defines the workflows.
            data_dir: where everything durable is; as configured when None.
            port: of the ingress; as configured when None; 0 takes a free one.
            dashboard: start the Ray dashboard.
            cpus: what Ray may hand out; its actors here ask for hundredths.
        """
        configured = settings()
        self._given = target
        self.data_dir = (data_dir or configured.data_dir).resolve()
        self._port = configured.port if port is None else port
        self._dashboard = dashboard
        self._cpus = cpus
        self._exit = contextlib.ExitStack()
        self._target: Target | None = None
        self._directory: Any = None
        self.url = ""
        """Of the ingress."""
        self.token = ""
        """The operator's bearer token."""
        self.dashboard_url: str | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    # --- starting ----------------------------------------------------------------

    def _start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.token = _kept_secret(self.data_dir / "token")
        for name, value in {**_ENVIRONMENT, **self._own_haproxy()}.items():
            os.environ.setdefault(name, value)
        ray_token = self.data_dir / "ray_token"
        _kept_secret(ray_token)
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(ray_token))
        from raysume.actors.directory import directory_actor
        from raysume.actors.loading import Target
        from raysume.actors.specs import EngineSpec

        self._target = Target.of(self._given)
        engine = EngineSpec(
            data_dir=str(self.data_dir),
            database_url=settings().database_url,
            checkpoint_interval_s=settings().checkpoint_interval.total_seconds(),
            service=settings().service,
        )
        self._start_ray()
        self._directory = directory_actor(engine, _driver_paths())
        self.deploy()
        self._exit.callback(self._stop_pools)
        self._start_ingress(engine)

    def _own_haproxy(self) -> dict[str, str]:
        """Files and ports of a HAProxy of its own: two clusters may run on one machine."""
        folder = tempfile.mkdtemp(prefix="raysume-haproxy-")
        self._exit.callback(shutil.rmtree, folder, ignore_errors=True)
        return {
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        }

    def _start_ray(self) -> None:
        from raysume.actors.untyped import ray

        context = ray.init(
            num_cpus=self._cpus,
            namespace="raysume",
            include_dashboard=self._dashboard,
            dashboard_host="127.0.0.1",
            _node_ip_address=LOOPBACK,
            object_store_memory=200_000_000,
            log_to_driver=False,
            configure_logging=False,
        )
        self._exit.callback(ray.shutdown)
        if self._dashboard and context.dashboard_url:
            self.dashboard_url = f"http://{context.dashboard_url}"

    def _start_ingress(self, engine: Any) -> None:
        from raysume.actors.untyped import serve
        from raysume.client.endpoint import Endpoint, write_endpoint
        from raysume.serve_apps.ingress.deployment import IngressDeployment

        port = self._port or _free_port()
        self.url = f"http://127.0.0.1:{port}"
        serve().start(http_options={"host": "127.0.0.1", "port": port})
        self._exit.callback(serve().shutdown)
        serve().run(
            IngressDeployment.bind(msgspec.msgpack.encode(engine), self.token),
            name="raysume",
            route_prefix="/",
        )
        self._wait_until_healthy()
        written = write_endpoint(Endpoint(url=self.url, token=self.token), self.data_dir)
        self._exit.callback(written.unlink, missing_ok=True)

    def _wait_until_healthy(self) -> None:
        import httpx

        deadline = time.monotonic() + limits.START_S_MAX
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self.url}/v1/health", timeout=5, trust_env=False)
                if answer.status_code == 200:
                    return
                last = f"{answer.status_code} {answer.text[:200]}"
            except httpx.HTTPError as error:
                last = repr(error)
            time.sleep(0.05)
        raise Unavailable(
            f"the ingress at {self.url} was not ready within {limits.START_S_MAX} s ({last}). Is "
            "another program on that port? Logs are in /tmp/ray/session_latest/logs."
        )

    # --- while it runs --------------------------------------------------------------

    def deploy(self) -> dict[str, Any]:
        """The target, as it is in its file now, takes new instances.

        Raises:
            UsageError: it cannot be deployed; what runs goes on as it was.
        """
        from raysume.actors.deploying import described
        from raysume.actors.loading import load
        from raysume.actors.untyped import RayTaskError, cause_of, ray

        assert self._target is not None
        sys.modules.pop(self._target.module, None)
        workflows, methods = described(load(self._target), self._target)
        try:
            deployed: dict[str, Any] = ray.get(self._directory.deploy.remote(workflows, methods))
        except RayTaskError as error:
            raise cause_of(error) or error from None
        return deployed

    def client(self) -> Client:
        """A client of this cluster."""
        from raysume.client import Client

        return Client(self.url, self.token)

    def pool_pids(self) -> dict[str, int]:
        """Pool name -> process id of its actor."""
        from raysume.actors.untyped import ray

        pids: dict[str, int] = ray.get(self._directory.pools.remote())
        return pids

    def _stop_pools(self) -> None:
        from raysume.actors.untyped import RayError, ray

        with contextlib.suppress(RayError):
            ray.get(self._directory.stop.remote(), timeout=30)


def run_dev(
    target: str, *, port: int | None = None, data_dir: Path | None = None, reload: bool = True
) -> int:
    """Runs a development cluster until it is interrupted; 0 then, 1 when it could not start."""
    from rich.console import Console

    console = Console()
    stop = threading.Event()

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    with console.status("starting"), contextlib.ExitStack() as stack:
        development = stack.enter_context(Development(target, data_dir=data_dir, port=port))
        stack.pop_all()
    with contextlib.ExitStack() as stack:
        stack.callback(development.__exit__, None, None, None)
        signal.signal(signal.SIGTERM, interrupted)
        signal.signal(signal.SIGINT, interrupted)
        console.print(f"ingress    {development.url}  (docs at {development.url}/docs)")
        console.print(f"dashboard  {development.dashboard_url}")
        console.print(f"data       {development.data_dir}")
        console.print("The token is in the data directory; Client() and raysume find it there.")
        for change in _changes(target, stop) if reload else ():
            _deploy_again(development, console, change)
        stop.wait()
    return 0


def _deploy_again(development: Development, console: Any, change: str) -> None:
    try:
        deployed = development.deploy()
    except Exception as error:
        console.print(f"[red]{change} was not deployed:[/] {error}")
    else:
        console.print(f"deployed {', '.join(deployed['pools'])}")


def _changes(target: str, stop: threading.Event) -> Iterator[str]:
    """The target's file, each time that it was written."""
    path = Path(target)
    if not path.is_file():
        return
    from watchfiles import watch

    for _ in watch(path.parent, stop_event=stop, recursive=False, raise_interrupt=False):
        yield str(path)


def _kept_secret(path: Path) -> str:
    """The secret in the file, which is made (mode 0600) when it does not exist."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        secret = secrets.token_hex(32)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secret)
        return secret


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _driver_paths() -> list[str]:
    """The folders that Ray would put on the module path of every worker because of this program."""
    script = Path(sys.argv[0]).resolve().parent if sys.argv and sys.argv[0] else Path.cwd()
    return [str(Path.cwd()), str(script), ""]
