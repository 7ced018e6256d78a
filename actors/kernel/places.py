"""Where in the user's code something was raised."""

from __future__ import annotations

import functools
import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType, TracebackType

from raysume.compiler.pickling import traceback_text


def raised_at(error: BaseException) -> str | None:
    """file:line of the innermost frame in the user's code; None when there is none."""
    found = None
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        if not is_ours(entry.tb_frame) and not is_library(entry.tb_frame.f_code.co_filename):
            found = f"{entry.tb_frame.f_code.co_filename}:{entry.tb_lineno}"
        entry = entry.tb_next
    return found


def is_ours(frame: FrameType) -> bool:
    """Whether raysume's own code runs in the frame."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "raysume"


def is_library(file: str) -> bool:
    """Whether the file is raysume's, another package's, or Python's own."""
    return file.startswith(("<", *_folders()))


@functools.cache
def _folders() -> tuple[str, ...]:
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    for name in ("raysume", "raysume.actors", "raysume.storage"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            found.append(str(Path(file).parent))
    return tuple(f"{folder}/" for folder in found)


def told_in_full(error: BaseException) -> str:
    """The traceback of an error and of what caused it, also where that was raised elsewhere and saved."""
    text = "".join(traceback.format_exception(error))
    first = error
    while (before := _printed_before(first)) is not None:
        first = before
    if first is error or first.__traceback__ is not None:
        return text
    saved = traceback_text(first)  # of a step, say: printed first, but without its lines
    return f"Traceback (most recent call last):\n{saved}{text}" if saved else text


def _printed_before(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__
