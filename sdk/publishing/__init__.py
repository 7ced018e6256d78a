"""Publishing: where the calls of decorated functions go.

In a cluster, to the engine. Outside, to an outbox on disk, from which a thread sends them.
Nothing of that is loaded before the first call is published.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysume import limits
from raysume.records import OutgoingCall

if TYPE_CHECKING:
    from raysume.configuration import Settings
    from raysume.methods import Method
    from raysume.publishing.outbox import Refused
    from raysume.publishing.sender import Sender

EngineSink = Callable[[OutgoingCall], None]

_engine_sink: EngineSink | None = None
_lock = threading.Lock()
_senders: dict[tuple[Path, str], Sender] = {}
_checked: Settings | None = None
"""The settings by which an endpoint was found."""
_registered = False
"""An exiting process flushes."""
_inherited: list[Any] = []
"""What a parent process uses: never closed nor collected here."""


def publish(call: OutgoingCall, method: Method) -> None:
    """The call will reach the engine, behind those published before by this process.

    The network is never waited for. With `RAYSUME_PUBLISH=off` and no engine in this
    process, nothing happens.

    Raises:
        ConfigurationError: there is no engine to send it to.
        Unavailable: too many calls wait for the engine to come back.

    Durability: the call is on disk when this returns, and survives this process.
    """
    sink = _engine_sink
    if sink is not None:
        sink(call)
        return
    from raysume.configuration import settings

    current = settings()
    if current.publish:
        _check_endpoint(current, method)
        _sender(current.data_dir, call.service).put(call)


def set_engine_sink(sink: EngineSink | None) -> None:
    """Calls go to `sink` instead of the outbox: this process is part of the engine. None undoes it."""
    global _engine_sink
    _engine_sink = sink


def flush(timeout: float | None = 10.0) -> bool:
    """True when the engine has all calls published so far; False when it has not in time.

    Args:
        timeout: seconds; None waits for ever.
    """
    until = None if timeout is None else time.monotonic() + timeout
    done = True
    for sender in list(_senders.values()):
        left = None if until is None else max(0.0, until - time.monotonic())
        done = sender.flush(left) and done
    return done


def refused() -> list[Refused]:
    """The calls in this process's outboxes that the engine did not take, and why; oldest first."""
    return [each for sender in list(_senders.values()) for each in sender.outbox.refused()]


def close() -> None:
    """Threads and files are closed; what is not sent stays on disk. Publishing opens them again."""
    with _lock:
        senders = list(_senders.values())
        _senders.clear()
    for sender in senders:
        sender.close()


def _check_endpoint(current: Settings, method: Method) -> None:
    global _checked
    if _checked is current:
        return
    from raysume.client.endpoint import find_endpoint
    from raysume.errors import ConfigurationError

    try:
        find_endpoint()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"a call of {method.urn!r} cannot be published: {error} "
            "To publish nothing, set RAYSUME_PUBLISH=off.",
            **error.details,
        ) from None
    _checked = current


def _sender(data_dir: Path, service: str) -> Sender:
    sender = _senders.get((data_dir, service))
    if sender is not None:
        return sender
    from raysume.publishing.sender import Sender

    global _registered
    with _lock:
        sender = _senders.get((data_dir, service))
        if sender is None:
            if not _registered:
                atexit.register(_at_exit)
                _registered = True
            sender = Sender((data_dir / "outbox").absolute(), service)
            _senders[data_dir, service] = sender
        return sender


def _at_exit() -> None:
    until = time.monotonic() + limits.OUTBOX_EXIT_FLUSH_S
    for sender in list(_senders.values()):
        sender.flush(max(0.0, until - time.monotonic()), give_up=True)


def _after_fork() -> None:
    """In the child: it opens outboxes of its own when it publishes."""
    global _lock
    _lock = threading.Lock()
    for sender in _senders.values():
        _inherited.append(sender.forget())
    _senders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
