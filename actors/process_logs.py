"""How the engine's own processes log: one JSON object a line, to stderr, which Ray keeps."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog

from raysume.actors.kernel.commits import LogLine

_log = structlog.get_logger("raysume.pool")


def log_to_stderr() -> None:
    """Lines at INFO and above of this process go to stderr as JSON; tracebacks are plain text.

    A configuration that somebody else made before stays as it is.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # The process's own stderr: Serve puts one in its place that keeps lines back.
        logger_factory=structlog.WriteLoggerFactory(file=sys.__stderr__ or sys.stderr),
        cache_logger_on_first_use=True,
    )


def say(line: LogLine, workflow: str, version: str) -> None:
    """What the kernel says of an instance is in the log."""
    log = getattr(_log, line.level)
    log(line.event, instance=line.instance, workflow=workflow, version=version, **line.facts)


def _json(line: Any, **_: Any) -> str:
    return msgspec.json.encode(line, enc_hook=repr).decode()
