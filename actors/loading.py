"""Loads the user's module: from a file or by name, the same way in every process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import msgspec

from raysume import registry
from raysume.deployments import Deployment, collect
from raysume.errors import ConfigurationError
from raysume.methods import Method


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the workflows are defined."""

    module: str
    """The name under which the module is imported, and by which its classes are pickled."""
    folder: str | None
    """Put first on the module path; None when the module is installed."""

    @classmethod
    def of(cls, given: str | Path) -> Target:
        """The target that a user names: a .py file, or a module.

        Raises:
            ConfigurationError: there is no such file or module; then `details` has it as
                `missing`. Or the file has no name that can be imported.
        """
        path = Path(given)
        if path.suffix == ".py" or path.exists():
            if not path.is_file():
                raise ConfigurationError(
                    f"{given} is not a file. Give the .py file or the module that defines the "
                    "workflows.",
                    missing=str(given),
                )
            resolved = path.resolve()
            if not resolved.stem.isidentifier():
                raise ConfigurationError(
                    f"{path.name} cannot be imported: {resolved.stem!r} is not a module name. "
                    "Rename the file."
                )
            return cls(module=resolved.stem, folder=str(resolved.parent))
        name = str(given)
        sys.path.insert(0, str(Path.cwd()))
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        finally:
            sys.path.pop(0)
        if found is None:
            raise ConfigurationError(
                f"there is neither a file nor a module {name!r}. Give the .py file or the module "
                "that defines the workflows.",
                missing=name,
            )
        return cls(module=name, folder=str(Path.cwd()))


def load(target: Target) -> Deployment:
    """What the target's module defines.

    Raises:
        ConfigurationError: another module of that name was imported before.
        UsageError: names clash, or a workflow cannot be compiled.
    """
    return collect(load_module(target))


def load_module(target: Target) -> ModuleType:
    """The target's module is imported, from its folder and no other.

    Raises:
        ConfigurationError: another module of that name was imported before.
    """
    if target.folder is not None and sys.path[:1] != [target.folder]:
        sys.path.insert(0, target.folder)
    module = importlib.import_module(target.module)
    file = getattr(module, "__file__", None)
    if target.folder is not None and file is not None:
        expected = Path(target.folder, *target.module.split("."))
        places = {expected.with_suffix(".py"), expected / "__init__.py"}
        if Path(file).resolve() not in {place.resolve() for place in places}:
            raise ConfigurationError(
                f"module {target.module!r} was loaded from {file} instead of {target.folder}: two "
                "modules have one name. Rename the file, or take the other folder off the path."
            )
    return module


def method_of(urn: str) -> Method:
    """The method with this URN.

    Raises:
        ConfigurationError: no loaded module defines it.
    """
    method = registry.lookup(urn)
    if method is None:
        raise ConfigurationError(
            f"a saved wait is for method {urn!r}, which no loaded module defines any more. Deploy "
            "a version that still declares it."
        )
    return method
