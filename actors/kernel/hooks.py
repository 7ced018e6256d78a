"""The hooks of a container: `on_error` and `on_completed`, called in the turn that ends an instance.

They run as the last part of that turn, so they may await ordinary things; the outcome of the
instance is decided before them, and nothing that they raise changes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from raysume.actors.kernel.branches import Branch, Outcome
from raysume.actors.kernel.trees import save_tree
from raysume.actors.kernel.turns import CallbackFailed, InstanceTurn
from raysume.compiler import dumps, loads
from raysume.durable import Durable
from raysume.errors import ProcessEnded, StepFailed, UsageError

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel

Passing = Generator[Any, Any, None]


def with_hooks(kernel: Kernel, instance: Instance, turn: InstanceTurn, steps: Passing) -> Passing:
    """The steps of the turn, and then the hook for how the instance ended in it, if it did."""
    if kernel.workflow.owner is None or instance.undoing is not None:
        return steps
    return _hooked(kernel, instance, turn, steps)


def _hooked(kernel: Kernel, instance: Instance, turn: InstanceTurn, steps: Passing) -> Passing:
    try:
        yield from steps
    except Exception as error:
        if not (isinstance(error, CallbackFailed) and instance.state is not None):
            yield from _failed(kernel, instance, turn, error)  # else the turn is undone
        raise
    root = instance.live
    if root is None:
        return
    outcome = root.outcome
    if outcome is not None and outcome.kind == "error":
        yield from _failed(kernel, instance, turn, outcome.value)
        return
    try:
        turn.state = saved(kernel, instance, root)
        if outcome is not None and outcome.kind == "result":
            kernel.workflow.output_adapter.dump_json(outcome.value)
    except Exception as error:  # it cannot be saved: the kernel fails the instance for it
        yield from _failed(kernel, instance, turn, error)
        return
    hook = _hook(root, "on_completed")
    if hook is not None and outcome is not None and outcome.kind == "result":
        root.outcome = Outcome("result", _apart(outcome.value))
        yield from _call(instance, hook, ())
        turn.state = None  # the hook may have changed the fields


def saved(kernel: Kernel, instance: Instance, root: Branch) -> bytes | None:
    """The state to keep: of a suspended instance all, of one that has ended its container.

    Raises:
        UnsavableState: a variable or field cannot be saved.
    """
    name = kernel.workflow.name
    if root.outcome is None:
        return save_tree(root, origin=name, provided=instance.provided)
    if root.container is None:
        return None
    remains = Branch(None)
    remains.container = root.container
    return dumps(remains, origin=name, provided=instance.provided)


def gives_up(kernel: Kernel, failures: int, error: BaseException) -> bool:
    """Whether the workflow's own policy does not retry an instance that failed so many times.

    None retries what ended the process of the pool: it would interrupt all others again.
    """
    policy = kernel.workflow.retry
    cause = error.__cause__ if isinstance(error, StepFailed) else None
    if policy is None or policy.gives_up(failures, error) or _ends_pools(cause or error):
        return True
    return cause is not None and policy.gives_up(failures, cause)


def _ends_pools(error: BaseException) -> bool:
    return isinstance(error, ProcessEnded) and error.details.get("process") == "pool"


def _failed(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, error: BaseException
) -> Passing:
    """`on_error` was called, unless the instance is retried by itself.

    What it pushed and tagged is kept, unlike what the turn did.
    """
    hook = _hook(instance.live, "on_error")
    if hook is None or not gives_up(kernel, instance.failures + 1, error):
        return
    turn.outgoing, turn.instance.tags = [], {}
    yield from _call(instance, hook, (error,))
    instance.last_words = turn.outgoing
    instance.tags.update({name: str(value) for name, value in turn.instance.tags.items()})
    turn.outgoing, turn.instance.tags = [], {}


def take_last_words(kernel: Kernel, instance: Instance) -> list[bytes]:
    """The calls that `on_error` pushed; what hooks raised is in the log."""
    for said in instance.complaints:
        kernel.log(instance.id, "error", "hook raised", error=said)
    pushed, instance.last_words, instance.complaints = instance.last_words, [], []
    return pushed


def _apart(value: Any) -> Any:
    """A copy of the result, which may be a field of the container: the hook changes fields only."""
    try:
        return loads(dumps(value))
    except UsageError:
        return value


def _hook(root: Branch | None, name: str) -> Any:
    container = None if root is None else root.container
    return None if container is None else getattr(container, name, None)


def _call(instance: Instance, hook: Any, arguments: tuple[Any, ...]) -> Passing:
    if hook is None:
        return
    try:
        made = hook(*arguments)
        if inspect.isawaitable(made):
            yield from _driven(made.__await__(), hook.__qualname__)
    except Exception as error:
        name = getattr(hook, "__qualname__", repr(hook))
        instance.complaints.append(f"{name}: {type(error).__name__}: {error}")


def _driven(hook: Generator[Any, Any, Any], name: str) -> Passing:
    """The hook has run to its end; what it awaits is passed on, unless it is durable."""
    try:
        yielded = next(hook)
        while True:
            if isinstance(yielded, Durable):
                yielded = hook.throw(
                    UsageError.by_rule(
                        "wait-in-hook",
                        f"{name} awaits a {yielded.durable_kind}, but a hook is called when its "
                        "instance has ended. Do it in the workflow, in try/except or at its end.",
                    )
                )
                continue
            try:
                value = yield yielded
            except GeneratorExit:
                hook.close()
                raise
            except BaseException as error:
                yielded = hook.throw(error)
            else:
                yielded = hook.send(value)
    except StopIteration:
        return
