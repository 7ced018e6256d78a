"""The same work on raysume and on other engines for durable execution: see `docs/peers.md`."""
