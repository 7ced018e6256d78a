"""Which outbox file belongs to which process: one file, one process, by a lock that ends with it.

The lock is the system's (flock): it is gone the moment its process is, however that ended,
so nobody has to find out whether a process id is still the same process.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from raysume.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An outbox file that this process alone may write."""

    path: Path
    handle: int
    """The open lock file; the lock lasts as long as it."""

    def release(self) -> None:
        """Another process may claim the file."""
        os.close(self.handle)

    def forget(self) -> None:
        """After a fork, in the child: the parent goes on holding the claim, and only it does."""
        os.close(self.handle)


def claim_for(folder: Path, service: str) -> Claim:
    """An outbox of the service that nobody else holds: one left by a dead process, else a new one.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(1, 1_000_000):
            claim = _try(_path(folder, service, number))
            if claim is not None:
                return claim
    except OSError as error:
        raise ConfigurationError(
            f"calls cannot be kept in {folder} until they are sent: {error.strerror}. "
            "Give a folder that can be written as RAYSUME_DATA_DIR.",
            setting="data_dir",
        ) from error
    raise AssertionError("a million processes publish for one service")


def claim_orphans(folder: Path, service: str, held: Collection[Path]) -> Iterator[Claim]:
    """The outboxes that dead processes of the service left, claimed one after the other."""
    name = re.compile(re.escape(_quoted(service)) + r"-(\d+)\.db")
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path not in held and name.fullmatch(path.name):
            claim = _try(path)
            if claim is not None:
                yield claim


def _try(path: Path) -> Claim | None:
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return Claim(path=path, handle=handle)


def _path(folder: Path, service: str, number: int) -> Path:
    return folder / f"{_quoted(service)}-{number}.db"


def _quoted(service: str) -> str:
    return quote(service, safe="") or "_"
