"""A development cluster for a person: says where it is, and deploys again when the file changes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from raysume.serve_apps.development import Development


def run_dev(
    target: str, *, port: int | None = None, data_dir: Path | None = None, reload: bool = True
) -> int:
    """Runs a development cluster until it is interrupted; 0 then, 1 when it could not start."""
    from rich.console import Console

    console = Console()
    stop = threading.Event()

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    with console.status("starting"), contextlib.ExitStack() as stack:
        development = stack.enter_context(Development(target, data_dir=data_dir, port=port))
        stack.pop_all()
    with contextlib.ExitStack() as stack:
        stack.callback(development.__exit__, None, None, None)
        signal.signal(signal.SIGTERM, interrupted)
        signal.signal(signal.SIGINT, interrupted)
        console.print(f"ingress    {development.url}  (docs at {development.url}/docs)")
        console.print(f"dashboard  {development.dashboard_url}")
        console.print(f"data       {development.data_dir}")
        _print_problems(development, console)
        console.print("The token is in its file token; Client() and raysume find it there.")
        for change in _changes(target, stop) if reload else ():
            _deploy_again(development, console, change)
        stop.wait()
    return 0


def _deploy_again(development: Development, console: Any, change: str) -> None:
    try:
        deployed = development.deploy()
    except Exception as error:
        console.print(f"[red]{change} was not deployed:[/] {error}")
    else:
        console.print(f"deployed {', '.join(deployed['pools'])}")
        _print_problems(development, console)


def _print_problems(development: Development, console: Any) -> None:
    for pool, problem in development.problems.items():
        console.print(f"[red]{pool} does not run:[/] {problem}")


def _changes(target: str, stop: threading.Event) -> Iterator[str]:
    """The target's file, each time that it was written."""
    path = Path(target)
    if not path.is_file():
        return
    from watchfiles import watch

    written = str(path.resolve())
    for _ in watch(
        Path(written).parent,  # an editor may put a new file in its place
        watch_filter=lambda _change, changed: changed == written,
        stop_event=stop,
        recursive=False,
        raise_interrupt=False,
    ):
        yield str(path)
