"""What every command does with its figures: it prints them, and keeps them if it is asked to.

A kept figure is a line of JSON in `results/<command>.jsonl`, the newest one last: what was printed,
its conditions, and in `run` when, of which revision and with which options it was made.
`scale_tests.plots` reads them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from scale_tests.conditions import stolen

RESULTS: Final = Path(__file__).with_name("results")
"""Where results are kept, one file for each command."""

_UNTOLD: Final = frozenset({"json", "keep"})
"""Options that change no figure."""


def printing_options(parser: argparse.ArgumentParser) -> None:
    """The parser has the options that say what becomes of the figures."""
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument(
        "--keep",
        type=Path,
        nargs="?",
        const=RESULTS,
        metavar="FOLDER",
        help="append that line to <command>.jsonl in the folder (scale_tests/results)",
    )


def tell(
    figures: Mapping[str, Any],
    made_in: Mapping[str, Any],
    options: argparse.Namespace,
    *,
    table: Iterable[str] | None = None,
) -> None:
    """The figures and their conditions are printed, and kept if that was asked for.

    Args:
        options: with those of `printing_options`.
        table: what is printed where it is not JSON; None: a line for each figure and condition.
    """
    made_in = {**made_in, **stolen()}
    told: dict[str, Any] = {**figures, "conditions": made_in}
    if options.keep is not None:
        keep(told | {"run": run_of(options)}, command_of(sys.argv[0]), options.keep)
    if options.json:
        print(json.dumps(told))
        return
    if table is None:
        table = [f"{name:<24} {value!s:>14}" for name, value in {**figures, **made_in}.items()]
    print("\n".join(table))


def keep(line: Mapping[str, Any], command: str, folder: Path) -> None:
    """The line is the last one of the command's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{command}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def command_of(program: str) -> str:
    """The name of the command whose program this is: of a package, that of its folder."""
    path = Path(program)
    return path.parent.name if path.stem == "__main__" else path.stem


def run_of(options: argparse.Namespace) -> dict[str, Any]:
    """When, of which revision and with which options a result is made. Paths mean nothing elsewhere."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "options": {
            name: str(value) if isinstance(value, date) else value
            for name, value in vars(options).items()
            if name not in _UNTOLD and isinstance(value, bool | int | float | str | date)
        },
    }


def _revision() -> str | None:
    """The commit that is checked out; None where there is no git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
