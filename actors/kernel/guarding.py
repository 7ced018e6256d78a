"""What is asked before a turn and told after it, where turns have ended the process."""

from __future__ import annotations

from typing import Protocol


class Guard(Protocol):
    """Knows, after the process ended, in whose turn that was (`raysume.actors.quarantine`)."""

    def begins(self, instance: str) -> Exception | None:
        """The instance is about to take a turn; an error: it is not taken, and fails with that."""
        ...

    def ended(self) -> None:
        """The turn is over, as far as it ran without the event loop; `trials` has the rest."""
        ...
