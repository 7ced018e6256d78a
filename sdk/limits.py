"""Every bound of the system, with its unit and the reason for its value.

A bound that is not here does not exist: queues, batches, payloads and caches take
their sizes from this file, so that an operator finds all of them in one place.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# --- calls and the ingress -------------------------------------------------------

CALL_BODY_BYTES_MAX: Final = 1_000_000
"""Bytes of one call (input, output, headers). Larger data belongs in a store of its own, by reference."""

REQUEST_BODY_BYTES_MAX: Final = 16_000_000
"""Bytes of one HTTP request: 10,000 calls of ordinary size."""

BATCH_CALLS_MAX: Final = 10_000
"""Calls in one HTTP request: bounds what one refusal throws away."""

JSON_DEPTH_MAX: Final = 100
"""Nesting of a call's JSON. Real data has under 20; deeper input exists to exhaust the stack."""

METHOD_NAME_CHARS_MAX: Final = 200
"""Characters of a method's URN: it is part of keys and index rows."""

CALL_ID_CHARS_MAX: Final = 200
"""Characters of a call id given by a client."""

HEADERS_MAX: Final = 32
"""Headers of one call."""

HEADER_CHARS_MAX: Final = 1_000
"""Characters of one header's name and value together."""

INSTANCE_ID_CHARS_MAX: Final = 200
"""Characters of an instance id given by a client."""

CALL_ID_WINDOW: Final = timedelta(days=7)
"""How long a client's call id is remembered at least for answering 200 or 409."""

PUBLISHER_WINDOW: Final = timedelta(days=180)
"""How long a silent publisher is remembered: one that comes back later, with calls whose answer it
never got, would have them accepted twice. About 100 B each, and one for every process that published."""

CALL_RETENTION: Final = timedelta(days=30)
"""How long a call is kept unless configured otherwise: what `explain` and listings can show."""

CALLS_DELETED_SEGMENTS_MAX: Final = 100
"""Segments deleted in one transaction: appends wait for it, a few milliseconds."""

CALLS_DELETED_NAMES_MAX: Final = 2_000
"""Clients' call ids deleted, and publishers looked at, in one transaction."""

DELETION_INTERVAL_S: Final = 60.0
"""Seconds between two looks for calls whose retention is over."""

DELETION_PAUSE_S: Final = 0.05
"""Seconds between two transactions that delete: 2,000 segments/s go, and appends come between."""

DELETION_ASK_S: Final = 60.0
"""Seconds in which all pools say what they need: otherwise nothing is deleted this time."""

DELETIONS_MAX: Final = 1_000
"""Transactions that delete before the pools are asked again what they need: under two minutes."""

# --- shards and the journal ------------------------------------------------------

SHARDS: Final = 16
"""Shards of a workflow version. Fixed for the life of the version: an instance's shard is a hash."""

LOADED_INSTANCES_MAX: Final = 20_000
"""Waiting instances that a pool keeps as objects, about 3 kB each; the others are packed, in a third
of that, and loaded in some 20 us when a call meets one."""

MEMORY_BUDGET: Final = 512_000_000
"""Bytes of the records of waiting instances that a process of a pool keeps in memory, a million or
so; others are cold: a call that meets one reads its record from the store. The index takes about as
much again."""

COLD_READ_MAX: Final = 500
"""Cold instances read from the store at once: some 10 ms."""

LEFT_INSTANCES_MAX: Final = 250
"""Packed instances looked at after each part of a checkpoint, when there are too many, whether the
store has them: some 3 ms."""

CHECKPOINT_PART_ROWS_MAX: Final = 128
"""Instances of a checkpoint in one transaction, some 10 ms, and what changed since it began: turns
that end meanwhile wait for it."""

CHECKPOINT_PARTS_MAX: Final = 64
"""Parts of a checkpoint, roughly: where very many instances have changed, parts are larger."""

HURRIED_PART_ROWS_MAX: Final = 1_000
"""Instances of a part where somebody waits for the end of the checkpoint: some 50 ms."""

READ_WHOLE_ROWS_MAX: Final = 1_000
"""Checkpointed instances of a shard that a start reads at once, states and all: some 20 ms. Of a
larger shard it reads the index, and states when they are met."""

INDEX_PAGE: Final = 4_096
"""Numbers of instances whose entries in a shard's index are stored together: a row of some 250 kB,
which is made anew in about 3 ms."""

INDEX_RUNS_MAX: Final = 16
"""Index runs of a page, beside its largest one, before they are merged: each is a row to read at
the start. They are, too, when together they are as long as that one."""

