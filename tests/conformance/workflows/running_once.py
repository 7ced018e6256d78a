"""How often each line ran, live and with reloads: a reload must make none run again.

That a function which is entered at a saved wait runs nothing on its way there is the compiler's
matter, and shown by tests/unit/compiler/test_differential.py; only what it calls is seen here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[3]
COUNTED = (str(ROOT / "tests" / "conformance"), str(ROOT / "examples"))
RUNNING = 0
"""The point of a durable function while it runs; another one: it is on its way to a saved wait."""


class Executed:
    """Counts the lines of tests and examples that run inside the block, except matches.

    A predicate belongs to its wait, not to the statements: it may be evaluated at any time.

    Args:
        without: the function that is the test itself.
    """

    def __init__(self, *, without: str) -> None:
        self._lines: Counter[tuple[str, str, int]] = Counter()
        self._left_out = ("<lambda>", without)

    @property
    def lines(self) -> Counter[str]:
        """How often each line ran, by "file::function:line"."""
        counted: Counter[str] = Counter()
        for (file, function, line), count in self._lines.items():
            counted[f"{Path(file).name}::{function}:{line}"] += count
        return counted

    def __enter__(self) -> Self:
        self._previous = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        sys.settrace(self._previous)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        is_counted = code.co_filename.startswith(COUNTED)
        return self._stepped if is_counted and code.co_name not in self._left_out else None

    def _stepped(self, frame: FrameType, event: str, _argument: Any) -> Any:
        code = frame.f_code
        if event == "line" and self._runs(frame):
            self._lines[code.co_filename, code.co_name, frame.f_lineno] += 1
        return self._stepped

    @staticmethod
    def _runs(frame: FrameType) -> bool:
        """Whether the function runs its own code, rather than being entered at a saved wait."""
        is_durable = ".pc" in frame.f_code.co_varnames
        return not is_durable or frame.f_locals.get(".pc", RUNNING) == RUNNING


def compared(
    folder: Path, test: str, mode: str, lines: Counter[str], runs_again: set[str]
) -> list[str]:
    """The lines that ran more or less often than in the other mode, if that has run already.

    Args:
        folder: where the counts of both modes are kept.
        test: the same for both modes.
        mode: "live" or "reloaded".
        lines: what ran in this mode.
        runs_again: functions that a reload calls again: factories, what a predicate asks.
    """
    name = hashlib.sha256(test.encode()).hexdigest()
    (folder / f"{name}-{mode}.json").write_text(json.dumps(lines), encoding="utf-8")
    other = folder / f"{name}-{'live' if mode == 'reloaded' else 'reloaded'}.json"
    if not other.exists():
        return []
    counted: dict[str, int] = json.loads(other.read_text(encoding="utf-8"))
    return [
        f"{line} ran {lines[line]} times {mode}, {counted.get(line, 0)} times otherwise"
        for line in sorted({*lines, *counted})
        if lines[line] != counted.get(line, 0) and _function(line) not in runs_again
    ]


def _function(line: str) -> str:
    return line.split("::")[1].split(":")[0]
