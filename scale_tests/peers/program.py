"""A program of a peer, seen from the driver: see `conversation`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from scale_tests.peers.conversation import Refused
from scale_tests.peers.environments import ROOT
from scale_tests.peers.peer import PeerFailed

STOP_S_MAX: Final = 20.0
"""Programs end when their stdin does; one that does not is killed then."""


def surroundings(**added: str) -> dict[str, str]:
    """Environment variables for what a peer runs: this process's, without its Python paths."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    return kept | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1,localhost"} | added


class Server:
    """A process that the driver started and ends, with its output in a log file."""

    def __init__(
        self, command: list[str | Path], log: Path, *, talks: bool = False, **variables: str
    ) -> None:
        self.log = log
        pipe = subprocess.PIPE if talks else subprocess.DEVNULL
        with log.open("ab") as file:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe if talks else file,
                stderr=file,
                env=surroundings(**variables),
                # Not the terminal's interrupts: the driver ends it.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """False once it has ended, for whatever reason."""
        return self.process.poll() is None

    def said_last(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-1_000:].strip()

    def kill(self) -> None:
        """It was ended as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """It has ended, in order if it can."""
        if self.is_running:
            self.process.terminate()
        self._wait()

    def _wait(self) -> None:
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()


class Program(Server):
    """A worker or a sender: a module of `scale_tests.peers.programs` that converses.

    Args:
        python: the interpreter of the peer's environment.
        module: the name of the module.
        arguments: for its command line.
        log: takes whatever it prints that is no answer.
    """

    def __init__(self, python: Path, module: str, arguments: list[str], log: Path) -> None:
        # -P: nothing of the folder that the driver runs in is imported by mistake.
        name = f"scale_tests.peers.programs.{module}"
        super().__init__([python, "-P", "-m", name, *arguments], log, talks=True)
        self._module = module

    def wait_until_ready(self) -> None:
        """It listens to commands.

        Raises:
            PeerFailed: it ended instead.
        """
        self._listen()

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer to a command, whenever it comes.

        Raises:
            Refused: the peer does not do this.
            PeerFailed: it failed, or the program ended.
        """
        assert self.process.stdin is not None
        line = json.dumps({"command": command, "arguments": arguments}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._listen()

    def kill(self) -> None:
        """It was ended as `kill -9` does."""
        super().kill()
        self._close()

    def stop(self) -> None:
        """It has ended: it was told by the end of its stdin."""
        self._close()
        self._wait()

    def _listen(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        said = json.loads(line)
        if "refused" in said:
            raise Refused(said["refused"])
        if "failed" in said:
            raise PeerFailed(f"{self._module}: {said['failed']}")
        return said["answer"]

    def _ended(self) -> PeerFailed:
        return PeerFailed(f"{self._module} ended: {self.said_last()}")

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
