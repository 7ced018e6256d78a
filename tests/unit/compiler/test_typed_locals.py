"""Annotated variables that can never be saved are refused where they are kept across a wait."""

# ruff: noqa: ASYNC230, F821, PLC3002, SIM115 - code as users may write it

from __future__ import annotations

import ast
import asyncio
import contextlib
import copyreg
import io
import pickle
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, Final, TextIO

import pytest
from tests.unit.compiler.harness import Leaf

from raysume import Depends, subflow
from raysume.compiler import compile_subflow, compile_workflow, typed_locals
from raysume.errors import CompileError


def wait(name: str) -> Leaf:
    """Stands for a function that raysume marks as durable."""
    return Leaf(name)


wait.__raysume_durable__ = True  # type: ignore[attr-defined]


def refused(function: Callable[..., Any], *, kind: Any = compile_workflow) -> CompileError:
    """The refusal of the function, naming the line marked `# here`."""
    with pytest.raises(CompileError) as caught:
        kind(function, name="flow")
    details = caught.value.details
    assert details["rule"] == "unsavable-local"
    lines: list[str] = Path(details["file"]).read_text().splitlines()
    number: int = details["line"]
    assert lines[number - 1].endswith("# here")
    assert caught.value.message.startswith(f"{details['file']}:{details['line']}:")
    assert details["remedy"] in caught.value.message
    return caught.value


def test_a_file_kept_across_a_wait_is_refused_with_variable_place_and_remedy() -> None:
    async def flow() -> Any:
        log: TextIO = open(__file__)  # here
        await wait("a")
        return log.read()

    error = refused(flow)
    assert error.details["variable"] == "log"
    line = flow.__code__.co_firstlineno + 2
    assert f"(log: TextIO, at the wait in line {line})" in error.message
    assert "again behind the wait" in error.details["remedy"]


def _lock() -> Any:
    async def flow() -> Any:
        lock: threading.Lock = threading.Lock()  # here
        while True:
            await wait("a")
            with lock:
                pass

    return flow


def _quoted() -> Any:
    async def flow() -> Any:
        found: Annotated[re.Match[str], "m"] | Generator[int] = next(iter(()))  # here
        await wait("a")
        return found

    return flow


def _final() -> Any:
    async def flow() -> Any:
        peer: Final[socket.socket] = socket.socket()  # here
        if await wait("a"):
            return peer
        return None

    return flow


class Worker(threading.Thread):
    """A thread of the user's."""


def _thread() -> Any:
    async def flow() -> Any:
        worker: Worker = Worker()  # here
        await wait("a")
        worker.join()

    return flow


def _captured() -> Any:
    async def flow() -> Any:
        found: BinaryIO = open(__file__, "rb")  # here
        read: Any = lambda: found.read()
        await wait("a")
        return read()

    return flow


def _handler() -> Any:
    async def flow() -> Any:
        source: IO[str] = open(__file__)  # here
        try:
            await wait("a")
        finally:
            source.close()

    return flow


def _loop() -> Any:
    async def flow(names: list[str]) -> Any:
        last: TextIO  # here
        for name in names:
            await wait("a")
            if name:
                last.close()  # pyright: ignore[reportPossiblyUnboundVariable]
            last = open(name)

    return flow


@pytest.mark.parametrize(
    "make", [_lock, _quoted, _final, _thread, _captured, _handler, _loop], ids=lambda m: m.__name__
)
def test_whatever_can_never_be_saved_is_refused(make: Callable[[], Any]) -> None:
    refused(make())


def test_a_parameter_of_a_subflow_is_refused_like_a_variable() -> None:
    async def flow(
        numbers: AsyncGenerator[int],  # here
    ) -> Any:
        await wait("a")
        return [number async for number in numbers]

    refused(flow, kind=compile_subflow)


def test_a_variable_of_a_nested_subflow_is_refused_with_the_workflow() -> None:
    async def flow() -> Any:
        @subflow
        async def inner() -> Any:
            lock: threading.RLock = threading.RLock()  # here
            await wait("a")
            return lock

        return await inner()

    refused(flow)


def _other_branch() -> Any:
    async def flow(now: bool) -> Any:
        if now:
            log: TextIO = open(__file__)
        else:
            await wait("a")
        return log.read() if now else ""  # pyright: ignore[reportPossiblyUnboundVariable]

    return flow


def _finished() -> Any:
    async def flow() -> Any:
        with open(__file__) as source:
            log: TextIO = source
            text = log.read()
        await wait("a")
        again: TextIO = open(__file__)
        return text, again.read()

    return flow


