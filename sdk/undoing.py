"""`undo()`: steps that completed are undone by their compensations, the latest first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from raysume.durable import Durable


class Undo(Durable):
    """Every compensation of the instance that has not run yet; awaited, gives None."""

    __slots__ = ()
    durable_kind: ClassVar[str] = "undo"

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, None]: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return (Undo, ())

    def __repr__(self) -> str:
        return "<undo>"


def _undo() -> Undo:
    """Awaited: the steps with `compensate=` that completed so far are undone, the latest first.

    Each compensation is a step of its own, recorded once: what was undone here is not undone
    again when the instance fails or is cancelled later.

    Raises:
        StepFailed: in the workflow, when a compensation failed for good; the rest stays to do.
    """
    return Undo()


def compensation_arguments(
    compensate: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a compensation is called with: the arguments of its step, or none if it takes none.

    A parameter named `result` that the step does not use itself gets what the step returned.

    Raises:
        TypeError: the function takes none of these.
    """
    plain = (args, dict(kwargs))
    try:
        signature = inspect.signature(compensate)
    except (ValueError, TypeError):
        return plain  # some builtins have none
    candidates = [plain, ((), dict[str, Any]())]
    if "result" in signature.parameters and "result" not in kwargs:
        with_result = {"result": result}
        candidates = [(args, {**kwargs, **with_result}), plain, ((), with_result)]
    refusal: TypeError | None = None
    for given, named in candidates:
        try:
            signature.bind(*given, **named)
        except TypeError as error:
            refusal = refusal or error
            continue
        return given, named
    assert refusal is not None
    raise refusal


_made: Any = _undo
_made.__name__ = _made.__qualname__ = "undo"
_made.__raysume_durable__ = True
undo: Callable[[], Undo] = _made
