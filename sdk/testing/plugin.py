"""The pytest plugin shipped with raysume: `async def` tests run, and `shell` is a fixture.

It steps aside when a plugin made for asyncio (pytest-asyncio, anyio's marker) takes the test.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest


def _another_plugin_runs(item: pytest.Function) -> bool:
    if item.config.pluginmanager.hasplugin("asyncio"):
        return True
    return item.get_closest_marker("anyio") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` test has run to its end on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or _another_plugin_runs(pyfuncitem):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True