def _may_be_none() -> Any:
    async def flow() -> Any:
        log: TextIO | None = None
        await wait("a")
        return log

    return flow


def _in_memory() -> Any:
    async def flow() -> Any:
        log: TextIO = io.StringIO()
        await wait("a")
        return log.read()

    return flow


def _empty_list() -> Any:
    async def flow() -> Any:
        logs: list[TextIO] = []
        await wait("a")
        return logs

    return flow


def _ordinary_await() -> Any:
    async def flow() -> Any:
        task: asyncio.Task[None] = asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(0)
        await task
        await wait("a")

    return flow


def _deleted() -> Any:
    async def flow() -> Any:
        lock: threading.Lock = threading.Lock()
        use: Any = lambda: lock
        use()
        del lock
        await wait("a")

    return flow


def _captured_later() -> Any:
    async def flow() -> Any:
        await wait("a")
        lock: threading.Lock = threading.Lock()
        return (lambda: lock)()

    return flow


def get_lock() -> threading.Lock:
    """A dependency."""
    return threading.Lock()


def _dependency() -> Any:
    async def flow(lock: threading.Lock = Depends(get_lock)) -> Any:
        await wait("a")
        return lock

    return flow


class Savable(threading.Thread):
    """A thread that knows how to be saved."""

    def __reduce__(self) -> Any:
        return (Savable, ())


def _saves_itself() -> Any:
    async def flow() -> Any:
        worker: Savable = Savable()
        await wait("a")
        return worker

    return flow


def _unknown_name() -> Any:
    async def flow() -> Any:
        thing: Nowhere = 1  # type: ignore[name-defined]  # pyright: ignore
        other: "not a type" = 2  # type: ignore  # pyright: ignore
        await wait("a")
        return thing, other

    return flow


@pytest.mark.parametrize(
    "make",
    [
        *(_other_branch, _finished, _may_be_none, _in_memory, _empty_list, _ordinary_await),
        *(_deleted, _captured_later, _dependency, _saves_itself, _unknown_name),
    ],
    ids=lambda make: make.__name__,
)
def test_what_may_be_saved_or_is_not_kept_is_accepted(make: Callable[[], Any]) -> None:
    compile_workflow(make(), name="flow")


def _numbers() -> Iterator[int]:
    yield 1


async def _later_numbers() -> AsyncGenerator[int]:
    yield 1


@contextlib.contextmanager
def _values() -> Generator[list[Any]]:
    """One value of many of the types that are said to be never saved."""
    with contextlib.ExitStack() as stack:
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        coroutine: Any = asyncio.sleep(0)
        stack.callback(coroutine.close)
        keep = stack.enter_context
        connection = keep(contextlib.closing(sqlite3.connect(":memory:")))
        process = keep(subprocess.Popen([sys.executable, "-c", ""]))
        variable: ContextVar[int] = ContextVar("typed_locals")
        text = keep(open(__file__))
        yield [
            *(text, keep(open(__file__, "rb")), keep(io.FileIO(__file__))),
            *(keep(tempfile.NamedTemporaryFile()), weakref.ref(_numbers)),
            *(keep(socket.socket()), threading.Lock(), threading.RLock(), threading.local()),
            *(threading.Condition(), threading.Semaphore(), threading.Event()),
            *(threading.Barrier(2), threading.Thread(), queue.SimpleQueue[int]()),
            *(queue.Queue[int](), process, Future[int](), keep(ThreadPoolExecutor())),
            *(loop.create_future(), connection, connection.cursor(), _numbers(), coroutine),
            *(_later_numbers(), memoryview(b""), {}.keys(), {}.values(), {}.items()),
            *(re.match("", ""), copy_context(), variable),
            *(sys._getframe(),),  # pyright: ignore[reportPrivateUsage]
        ]


def test_no_value_of_a_type_that_is_refused_can_be_pickled() -> None:
    with _values() as values:
        for value in values:
            assert typed_locals.unsavable_type(type(value)), type(value)
            with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
                pickle.dumps(value, 5)
            assert type(value) not in copyreg.dispatch_table


def test_every_type_that_is_refused_exists() -> None:
    import importlib

    for name in typed_locals.UNSAVABLE:
        module, _, kind = name.rpartition(".")
        builtin = module == "builtins" or kind == "lock"
        assert builtin or hasattr(importlib.import_module(module), kind), name


def test_an_annotation_is_only_looked_up() -> None:
    async def flow() -> Any:
        ran: print("no") = 1  # type: ignore  # pyright: ignore
        await wait("a")
        return ran  # pyright: ignore

    assert isinstance(ast.parse("print('no')", mode="eval").body, ast.Call)
    compile_workflow(flow, name="flow")
