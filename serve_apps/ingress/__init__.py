"""The HTTP ingress: accepts calls durably, delivers them to pools, starts and reads instances.

`build_app` makes the ASGI app over an `Engine`, a `CallLog` and a `TokenBook`; nothing
here knows Ray.
"""

from raysume.serve_apps.ingress.app import build_app
from raysume.serve_apps.ingress.engine import Catalogue, Engine, MethodEntry, WorkflowEntry
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.tokens import FixedTokens, Principal, TokenBook

__all__ = [
    "Catalogue",
    "Engine",
    "FixedTokens",
    "Ingress",
    "MethodEntry",
    "Principal",
    "TokenBook",
    "WorkflowEntry",
    "build_app",
]
