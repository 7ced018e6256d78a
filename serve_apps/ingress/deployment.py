"""The ingress as a Ray Serve deployment: one replica is one partition of the call log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from raysume.actors.garbage import collect_seldom
from raysume.actors.metrics import RayExport
from raysume.actors.process_logs import log_to_stderr
from raysume.actors.spans import from_environment
from raysume.actors.specs import EngineSpec
from raysume.actors.untyped import serve
from raysume.errors import InvalidCall
from raysume.records import OutgoingCall
from raysume.serve_apps.ingress.app import build_app
from raysume.serve_apps.ingress.cluster import RayEngine
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.tokens import FixedTokens, Principal
from raysume.storage.call_ports import Batch, NewCall, Publisher
from raysume.storage.opening import open_call_log
from raysume.storage.processes import owner_of_this_process


class Replica:
    """Hosts the HTTP app, and takes the calls that workflows publish."""

    def __init__(self, engine: bytes, token: str) -> None:
        log_to_stderr()
        self._spec = msgspec.msgpack.decode(engine, type=EngineSpec)
        self._call_log = open_call_log(self._spec.database_url, self._spec.folder)
        self._app = build_app(
            RayEngine(),
            self._call_log,
            FixedTokens({token: Principal(kind="operator")}),
            owner=owner_of_this_process("ingress"),
            call_retention=timedelta(seconds=self._spec.call_retention_s),
        )
        ingress: Ingress = self._app.state.ingress
        ingress.metrics, ingress.spans = RayExport(), from_environment()
        collect_seldom()

    def __serve_build_asgi_app__(self) -> Any:
        return self._app

    async def accept_published(self, publisher: str, first: int, calls: bytes) -> int:
        """The calls of a pool are accepted, now or before; how many were new.

        Raises:
            InvalidCall: the method of one is not deployed any more.
            Unavailable: the call log cannot be written now.
        """
        ingress: Ingress = self._app.state.ingress
        decoded = msgspec.msgpack.decode(calls, type=list[OutgoingCall])
        known = ingress.catalogue.methods
        for call in decoded:
            if call.method not in known:
                raise InvalidCall(
                    f"a workflow published a call of {call.method!r}, which is not deployed."
                )
        batch = Batch(
            calls=[
                NewCall(
                    id=call.id,
                    method=call.method,
                    service=call.service,
                    input=call.input,
                    output=call.output,
                    error=call.error,
                    headers=call.headers,
                    local_only=known[call.method].local_only,
                )
                for call in decoded
            ],
            publisher=Publisher(id=publisher, first=first),
        )
        accepted = await ingress.accept(batch, {call.method for call in decoded})
        return sum(outcome == "accepted" for outcome in accepted.outcomes)


IngressDeployment: Any = serve().deployment(
    serve().ingress()(Replica),
    name="ingress",
    num_replicas=1,
    max_ongoing_requests=1_000,
    ray_actor_options={"num_cpus": 0.01},
    graceful_shutdown_timeout_s=10,
)
"""What `serve.run` takes: `IngressDeployment.bind(engine, token)`."""
