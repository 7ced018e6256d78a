"""The pytest plugin: `async def` tests run, `shell` is a fixture, failures are told well.

It steps aside when a plugin made for asyncio (pytest-asyncio, anyio's marker) takes the test.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from raysume.testing.opening import Shells


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


@pytest.fixture(name="shell")
def shells() -> Shells:
    """Makes shells: `app = await shell(approval)`, or `async with shell(approval) as app`."""
    from raysume.testing.opening import Shells

    return Shells()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test points at the user's lines, and tells which instances failed in its shells."""
    error = None if call.excinfo is None else call.excinfo.value
    if error is None or call.when != "call" or item.config.getoption("fulltrace", False):
        return (yield)
    from raysume.testing import failures

    failures.shows_the_user(error)
    report = yield
    if report.failed and (told := failures.failed_instances(error)):
        report.sections.append(("instances that failed", told))
    return report
