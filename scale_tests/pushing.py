"""Two ways to push calls: as fast as the engine takes them, and at moments that were set before.

Only the second shows how long a call takes: a client that waits for its answers sends less
while the engine is slow, and so never sees what everybody else would have waited.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from raysume.serve_apps.development import Development

BATCH_PATH: Final = "/v1/calls:batch"
SINGLE_PATH: Final = "/v1/calls"
ANSWER_S: Final = 30.0
REFUSED_S: Final = 0.1
"""How long a connection pauses after a 429."""
_LEAD_S: Final = 0.05
"""From the begin of a series to its first moment."""

CallOf = Callable[[int], dict[str, Any]]
"""The call for the account with this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How calls are pushed as fast as the engine takes them."""

    batch: int = 500
    """Calls in one request."""
    connections: int = 4
    is_single: bool = False
    """One call in each request, without a batch around it."""
    path: str | None = None
    """Where to; None: where calls are taken."""


async def push_for(
    development: Development,
    load: Load,
    call_of: CallOf,
    rng: random.Random,
    counts: list[int],
    seconds: float,
    *,
    first: int = 0,
) -> float:
    """Calls are pushed for the time asked, and counted by account; the seconds taken.

    Args:
        counts: one for each account.
        first: the accounts before it get nothing.
    """
    stop = time.monotonic() + seconds
    encoder, counting = msgspec.json.Encoder(), threading.Lock()
    path = load.path or (SINGLE_PATH if load.is_single else BATCH_PATH)

    def work() -> None:
        with contextlib.closing(Connection(development.url, development.token)) as connection:
            while time.monotonic() < stop:
                accounts = [rng.randrange(first, len(counts)) for _ in range(load.batch)]
                calls = [call_of(one) for one in accounts]
                body = encoder.encode(calls[0] if load.is_single else calls)
                status = connection.post(path, body)
                if status == 429:
                    time.sleep(REFUSED_S)
                    continue
                if status != 202:
                    raise SystemExit(f"refused: {status}")
                with counting:
                    for one in accounts:
                        counts[one] += 1

    begun, loop = time.monotonic(), asyncio.get_running_loop()
    with ThreadPoolExecutor(load.connections, "push") as workers:
        lines = [loop.run_in_executor(workers, work) for _ in range(load.connections)]
        await asyncio.gather(*lines)
    return time.monotonic() - begun


class Connection:
    """A connection to the ingress that stays open, for one request at a time.

    Made by hand: what an HTTP library does for a request takes as long as the engine does.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._socket: socket.socket | None = None

    def post(self, path: str, body: bytes) -> int:
        """The body was sent and answered; the status. It has ids: it may be sent twice."""
        message = (
            f"POST {path} HTTP/1.1\r\n{self._head}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        if self._socket is not None:
            try:
                return self._exchange(self._socket, message)
            except ConnectionError:  # the server closed it while nothing was sent
                self.close()
        self._socket = socket.create_connection(self._address, timeout=ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._exchange(self._socket, message)

    def close(self) -> None:
        """The connection is closed; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, connection: socket.socket, message: bytes) -> int:
        connection.sendall(message)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._received(connection)
        head, _, rest = answer.partition(b"\r\n\r\n")
        missing = body_bytes(head) - len(rest)
        while missing > 0:
            missing -= len(self._received(connection))
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1])

    def _received(self, connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("the ingress closed the connection")
        return data


def body_bytes(head: bytes) -> int:
    """How long the body behind this head of an answer is."""
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise SystemExit(f"an answer without its length: {head.decode(errors='replace')}")


@dataclass(slots=True)
class Sent:
    """What became of a series of requests."""

    accepted: int = 0
    refused: int = 0
    """Answered with another status than 200 or 202."""
    late_ms: list[float] = field(default_factory=list[float])
    """How long after its moment each request was sent: the fault of the sender, if it is much."""


def send_on_time(
    url: str,
    token: str,
    path: str,
    make: Callable[[int, int], bytes],
    *,
    rate: float,
    count: int | None = None,
    has_ended: Callable[[], bool] = lambda: False,
    connections: int = 16,
) -> Sent:
    """Requests were sent at moments of equal distance, whatever became of those before.

    Args:
        make: the body of the nth request; gets n and its moment (nanoseconds since the epoch).
        rate: requests a second.
        count: how many; None: until `has_ended`.
        connections: when all of them wait for their answers, the next request is late; its
            moment stays what it was.
    """
    sent, lock, own = Sent(), threading.Lock(), threading.local()
    opened: list[Connection] = []

    def one(number: int, at_ns: int) -> None:
        connection: Connection | None = getattr(own, "connection", None)
        if connection is None:
            connection = own.connection = Connection(url, token)
            opened.append(connection)
        body = make(number, at_ns)
        late_ms = (time.time_ns() - at_ns) / 1e6
        status = connection.post(path, body)
        with lock:
            sent.late_ms.append(late_ms)
            sent.accepted += status in (200, 202)
            sent.refused += status not in (200, 202)

    began_ns, number = time.time_ns() + int(_LEAD_S * 1e9), 0
    requests: list[Future[None]] = []
    with ThreadPoolExecutor(connections, "send") as senders:
        while number != count and not has_ended():
            at_ns = began_ns + int(number / rate * 1e9)
            time.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9))
            requests.append(senders.submit(one, number, at_ns))
            number += 1
    for connection in opened:
        connection.close()
    for request in requests:
        request.result()
    return sent
