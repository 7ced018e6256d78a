"""The time limit of a synchronous step in a Ray task, which runs in the main thread."""

from __future__ import annotations

import signal
import threading

import pytest

from raysume.actors.ray_steps import ending_after


def test_a_function_is_interrupted_when_its_time_is_over() -> None:
    ended: list[str] = []

    def waits_for_ever() -> None:
        try:
            threading.Event().wait()
        finally:
            ended.append("unwound")

    with pytest.raises(TimeoutError):
        ending_after(0.01, waits_for_ever)()
    assert ended == ["unwound"]


def test_a_function_in_time_gives_its_result_and_no_alarm_is_left() -> None:
    former = signal.getsignal(signal.SIGALRM)

    def adds(left: int, *, right: int) -> int:
        return left + right

    assert ending_after(60, adds)(1, right=2) == 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is former


def test_an_error_of_the_function_is_its_own() -> None:
    def fails() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        ending_after(60, fails)()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
