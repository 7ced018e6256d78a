"""What somebody asks for one instance: done or refused, and answered in the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from raysume.actors.kernel import failing, rewinding
from raysume.actors.kernel.commits import CancelAsked, Command, ForkAsked, RetryAsked, RewindAsked
from raysume.actors.kernel.parting import check_owned
from raysume.errors import NotFound, Unavailable, UsageError

if TYPE_CHECKING:
    from raysume.actors.kernel.kernel import Kernel


def command(kernel: Kernel, asked: Command) -> None:
    """What was asked is done or refused, and the answer is in the commit."""
    try:
        check_owned(kernel, asked.instance if not isinstance(asked, ForkAsked) else asked.id)
        match asked:
            case CancelAsked():
                _cancel(kernel, asked)
            case RetryAsked():
                _retry(kernel, asked)
            case RewindAsked():
                rewinding.rewind(kernel, asked)
            case ForkAsked():
                rewinding.fork(kernel, asked)
                return  # it has answered
            case _:
                assert_never(asked)
    except (UsageError, Unavailable) as error:
        kernel.commit.replies.append((asked.token, error))
    else:
        kernel.commit.replies.append((asked.token, None))


def _cancel(kernel: Kernel, asked: CancelAsked) -> None:
    """The instance is cancelled, or unwinds; one that has left memory had ended before."""
    instance = kernel.instances.get(asked.instance)
    if instance is not None:
        failing.cancel(kernel, instance, asked.reason)
    elif asked.instance not in kernel.ended:
        raise _unknown(kernel, asked.instance)


def _retry(kernel: Kernel, asked: RetryAsked) -> None:
    instance = kernel.instances.get(asked.instance)
    if instance is not None:
        failing.retry(kernel, instance, asked.reason)
        return
    status = kernel.ended.get(asked.instance)
    if status is None:
        raise _unknown(kernel, asked.instance)
    raise failing.not_failed(asked.instance, status)


def _unknown(kernel: Kernel, id: str) -> NotFound:
    return NotFound(f"there is no instance {id!r} of {kernel.workflow.name!r}.")
