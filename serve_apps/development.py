"""One machine, everything on it: Ray, directory, pools and ingress, on a data directory."""

from __future__ import annotations

import contextlib
import fcntl
import linecache
import os
import secrets
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec

from raysume import limits, registry
from raysume.configuration import settings
from raysume.errors import ConfigurationError, Unavailable
from raysume.serve_apps.patience import patiently
from raysume.serve_apps.proxying import LOOPBACK, SERVING, free_port, own_haproxy

if TYPE_CHECKING:
    from raysume.actors.loading import Target
    from raysume.client import Client

_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"} | SERVING
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
        self.problems: dict[str, str] = {}
        """Pool name -> why it does not run, as of the last deployment."""

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
        self._exit.callback(_lock(self.data_dir).close)
        self.token = _kept_secret(self.data_dir / "token")
        ray_token = self.data_dir / "ray_token"
        _kept_secret(ray_token)
        self._set_environment({"RAY_AUTH_TOKEN_PATH": str(ray_token)})
        self._set_environment(_ENVIRONMENT | self._own_haproxy())
        from raysume.actors.directory import directory_actor
        from raysume.actors.loading import Target
        from raysume.actors.specs import EngineSpec
        from raysume.storage.opening import open_store
        from raysume.storage.seal_key import load_seal

        self._target = Target.of(self._given)
        engine = EngineSpec(
            data_dir=str(self.data_dir),
            database_url=settings().database_url,
            mailbox_window_s=settings().mailbox_window.total_seconds(),
            history_retention_s=settings().history_retention.total_seconds(),
            call_retention_s=settings().call_retention.total_seconds(),
            checkpoint_interval_s=settings().checkpoint_interval.total_seconds(),
            memory_budget=settings().memory_budget,
            pool_members=settings().pool_members,
            service=settings().service,
        )
        # What cannot be compiled, and a missing key, are refused before Ray starts.
        described = self._described()
        with contextlib.closing(open_store(engine.database_url, engine.folder)) as store:
            load_seal(store, engine.folder)
        self._start_ray()
        self._directory = directory_actor(engine, _driver_paths())
        self._exit.callback(self._stop_pools)
        with ThreadPoolExecutor(1, "raysume-ingress") as beside:
            ingress = beside.submit(self._start_ingress, engine)
            deployed = self._deploy(described)
            ingress.result()
        self._wait_until_serving(deployed["catalogue"])
        self._write_endpoint()

    def _set_environment(self, variables: dict[str, str]) -> None:
        """The variables that were not set before are set until this cluster ends."""
        for name, value in variables.items():
            if name not in os.environ:
                os.environ[name] = value
                self._exit.callback(os.environ.pop, name, None)

    def _own_haproxy(self) -> dict[str, str]:
        """Files and ports of a HAProxy of its own."""
        folder = tempfile.mkdtemp(prefix="raysume-haproxy-")
        self._exit.callback(shutil.rmtree, folder, ignore_errors=True)
        return own_haproxy(folder)

    def _start_ray(self) -> None:
        from raysume.actors.untyped import ray

        context = ray.init(
            address="local",  # also when another cluster runs on this machine
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
        from raysume.serve_apps.ingress.deployment import IngressDeployment

        port = self._port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        replicas = IngressDeployment.options(num_replicas=settings().ingress_replicas)
        bound = replicas.bind(msgspec.msgpack.encode(engine), self.token)
        self._exit.callback(serve().shutdown)
        patiently(lambda: serve().start(http_options={"host": "127.0.0.1", "port": port}))
        patiently(lambda: serve().run(bound, name="raysume", route_prefix="/"))

    def _write_endpoint(self) -> None:
        from raysume.client.endpoint import Endpoint, write_endpoint

        written = write_endpoint(Endpoint(url=self.url, token=self.token), self.data_dir)
        self._exit.callback(written.unlink, missing_ok=True)

    def _wait_until_serving(self, catalogue: int) -> None:
        """The ingress answers, and works with this version of the catalogue or a later one."""
        import httpx

        deadline = time.monotonic() + limits.START_S_MAX
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self.url}/v1/health", timeout=5, trust_env=False)
                if answer.status_code == 200 and answer.json()["catalogue"] >= catalogue:
                    return
                last = f"{answer.status_code} {answer.text[:200]}"
            except (httpx.HTTPError, ValueError) as error:
                last = repr(error)
            time.sleep(0.05)
        raise Unavailable(
            f"the ingress at {self.url} was not ready within {limits.START_S_MAX} s ({last}). Is "
            "another program on that port? Logs are in /tmp/ray/session_latest/logs."
        )

    # --- while it runs --------------------------------------------------------------

    def deploy(self, also: str | Path | None = None) -> dict[str, Any]:
        """The target, as it is in its file now, takes new instances.

        Args:
            also: another file or module instead, which takes new instances beside the target.

        Raises:
            UsageError: it cannot be deployed; what runs goes on as it was.
        """
        from raysume.actors.deploying import described_apart
        from raysume.actors.loading import Target

        deployed = self._deploy(
            self._described() if also is None else described_apart(Target.of(also), _driver_paths())
        )
        self._wait_until_serving(deployed["catalogue"])
        return deployed

    def _described(self) -> tuple[list[bytes], bytes]:
        """What the target's file defines now.

        Raises:
            UsageError: it cannot be deployed.
        """
        from raysume.actors.deploying import described
        from raysume.actors.loading import load

        assert self._target is not None
        sys.modules.pop(self._target.module, None)
        registry.forget_module(self._target.module)
        linecache.checkcache()
        return described(load(self._target), self._target)

    def _deploy(self, described: tuple[list[bytes], bytes]) -> dict[str, Any]:
        from raysume.actors.untyped import RayTaskError, cause_of, ray

        try:
            deployed: dict[str, Any] = ray.get(self._directory.deploy.remote(*described))
        except RayTaskError as error:
            raise cause_of(error) or error from None
        self.problems = deployed["problems"]
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


def _lock(data_dir: Path) -> IO[str]:
    """The data directory belongs to this process until the file is closed, or the process ends.

    Raises:
        ConfigurationError: it belongs to another one.
    """
    file = (data_dir / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ConfigurationError(
            f"process {holder} runs a development cluster on {data_dir}. End it first, or choose "
            "another data directory."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _driver_paths() -> list[str]:
    """The folders that Ray would put on the module path of every worker because of this program."""
    script = Path(sys.argv[0]).resolve().parent if sys.argv and sys.argv[0] else Path.cwd()
    return [str(Path.cwd()), str(script), ""]
