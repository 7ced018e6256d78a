"""What Temporal's instances have reached; imported once, outside of their sandboxes."""

from __future__ import annotations

from scale_tests.peers.progress import Progress

progress = Progress()
