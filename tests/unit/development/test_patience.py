"""A development cluster gives Serve more time than Serve gives itself."""

from __future__ import annotations

import pytest

from raysume import limits
from raysume.serve_apps.patience import patiently


class Slow:
    """Has no time at its first attempts."""

    def __init__(self, attempts: int) -> None:
        self.attempts, self.asked = attempts, 0

    def ask(self) -> None:
        """Raises until it was asked often enough."""
        self.asked += 1
        if self.asked < self.attempts:
            raise TimeoutError("HTTP proxies not available after 60s.")


@pytest.mark.parametrize("attempts", [1, 2, limits.SERVE_START_ATTEMPTS])
def test_what_is_slow_is_asked_again_until_it_is_there(attempts: int) -> None:
    slow = Slow(attempts)
    patiently(slow.ask)
    assert slow.asked == attempts


def test_what_is_stuck_is_given_up() -> None:
    stuck = Slow(limits.SERVE_START_ATTEMPTS + 1)
    with pytest.raises(TimeoutError, match="not available"):
        patiently(stuck.ask)
    assert stuck.asked == limits.SERVE_START_ATTEMPTS


def test_other_errors_are_not_for_waiting() -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise ValueError("port in use")

    with pytest.raises(ValueError, match="port"):
        patiently(ask)
    assert asked == [1]
