from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _load_fakes() -> None:
    if "ingress_fakes" not in sys.modules:
        fakes = Path(__file__).parents[2] / "unit" / "ingress" / "fakes.py"
        spec = importlib.util.spec_from_file_location("ingress_fakes", fakes)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["ingress_fakes"] = module
        spec.loader.exec_module(module)


_load_fakes()