INDEX_SPREAD_BYTES: Final = 128_000
"""Bytes of index runs that checkpoints wrote before they are distributed to pages: some 2,000
instances, about 1 ms of work."""

INDEX_MERGE_BYTES: Final = 500_000
"""Bytes of index runs that are merged with one transaction, some 5 ms, and twice what it writes of
them: what is merged grows with what is written."""

GARBAGE_THRESHOLDS: Final = (50_000, 20, 50)
"""When pools and ingress replicas look for cycles of objects: after so many more have been made than
freed (some 10 MB), and, of older ones, each so many times. See `gc.set_threshold`."""

COMMIT_EVENTS_MAX: Final = 1_000
"""Events and calls applied in a row: nothing else happens in a pool meanwhile, for about 0.1 s.
What is applied while a transaction is under way goes into the next one together."""

CHECKPOINT_INTERVAL_S: Final = 5.0
"""Seconds between checkpoints while instances are dirty: bounds what recovery replays."""

STATE_REPORT_BYTES: Final = 64_000
"""State above this size is reported with its largest variables."""

COMMITS_AHEAD_MAX: Final = 4
"""Applied batches that wait for the disk: bounds what a crash makes to be applied again."""

REORDER_GRACE_S: Final = 0.02
"""Seconds that a pool waits for a late delivery before it reads the gap from the log."""

CATALOGUE_OF_LOG: Final = 1
"""Catalogue version of deliveries that a pool reads from the log itself: its own subscriptions."""

MAILBOX_WINDOW: Final = timedelta(hours=24)
"""How far back a wait looks for calls that came before it."""

HISTORY_RETENTION: Final = timedelta(days=30)
"""How long a finished instance is kept unless configured otherwise. Until then its pool remembers its
id, about 400 B: where instances end by the million a day, keep them for less."""

INSTANCES_REMOVED_MAX: Final = 1_000
"""Finished instances removed by one checkpoint: about 20 ms, for which the next commit waits."""

REMOVAL_PAUSE_S: Final = 0.2
"""Seconds between two checkpoints while more instances are to be removed: commits come between."""

MAILBOX_PLACES_MAX: Final = 64
"""Keys, and calls, that an instance remembers to have received by waits of one method and shape:
about 10 bytes each in every saved state. Whatever is older counts as received."""

BIDS_AWAITED_S: Final = 0.5
"""Seconds after which a kernel whose bid is missing is asked where it stands: usually it bids within
milliseconds; it may not have heard of the call, or begin behind it."""

REGIMES_MAX: Final = 20
"""Boundaries that are kept of one workflow, one for each deployment that changed which of its calls
need a verdict: no kernel is so far behind that it would meet older ones."""

DECISIONS_FORGOTTEN_MAX: Final = 5_000
"""Decisions about calls that are deleted in one transaction, about 100 B each: some milliseconds."""

EXCLUSIVE_CALLS_MAX: Final = 100_000
"""Calls taken by exclusive waits that a pool remembers, about 150 B each: for other such waits,
whatever is older counts as taken."""

RECENT_CALLS_MAX: Final = 100_000
"""Calls that a pool keeps in memory for look-back, about 1 kB each; older ones come from the log."""

REASON_CHARS_MAX: Final = 1_000
"""Characters of the reason given for cancelling or retrying an instance: it goes into its log."""

COMPENSATION_ATTEMPTS: Final = 5
"""Attempts of a compensation whose step has no retry of its own: an undone half is worse than late."""

QUARANTINE_DEATHS: Final = 3
"""Processes of a pool that may end at the same place, or in the same step, before turns or steps are
watched one by one there: it costs a write to the store for each, and a machine that loses power ends
processes too."""

QUARANTINE_TURN_DEATHS: Final = 2
"""Watched turns, or runs of a step alone, that may end the process before they fail for it."""

QUARANTINE_CALM_S: Final = 1.0
"""Seconds that a pool leaves to turns before it tries steps that may end the process: a turn that
does so has done it by then, and no step is blamed for it."""

QUARANTINE_TRIAL_S: Final = 2.0
"""Seconds for which a suspected step, or turn behind an ordinary await, runs alone before the next
begins beside it: what ends the process mostly does so at once; doubled where it did not."""

QUARANTINE_DOUBLINGS_MAX: Final = 6
"""Times that this is doubled: two minutes, which is long for others that wait."""

QUARANTINE_TRIALS_S: Final = 30.0
"""Seconds that all trials of a process together may take at first: other steps wait for them."""

