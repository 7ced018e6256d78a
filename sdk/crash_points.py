"""Named crash points: places where a test can end the process, at every border of durability.

A point does nothing unless it is armed; what it costs then is one look at a global. Two
environment variables arm points of a process that is started with them:

- `RAYSUME_CRASH_POINTS=after_append:3` ends the process, by SIGKILL, as it passes the point
  `after_append` for the third time (`name` alone: for the first time; several with commas).
- `RAYSUME_CRASH_POINTS_DIR=<folder>` lets points of running processes be armed by files in
  the folder: see `arm`. Workers of Ray inherit both variables from whoever started the cluster.

A simulation sets a hook instead (`watch`), which raises where the process would end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from raysume.errors import ConfigurationError

POINTS: Final[Mapping[str, str]] = {
    # --- the ingress -----------------------------------------------------------------
    "before_append": "Requests are taken from the queue; nothing of them is stored.",
    "after_append": "The calls are durable; nobody has been told, and no request is answered.",
    "before_answer": "The calls are durable and offered for delivery; no request is answered.",
    "after_answer": "The requests are answered, as far as the event loop is concerned.",
    "after_partition_closed": "A failed append is settled: its partition is closed, none is open.",
    "before_adoption_closes": "A dead replica's partition was found; it is still open.",
    "after_adoption_closed": "A dead replica's partition is closed; nobody was told of its calls.",
    "before_delivery": "A range is on its way out; the pool has nothing of it.",
    "after_delivery": "The pool has a range; the ingress has not noted that it arrived.",
    # --- a pool: events and commits ----------------------------------------------------
    "after_delivery_received": "A range waits in the pool's memory to be applied.",
    "after_apply": "Turns were taken in memory; nothing of them is durable.",
    "before_commit": "A commit is made up; nothing of it is written.",
    "after_commit": "A commit is durable; the pool does not know it yet, no effect is released.",
    "after_checkpoint": "A checkpoint is durable and known; its effects are not released.",
    "before_release": "A commit is durable and known; none of its effects is released.",
    "after_release": "All effects of a commit are under way; none has ended.",
    # --- a pool: effects ---------------------------------------------------------------
    "before_step": "A step is asked for, durably; it has not run.",
    "after_step": "An attempt of a step has ended; its result is in memory alone.",
    "before_send": "Outgoing calls are durable with their turn; the ingress has not got them.",
    "after_send": "Outgoing calls were accepted; that is recorded nowhere, they are sent again.",
    "after_timer_barrier": "It is known which calls come before a due timer; it has not rung.",
    # --- a pool: beginning and ending ----------------------------------------------------
    "before_takeover": "A new incarnation exists; the former one still owns the shards.",
    "after_takeover": "The shards are owned under a new epoch; nothing of them is read.",
    "after_recovery": "Instances and journal are in memory again; nothing goes on yet.",
    "after_suspect_noted": "A watched turn is about to run; its instance is noted as the suspect.",
    "after_trial_noted": "A suspected step or turn is about to run; it is noted as on trial.",
    "after_retirement_kept": "The end of a version's time is durable; nobody has been told.",
    "after_time_begun": "The begin of a version's time is durable; the pool does not go by it yet.",
    # --- moving shards -------------------------------------------------------------------
    "after_shards_given": "Shards are given up, durably; they are still assigned to who gave them.",
    "after_shards_assigned": "Shards are assigned to another member, durably; nobody owns them.",
    "after_shards_acquired": "Shards belong to a process again, durably; it does not know it yet.",
    # --- Ray steps -----------------------------------------------------------------------
    "after_outcome_recorded": "A Ray step's outcome is in the store; the pool has not got it.",
    # --- inside transactions of a database ---------------------------------------------------
    "sql_during_commit": "Journal rows are written in a transaction that is not committed.",
    "sql_during_checkpoint": "Instance rows are written too, their checkpoint is not.",
    "sql_during_append": "A segment is written in a transaction that is not committed.",
}
"""Name -> what is true at the point. Each is passed in exactly one place of the code."""

ENVIRONMENT: Final = "RAYSUME_CRASH_POINTS"
FOLDER: Final = "RAYSUME_CRASH_POINTS_DIR"

Hook = Callable[[str], None]
"""Called with the name of every point that is passed, by whichever thread passes it."""

_hook: Hook | None = None


def crash_point(name: str) -> None:
    """The process goes on, unless somebody has armed the point."""
    if _hook is not None:
        _hook(name)


@contextmanager
def watch(hook: Hook) -> Generator[None, None, None]:
    """Points that are passed inside the block are told to the hook, which may raise."""
    global _hook
    former, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = former


def arm(folder: Path, name: str, *, nth: int = 1, pid: int | None = None) -> Path:
    """A process that looks into the folder ends as it passes the point for the nth time from now.

    Args:
        folder: what `RAYSUME_CRASH_POINTS_DIR` of the process says.
        nth: 1 for the next time. Each process counts for itself.
        pid: which process; None: the first that gets there, and no second one.

    Returns:
        The file that arms the point: gone as soon as the point is reached. Deleting it disarms.
    """
    _check(name)
    path = folder / _file_name(name, pid)
    made = folder / f".{path.name}.{os.getpid()}"
    made.write_text(str(nth), encoding="ascii")
    made.replace(path)
    return path


def reached(folder: Path) -> list[tuple[int, str]]:
    """(process id, point) of every process that ended at a point armed by a file."""
    found = (path.name.split(".") for path in sorted(folder.glob("reached.*")))
    return [(int(pid), name) for _, pid, name in found]


def _file_name(name: str, pid: int | None) -> str:
    return f"armed.{'any' if pid is None else pid}.{name}"


def _check(name: str) -> None:
    if name not in POINTS:
        raise ConfigurationError(
            f"there is no crash point {name!r}. Take one of: {', '.join(sorted(POINTS))}."
        )


class _Armed:
    """Ends this process where the environment, or a file in the folder, says so."""

    def __init__(self, points: dict[str, int], folder: Path | None) -> None:
        self._points, self._folder = points, folder
        self._passed: dict[str, int] = {}
        self._passed_since: dict[tuple[str, int], int] = {}

    def __call__(self, name: str) -> None:
        passed = self._passed[name] = self._passed.get(name, 0) + 1
        if self._points.get(name) == passed or (self._folder is not None and self._is_armed(name)):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_armed(self, name: str) -> bool:
        return any(self._is_due(name, pid) for pid in (os.getpid(), None))

    def _is_due(self, name: str, pid: int | None) -> bool:
        assert self._folder is not None
        path = self._folder / _file_name(name, pid)
        try:
            armed = path.stat().st_mtime_ns
            nth = int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return False
        key = (path.name, armed)
        passed = self._passed_since[key] = self._passed_since.get(key, 0) + 1
        if passed < nth:
            return False
        try:
            path.rename(self._folder / f"reached.{os.getpid()}.{name}")
        except FileNotFoundError:
            return False  # another process was first
        return True


def _of_environment() -> Hook | None:
    said, folder = os.environ.get(ENVIRONMENT, ""), os.environ.get(FOLDER)
    points: dict[str, int] = {}
    for part in filter(None, said.split(",")):
        name, _, nth = part.partition(":")
        _check(name)
        points[name] = int(nth or 1)
    return _Armed(points, None if folder is None else Path(folder)) if points or folder else None


_hook = _of_environment()
