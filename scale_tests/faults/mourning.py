"""Ends what the harness started when the harness itself was killed and could not do it.

    python -m scale_tests.faults.mourning

It reads "pid start-time" lines, and when the pipe closes, ends those processes that still live,
with everything below them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

import psutil


class Mourner:
    """A process that outlives this one by a moment."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scale_tests.faults.mourning"],
            stdin=subprocess.PIPE,
            text=True,
            # Not the interrupts of the terminal: it has to be there after them.
            start_new_session=True,
        )
        self._told: set[tuple[int, float]] = set()

    def learn(self) -> None:
        """All processes that this one has started so far end with it."""
        assert self._process.stdin is not None
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                one = child.pid, child.create_time()
                if child.pid != self._process.pid and one not in self._told:
                    self._told.add(one)
                    self._process.stdin.write(f"{child.pid} {child.create_time()}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """It has ended, and so has whatever was left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Waits for the end of the harness."""
    lines = list(sys.stdin)
    left: list[psutil.Process] = []
    for line in lines:
        pid, started = line.split()
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.create_time() == float(started):
                left += [process, *process.children(recursive=True)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main()
