"""Resumable functions for Python: an `async def` that waits for months and survives anything.

Everything here is loaded when it is first used, so that `import raysume` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysume.call import Call as Call
    from raysume.call import PushedCall as PushedCall
    from raysume.client import AsyncClient as AsyncClient
    from raysume.client import Client as Client
    from raysume.configuration import configure as configure
    from raysume.configuration import settings as settings
    from raysume.containers import Container as Container
    from raysume.dependencies import Depends as Depends
    from raysume.errors import Cancelled as Cancelled
    from raysume.errors import CompileError as CompileError
    from raysume.errors import ConfigurationError as ConfigurationError
    from raysume.errors import InstanceFailed as InstanceFailed
    from raysume.errors import InvalidCall as InvalidCall
    from raysume.errors import RaysumeError as RaysumeError
    from raysume.errors import StepFailed as StepFailed
    from raysume.errors import Unavailable as Unavailable
    from raysume.errors import UnsavableState as UnsavableState
    from raysume.errors import UsageError as UsageError
    from raysume.errors import WaitTimeout as WaitTimeout
    from raysume.groups import First as First
    from raysume.groups import GroupResult as GroupResult
    from raysume.groups import all_of as all_of
    from raysume.groups import any_of as any_of
    from raysume.groups import group as group
    from raysume.instances import instance as instance
    from raysume.methods import external_call as external_call
    from raysume.methods import push_call as push_call
    from raysume.queries import query as query
    from raysume.steps import Retry as Retry
    from raysume.steps import step as step
    from raysume.steps import step_key as step_key
    from raysume.subflows import subflow as subflow
    from raysume.undoing import undo as undo
    from raysume.waits import Wait as Wait
    from raysume.waits import sleep as sleep
    from raysume.waits import sleep_until as sleep_until
    from raysume.waits import wait as wait
    from raysume.workflows import Workflow as Workflow
    from raysume.workflows import workflow as workflow

_HOMES = {
    "call": ("Call", "PushedCall"),
    "client": ("AsyncClient", "Client"),
    "configuration": ("configure", "settings"),
    "containers": ("Container",),
    "dependencies": ("Depends",),
    "errors": (
        "Cancelled",
        "CompileError",
        "ConfigurationError",
        "InstanceFailed",
        "InvalidCall",
        "RaysumeError",
        "StepFailed",
        "Unavailable",
        "UnsavableState",
        "UsageError",
        "WaitTimeout",
    ),
    "groups": ("First", "GroupResult", "all_of", "any_of", "group"),
    "instances": ("instance",),
    "methods": ("external_call", "push_call"),
    "queries": ("query",),
    "steps": ("Retry", "step", "step_key"),
    "subflows": ("subflow",),
    "undoing": ("undo",),
    "waits": ("Wait", "sleep", "sleep_until", "wait"),
    "workflows": ("Workflow", "workflow"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'raysume' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"raysume.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
