"""Failed tests, told so that they point at the user's own lines.

An error of raysume's ends at the line that called it, not inside the shell; what the user's own
code raised is shown without the frames of raysume that called it; and what went wrong in the
instances of a test's shells is told with the lines that raised.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from raysume.actors.kernel.places import is_library, is_ours
from raysume.errors import InvariantViolated, RaysumeError

_FRAME = re.compile(r'(?m)^  File "([^"]+)", line .*\n(?:^    .*\n)*')

_ENGINE = ("raysume.actors.", "raysume.storage.")
"""Where wrong values are not the user's any more."""


def shows_the_user(error: BaseException) -> None:
    """The traceback of an error, and of what caused it, has no frames of raysume's.

    Those of a bug of ours stay: an `InvariantViolated`, or what is neither an error of raysume's
    nor a wrong value, but was raised inside it.
    """
    seen: set[int] = set()
    shown: BaseException | None = error
    while shown is not None and id(shown) not in seen:
        seen.add(id(shown))
        if not _is_a_bug_of_ours(shown):
            _without_ours(shown)
            if isinstance(shown, RaysumeError) and not _has_user_lines(shown.__cause__):
                shown.__cause__, shown.__suppress_context__ = None, True
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def _is_a_bug_of_ours(error: BaseException) -> bool:
    if isinstance(error, InvariantViolated):
        return True
    last = _entries(error)[-1:]
    if isinstance(error, RaysumeError) or not last or not is_ours(last[0].tb_frame):
        return False
    refuses = isinstance(error, ValueError | TypeError)
    return not refuses or last[0].tb_frame.f_globals["__name__"].startswith(_ENGINE)


def _has_user_lines(error: BaseException | None) -> bool:
    """True for no error, too."""
    return error is None or any(not _is_library(entry.tb_frame) for entry in _entries(error))


def _without_ours(error: BaseException) -> None:
    """The frames of raysume's are left out, and those behind the user's last one if raysume raised."""
    entries = _entries(error)
    kept = [entry for entry in entries if not is_ours(entry.tb_frame)]
    if len(kept) < len(entries):
        users = [entry for entry in kept if not _is_library(entry.tb_frame)]
        if users and (isinstance(error, RaysumeError) or is_ours(entries[-1].tb_frame)):
            kept = kept[: kept.index(users[-1]) + 1]
    if not kept:
        return
    for entry, following in zip(kept, [*kept[1:], None], strict=True):
        entry.tb_next = following
    error.__traceback__ = kept[0]


def _entries(error: BaseException) -> list[TracebackType]:
    found: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        found.append(entry)
        entry = entry.tb_next
    return found


def failed_instances(error: BaseException) -> str:
    """What went wrong in the shells that the test's functions hold; empty when nothing did."""
    shell = getattr(sys.modules.get("raysume.testing.shell"), "TestShell", None)
    if shell is None:
        return ""
    told: list[str] = []
    for value in _held(error):
        if isinstance(value, shell):
            told += [_told(run) for run in value.instances() if run.status == "failed"]
            told += _logged(value)
    return "\n".join(dict.fromkeys(told))


def _held(error: BaseException) -> Iterator[Any]:
    for entry in _entries(error):
        if not _is_library(entry.tb_frame):
            yield from list(entry.tb_frame.f_locals.values())


def _told(run: Any) -> str:
    text: str = run.traceback or ""
    lines = [found.group() for found in _FRAME.finditer(text) if not is_library(found.group(1))]
    return f"{run.workflow} {run.id} failed: {run.error}\n{''.join(lines)}"


def _logged(shell: Any) -> Iterator[str]:
    """Matches and callbacks that raised: their waits were passed over, no instance failed."""
    for pool in shell._pools.values():
        for line in pool.logs:
            file, _, number = (line.facts.get("at") or "").rpartition(":")
            if line.level == "error" and file:
                what = f"{pool.workflow.name} {line.instance}: {line.event}"
                yield f'{what}: {line.facts["error"]}\n  File "{file}", line {number}\n'


def _is_library(frame: FrameType) -> bool:
    return is_ours(frame) or is_library(frame.f_code.co_filename)