QUARANTINE_TRIALS_MAX: Final = 50
"""Trials of one process: beyond it, several suspects begin together, and a death halves them, about."""

TURN_BLOCKS_S: Final = 2.0
"""Seconds that a turn may hold up the event loop of its pool before it is reported: all other
instances stand still meanwhile, and what is meant to be plain code takes milliseconds."""

STEP_THREADS: Final = 32
"""Threads of a pool actor for synchronous steps: they mostly wait for the network."""

STEP_RESULT_BYTES_MAX: Final = 128_000_000
"""Bytes of one step's result, as saved: it goes into a journal row whole, where a few more of
its batch must fit too (SQLite holds no row above 1 GB), and again at every wait that keeps it."""

STEP_RESULT_BYTES_INLINE: Final = 100_000
"""Bytes of an outcome up to which the runner answers with it; above, with a reference to it in
the object store: beyond this Ray itself puts values there, so an answer would be a second copy."""

STEP_CANCEL_S: Final = 5.0
"""Seconds that a cancelled Ray task has to end by itself, with its `finally` blocks, before its
process is killed: code that is inside a C library does not hear of it at all."""

EXPLAIN_WAITS_MAX: Final = 300
"""Waits of a pool that one explanation tries, those with the call's key first: under 1 ms each."""

EXPLAIN_INSTANCES_MAX: Final = 50_000
"""Instances of a pool that are asked whether they received a call, the newest first: under 50 ms."""

EXPLAIN_SHOWN_MAX: Final = 20
"""Waits in one explanation: what it met, and the nearest misses."""

EXPLAIN_VALUE_CHARS_MAX: Final = 200
"""Characters of one value in an explanation."""

# --- delivery --------------------------------------------------------------------

APPEND_CALLS_MAX: Final = 5_000
"""Calls that one append transaction groups: about 5 ms of work."""

DELIVERY_CALLS_MAX: Final = 2_000
"""Calls in one delivery to a pool."""

BACKLOG_CALLS_MAX: Final = 50_000
"""Accepted calls that a pool may lag behind before its methods answer 429."""

BACKLOG_BYTES_MAX: Final = 64_000_000
"""Bytes of calls that an ingress holds for one pool; beyond it the pool reads them from the log."""

DISPATCH_BYTES_MAX: Final = 256_000_000
"""Bytes of calls that an ingress holds for all pools together; beyond it the pool with most of them
reads its own from the log."""

DELIVERY_BYTES_MAX: Final = 8_000_000
"""Bytes of one delivery to a pool: what one actor call carries without stalling the next."""

DELIVERIES_IN_FLIGHT: Final = 2
"""Deliveries to one pool under way at once: the next travels while the last is worked off."""

DELIVERY_BACKOFF_S_MAX: Final = 1.0
"""Longest pause before a delivery is tried again: a killed actor serves again in 0.9 to 1.7 s."""

EMPTY_RANGE_DELAY_S: Final = 0.1
"""Seconds that a range without calls for a pool may wait for company before it is sent."""

LAG_PROBE_S: Final = 0.25
"""Seconds between questions to a lagging pool that has nothing to receive."""

# --- partitions ------------------------------------------------------------------

PARTITION_LEASE_S: Final = 15.0
"""Seconds after which the owner of a partition that wrote nothing and renewed nothing counts as
dead: three renewals may be late on a loaded machine before others take over its calls."""

PARTITION_LOOK_S: Final = 5.0
"""Seconds between two looks of an ingress at all partitions, with which an idle one renews its lease
and adopts what others left: a third of the lease."""

PARTITIONS_REMEMBERED_MAX: Final = 1_000
"""Partitions of which an ingress remembers how far they go: 100 bytes each, for each pool."""

PARTITION_KEPT_S: Final = 3_600.0
"""Seconds for which a closed partition without calls is remembered: no delivery of it can still be
on its way when it is forgotten."""

# --- the ingress -----------------------------------------------------------------

INGRESS_REPLICAS_MAX: Final = 64
"""Ingress replicas of one engine: a segment names the ends of all others, 15 bytes each."""

CATALOGUE_FOLLOW_S: Final = 2.0
"""Seconds that a deployment waits for every ingress replica to work with its catalogue."""

ACCEPT_QUEUE_CALLS_MAX: Final = 50_000
"""Calls waiting for an append: a second of full load. More answer 429."""

EARLY_BATCH_S: Final = 0.5
"""Seconds that a batch which overtook the one before it waits for that; then it answers 412."""

