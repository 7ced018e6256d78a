"""Imports a module to look at it: what keeps it from being imported is found, not raised."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from raysume.compiler.awaiting import is_library
from raysume.compiler.forewarning import UnmarkedSubflowWarning
from raysume.errors import CompileError, ConfigurationError, UsageError
from raysume.linting.findings import Finding, Severity

_PLACE: Final = re.compile(r"([^\s'\"()]+\.py):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of an import."""

    module: ModuleType | None
    """None: it ended in an error, which is the only thing found."""
    findings: tuple[Finding, ...]
    """What the decorators warned of, or the error that ended the import."""


def imported(load: Callable[[], ModuleType], *, name: str) -> Imported:
    """The module as `load` imports it; decorators' warnings are findings and not warned of again.

    Args:
        name: the module's, for what is found.

    Raises:
        ConfigurationError: `load` does not import what was asked for.
    """
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", UnmarkedSubflowWarning)
        try:
            module = load()
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:  # user code: whatever it raises, it is told
            return Imported(module=None, findings=(_failure(error, name),))
    found: list[Finding] = []
    for one in given:
        told = one.message.error if isinstance(one.message, UnmarkedSubflowWarning) else None
        if told is not None:
            found.append(refusal(told, None, severity="warning"))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return Imported(module=module, findings=tuple(found))


def refusal(
    error: UsageError,
    workflow: str | None,
    *,
    severity: Severity = "error",
    place: tuple[str, int] | None = None,
) -> Finding:
    """The finding that a refusal of the decorators, or of a deployment, is.

    Args:
        place: file and line, where the error does not say them.
    """
    details: dict[str, Any] = error.details
    file, line = _place_in(error) or place or ("?", 1)
    rule, remedy = str(details.get("rule", "refused")), str(details.get("remedy", ""))
    column = int(details.get("column", 1))
    text = error.message.removesuffix(f" [{rule}]").removesuffix(remedy).rstrip()
    text = text.removeprefix(f"{file}:{line}:{column}: ").removeprefix(f"{file}:{line}: ")
    return Finding(
        file=file,
        line=line,
        column=column,
        end_line=line,
        workflow=workflow,
        rule=rule,
        severity=severity,
        message=text,
        remedy=remedy,
    )


def _failure(error: BaseException, name: str) -> Finding:
    place = _raised_at(error) or (name, 1)
    if isinstance(error, CompileError):
        return refusal(error, None, place=place)
    if isinstance(error, SyntaxError) and error.filename is not None:
        place = (error.filename, error.lineno or 1)
    elif isinstance(error, UsageError):
        place = _place_in(error) or place
        if "rule" in error.details:
            return refusal(error, None, place=place)
    return Finding(
        file=place[0],
        line=place[1],
        column=1,
        end_line=place[1],
        workflow=None,
        rule="import-failed",
        severity="error",
        message=f"module {name!r} cannot be imported: {type(error).__name__}: {error}",
        remedy="Correct it; nothing else can be told before.",
    )


def _place_in(error: UsageError) -> tuple[str, int] | None:
    """The place that the error names."""
    if "file" in error.details:
        return str(error.details["file"]), int(error.details.get("line", 1))
    found = _PLACE.search(error.message)
    return None if found is None else (found[1], int(found[2]))


def _raised_at(error: BaseException) -> tuple[str, int] | None:
    """The last line of the user's that led to the error."""
    place, trace = None, error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if not is_library(frame.f_globals.get("__name__", "")):
            place = (frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return place
