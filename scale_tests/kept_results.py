"""The results that are kept, read: see `telling` for how they come there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from scale_tests.telling import RESULTS

Line = Mapping[str, Any]
"""What a command printed, with its `conditions` and, if the command kept it itself, its `run`."""


@dataclass(frozen=True, slots=True)
class Results:
    """All results that are kept."""

    lines: Mapping[str, list[Line]]
    """Command -> its results, the newest one last."""

    @classmethod
    def read(cls, folder: Path = RESULTS) -> Results:
        """The results of a folder.

        Raises:
            ValueError: a line is no JSON object; says which.
        """
        found: dict[str, list[Line]] = {}
        for file in sorted(folder.glob("*.jsonl")):
            lines = file.read_text(encoding="utf-8").splitlines()
            for number, text in enumerate(lines, 1):
                if not text.strip():
                    continue
                try:
                    line: Line = msgspec.json.decode(text, type=dict[str, Any])
                except msgspec.DecodeError as error:
                    raise ValueError(f"{file.name}, line {number}: {error}") from error
                found.setdefault(file.stem, []).append(line)
        return cls(found)

    def of(self, command: str) -> list[Line]:
        """The results of a command, the newest one last."""
        return self.lines.get(command, [])

    def newest(self, command: str) -> Line | None:
        """The last result of a command; None: there is none."""
        found = self.of(command)
        return found[-1] if found else None

    def newest_by(self, command: str, *names: str) -> list[Line]:
        """The last result for each combination of these figures, in the order of the combinations."""
        found = {tuple(line.get(name) for name in names): line for line in self.of(command)}
        return [found[key] for key in sorted(found, key=str)]


def addition_ns(line: Line) -> float:
    """How long an addition took where the line was made."""
    return float(line["conditions"]["addition_ns"])


def cores_of(line: Line) -> int:
    """How many cores the machine of a result had."""
    words = str(line["conditions"]["machine"]).split(", ")
    return next(int(word.split()[0]) for word in words if word.endswith(" cores"))


def is_on_sqlite(line: Line) -> bool:
    """Whether the data was in SQLite files."""
    return str(line["conditions"]["store"]).startswith("sqlite")
