"""What all tests share."""

from __future__ import annotations

import structlog


def pytest_configure() -> None:
    """Logs of this process have plain tracebacks: laying them out with rich takes seconds each."""
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