REQUEST_BODIES_BYTES_MAX: Final = 256_000_000
"""Bytes of all request bodies that one ingress holds at once. More answer 429."""

REQUEST_DRAIN_BYTES_MAX: Final = 64_000_000
"""Bytes of an oversized request that are read and thrown away, so that its sender sees the answer."""

STORE_RETRY_S: Final = 0.5
"""Seconds between attempts to reach a call log that failed; requests meanwhile answer 503."""

RETRY_AFTER_S: Final = 1.0
"""What Retry-After says when nothing better is known."""

PROBLEM_ERRORS_MAX: Final = 20
"""Errors listed in one refusal."""

PROBLEM_MESSAGE_CHARS_MAX: Final = 300
"""Characters of one listed error: it may quote the value, which may be large."""

PUBLISHER_ID_CHARS_MAX: Final = 200
"""Characters of a publisher's id."""

INGRESS_START_S: Final = 5.0
"""Longest wait at start for the first catalogue; requests before it answer 503."""

INGRESS_DRAIN_S: Final = 5.0
"""Longest wait at stop for deliveries under way; the log keeps what is left."""

CALL_LOG_READ_THREADS: Final = 4
"""Threads for listing and finding calls: one page each, none blocks the appends."""

RESTORE_S_MAX: Final = 30.0
"""Seconds for which a new directory waits for the pools that ran before it; it serves then, and goes on
with those that are not back yet."""

BEGINNING_BACKOFF_S_MAX: Final = 1.0
"""Longest pause between two looks whether the database is there, of an actor that begins."""

POOL_START_ATTEMPTS: Final = 3
"""Processes of a pool that may end while they start before its deployment is refused."""

HANDOVER_S_MAX: Final = 60.0
"""Seconds that a version holds still for its predecessor unless it is told to go on holding: beyond it,
whoever deploys has ended, and calls must not wait for it."""

HANDOVER_RENEWAL_S: Final = 15.0
"""Seconds after which a version that is held is told again, until the hand-over is done."""

MEMBER_LEASE_S: Final = 10.0
"""Seconds in which a member of a pool must answer its directory, or it is replaced. A thread of its own
answers, so that user code which keeps the event loop busy is late, and not replaced; code that holds
the interpreter itself for so long (a C library) is."""

MEMBER_HEARTBEAT_S: Final = 1.0
"""Seconds between two questions whether a member is there."""

MEMBER_BUSY_S: Final = 5.0
"""Seconds for which user code may keep a member's event loop busy before the directory says so."""

MEMBER_GRANT_S_MAX: Final = 30.0
"""Seconds that a question waits in a member that has not been given its shards yet."""

SHARD_LOOKUPS_MAX: Final = 8
"""Times that whoever asks for an instance looks up its member again, while shards are being moved."""

SHARD_LOOKUP_PAUSE_S: Final = 0.25
"""Seconds before the next look-up: passing a shard on takes some tenths of a second."""

POOL_STEADY_S: Final = 60.0
"""Seconds after which a pool that dies is brought back at once again, as after its first death."""

SERVE_START_ATTEMPTS: Final = 5
"""Times that Serve may fail to start its proxies within its own 60 s: it is long, not stuck."""

START_S_MAX: Final = 60.0
"""Seconds that a development cluster may take until its ingress answers."""

# --- metrics and traces ----------------------------------------------------------

METRICS_INTERVAL_S: Final = 1.0
"""Seconds between two exports of what a process counted: Ray sends it on no more often."""

DURATIONS_KEPT_MAX: Final = 4_096
"""Durations of one kind kept until the next export: one of a batch each, so that it takes more than
four batches a millisecond to lose some."""

# --- clients and the outbox ------------------------------------------------------

CLIENT_BATCH_CALLS: Final = 500
"""Calls a client sends in one request: beyond this the cost per call no longer falls."""

CLIENT_REQUESTS_IN_FLIGHT: Final = 4
"""Requests a client keeps in flight in `push_many` when order allows it."""

CLIENT_BATCH_BYTES: Final = 4_000_000
"""Bytes of one batch a client sends: a quarter of what a request may have, so that proxies pass it."""

CLIENT_LINGER_S: Final = 0.1
"""Longest time `push_many` holds a call back for company, when the iterable gives them slowly."""

CLIENT_TIMEOUT_S: Final = 60.0
"""How long a client goes on trying one request: longer than the restart of an engine takes."""

CLIENT_CONNECT_S: Final = 5.0
"""Seconds to wait for a connection before it counts as one attempt."""

