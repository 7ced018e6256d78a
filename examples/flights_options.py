"""The options of the replay, and the folder that it keeps its data in."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from flights_replay import Note

STORM = date(2013, 2, 8)
USUAL_FOLDER = Path(".raysume/flights")


class Refused(Exception):
    """The options do not fit each other, or the folder."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Replay real flights through the whole engine.")
    add = parser.add_argument
    add("--day", type=date.fromisoformat, help=f"first day, of 2013 (default {STORM})")
    add("--days", type=_positive, help="how many days (default 1)")
    add("--data", type=Path, help=f"keep the data there (default {USUAL_FOLDER}, made new)")
    add("--resume", action="store_true", help="go on with the replay in the data folder")
    add("--kill", action="store_true", help="kill the shards' processes three times on the way")
    add("--pace", type=float, help="calls a second at most, to watch the day go by")
    add("--port", type=int, default=0, help="of the engine's HTTP (default: a free one)")
    add("--stay", action="store_true", help="keep the engine up afterwards, until Ctrl-C")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[Path, Note]:
    """The data folder is there and holds the note of this replay.

    Raises:
        Refused: there is nothing to resume, or something that would be mixed up with it.
    """
    folder: Path = (options.data or USUAL_FOLDER).absolute()
    note = Note.read(folder)
    if options.resume:
        if note is None:
            raise Refused(f"there is no replay in {folder}: leave --resume out to begin one")
        if (options.day or note.first, options.days or note.days) != (note.first, note.days):
            raise Refused(f"the replay in {folder} is of {note.days} days from {note.day}")
        return folder, note
    if note is not None and options.data is None:
        shutil.rmtree(folder)  # ours, of an earlier run
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty: add --resume to go on, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    note = Note(day=(options.day or STORM).isoformat(), days=options.days or 1)
    note.write(folder)
    return folder, note


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)
