"""Ray Serve gives itself a minute to start; a busy machine needs more."""

from __future__ import annotations

from collections.abc import Callable

from raysume import limits


def patiently(ask: Callable[[], object]) -> None:
    """What Serve was asked for is there.

    Serve gives its proxies a minute, which is too short where many pools start beside them. What
    it has begun goes on meanwhile: asked again, it looks again.

    Raises:
        TimeoutError: it had no time at the last attempt either.
    """
    for left in reversed(range(limits.SERVE_START_ATTEMPTS)):
        try:
            ask()
        except TimeoutError:
            if not left:
                raise
        else:
            return
