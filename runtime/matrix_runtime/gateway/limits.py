"""Every limit and time of the gateway, in one place. Seconds and bytes."""

from __future__ import annotations

from matrix_proto.limits import LARGEST_MESSAGE

MIB = 1024 * 1024

CONNECT_SECONDS = 10
STREAM_SECONDS = 3600
"""Silence that a stream may have in either direction."""
HEADER_SECONDS = 10
"""For a client to send its request's head."""
BODY_SECONDS = 30
"""For a body, or as much of it as the buffer takes, to arrive; the side-car gives a large one more, by LEAST_BODY_RATE."""
LEAST_BODY_RATE = 64 * 1024
"""Bytes per second at which a large body must come, after BODY_SECONDS: who is slower would hold memory that others need."""
KEEP_ALIVE_SECONDS = 75
CHECK_SECONDS = 2
"""Between two looks at a replica's /health."""
CHECK_TIMEOUT_SECONDS = 5
CHECK_FALL = 3
"""Failed looks until a replica gets no more requests; a busy engine may miss one."""

LARGEST_BODY = LARGEST_MESSAGE
BUFFER = 64 * 1024
"""HAProxy's buffer: it looks for the model in what fits. Twice as much costs a third more CPU for each request, small ones too."""
FAST_BODY = 48 * 1024
"""A body up to this size is in the buffer as a whole; larger ones are looked at by the side-car."""
FAST_HEAD = 8 * 1024
"""Of a request that does not tell its length: with a larger head the buffer may end before FAST_BODY."""
HELD_BODIES = 256 * MIB
"""All the bodies that the side-car holds at a time."""

SLOTS = 64
"""Models per routing policy: each needs a backend, and HAProxy 2.8 can't be given a new one while it runs."""
WAIT_SECONDS = 60.0
"""How long a request waits for the first replica of its model, if it does not say otherwise."""
LONGEST_WAIT_SECONDS = 600.0
WAITING_REQUESTS = 1000
RETRIES = 3
"""Further tries of a request before its first byte has come, each on another replica."""
SOCKET_SECONDS = 2.0
"""For HAProxy to answer on its runtime socket; longer means that it is frozen."""
