"""Actors that begin while the database is away wait for it, and for nothing else."""

from __future__ import annotations

import pytest

from raysume.actors.beginning import once_possible, passes
from raysume.errors import ConfigurationError, StoreUnavailable


class Database:
    """Away for so many looks, then there."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.looks = 0

    def look(self) -> str:
        self.looks += 1
        if self._errors:
            raise self._errors.pop(0)
        return "open"


def test_what_passes_is_waited_for() -> None:
    database = Database(StoreUnavailable("away"), StoreUnavailable("away"))
    assert once_possible(database.look) == "open"
    assert database.looks == 3


def test_what_does_not_pass_is_told_at_once() -> None:
    database = Database(ConfigurationError("of a later release"))
    with pytest.raises(ConfigurationError):
        once_possible(database.look)
    assert database.looks == 1


def test_errors_that_are_not_ours_do_not_pass() -> None:
    assert not passes(ValueError("x"))
