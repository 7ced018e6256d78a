"""What a look at workflows found, and which of it their author allows."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
"""`error`: the module cannot be deployed, or an instance fails there. `warning`: it should be
changed, or allowed. `info`: worth knowing."""

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")

RULES: Final = (
    "first-wait-without-match",
    "from-now-in-loop",
    "import-failed",
    "later-wait-without-match",
    "match-without-effect",
    "sleep-not-durable",
    "wait-without-key",
)
"""What is told besides what decorators and deployments refuse: docs/lint.md says what each means."""

_ALLOWED: Final = re.compile(r"#\s*raysume:\s*allow\s+([a-z][a-z-]*(?:\s*,\s*[a-z][a-z-]*)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found."""

    file: str
    line: int
    column: int
    """From 1."""
    end_line: int
    """The last line of what was found; a comment on any of its lines may allow it."""
    workflow: str | None
    """Its name; several have commas between them. None: it is about the module."""
    rule: str
    """A stable code, e.g. `wait-without-key`."""
    severity: Severity
    message: str
    """What it means."""
    remedy: str
    """What to do."""

    @classmethod
    def at(
        cls,
        node: ast.expr,
        rule: str,
        severity: Severity,
        *,
        file: str,
        workflow: str,
        message: str,
        remedy: str,
    ) -> Finding:
        """The finding at the place of an expression."""
        return cls(
            file=file,
            line=node.lineno,
            column=node.col_offset + 1,
            end_line=node.end_lineno or node.lineno,
            workflow=workflow,
            rule=rule,
            severity=severity,
            message=message,
            remedy=remedy,
        )

    @property
    def is_allowed(self) -> bool:
        """Whether a comment `# raysume: allow RULE` stands beside it; errors cannot be allowed."""
        if self.severity == "error":
            return False
        lines = range(self.line, self.end_line + 1)
        said = (_ALLOWED.search(linecache.getline(self.file, number)) for number in lines)
        return any(found is not None and self.rule in _rules(found[1]) for found in said)


def _rules(text: str) -> list[str]:
    return [rule.strip() for rule in text.split(",")]


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """The findings by place, each once, without those that are allowed.

    What was found in a subflow of several workflows has the names of all of them.
    """
    by_place: dict[tuple[str, int, int, str], Finding] = {}
    names: dict[tuple[str, int, int, str], dict[str, None]] = {}
    for one in found:
        place = (one.file, one.line, one.column, one.rule)
        by_place.setdefault(place, one)
        if one.workflow is not None:
            names.setdefault(place, {})[one.workflow] = None
    return [
        _named(by_place[place], names.get(place, {}))
        for place in sorted(by_place)
        if not by_place[place].is_allowed
    ]


def _named(one: Finding, names: Iterable[str]) -> Finding:
    return replace(one, workflow=", ".join(names) or None)


def counted(found: Iterable[Finding]) -> Iterator[tuple[Severity, int]]:
    """How many findings there are of each severity, the worst first; those without any are left out."""
    severities = [one.severity for one in found]
    for severity in SEVERITIES:
        if severity in severities:
            yield severity, severities.count(severity)
