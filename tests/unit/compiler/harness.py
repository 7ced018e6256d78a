"""Drives durable coroutines in tests, the way an engine does: leaves, groups, saving, loading."""

# ruff: noqa: S102 - code as users may write it

from __future__ import annotations

import linecache
from collections.abc import Callable, Generator, Iterable
from typing import Any

from raysume.compiler import (
    Definition,
    Frozen,
    SubflowCall,
    compile_subflow,
    compile_workflow,
    dumps,
    freeze,
    loads,
    thaw,
)
from raysume.durable import Durable
from raysume.errors import Cancelled


class Leaf(Durable):
    """A wait that needs no turn."""

    __slots__ = ("callback", "name")

    def __init__(self, name: object, callback: Callable[..., Any] | None = None) -> None:
        self.name, self.callback = name, callback

    def __await__(self) -> Generator[Durable, Any, Any]:
        return (yield self)


class Both(Durable):
    """A group of all its members: leaves, calls of subflows, plain coroutines, groups."""

    __slots__ = ("branches",)

    def __init__(self, *members: Any) -> None:
        self.branches = [Branch(member) for member in members]

    def __await__(self) -> Generator[Durable, Any, Any]:
        return (yield self)


class Branch:
    """One line of execution, saved with what it is suspended on."""

    def __init__(self, member: Any) -> None:
        self.member = member
        self.coroutine: Any = None
        self.frozen: Frozen | None = None
        self.leaf: Any = None
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        frozen = freeze(self.coroutine) if self.coroutine is not None else self.frozen
        return (self.member, frozen, self.leaf, self.done, self.result, self.error)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.member, self.frozen, self.leaf, self.done, self.result, self.error = state
        self.coroutine = None

    def start(self) -> None:
        """It runs up to its first leaf."""
        member, self.member = self.member, None
        if isinstance(member, Leaf | Both):
            self._reach(member)
            return
        self.coroutine = member.begin() if isinstance(member, SubflowCall) else member
        self.step("send", None)

    def step(self, how: str, value: Any) -> None:
        """Its leaf ended with the value or error, and it went on to the next or to its end."""
        self.leaf = None
        if self.coroutine is None and self.frozen is None:
            self.done = True
            self.result, self.error = (value, None) if how == "send" else (None, value)
            return
        coroutine = self.live()
        try:
            reached = getattr(coroutine, how)(value)
        except StopIteration as stop:
            self.done, self.result, self.coroutine = True, stop.value, None
        except BaseException as error:
            self.done, self.error, self.coroutine = True, error, None
        else:
            self._reach(reached)

    def live(self) -> Any:
        """The coroutine, entered at its saved point if it was loaded."""
        if self.coroutine is None:
            assert self.frozen is not None
            leaf = self.frozen.leaf
            self.coroutine, self.frozen = thaw(self.frozen), None
            assert self.coroutine.send(None) is leaf
        return self.coroutine

    def _reach(self, leaf: Any) -> None:
        self.leaf = leaf
        if isinstance(leaf, Both):
            for branch in leaf.branches:
                branch.start()
            self.settle()

    def settle(self) -> None:
        """A group whose members have all ended, or of which one failed, has ended."""
        branches = self.leaf.branches
        failed = [branch for branch in branches if branch.error is not None]
        if failed:
            for branch in branches:
                branch.cancel()
            if all(branch.done for branch in branches):
                self.step("throw", failed[0].error)
        elif all(branch.done for branch in branches):
            self.step("send", tuple(branch.result for branch in branches))

    def cancel(self) -> None:
        """`Cancelled` was thrown at its leaf."""
        if self.done:
            return
        if isinstance(self.leaf, Both):
            for branch in self.leaf.branches:
                branch.cancel()
        self.step("throw", Cancelled())

    def give(self, how: str, value: Any) -> None:
        """The first open leaf below ended."""
        if not isinstance(self.leaf, Both):
            self.step(how, value)
            return
        for branch in self.leaf.branches:
            if not branch.done:
                branch.give(how, value)
                break
        self.settle()

    def waiting(self) -> list[Any]:
        """The names of the open leaves below."""
        if isinstance(self.leaf, Both):
            return [name for b in self.leaf.branches if not b.done for name in b.waiting()]
        return [] if self.leaf is None else [self.leaf.name]

    def drop(self) -> None:
        """All coroutines below are closed."""
        if isinstance(self.leaf, Both):
            for branch in self.leaf.branches:
                branch.drop()
        if self.coroutine is not None:
            self.coroutine.close()
            self.coroutine = None


def reloaded(branch: Branch) -> Branch:
    """The branch saved, dropped, and loaded again."""
    data = dumps(branch)
    branch.drop()
    loaded: Branch = loads(data)
    assert isinstance(loaded, Branch)
    return loaded


def run(
    definition: Definition, answers: Iterable[Any], *arguments: Any, reload: bool = False
) -> Any:
    """The result of the workflow when its waits end with the answers; exceptions are thrown."""
    branch = Branch(definition(*arguments))
    branch.start()
    for answer in answers:
        if branch.done:
            break
        if reload:
            branch = reloaded(branch)
        branch.give("throw" if isinstance(answer, BaseException) else "send", answer)
    if branch.error is not None:
        raise branch.error
    assert branch.done, f"still waits for {branch.waiting()}"
    return branch.result


def suspended(definition: Definition, *arguments: Any, answers: Iterable[Any] = ()) -> Branch:
    """The workflow after these answers, suspended."""
    _kept[definition.name] = definition  # local definitions live as long as somebody keeps them
    branch = Branch(definition(*arguments))
    branch.start()
    for answer in answers:
        branch.give("throw" if isinstance(answer, BaseException) else "send", answer)
    assert not branch.done
    return branch


def both_ways(function: Callable[..., Any], answers: Iterable[Any], *arguments: Any) -> Any:
    """The result of the function as a workflow, equal with and without reloading at every wait."""
    definition = compile_workflow(function, name=function.__name__)
    listed = list(answers)
    live = run(definition, listed, *arguments)
    again = run(definition, listed, *arguments, reload=True)
    assert repr(live) == repr(again)
    return again


_kept: dict[str, Definition] = {}
_numbers = iter(range(10**9))


def from_text(text: str, **names: Any) -> dict[str, Any]:
    """The names that the program text defines; its source is found like that of a file."""
    filename = f"<program {next(_numbers)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace: dict[str, Any] = {"__name__": "generated", "Leaf": Leaf, "Both": Both, **names}
    exec(compile(text, filename, "exec", dont_inherit=True), namespace)
    namespace["__file__"] = filename
    return namespace


def forget(namespace: dict[str, Any]) -> None:
    """The source of the program is not kept any longer."""
    linecache.cache.pop(namespace["__file__"], None)


__all__ = [
    "Both",
    "Branch",
    "Leaf",
    "both_ways",
    "compile_subflow",
    "compile_workflow",
    "forget",
    "from_text",
    "reloaded",
    "run",
    "suspended",
]
