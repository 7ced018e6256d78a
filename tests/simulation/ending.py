"""Processes of a pool that end by what they run, for tests that look at what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.simulation.hosting import Hosted

from raysume.actors.kernel.commits import RetryAsked
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.status import Status

ROOT = Path(__file__).parents[2]


def child(
    module: str, folder: Path, *names: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A process of the pool, which is the module's `host(folder, *names)`, has ended in some way."""
    arguments = "".join(f", {name!r}" for name in names)
    code = (
        "import asyncio, pathlib; from raysume.actors.process_logs import log_to_stderr; "
        f"from {module} import host; log_to_stderr(); "
        f"asyncio.run(host(pathlib.Path({str(folder)!r}){arguments}))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def is_corrected() -> bool:
    """Whether this process runs code that does not end it any more."""
    return bool(os.environ.get("CORRECTED"))


async def everything_applied(hosted: Hosted) -> list[Instance]:
    """All calls were applied, and corrected code was tried again; the instances."""
    await hosted.host.caught_up(hosted.log.barrier())
    instances = list(hosted.host.kernel.instances.values())
    for one in instances if is_corrected() else ():
        if one.status is Status.FAILED:
            await hosted.host.answers.ask(partial(retry_of, one.id))
    return instances


def retry_of(instance: str, token: int) -> RetryAsked:
    """The question that retries the instance."""
    return RetryAsked(instance=instance, token=token)
