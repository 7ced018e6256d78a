"""How Serve's proxy is set up: HAProxy, with files and ports of its own for each cluster."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

from raysume import limits

LOOPBACK = "127.0.0.2"
"""Ray's own address: unlike 127.0.0.1, it is not replaced by the machine's address."""

SERVING = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Nobody else sends requests to this machine's ingress while it stops.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # Proxies start beside the pools: on a busy machine they need more than Serve's 5 s.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(limits.START_S_MAX),
}
"""Read by Serve when it is imported, in the driver and in every process that it starts."""

_PORTS = range(20_000, 30_000)
"""Between Ray's ports for workers and Serve's for replicas."""


def own_haproxy(folder: str | Path) -> dict[str, str]:
    """The variables that give HAProxy its files in the folder and free ports.

    Two clusters may run on one machine, and with the usual ones each would take the other's.
    """
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
    }


def free_port(host: str = "127.0.0.1") -> int:
    """A free port, not of those that the system gives to whoever asks for any."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
