"""Processes that own something in a store: how they are named, and how they are ended.

A writer that was stopped in the middle of a transaction keeps the database file
locked for ever. Whoever takes over therefore ends the recorded process first, and
only that one: a process id alone may belong to somebody else by now, so the name
holds the time the process started too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from raysume.errors import StoreUnavailable
from raysume.limits import PROCESS_END_S_MAX


def owner_of_this_process(label: str) -> str:
    """ "pid:start_time:label" of this process, as `acquire` and `open_partition` take it."""
    return f"{os.getpid()}:{_start_time(os.getpid())}:{label}"


def is_other_live_process(owner: str) -> bool:
    """True when `owner` names a process that lives on this machine and is not this one."""
    pid = _pid_of(owner)
    return pid is not None and pid != os.getpid() and _lives(pid, owner)


def names(owner: str, pid: int) -> bool:
    """Whether `owner` names a process with this id."""
    return _pid_of(owner) == pid


def has_ended_here(owner: str) -> bool:
    """True when `owner` names a process of this machine, and container, that runs no more."""
    pid = _pid_of(owner)
    started = owner.partition(":")[2].partition(":")[0]
    here = _place_of(_start_time(os.getpid()) or "")
    return pid is not None and _place_of(started) == here and not _lives(pid, owner)


def end_process(owner: str) -> None:
    """The process named by `owner` no longer runs, so its locks and transactions are gone.

    Nothing happens when it is this process, or ended before.

    Raises:
        StoreUnavailable: it may not be ended by this user, or did not end in time.
    """
    if not is_other_live_process(owner):
        return
    pid = _pid_of(owner)
    assert pid is not None
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise StoreUnavailable(
            f"process {pid} ({owner}) still owns what is taken over here and belongs to another "
            "user. End it, then start again."
        ) from error
    deadline = time.monotonic() + PROCESS_END_S_MAX
    while _lives(pid, owner):
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"process {pid} ({owner}) was killed and did not end within "
                f"{PROCESS_END_S_MAX:.0f} s, probably waiting for a disk. Check the disk and retry."
            )
        time.sleep(0.002)


def _pid_of(owner: str) -> int | None:
    head = owner.partition(":")[0]
    return int(head) if head.isascii() and head.isdigit() and int(head) > 1 else None


def _place_of(start_time: str) -> str:
    """What tells one machine and container from another in a start time; "" where nothing does."""
    return start_time.partition("-")[2] if sys.platform == "linux" else ""


def _lives(pid: int, owner: str) -> bool:
    start_time = _start_time(pid)
    return start_time is not None and owner.split(":")[1:2] == [start_time]


def _start_time(pid: int) -> str | None:
    """When the process started, as text without colons; None when it is gone or a zombie."""
    if sys.platform == "linux":
        return _linux_start_time(pid)
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = listed.stdout.strip().partition(" ")
    if listed.returncode != 0 or state.startswith("Z"):
        return None
    return started.strip().replace(" ", "-").replace(":", ".")


def _linux_start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        # Containers of one machine number their processes independently of each other.
        space = os.stat("/proc/self/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may itself contain any character.
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{start_ticks}-{boot[:8]}-{space:x}"
