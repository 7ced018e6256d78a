"""What a peer's program says to the driver: one JSON line for each command, on stdin and stdout.

The driver asks `{"command": name, "arguments": {...}}`; the program says `{"answer": ...}`, or
`{"refused": reason}` when the peer does not do that at all, or `{"failed": reason}`. Programs end
when their stdin does. Needs only the standard library: it runs in each peer's environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

Command = Callable[..., Awaitable[Any]]

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of one command: it may carry an identifier for each of 100,000 instances."""


class Refused(Exception):
    """The peer does not do this by design, for example because of a limit; the message says why."""


def own_stdout() -> IO[str]:
    """The driver's end of stdout; whatever else is printed from now on goes to stderr."""
    kept = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return kept


async def converse(commands: Mapping[str, Command], answers: IO[str]) -> None:
    """Every command was answered, in order, until the driver closed its end."""
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say(answers, {"answer": "ready"})
    while line := await reader.readline():
        asked = json.loads(line)
        _say(answers, await _answer(commands[asked["command"]], asked["arguments"]))


async def _answer(command: Command, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": await command(**arguments)}
    except Refused as reason:
        return {"refused": str(reason)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def _say(answers: IO[str], line: dict[str, Any]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()
