"""The post office of the samples: whoever is told something gets a letter."""

from __future__ import annotations

import os
from pathlib import Path


class Post:
    """Letters are lines of a file, so that everybody can look at them.

    Args:
        file: made with the first letter.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def send(self, to: str, about: str, text: str) -> None:
        """The letter is sent."""
        with self._file.open("a", encoding="utf-8") as letters:
            letters.write(f"{about} | {to}: {text}\n")

    def about(self, subject: str) -> list[str]:
        """Every letter about the subject, as "recipient: text", oldest first."""
        if not self._file.exists():
            return []
        start = f"{subject} | "
        letters = self._file.read_text(encoding="utf-8").splitlines()
        return [one.removeprefix(start) for one in letters if one.startswith(start)]


def get_post() -> Post:
    """The post office, made again wherever an instance goes on: a connection cannot be saved."""
    return Post(Path(os.environ.get("SAMPLE_LETTERS", "letters.txt")))
