"""The methods of this process by URN.

A method defined inside a function is kept only as long as somebody else keeps it, so that
tests may each define their own; a method of a module stays until the module is reloaded.
"""

from __future__ import annotations

import importlib
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raysume.errors import UsageError

if TYPE_CHECKING:
    from raysume.methods import Method

_lock = threading.RLock()
_of_modules: dict[str, dict[tuple[str, str], Method]] = {}
_of_functions: dict[str, weakref.WeakValueDictionary[tuple[str, str], Method]] = {}


def register(method: Method) -> None:
    """The method is known by its URN; one of the same module and qualified name is replaced.

    Raises:
        UsageError: the URN belongs to a method with another signature.
    """
    key = (method.module, method.qualname)
    with _lock:
        for other in _all(method.urn):
            if (other.module, other.qualname) != key and _same_scope(other, method):
                _refuse_another_signature(other, method)
        if _is_local(method):
            _of_functions.setdefault(method.urn, weakref.WeakValueDictionary())[key] = method
        else:
            _of_modules.setdefault(method.urn, {})[key] = method


def lookup(urn: str) -> Method | None:
    """The method of this URN, the last defined first; None when there is none."""
    with _lock:
        found = _all(urn)
    return found[-1] if found else None


def require(urn: str, module: str, qualname: str) -> Method:
    """The method of this URN, preferably the one defined at that place.

    Raises:
        UsageError: there is none, also after importing `module`.
    """
    found = _preferred(urn, (module, qualname))
    if found is None and module != "__main__":
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(
                f"the method {urn!r} was defined in module {module!r}, which cannot be "
                f"imported here: {error}. Keep the module, or migrate the instances that use it."
            ) from error
        found = _preferred(urn, (module, qualname))
    if found is None:
        raise UsageError(
            f"there is no method {urn!r} in this process; it was defined as "
            f"{module}.{qualname}. Import its module first, or keep the URN."
        )
    return found


def registered() -> list[Method]:
    """All methods of modules, by URN; those defined inside functions are left out."""
    with _lock:
        return [list(found.values())[-1] for _, found in sorted(_of_modules.items())]


def declarations() -> list[Method]:
    """Every method of a module, all those of one URN included; interfaces and stubs are some."""
    with _lock:
        return [method for _, found in sorted(_of_modules.items()) for method in found.values()]


def owner(urn: str) -> Method | None:
    """The method that says whose calls of this URN are; None when this process has none."""
    with _lock:
        return owner_among(_all(urn))


def owner_among(methods: Sequence[Method]) -> Method | None:
    """Of the declarations of one URN, the one that says whose its calls are.

    One that is implemented where it is declared comes before a stub, and among those
    one that is `local_only` before others: it alone says to whom the calls are shown.
    """
    implemented = [method for method in methods if method.implemented]
    local = [method for method in implemented if method.local_only]
    return next(iter(local or implemented or methods), None)


def forget_module(module: str) -> None:
    """The methods that the module defined are gone: it is about to be loaded again."""
    with _lock:
        for urn, found in list(_of_modules.items()):
            for key in [key for key in found if key[0] == module]:
                del found[key]
            if not found:
                del _of_modules[urn]


def refuse_another_signature(first: Method, second: Method) -> None:
    """Two methods of one URN are known to have the same signature.

    Raises:
        UsageError: they have not.
    """
    _refuse_another_signature(first, second)


def _all(urn: str) -> list[Method]:
    found = list(_of_modules.get(urn, {}).values())
    local = _of_functions.get(urn)
    if local is not None:
        found += list(local.values())
    return found


def _preferred(urn: str, key: tuple[str, str]) -> Method | None:
    with _lock:
        local = _of_functions.get(urn)
        exact = _of_modules.get(urn, {}).get(key) or (local.get(key) if local else None)
        return exact or lookup(urn)


def _is_local(method: Method) -> bool:
    return "<locals>" in method.qualname


def _same_scope(first: Method, second: Method) -> bool:
    """Whether both live at the same time by necessity: in modules, or in one function."""
    if _is_local(first) != _is_local(second):
        return False
    if not _is_local(first):
        return True
    scopes = [m.qualname.rpartition("<locals>")[0] for m in (first, second)]
    return first.module == second.module and scopes[0] == scopes[1]


def _refuse_another_signature(first: Method, second: Method) -> None:
    try:
        same = first.signature_digest() == second.signature_digest()
    except UsageError:
        return  # an annotation is not resolved yet: checked again at deployment
    if not same:
        raise UsageError.by_rule(
            "signature-clash",
            f"the URN {second.urn!r} is defined twice with different signatures: "
            f"{first.qualname} at {first.place} and {second.qualname} at {second.place}. "
            "Give one of them another URN, or make their parameters and results equal.",
        )
