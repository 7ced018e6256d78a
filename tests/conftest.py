"""What all tests share."""

from __future__ import annotations

import structlog
from hypothesis import settings


def pytest_configure() -> None:
    """Logs have plain tracebacks, and no example of a property is too slow.

    Laying tracebacks out with rich takes seconds each; how long an example takes is the machine's
    affair.
    """
    settings.register_profile("raysume", deadline=None)
    settings.load_profile("raysume")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
