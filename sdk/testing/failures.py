"""Failed tests, told so that they point at the user's own lines.

An error of raysume's ends at the line that called it, not inside the shell; and instances
that failed in a shell of the test are told with the lines of the workflow that raised.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from raysume.errors import RaysumeError

_FRAME = re.compile(r'(?m)^  File "([^"]+)", line .*\n(?:^    .*\n)*')


def ends_at_the_user(error: BaseException) -> None:
    """The traceback of an error of raysume's ends at the last line that is the user's."""
    if not isinstance(error, RaysumeError):
        return
    last: TracebackType | None = None
    entry = error.__traceback__
    while entry is not None:
        if not _is_library(entry.tb_frame):
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None


def failed_instances(error: BaseException) -> str:
    """The failed instances of all shells that the test's functions hold; empty when none failed."""
    shell = getattr(sys.modules.get("raysume.testing.shell"), "TestShell", None)
    if shell is None:
        return ""
    told: list[str] = []
    for value in _held(error):
        if isinstance(value, shell):
            told += [_told(run) for run in value.instances() if run.status == "failed"]
    return "\n".join(dict.fromkeys(told))


def _held(error: BaseException) -> Iterator[Any]:
    entry = error.__traceback__
    while entry is not None:
        if not _is_library(entry.tb_frame):
            yield from list(entry.tb_frame.f_locals.values())
        entry = entry.tb_next


def _told(run: Any) -> str:
    text: str = run.traceback or ""
    lines = [found.group() for found in _FRAME.finditer(text) if not _is_ours(found.group(1))]
    return f"{run.workflow} {run.id} failed: {run.error}\n{''.join(lines)}"


def _is_library(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] == "raysume" or _is_ours(frame.f_code.co_filename)


def _is_ours(file: str) -> bool:
    """Whether the file is raysume's, another package's, or Python's own."""
    return file.startswith(("<", *_libraries()))


def _libraries() -> tuple[str, ...]:
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    for name in ("raysume", "raysume.actors", "raysume.storage", "raysume.serve_apps"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            found.append(str(Path(file).parent))
    return tuple(f"{folder}/" for folder in found)
