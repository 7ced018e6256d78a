"""Workers and senders of the peers: run with the Python of their own environments.

They may import their peer, the standard library, and `scale_tests.peers.conversation` and
`scale_tests.peers.progress`, which need nothing else.
"""
