"""What the programs of writers.py print, and how they are waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

Start = Callable[[str], "subprocess.Popen[str]"]
"""Starts a program by its name."""

StartWriter = Callable[[str, str], "subprocess.Popen[str]"]
"""Starts a program by its name on a place."""

_WRITERS = Path(__file__).with_name("writers.py")


@contextmanager
def writers() -> Generator[StartWriter]:
    """Starts programs; what is left of them ends with the block."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, place: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(_WRITERS), name, place], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next lines that the process prints."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def killed_after(process: subprocess.Popen[str], count: int) -> list[str]:
    """All lines that the process printed until it was killed, soon after the first `count`."""
    printed = lines(process, count)
    process.kill()
    rest, _ = process.communicate()
    # A last line without its end was cut off while it was printed.
    return printed + rest.split("\n")[:-1]


def until_stopped(process: subprocess.Popen[str]) -> None:
    """The process has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
