"""Linting: what can be told of a module's workflows without running them.

`imported` has the module imported, `findings_in` looks at its workflows. Whether a wait has a key
is decided by the code that decides it when the wait is made (`raysume.matching`); what is refused
at deployment is told by the code that refuses it (`raysume.compiler`).
"""

from __future__ import annotations

from raysume.linting.findings import Finding, Severity
from raysume.linting.importing import Imported, imported
from raysume.linting.modules import findings_in

__all__ = ["Finding", "Imported", "Severity", "findings_in", "imported"]
