"""What cannot be made durable: every rule that refuses, with its remedy.

The ids are stable: they stand in `CompileError.details["rule"]`, in the documentation and
in users' suppressions. A rule is never renamed, only added.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Final

from raysume.errors import CompileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason for refusing a function, and what its author can do."""

    says: str
    """What is wrong, as the end of a sentence that begins with the function's name."""
    remedy: str


RULES: Final[dict[str, Rule]] = {
    "not-async": Rule(
        says="is not an `async def`",
        remedy="Put the decorator directly above an `async def`.",
    ),
    "generator": Rule(
        says="yields, and a generator cannot be saved",
        remedy="Collect the values in a list and return it.",
    ),
    "decorator-beneath": Rule(
        says="was replaced by another decorator beneath, so its own code is out of reach",
        remedy="Put the durable decorator lowest, directly above `async def`.",
    ),
    "no-source": Rule(
        says="has no source that can be read",
        remedy="Define it in a file; code typed into a plain interpreter or given to exec has none.",
    ),
    "source-changed": Rule(
        says="differs from its source: the file was edited after it was imported",
        remedy="Import it again, or restart the process.",
    ),
    "workflow-in-workflow": Rule(
        says="is a workflow defined inside a durable function",
        remedy="Decorate it with @subflow, or move it out of the function.",
    ),
    "wait-in-with": Rule(
        says="waits inside `with`, whose context manager cannot be saved",
        remedy="Leave the block before the wait; use try/finally for what must follow it.",
    ),
    "wait-in-async-with": Rule(
        says="waits inside `async with`, whose context manager cannot be saved",
        remedy="Leave the block before the wait; use `.timeout(...)` on the wait for a limit.",
    ),
    "wait-in-async-for": Rule(
        says="waits inside `async for`, whose iterator cannot be saved",
        remedy="Collect the items in a list first, then loop over it with `for`.",
    ),
    "wait-in-comprehension": Rule(
        says="waits inside a comprehension",
        remedy="Write a `for` loop, or all_of(...) to wait for several at once.",
    ),
    "wait-in-generator": Rule(
        says="waits inside a generator expression",
        remedy="Write a `for` loop, or all_of(...) to wait for several at once.",
    ),
    "wait-in-except-star": Rule(
        says="waits inside a handler of `except*`",
        remedy="Keep the group in a variable and wait behind the `try` statement.",
    ),
    "wait-in-handler-type": Rule(
        says="waits in the type of an `except` clause",
        remedy="Wait before the `try` statement and keep the result in a variable.",
    ),
    "await-in-annotation": Rule(
        says="awaits in an annotation",
        remedy="Await before the definition and keep the result in a variable.",
    ),
    "await-uncovered": Rule(
        says="awaits in a place that cannot be saved",
        remedy="Await in a statement of its own and keep the result in a variable.",
    ),
    "too-deep": Rule(
        says="nests too deeply: there are 20 blocks at most, and a `finally` that waits counts twice",
        remedy="Move the inner blocks into a @subflow.",
    ),
    "dependency-factory": Rule(
        says="cannot be called without arguments",
        remedy="Give Depends a function or class without required parameters.",
    ),
    "dependency-async": Rule(
        says="is an `async def`, but dependencies are made while an instance is loaded",
        remedy="Make it a plain `def`, and await what it gives inside the workflow or a step.",
    ),
    "dependency-generator": Rule(
        says="yields, but nothing runs behind the `yield`: an instance has no moment of unloading",
        remedy="Return the value, and open and close what must be closed inside a step.",
    ),
    "container-init": Rule(
        says="defines `__init__`, but an instance is made anew for every start and loaded "
        "without calling it",
        remedy="Give the fields defaults, or compute them at the beginning of the workflow.",
    ),
    "container-required-field": Rule(
        says="has a field without a default, but every instance of the workflow begins with a "
        "new object of the class",
        remedy="Give the field a default, e.g. `| None = None`.",
    ),
    "query-not-plain": Rule(
        says="is asynchronous or a generator, but a query only reads saved state",
        remedy="Make it a plain `def` that returns a value.",
    ),
    "unsavable-local": Rule(
        says="keeps a variable across a wait whose type can never be saved",
        remedy="Close, release or use it up before the wait, and make it again behind the wait.",
    ),
    "not-compilable": Rule(
        says="is refused by Python's own compiler",
        remedy="Correct it.",
    ),
}


def refusal(
    rule: str,
    *,
    name: str,
    file: str,
    line: int,
    column: int = 0,
    detail: str = "",
    **more: str,
) -> CompileError:
    """The error that says which rule refuses the function, where, and what to do.

    Args:
        rule: a key of RULES.
        name: the function.
        detail: more about this case, put behind what the rule says.
        more: facts for the error's `details`, e.g. the variable.
    """
    found = RULES[rule]
    says = f"{found.says} ({detail})" if detail else found.says
    return CompileError(
        f"{file}:{line}:{column + 1}: {name} {says}. {found.remedy} [{rule}]",
        rule=rule,
        file=file,
        line=line,
        column=column + 1,
        remedy=found.remedy,
        **more,
    )


def refusal_at(
    node: ast.AST, rule: str, *, name: str, file: str, detail: str = "", **more: str
) -> CompileError:
    """The refusal at the place of a syntax node."""
    return refusal(
        rule,
        name=name,
        file=file,
        line=getattr(node, "lineno", 1),
        column=getattr(node, "col_offset", 0),
        detail=detail,
        **more,
    )