CLIENT_IDLE_S: Final = 4.0
"""Seconds a silent connection is kept: below the 5 s after which common servers close it."""

LONG_POLL_S: Final = 25.0
"""Longest single question for a result: proxies commonly end silent connections after 30 s."""

OUTBOX_REFUSED_MAX: Final = 10_000
"""Refused calls kept on a publisher's disk for inspection; the oldest go first."""

OUTBOX_ORPHANS_S: Final = 30.0
"""Seconds between looks for outboxes that dead processes of the same service left behind."""

OUTBOX_PACE_S: Final = 0.01
"""Shortest time from one request of a publisher to the next while calls trickle in: a lone call
goes at once, a stream of them goes in batches."""

OUTBOX_EXIT_FLUSH_S: Final = 2.0
"""Seconds an exiting process tries to send what is left; the rest stays on disk."""

OUTBOX_CALLS_MAX: Final = 1_000_000
"""Calls kept on disk by a publisher while the engine is away; beyond it publishing raises."""

RETRY_BACKOFF_S_MIN: Final = 0.05
"""First pause of a publisher after a failed request, before jitter."""

RETRY_BACKOFF_S_MAX: Final = 30.0
"""Longest pause of a publisher between attempts, before jitter."""

PAGE_ROWS_MAX: Final = 1_000
"""Rows of one page of a listing."""

POOL_ROWS_MAX: Final = PAGE_ROWS_MAX + 1
"""Rows that a pool gives at once: with the one beyond a page it is known that another follows."""

RESULT_WAIT_S_MAX: Final = 60.0
"""Longest long-poll for a result; clients ask again."""

# --- storage ---------------------------------------------------------------------

STORE_BUSY_S_MAX: Final = 10.0
"""Seconds a writer waits for its turn at a database file: a transaction takes milliseconds, so
whoever waits longer waits for a process that hangs."""

PROCESS_END_S_MAX: Final = 10.0
"""Seconds a takeover waits for the former owner's process to end after SIGKILL."""

INSTANCES_PER_SHARD_MAX: Final = (1 << 40) - 1
"""Instances ever created in one shard: with the shard's key they share one 63-bit integer key."""

JOURNAL_READ_ROWS_MAX: Final = 64
"""Journal rows fetched at once by an unbounded read: a row may hold a thousand turns."""

JOURNAL_COMPACT_ROWS_MAX: Final = 32
"""Journal rows of one shard that leave with one checkpoint once they are older than the retention:
more than are written between two checkpoints at the usual rates, and some 10 ms of work."""

HISTORY_LOOK_TURNS_MAX: Final = 1_000
"""Turns that an explanation goes back to find where an instance stood: about a second of reading."""

HISTORY_TURNS_MAX: Final = 100
"""Turns in one page of an instance's history: each one's state is loaded to be shown."""

READ_ROWS_MAX: Final = 2_000
"""Rows fetched at once by an unbounded read: no read holds the database for longer."""

INDEX_RUNS_READ_MAX: Final = 16
"""Index runs fetched at once: up to some 5 MB."""

READ_SEGMENTS_MAX: Final = 8
"""Segments fetched at once by an unbounded read: up to 40,000 calls in memory."""

READERS_IDLE_MAX: Final = 4
"""Idle read connections that a database keeps open: one for each thread that reads at a time."""

WAL_CHECKPOINT_PAGES: Final = 2_000
"""Pages (4 kB) of write-ahead log after which SQLite copies them into the database file."""

FIND_CALL_BEFORE_S: Final = 5.0
"""How far before the time in its id a call is looked for: clocks of machines differ a little."""

FIND_CALL_AFTER_S: Final = 60.0
"""How far after the time in its id a call is looked for: ids are made as the call arrives."""

TAGS_MAX: Final = 32
"""Tags that an instance sets in a turn: each is a row of the store's index."""

TAG_CHARS_MAX: Final = 256
"""Characters of a tag's value: it is a key of the store's index."""

# --- matching --------------------------------------------------------------------

MATCH_KEYS_MAX: Final = 64
"""Keys of one wait (`in` gives several): each is an index entry. Beyond it, `in` is left to the
predicate."""

PREDICATES_CACHED_MAX: Final = 10_000
"""Predicates of waits kept ready to be evaluated: about 1 kB each."""

UNPLACED_PREDICATES_MAX: Final = 16
"""New predicates of one method's waits without a key that are just evaluated for every call, 0.7 us
each; when there are more, all are put where the bounds of their comparisons belong, some 20 us each.
So the few that come and go with every turn cost no more than their evaluation."""
