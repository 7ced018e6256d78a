"""Bounds of the work with a PostgreSQL server, with units and reasons; others are in `raysume.limits`."""

from __future__ import annotations

from typing import Final

CONNECT_S_MAX: Final = 10.0
"""Seconds that one attempt to connect to a database server may take."""

CONNECTIONS_MAX: Final = 16
"""Connections of one process to a database server for one of state and calls: as many threads work
with it at a time, more wait. A server has 100 by default."""

CONNECTIONS_IDLE_MAX: Final = 4
"""Connections that are kept when nobody needs them: making one takes 5 ms or more."""

SILENCE_S_MAX: Final = 12.0
"""Seconds after which a database server that the network does not reach any more counts as lost."""

ANSWER_S_MAX: Final = 15.0
"""Seconds of silence, within one statement, after which its connection is closed: the server stands
still. Longer than a statement may wait for a lock (`STORE_BUSY_S_MAX`), since the server ends that
one itself and says why; whoever waits for an append has its answer after this, and one attempt to
connect (`CONNECT_S_MAX`). No statement of ours works for so long before its first row."""

IDLE_TRANSACTION_S: Final = 5.0
"""Seconds that a transaction may stand still before the database server ends it: its process was
stopped or cut off, and others wait for its locks. Below every lease, so that a successor waits for
nobody."""

MIGRATION_S_MAX: Final = 120.0
"""Seconds that the making or migrating of tables may pause between two statements, before the database
server takes its process for dead."""

MIGRATION_ANSWER_S_MAX: Final = 3_600.0
"""Seconds that one statement of a migration may take in silence: it may rewrite a large table."""

TERMINATE_S_MAX: Final = 5.0
"""Seconds that a takeover waits for the database server to end a hanging transaction."""
